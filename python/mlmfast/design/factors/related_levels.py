"""Read known relationships between the levels of a grouping factor: ``cov={"animal": A}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mlmfast.arrays import IntArray
from mlmfast.data.factor import level_labels
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.factors.names import known_group
from mlmfast.design.factors.relationship import (
    SINGULAR,
    Relationship,
    Sparse,
    families_of,
    sparse_array,
)
from mlmfast.errors import DataError, ModelError, RelationshipWarning, warn
from mlmfast.running.interruptible import interruptible

_NAMED = 5
#: Asymmetry, and negative eigenvalues, over the largest entry that count as rounding.
_ROUNDING = 1e-8
#: Levels that are related to each other, directly or through others, whose matrix is checked.
LARGEST_FAMILY = 10_000


def with_relationships(
    factors: tuple[GroupingFactor, ...], cov: Mapping[str, Any] | None
) -> tuple[GroupingFactor, ...]:
    """The factors with their relationship matrices.

    Parameters
    ----------
    factors
        Grouping factors of the random effects.
    cov
        By name of a factor a labelled data frame; a pair (labels, matrix), the matrix dense or
        sparse; or a matrix whose rows stand in the order of the factor's levels.

    Raises
    ------
    ModelError
        Where a name is no grouping factor, or a matrix is not symmetric or not positive
        semidefinite.
    DataError
        Where a matrix has the wrong shape, is not numeric or finite, or its labels repeat or lack
        a level of the data.

    Warns
    -----
    RelationshipWarning
        Where a matrix is singular.

    Examples
    --------
    >>> codes = np.array([0, 1, 0], dtype=np.int32)
    >>> factor = GroupingFactor("animal", codes, ("a", "b"), ("animal",))
    >>> matrix = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]])
    >>> related = with_relationships((factor,), {"animal": (["b", "c", "a"], matrix)})[0]
    >>> related.relationship.extra, related.relationship.matrix.toarray()[0].tolist()
    (('c',), [1.0, 0.0, 0.5])
    """
    if cov is None:
        return factors
    if not isinstance(cov, Mapping):
        raise ModelError(
            f"cov is a {type(cov).__name__}; it must be a dict from a grouping factor to its "
            "relationship matrix, such as {'animal': A}"
        )
    names = [factor.name for factor in factors]
    out = list(factors)
    for name, given in cov.items():
        known = known_group(str(name), names)
        if known is None:
            raise ModelError(
                f"cov names {name!r}, which is no grouping factor of the random effects; the model "
                f"has {', '.join(map(repr, names)) or 'none'}"
            )
        at = names.index(known)
        if out[at].has_all_rows:
            raise ModelError(
                f"cov names {name!r}, of which a row has several levels; relationships among these "
                "are not offered"
            )
        out[at] = replace(out[at], relationship=relationship(out[at], given))
    return tuple(out)


def relationship(factor: GroupingFactor, given: Any) -> Relationship:
    """Read the relationship matrix of one factor; see `with_relationships`."""
    name = factor.name
    labels, matrix = _parts(given, name)
    values = _numbers(matrix, name)
    n = values.shape[0]
    if labels is None:
        if n != factor.n_levels:
            raise DataError(
                f"cov[{name!r}] has {n} rows and no labels, and the data have {factor.n_levels} "
                f"levels of {name!r}; give a data frame labelled by level, or (labels, matrix)"
            )
        labels = factor.labels
    elif len(labels) != n:
        raise DataError(
            f"cov[{name!r}] has {len(labels)} labels for a matrix of {n} rows; one a row is needed"
        )
    order, extra = _order(factor, labels)
    _check_symmetric(values, labels, name)
    values = (values * 0.5 + values.T.tocsr() * 0.5).tocsr()
    _check_definite(values, name)
    # Columns are put in order, which the core and slicing by ranges need.
    ordered = sparse_array(values[order][:, order])
    ordered.eliminate_zeros()
    ordered.sort_indices()
    return Relationship(ordered, extra)


def _parts(given: Any, name: str) -> tuple[tuple[str, ...] | None, Any]:
    """Labels, if any, and the matrix."""
    if hasattr(given, "columns") and hasattr(given, "index"):
        rows, columns = _labels(given.index), _labels(given.columns)
        if set(rows) != set(columns) or len(rows) != len(columns):
            raise DataError(
                f"the data frame cov[{name!r}] has other labels on its rows than on its columns "
                f"({_some(rows)} and {_some(columns)}); both must name the levels"
            )
        _check_repeated(rows, name)
        place = {label: k for k, label in enumerate(columns)}
        return rows, given.iloc[:, [place[label] for label in rows]]
    if isinstance(given, tuple):
        if len(given) != 2:
            raise DataError(
                f"cov[{name!r}] is a tuple of {len(given)}; a pair (labels, matrix) is needed"
            )
        labels = _labels(given[0])
        _check_repeated(labels, name)
        return labels, given[1]
    return None, given


def _labels(values: Any) -> tuple[str, ...]:
    items = list(values)
    out = np.empty(len(items), dtype=object)
    out[:] = items
    return level_labels(out)


def _check_repeated(labels: tuple[str, ...], name: str) -> None:
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            raise DataError(f"cov[{name!r}] has the label {label!r} twice; levels must differ")
        seen.add(label)


def _some(labels: tuple[str, ...]) -> str:
    return ", ".join(map(repr, labels[:_NAMED])) + (", ..." if len(labels) > _NAMED else "")


def _numbers(matrix: Any, name: str) -> Sparse:
    values = _read(matrix, name)
    if values.shape[0] != values.shape[1] or values.shape[0] == 0:
        raise DataError(
            f"cov[{name!r}] has shape {values.shape}; a square matrix, a row and a column a level, "
            "is needed"
        )
    if not np.isfinite(values.data).all():
        raise DataError(f"cov[{name!r}] has missing or infinite entries")
    return values


def _read(matrix: Any, name: str) -> Sparse:
    from scipy import sparse

    is_sparse = sparse.issparse(matrix)
    try:
        if is_sparse:
            found: Sparse = sparse_array(matrix.astype(np.float64))
            found.sum_duplicates()
            return found
        dense = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"cov[{name!r}] is not a matrix of numbers") from None
    if dense.ndim != 2:
        raise DataError(f"cov[{name!r}] has {dense.ndim} dimension(s); a square matrix is needed")
    return sparse_array(dense)


def _order(factor: GroupingFactor, labels: tuple[str, ...]) -> tuple[IntArray, tuple[str, ...]]:
    """Rows of the given matrix: those of the factor's levels, then the others."""
    place = {label: k for k, label in enumerate(labels)}
    missing = tuple(label for label in factor.labels if label not in place)
    if missing:
        raise DataError(
            f"cov[{factor.name!r}] lacks {len(missing)} level(s) of the data: {_some(missing)}; "
            "every level with a row needs its relationships"
        )
    met = set(factor.labels)
    extra = tuple(label for label in labels if label not in met)
    return np.array([place[label] for label in (*factor.labels, *extra)], dtype=np.intp), extra


