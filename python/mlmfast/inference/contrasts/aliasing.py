"""Columns of X that depend on others, and which linear functions the data determine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.inference.contrasts.triangle import triangle_of
from mlmfast.running.cached import cached_property

#: Largest difference, by the columns' lengths and over the row's largest coefficient, at which a
#: function counts as estimable. Columns count as aliased at 1e-7.
_TOLERANCE = 1e-6
#: Coefficient of one column in another, both at length 1, that is rounding.
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class Aliasing:
    """Columns of X left out, as functions of those kept.

    X_aliased = X_kept A exactly, so L beta is estimable where L_aliased = L_kept A. Where a column
    is constant, rows are compared about the means of the others, as X was reduced: beside dates of
    some millions of days a day would pass for rounding.

    Attributes
    ----------
    kept
        Positions of the columns that were estimated.
    coefficients : shape (rank, n_aliased)
        A; 0 for the constant column, which the means stand for.
    lengths : shape (p,)
        Root mean square of each column about its mean, in which coefficients of a row are
        measured; of a column of zeros, which tells no unit, the least of the others.
    means : shape (p,)
        0 where no column is constant.
    constant
        Position of the constant column, the value of which is its length; -1 for none.

    Examples
    --------
    >>> twice = Aliasing((0,), np.array([[2.0]]), np.array([1.0, 2.0]), np.zeros(2), -1)
    >>> twice.estimable(np.array([[1.0, 2.0], [1.0, 0.0]])).tolist()
    [True, False]
    """

    kept: tuple[int, ...]
    coefficients: FloatArray
    lengths: FloatArray
    means: FloatArray
    constant: int

    @cached_property
    def left_out(self) -> IntArray:
        """Positions of the columns left out."""
        return np.setdiff1d(np.arange(len(self.lengths)), self.kept)

    def excess(self, L: FloatArray) -> FloatArray:
        """What rows over all columns have at the aliased ones beyond what those kept imply.

        By the columns' lengths, shape (m, n_aliased); 0 where a row is estimable.
        """
        rows = self._about_means(L)
        implied = rows[:, list(self.kept)] @ self.coefficients
        return np.asarray((rows[:, self.left_out] - implied) / self.lengths[self.left_out])

    def estimable(self, L: FloatArray) -> BoolArray:
        """Whether the data determine each row, shape (m,)."""
        return np.asarray(~self.broken(L).any(axis=1))

    def broken(self, L: FloatArray) -> BoolArray:
        """Which of the columns left out are not what those kept imply, shape (m, n_aliased)."""
        size = np.abs(self._about_means(L) / self.lengths).max(axis=1, keepdims=True)
        return np.asarray(np.abs(self.excess(L)) > _TOLERANCE * size)

    def members(self, k: int) -> IntArray:
        """Positions of the k-th column left out and of those that imply it."""
        by = np.array(self.kept, dtype=np.intp)[self.coefficients[:, k] != 0.0]
        return np.sort(np.append(by, self.left_out[k]))

    def _about_means(self, L: FloatArray) -> FloatArray:
        if self.constant < 0:
            return L
        share = L[:, [self.constant]] / self.lengths[self.constant]
        return np.asarray(L - share * self.means)


def aliasing_of(x: Sequence[FloatArray | None], n: int, kept: tuple[int, ...]) -> Aliasing:
    """The aliased columns of X by those kept.

    Parameters
    ----------
    x : columns of X, None for a constant 1.
    n : number of rows.
    kept : positions of the columns that were estimated.
    """
    filled = [np.ones(n) if column is None else column for column in x]
    constant = next((j for j in kept if filled[j][0] != 0 and np.ptp(filled[j]) == 0), -1)
    means = np.array([column.mean() if constant >= 0 else 0.0 for column in filled])
    if constant >= 0:
        means[constant] = 0.0
    lengths = np.array([_length(c, m) for c, m in zip(filled, means, strict=True)])
    if constant >= 0:
        lengths[constant] = filled[constant][0]
    lengths[lengths == 0] = np.abs(lengths[lengths != 0]).min(initial=1.0)
    left = np.setdiff1d(np.arange(len(x)), kept).tolist()
    coefficients = np.zeros((len(kept), len(left)))
    others = [i for i, j in enumerate(kept) if j != constant]
    if left and others:
        basis = [kept[i] for i in others]
        centred = [filled[j] - means[j] for j in (*basis, *left)]
        coefficients[others] = _by_basis(centred, len(basis), lengths[[*basis, *left]])
    return Aliasing(kept, coefficients, lengths, means, constant)


def _length(column: FloatArray, mean: float) -> float:
    centred = column - mean
    return float(np.sqrt(centred @ centred / len(column)))


def _by_basis(columns: Sequence[FloatArray], rank: int, lengths: FloatArray) -> FloatArray:
    """Coefficients of the columns after the first `rank` by those."""
    triangle = triangle_of(columns, 1.0 / lengths)
    scaled = np.linalg.solve(triangle[:rank, :rank], triangle[:rank, rank:])
    # What has no part in a column is not rounding's to fill.
    scaled[np.abs(scaled) <= _ROUNDING] = 0.0
    return np.asarray(scaled * lengths[rank:] / lengths[:rank, None])
