"""A sparse root of a precision: K = S'S with S lower triangular; S^-1 draws and multiplies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import mlmfast._core as _core
from mlmfast.arrays import CodeArray, FloatArray, IntArray, SparseArray
from mlmfast.running.cached import cached_property


@dataclass(frozen=True, eq=False)
class Triangle:
    """S with K = S'S, the rows and columns of K taken in another order.

    Parameters
    ----------
    root : sparse, shape (n, n)
        S, lower triangular without zeros on its diagonal, entries of a row in order.
    order : shape (n,)
        Row of K that each row of S belongs to.

    Examples
    --------
    >>> from scipy import sparse
    >>> s = Triangle(sparse.csr_array([[2.0, 0.0], [1.0, 1.0]]), np.array([1, 0]))
    >>> s.over(np.array([0, 1])).tolist()
    [[1.25, -0.25], [-0.25, 0.25]]
    """

    root: SparseArray
    order: IntArray

    @cached_property
    def _argument(self) -> tuple[NDArray[np.int64], CodeArray, FloatArray]:
        s = self.root
        return s.indptr.astype(np.int64), s.indices.astype(np.int32), s.data

    def drawn(self, draws: FloatArray) -> FloatArray:
        """S^-1 z, of covariance K^-1 where z is white noise, (n, k), a row a row of S."""
        found = _core.solve_triangle(self._argument, np.ascontiguousarray(draws), False)
        return self._by_row(found)

    def times(self, x: FloatArray) -> FloatArray:
        """K^-1 x, shape (n, k)."""
        ordered = np.ascontiguousarray(x[self.order])
        half = _core.solve_triangle(self._argument, ordered, True)
        return self._by_row(_core.solve_triangle(self._argument, half, False))

    def over(self, rows: IntArray) -> FloatArray:
        """K^-1 over some rows, shape (k, k); exactly symmetric."""
        place = np.empty(len(self.order), dtype=np.int32)
        place[self.order] = np.arange(len(place), dtype=np.int32)
        return _core.triangle_covariances(self._argument, place[rows])

    def reordered(self, order: IntArray) -> Triangle:
        """The root of the matrix whose rows and columns are those of K in another order."""
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return Triangle(self.root, place[self.order])

    def _by_row(self, values: FloatArray) -> FloatArray:
        out = np.empty_like(values)
        out[self.order] = values
        return out