def _check_symmetric(values: Sparse, labels: tuple[str, ...], name: str) -> None:
    difference = abs(values - values.T).tocoo()
    if not difference.nnz:
        return
    worst = int(np.argmax(difference.data))
    if difference.data[worst] > _ROUNDING * np.abs(values.data).max():
        i, j = int(difference.row[worst]), int(difference.col[worst])
        raise ModelError(
            f"cov[{name!r}] is not symmetric: the entries of ({labels[i]!r}, {labels[j]!r}) and "
            f"its mirror image are {values[i, j]:g} and {values[j, i]:g}"
        )


def _check_definite(values: Sparse, name: str) -> None:
    """Refuse matrices that no covariance could be, and warn of singular ones."""
    families = families_of(values)
    smallest, singular = 0.0, False
    order = np.argsort(families, kind="stable")
    for own in np.split(order, np.cumsum(np.bincount(families))[:-1]):
        if len(own) > LARGEST_FAMILY:
            raise ModelError(
                f"cov[{name!r}] relates {len(own):,} levels to each other; at most "
                f"{LARGEST_FAMILY:,} are supported. Keep the levels with rows (a relationship "
                "matrix may be cut to them)"
            )
        block = values[own][:, own].toarray()
        largest = float(np.abs(block).max())
        try:
            pivots = np.diag(interruptible(np.linalg.cholesky, block))
            if pivots.min() ** 2 > SINGULAR * largest:
                continue
        except np.linalg.LinAlgError:
            pass
        eigenvalue = float(interruptible(np.linalg.eigvalsh, block)[0])
        if eigenvalue < -_ROUNDING * largest or largest == 0.0:
            raise ModelError(
                f"cov[{name!r}] is not positive definite: it has the eigenvalue {eigenvalue:.4g}, "
                "so it is no covariance matrix. Check that it holds relationships (covariances, "
                "not distances or an inverse), and that its labels stand in its order"
            )
        singular, smallest = True, min(smallest, eigenvalue)
    if singular:
        warn(
            f"cov[{name!r}] is singular (smallest eigenvalue {smallest:.1e}): effects of some "
            "levels are functions of others'. The fit is valid; check for levels that stand in it "
            "twice",
            RelationshipWarning,
            "MLM103",
        )
