"""Read known relationships between the levels of a grouping factor: ``cov={"animal": A}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mlmfast.arrays import IntArray
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.factors.known_precision import KnownPrecision
from mlmfast.design.factors.names import known_group
from mlmfast.design.factors.relationship import (
    SINGULAR,
    KnownCovariance,
    Relationship,
    families_of,
)
from mlmfast.errors import DataError, ModelError, RelationshipWarning, warn
from mlmfast.relationships.matrix import (
    ROUNDING,
    Sparse,
    labelled_parts,
    some,
    square_numbers,
    symmetric,
)
from mlmfast.relationships.pedigree import Pedigree
from mlmfast.relationships.precision import Precision
from mlmfast.running.interruptible import interruptible

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
        sparse; a matrix whose rows stand in the order of the factor's levels; a pedigree; or a
        precision.

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
    if isinstance(given, Pedigree | Precision):
        return _known_precision(factor, given)
    name, what = factor.name, f"cov[{factor.name!r}]"
    labels, matrix = labelled_parts(given, what)
    values = square_numbers(matrix, what)
    n = values.shape[0]
    if labels is None:
        if n != factor.n_levels:
            raise DataError(
                f"{what} has {n} rows and no labels, and the data have {factor.n_levels} "
                f"levels of {name!r}; give a data frame labelled by level, or (labels, matrix)"
            )
        labels = factor.labels
    elif len(labels) != n:
        raise DataError(
            f"{what} has {len(labels)} labels for a matrix of {n} rows; one a row is needed"
        )
    order, extra = _order(factor, labels)
    matrix = symmetric(values, labels, order, what)
    _check_definite(matrix, name)
    return KnownCovariance(matrix, extra)


def _known_precision(factor: GroupingFactor, given: Pedigree | Precision) -> KnownPrecision:
    order, extra = _order(factor, given.labels)
    told = given.ancestors(order[: factor.n_levels]) if isinstance(given, Pedigree) else None
    return KnownPrecision(
        given.inverse[order][:, order],
        extra,
        given.variances[order],
        given.root.reordered(order),
        None if told is None else told[order],
    )


def _order(factor: GroupingFactor, labels: tuple[str, ...]) -> tuple[IntArray, tuple[str, ...]]:
    """Rows of the given matrix: those of the factor's levels, then the others."""
    place = {label: k for k, label in enumerate(labels)}
    missing = tuple(label for label in factor.labels if label not in place)
    if missing:
        raise DataError(
            f"cov[{factor.name!r}] lacks {len(missing)} level(s) of the data: {some(missing)}; "
            "every level with a row needs its relationships"
        )
    met = set(factor.labels)
    extra = tuple(label for label in labels if label not in met)
    return np.array([place[label] for label in (*factor.labels, *extra)], dtype=np.intp), extra


def _check_definite(values: Sparse, name: str) -> None:
    """Refuse matrices that no covariance could be, and warn of singular ones."""
    families = families_of(values)
    smallest, singular = 0.0, False
    order = np.argsort(families, kind="stable")
    for own in np.split(order, np.cumsum(np.bincount(families))[:-1]):
        if len(own) > LARGEST_FAMILY:
            raise ModelError(
                f"cov[{name!r}] relates {len(own):,} levels to each other; at most "
                f"{LARGEST_FAMILY:,} are supported in a matrix. Give the pedigree "
                "(mlm.pedigree) or the inverse where it is sparse (mlm.precision), or keep the "
                "levels with rows (a relationship matrix may be cut to them)"
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
        if eigenvalue < -ROUNDING * largest or largest == 0.0:
            raise ModelError(
                f"cov[{name!r}] is not positive definite: it has the eigenvalue {eigenvalue:.4g}, "
                "so it is no covariance matrix. Check that it holds relationships (covariances, "
                "not distances; an inverse is given by mlm.precision(labels, Q)), and that its "
                "labels stand in its order"
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
