"""Known relationships between the levels of a grouping factor: ``cov={"animal": A}``.

The effects of a related factor have the covariance A (x) G instead of I (x) G (Henderson 1976,
Biometrics 32, 69): an animal model with the numerator relationship matrix or a genomic one, a
phylogenetic model, a spatial one with known correlations.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray
from mlmfast.cached import cached_property
from mlmfast.data.factor import level_labels
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.factors.names import known_group
from mlmfast.errors import DataError, ModelError, RelationshipWarning
from mlmfast.interruptible import interruptible

if TYPE_CHECKING:
    from scipy import sparse

_Sparse: TypeAlias = "sparse.csr_array[np.float64, tuple[int, int]]"

_NAMED = 5
#: Asymmetry, and negative eigenvalues, over the largest entry that count as rounding.
_ROUNDING = 1e-8
#: Smallest squared pivot over the largest diagonal entry of a matrix that is not singular.
_SINGULAR = 1e-10
#: Condition beyond which the inverse of a matrix is not used: about half of the digits.
_WORST_CONDITION = 1e8
#: Entries of an inverse, over the roots of its diagonal, that may be zeros but for rounding.
_LOST = 1e-12
#: Norm of what leaving them out may change.
_NOTHING = 1e-11
#: Levels that are related to each other, directly or through others, whose matrix is checked.
LARGEST_FAMILY = 10_000


@dataclass(frozen=True, eq=False)
class Relationship:
    """A symmetric matrix over the levels of a factor, and over levels that no row has.

    Attributes
    ----------
    matrix : sparse, shape (n, n)
        Levels with rows first, in the order of the factor.
    extra
        Labels of the levels that no row has, which stand last.
    """

    matrix: _Sparse
    extra: tuple[str, ...]

    @cached_property
    def families(self) -> IntArray:
        """Number of the connected part of each level with rows, shape (n_levels,)."""
        n = self.matrix.shape[0] - len(self.extra)
        return _families(self.matrix[:n, :n])

    @property
    def core_argument(self) -> tuple[FloatArray, CodeArray, FloatArray]:
        """Row offsets, columns and values as the core reads them."""
        a = self.matrix
        return a.indptr.astype(np.int64), a.indices.astype(np.int32), a.data

    def between(self, codes: CodeArray) -> FloatArray:
        """Entries for all pairs of rows of some levels, shape (n, n)."""
        levels, place = np.unique(codes, return_inverse=True)
        dense = self.matrix[levels][:, levels].toarray()
        return np.asarray(dense[place[:, None], place[None, :]])

    @cached_property
    def diagonal(self) -> FloatArray:
        """Diagonal entries, shape (n,)."""
        return np.asarray(self.matrix.diagonal())

    @cached_property
    def precision(self) -> _Sparse | None:
        """The inverse over all levels, by connected parts; None where it would lose digits.

        What rounding leaves of its zeros is dropped where that changes no digit of the criterion.
        """
        families = _families(self.matrix)
        order = np.argsort(families, kind="stable")
        rows, columns, values = [], [], []
        for own in np.split(order, np.cumsum(np.bincount(families))[:-1]):
            inverse = _inverse(self.matrix[own][:, own].toarray())
            if inverse is None:
                return None
            i, j = np.nonzero(inverse)
            rows.append(own[i])
            columns.append(own[j])
            values.append(inverse[i, j])
        at = (np.concatenate(rows), np.concatenate(columns))
        found = _sparse((np.concatenate(values), at), shape=self.matrix.shape)
        found.sort_indices()
        return found

    @property
    def precision_argument(self) -> tuple[FloatArray, CodeArray, FloatArray] | None:
        """Row offsets, columns and values of the inverse as the core reads them."""
        k = self.precision
        if k is None:
            return None
        return k.indptr.astype(np.int64), k.indices.astype(np.int32), k.data

    @cached_property
    def root(self) -> _Sparse:
        """B with B B' = A over the levels with rows, by connected parts."""
        families = self.families
        n = len(families)
        rows, columns, values = [], [], []
        for family in range(int(families.max()) + 1):
            own = np.flatnonzero(families == family)
            block = _root(self.matrix[own][:, own].toarray())
            i, j = np.nonzero(block)
            rows.append(own[i])
            columns.append(own[j])
            values.append(block[i, j])
        at = (np.concatenate(rows), np.concatenate(columns))
        return _sparse((np.concatenate(values), at), shape=(n, n))

    @property
    def n_rows(self) -> int:
        """Levels with rows."""
        return int(self.matrix.shape[0]) - len(self.extra)

    def times(self, m: FloatArray) -> FloatArray:
        """A m for weights m (k, n, q) of all levels."""
        k, n, q = m.shape
        flat = self.matrix @ np.moveaxis(m, 1, 0).reshape(n, k * q)
        return np.moveaxis(np.asarray(flat).reshape(n, k, q), 0, 1)

    def onto_rows(self, m: FloatArray) -> FloatArray:
        """Weights of the levels with rows that predict m'g best, (k, n_rows, q)."""
        rows = np.arange(self.matrix.shape[0]) < self.n_rows
        beyond = np.where(rows[:, None], 0.0, m)
        return m[:, rows] + self._regression(rows, beyond)[:, rows]

    def beyond(self, told: BoolArray, m: FloatArray) -> FloatArray:
        """A m for the effects given those of the levels marked, (k, n, q); 0 for these.

        Parameters
        ----------
        told : shape (n,), whole families of levels with rows.
        m : shape (k, n, q).
        """
        rest = np.where(told[:, None], 0.0, m)
        return np.where(
            told[:, None], 0.0, self.times(rest) - self.times(self._regression(told, rest))
        )

    def _regression(self, told: BoolArray, m: FloatArray) -> FloatArray:
        """A_tt^- A_t m, t the levels marked, as weights of all levels, (k, n, q)."""
        right = np.where(told[:, None], self.times(m), 0.0)
        out = np.zeros_like(m)
        families = np.full(len(told), -1)
        families[: self.n_rows] = self.families
        for family in np.unique(families[right.any(axis=(0, 2))]):
            own = np.flatnonzero(families == family)
            flat = np.moveaxis(right[:, own], 1, 0)
            a = self.matrix[own][:, own].toarray()
            found = np.linalg.lstsq(a, flat.reshape(len(own), -1), rcond=_SINGULAR)[0]
            out[:, own] = np.moveaxis(found.reshape(flat.shape), 0, 1)
        return out


