"""Relationships that are known by their inverse: a pedigree's, or a precision that users give.

A^-1 = K is sparse, and A is not formed: A x is two solves by a sparse root S of K = S'S, effects
given others' have the covariance that is the inverse of their own part of K.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray, SparseArray
from mlmfast.design.factors.relationship import Relationship, families_of
from mlmfast.relationships.matrix import Sparse, known_entries, sparse_array
from mlmfast.relationships.triangle import Triangle
from mlmfast.running.cached import cached_property
from mlmfast.running.memory import check_memory

#: Levels whose relationships to all others are computed at a time.
_AT_ONCE = 256
#: Bytes for each of their entries at the peak, with the core's copy.
_BYTES = 48.0
_INSTEAD = (
    "prune the pedigree to the animals with records (pedigree.prune(labels)), or fit a model "
    "without residual structure, which needs the inverse alone"
)


@dataclass(frozen=True, eq=False)
class KnownPrecision(Relationship):
    """The precision of the levels of a factor, and of levels that no row has.

    Attributes
    ----------
    precision : sparse, shape (n, n)
        Levels with rows first, in the order of the factor.
    extra
        Labels of the levels that no row has, which stand last.
    variances : shape (n,)
        Diagonal of its inverse.
    root
        S with S'S the precision.
    needed : shape (n,), or None
        Levels without which the others' relationships are the same part of the inverse: ancestors
        of levels with rows, and these. None for all.
    """

    precision: Sparse
    extra: tuple[str, ...]
    variances: FloatArray
    root: Triangle
    needed: BoolArray | None = None
    is_inverse: ClassVar[bool] = True

    @property
    def given(self) -> Sparse:
        """See `Relationship`."""
        return self.precision

    @property
    def diagonal(self) -> FloatArray:
        """See `Relationship`."""
        return self.variances

    @cached_property
    def families(self) -> IntArray:
        """See `Relationship`: connected parts, offspring without descendants with rows left out.

        Each of their ancestors has a descendant with rows in a pedigree, so that these parts are
        those of A.
        """
        parts = self._parts
        if self.needed is not None:
            parts = np.full(len(self.needed), -1, dtype=np.intp)
            kept = np.flatnonzero(self.needed)
            # A pedigree without some that have no offspring left is a pedigree: its precision has
            # nonzeros between parents and offspring, and mates.
            parts[kept] = families_of(self._of_needed(kept))
        return np.asarray(np.unique(parts[: self.n_rows], return_inverse=True)[1])

    def _of_needed(self, kept: IntArray) -> SparseArray:
        """Nonzeros of the inverse of A over these levels alone."""
        place = np.full(self.precision.shape[0], -1)
        place[self.root.order] = np.arange(len(place))
        # Rows of S of these levels have no columns but theirs.
        own = self.root.root[np.sort(place[kept])]
        back = self.root.order
        rows = back[np.sort(place[kept])]
        columns = np.searchsorted(kept, back[own.indices])
        at = (np.repeat(np.searchsorted(kept, rows), np.diff(own.indptr)), columns)
        return sparse_array((np.ones(len(columns)), at), shape=(len(kept), len(kept)))

    @cached_property
    def _parts(self) -> IntArray:
        return families_of(self.precision)

    @property
    def core_argument(self) -> tuple[FloatArray, CodeArray, FloatArray]:
        """See `Relationship`; A is formed over the levels with rows, for the others' rows too."""
        n, size = self.n_rows, self.precision.shape[0]
        what = f"the relationships of {n:,} levels with rows to all {size:,}"
        check_memory(_BYTES * n * size, what, _INSTEAD)
        a = _with_others(self.over(np.arange(n)), self._to_extra(), self.variances[n:])
        return a.indptr.astype(np.int64), a.indices.astype(np.int32), a.data

    def _to_extra(self) -> FloatArray:
        """A over levels that no row has, by those with rows, (n_extra, n_rows)."""
        n = self.n_rows
        out = np.empty((len(self.extra), n))
        for first in range(0, n, _AT_ONCE) if len(out) else ():
            own = np.arange(first, min(first + _AT_ONCE, n))
            units = np.zeros((self.precision.shape[0], len(own)))
            units[own, np.arange(len(own))] = 1.0
            out[:, own] = self.root.times(units)[n:]
        return out

    @property
    def precision_argument(self) -> tuple[FloatArray, CodeArray, FloatArray]:
        """See `Relationship`."""
        k = self.precision
        return k.indptr.astype(np.int64), k.indices.astype(np.int32), k.data

    def over(self, levels: IntArray) -> FloatArray:
        """See `Relationship`."""
        what = f"the relationships of {len(levels):,} levels to each other"
        check_memory(24.0 * len(levels) ** 2, what, _INSTEAD)
        found = self.root.over(levels)
        found[np.diag_indices(len(levels))] = self.variances[levels]
        return found

    def root_over(self, levels: IntArray) -> Sparse:
        """See `Relationship`."""
        return sparse_array(np.linalg.cholesky(self.over(levels)))

    @property
    def n_draws(self) -> int:
        """See `Relationship`."""
        return int(self.precision.shape[0])

    def drawn(self, draws: FloatArray) -> FloatArray:
        """See `Relationship`."""
        return self.root.drawn(draws)[: self.n_rows]

    def times(self, m: FloatArray) -> FloatArray:
        """See `Relationship`."""
        return _by_level(self.root.times, m)

    def reached(self, met: BoolArray) -> BoolArray:
        """See `Relationship`: the connected parts of those marked."""
        parts = self._parts
        touched = np.zeros((len(met), int(parts.max()) + 1), dtype=np.bool_)
        target, level = np.nonzero(met)
        touched[target, parts[level]] = True
        return np.asarray(touched[:, parts])

    def onto_rows(self, m: FloatArray) -> FloatArray:
        """See `Relationship`: E[g_e | g_r] = -K_ee^-1 K_er g_r."""
        n, out = self.n_rows, m[:, : self.n_rows].copy()
        if not self.extra or not m[:, n:].any():
            return out
        solved = _by_level(lambda x: _solve(self.precision[n:, n:], x), m[:, n:])
        across = self.precision[:n, n:]
        back: FloatArray = _by_level(lambda x: np.asarray(across @ x), solved)
        return np.asarray(np.subtract(out, back))

    def beyond(self, told: BoolArray, m: FloatArray) -> FloatArray:
        """See `Relationship`: the inverse of the part of K of the others."""
        if not told.any():
            return self.times(m)
        rest = np.flatnonzero(~told)
        out = np.zeros_like(m)
        if len(rest):
            own = self.precision[rest][:, rest]
            out[:, rest] = _by_level(lambda x: _solve(own, x), m[:, rest])
        return out


def _with_others(among: FloatArray, others: FloatArray, variances: FloatArray) -> Sparse:
    """Levels with rows, then those without: their rows and diagonal, of which alone is asked."""
    from scipy import sparse

    if not len(others):
        return known_entries(among)
    below = [known_entries(others), sparse.diags_array(variances)]
    parts: list[list[Any]] = [[known_entries(among), None], below]
    found = sparse_array(sparse.block_array(parts))
    found.sort_indices()
    return found


def _by_level(act: Callable[[FloatArray], FloatArray], m: FloatArray) -> FloatArray:
    """What a map of columns (n, k) makes of weights (k, n, q)."""
    k, n, q = m.shape
    found = np.asarray(act(np.moveaxis(m, 1, 0).reshape(n, k * q)))
    return np.moveaxis(found.reshape(len(found), k, q), 0, 1)


def _solve(matrix: Sparse, right: FloatArray) -> FloatArray:
    """Solve a sparse positive definite system."""
    from scipy.sparse.linalg import splu

    factor = splu(
        matrix.tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    return np.asarray(factor.solve(np.ascontiguousarray(right)))
