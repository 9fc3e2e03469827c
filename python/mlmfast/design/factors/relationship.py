"""Known relationships between the levels of a grouping factor: ``cov={"animal": A}``.

The effects of a related factor have the covariance A (x) G instead of I (x) G (Henderson 1976,
Biometrics 32, 69): an animal model with the numerator relationship matrix or a genomic one, a
phylogenetic model, a spatial one with known correlations.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray
from mlmfast.relationships.matrix import Sparse, sparse_array
from mlmfast.running.cached import cached_property
from mlmfast.running.interruptible import interruptible

#: Smallest squared pivot over the largest diagonal entry of a matrix that is not singular.
SINGULAR = 1e-10
#: Condition beyond which the inverse of a matrix is not used: about half of the digits.
_WORST_CONDITION = 1e8
#: Entries of an inverse, over the roots of its diagonal, that may be zeros but for rounding.
_LOST = 1e-12
#: Norm of what leaving them out may change, for each thousand levels.
_NOTHING = 1e-11
#: Vectors that a product of matrices is tried with.
_PROBES = 64


class Relationship(Protocol):
    """How the levels of a factor are related, and levels that no row has.

    Levels with rows stand first, in the order of the factor; `extra` labels those after them.
    """

    extra: tuple[str, ...]
    #: Whether A^-1 is what is known.
    is_inverse: ClassVar[bool]

    @property
    @abstractmethod
    def given(self) -> Sparse:
        """The matrix over all levels that the user gave or that a pedigree makes, shape (n, n)."""

    @property
    @abstractmethod
    def families(self) -> IntArray:
        """Number of the part of each level with rows whose effects others' tell nothing of."""

    @property
    @abstractmethod
    def diagonal(self) -> FloatArray:
        """Variance of each level, shape (n,)."""

    @property
    @abstractmethod
    def core_argument(self) -> tuple[FloatArray, CodeArray, FloatArray]:
        """Row offsets, columns and values of A over all levels as the core reads them."""

    @property
    @abstractmethod
    def precision_argument(self) -> tuple[FloatArray, CodeArray, FloatArray] | None:
        """The same of A^-1; None where it would lose digits."""

    @abstractmethod
    def over(self, levels: IntArray) -> FloatArray:
        """A over some levels, shape (k, k)."""

    @abstractmethod
    def root_over(self, levels: IntArray) -> Sparse:
        """B with B B' = A over whole families of levels with rows."""

    @property
    @abstractmethod
    def n_draws(self) -> int:
        """Draws that `drawn` takes."""

    @abstractmethod
    def drawn(self, draws: FloatArray) -> FloatArray:
        """Effects of the levels with rows of white noise, (n_draws, k) to (n_rows, k)."""

    @abstractmethod
    def times(self, m: FloatArray) -> FloatArray:
        """A m for weights m (k, n, q) of all levels."""

    @abstractmethod
    def reached(self, met: BoolArray) -> BoolArray:
        """Levels that are related to any of those marked, shape (k, n)."""

    @abstractmethod
    def onto_rows(self, m: FloatArray) -> FloatArray:
        """Weights of the levels with rows that predict m'g best, (k, n_rows, q)."""

    @abstractmethod
    def beyond(self, told: BoolArray, m: FloatArray) -> FloatArray:
        """A m for the effects given those of the levels marked, (k, n, q); 0 for these.

        Parameters
        ----------
        told : shape (n,), whole families of levels with rows.
        m : shape (k, n, q).
        """

    @property
    def n_rows(self) -> int:
        """Levels with rows."""
        return int(self.given.shape[0]) - len(self.extra)

    def between(self, codes: CodeArray) -> FloatArray:
        """Entries for all pairs of rows of some levels, shape (n, n)."""
        levels, place = np.unique(codes, return_inverse=True)
        return np.asarray(self.over(levels.astype(np.intp))[place[:, None], place[None, :]])

    def among_rows(self) -> Sparse:
        """A over the levels with rows."""
        return sparse_array(self.over(np.arange(self.n_rows)))

    def times_rows(self, x: FloatArray) -> FloatArray:
        """A x over the levels with rows, shape (n_rows, k)."""
        m = np.zeros((x.shape[1], self.n_rows + len(self.extra), 1))
        m[:, : self.n_rows, 0] = x.T
        return np.asarray(self.times(m)[:, : self.n_rows, 0].T)