def _sparse(*parts: Any, **shape: Any) -> _Sparse:
    from scipy import sparse

    return sparse.csr_array(*parts, **shape)


def _families(matrix: _Sparse) -> IntArray:
    """Number of the connected part of each level, shape (n_levels,)."""
    from scipy.sparse.csgraph import connected_components

    return np.asarray(connected_components(matrix, directed=False)[1])


def _inverse(a: FloatArray) -> FloatArray | None:
    """The inverse of a block; None where its condition takes too many digits."""
    try:
        inverse = interruptible(_inverse_by_cholesky, a)
    except np.linalg.LinAlgError:
        return None
    inverse = (inverse + inverse.T) / 2
    if np.abs(a).sum(axis=0).max() * np.abs(inverse).sum(axis=0).max() > _WORST_CONDITION:
        return None
    scale = np.sqrt(np.diag(inverse))
    rounding = np.abs(inverse) <= _LOST * scale[:, None] * scale
    # |A E| bounds what leaving out E changes, relative to the inverse itself.
    if np.linalg.norm(a @ np.where(rounding, inverse, 0.0)) <= _NOTHING:
        inverse[rounding] = 0.0
    return inverse


def _inverse_by_cholesky(a: FloatArray) -> FloatArray:
    from scipy.linalg import cho_solve, cholesky

    return np.asarray(cho_solve((cholesky(a, lower=True), True), np.eye(len(a))))


def _root(a: FloatArray) -> FloatArray:
    try:
        return np.asarray(interruptible(np.linalg.cholesky, a))
    except np.linalg.LinAlgError:
        values, vectors = interruptible(np.linalg.eigh, a)
        return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)


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
    ordered = _sparse(values[order][:, order])
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
        return rows, given.iloc[:, [columns.index(label) for label in rows]]
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


def _numbers(matrix: Any, name: str) -> _Sparse:
    values = _read(matrix, name)
    if values.shape[0] != values.shape[1] or values.shape[0] == 0:
        raise DataError(
            f"cov[{name!r}] has shape {values.shape}; a square matrix, a row and a column a level, "
            "is needed"
        )
    if not np.isfinite(values.data).all():
        raise DataError(f"cov[{name!r}] has missing or infinite entries")
    return values


def _read(matrix: Any, name: str) -> _Sparse:
    from scipy import sparse

    is_sparse = sparse.issparse(matrix)
    try:
        if is_sparse:
            found: _Sparse = _sparse(matrix.astype(np.float64))
            found.sum_duplicates()
            return found
        dense = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"cov[{name!r}] is not a matrix of numbers") from None
    if dense.ndim != 2:
        raise DataError(f"cov[{name!r}] has {dense.ndim} dimension(s); a square matrix is needed")
    return _sparse(dense)


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


def _check_symmetric(values: _Sparse, labels: tuple[str, ...], name: str) -> None:
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


def _check_definite(values: _Sparse, name: str) -> None:
    """Refuse matrices that no covariance could be, and warn of singular ones."""
    families = _families(values)
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
            if pivots.min() ** 2 > _SINGULAR * largest:
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
        warnings.warn(
            f"cov[{name!r}] is singular (smallest eigenvalue {smallest:.1e}): effects of some "
            "levels are functions of others'. The fit is valid; check for levels that stand in it "
            "twice",
            RelationshipWarning,
            stacklevel=2,
        )