@dataclass(frozen=True, eq=False)
class KnownCovariance(Relationship):
    """A symmetric matrix over the levels of a factor, and over levels that no row has.

    Attributes
    ----------
    matrix : sparse, shape (n, n)
        Levels with rows first, in the order of the factor.
    extra
        Labels of the levels that no row has, which stand last.
    """

    matrix: Sparse
    extra: tuple[str, ...]
    is_inverse: ClassVar[bool] = False

    @cached_property
    def families(self) -> IntArray:
        """Number of the connected part of each level with rows, shape (n_levels,)."""
        n = self.matrix.shape[0] - len(self.extra)
        return families_of(self.matrix[:n, :n])

    @property
    def core_argument(self) -> tuple[FloatArray, CodeArray, FloatArray]:
        """Row offsets, columns and values as the core reads them."""
        a = self.matrix
        return a.indptr.astype(np.int64), a.indices.astype(np.int32), a.data

    @property
    def given(self) -> Sparse:
        """See `Relationship`."""
        return self.matrix

    def over(self, levels: IntArray) -> FloatArray:
        """See `Relationship`."""
        return self.matrix[levels][:, levels].toarray()

    def among_rows(self) -> Sparse:
        """See `Relationship`."""
        return self.matrix[: self.n_rows, : self.n_rows]

    def times_rows(self, x: FloatArray) -> FloatArray:
        """See `Relationship`."""
        return np.asarray(self.among_rows() @ x, dtype=np.float64)

    def reached(self, met: BoolArray) -> BoolArray:
        """See `Relationship`."""
        return np.asarray((abs(self.matrix) @ met.T.astype(np.float64)).T > 0.0)

    @cached_property
    def diagonal(self) -> FloatArray:
        """Diagonal entries, shape (n,)."""
        return np.asarray(self.matrix.diagonal())

    @cached_property
    def precision(self) -> Sparse | None:
        """The inverse over all levels, by connected parts; None where it would lose digits.

        What rounding leaves of its zeros is dropped where that changes no digit of the criterion.
        """
        families = families_of(self.matrix)
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
        found = sparse_array((np.concatenate(values), at), shape=self.matrix.shape)
        found.sort_indices()
        return found

    @property
    def precision_argument(self) -> tuple[FloatArray, CodeArray, FloatArray] | None:
        """Row offsets, columns and values of the inverse as the core reads them."""
        k = self.precision
        if k is None:
            return None
        return k.indptr.astype(np.int64), k.indices.astype(np.int32), k.data

    def root_over(self, levels: IntArray) -> Sparse:
        """See `Relationship`."""
        return self._root[levels][:, levels]

    @property
    def n_draws(self) -> int:
        """See `Relationship`."""
        return self.n_rows

    def drawn(self, draws: FloatArray) -> FloatArray:
        """See `Relationship`."""
        return np.asarray(self._root @ draws)

    @cached_property
    def _root(self) -> Sparse:
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
        return sparse_array((np.concatenate(values), at), shape=(n, n))

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
            found = np.linalg.lstsq(a, flat.reshape(len(own), -1), rcond=SINGULAR)[0]
            out[:, own] = np.moveaxis(found.reshape(flat.shape), 0, 1)
        return out


def families_of(matrix: Sparse) -> IntArray:
    """Number of the connected part of each level, shape (n_levels,)."""
    from scipy.sparse.csgraph import connected_components

    if matrix.indptr[1] == matrix.shape[0]:
        # The first level is related to all others.
        return np.zeros(matrix.shape[0], dtype=np.intp)
    return np.asarray(connected_components(matrix, directed=False)[1])


def _inverse(a: FloatArray) -> FloatArray | None:
    """The inverse of a block; None where its condition takes too many digits."""
    try:
        inverse = interruptible(_inverse_by_cholesky, a)
    except np.linalg.LinAlgError:
        return None
    if np.abs(a).sum(axis=0).max() * np.abs(inverse).sum(axis=0).max() > _WORST_CONDITION:
        return None
    scale = np.sqrt(np.diag(inverse))
    rounding = np.abs(inverse) <= _LOST * scale[:, None] * scale
    left_out = np.where(rounding, inverse, 0.0)
    # |A E| bounds what leaving out E changes, relative to the inverse itself; |A| |E| bounds it
    # without a product of matrices.
    largest = np.abs(a).sum(axis=0).max() * np.linalg.norm(left_out)
    # Rounding of the inverse itself, which the norm sums over all levels, grows with their number.
    nothing = _NOTHING * max(1.0, len(a) / 1000)
    if largest <= nothing or _norm_of_product(a, left_out) <= 0.5 * nothing:
        inverse[rounding] = 0.0
    return inverse


def _norm_of_product(a: FloatArray, b: FloatArray) -> float:
    """|A B|, by white noise: half of it is less in one of 10^10 matrices of rank 1, or fewer."""
    noise = np.random.default_rng(1).standard_normal((len(b), _PROBES))
    return float(np.linalg.norm(a @ (b @ noise)) / np.sqrt(_PROBES))


def _inverse_by_cholesky(a: FloatArray) -> FloatArray:
    from scipy.linalg.lapack import dpotrf, dpotri

    factor, failed = dpotrf(a.T, lower=1)
    if failed:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    lower = np.tril(dpotri(factor, lower=1, overwrite_c=1)[0])
    return np.asarray(lower + np.tril(lower, -1).T)


def _root(a: FloatArray) -> FloatArray:
    try:
        return np.asarray(interruptible(np.linalg.cholesky, a))
    except np.linalg.LinAlgError:
        values, vectors = interruptible(np.linalg.eigh, a)
        return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)
