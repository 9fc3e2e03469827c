"""Columns of X that depend on others, and which linear functions the data determine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import linalg

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.estimable.triangle import triangle_of

#: Largest difference, by the columns' lengths and over the row's largest coefficient, at which a
#: function counts as estimable. Columns count as aliased at 1e-7.
_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Aliasing:
    """Columns of X left out, as functions of those kept.

    X_aliased = X_kept A exactly, so L beta is estimable where L_aliased = L_kept A.

    Attributes
    ----------
    kept
        Positions of the columns that were estimated.
    coefficients : shape (rank, n_aliased)
        A.
    lengths : shape (p,)
        Root mean square of each column, in which coefficients of a row are measured; of a column
        of zeros, which tells no unit, the least of the others.

    Examples
    --------
    >>> twice = Aliasing((0,), np.array([[2.0]]), np.array([1.0, 2.0]))
    >>> twice.estimable(np.array([[1.0, 2.0], [1.0, 0.0]])).tolist()
    [True, False]
    """

    kept: tuple[int, ...]
    coefficients: FloatArray
    lengths: FloatArray

    @cached_property
    def left_out(self) -> IntArray:
        """Positions of the columns left out."""
        return np.setdiff1d(np.arange(len(self.lengths)), self.kept)

    def excess(self, L: FloatArray) -> FloatArray:
        """What rows over all columns have at the aliased ones beyond what those kept imply.

        By the columns' lengths, shape (m, n_aliased); 0 where a row is estimable.
        """
        implied = L[:, list(self.kept)] @ self.coefficients
        return np.asarray((L[:, self.left_out] - implied) / self.lengths[self.left_out])

    def estimable(self, L: FloatArray) -> BoolArray:
        """Whether the data determine each row, shape (m,)."""
        if not len(self.left_out):
            return np.ones(len(L), dtype=np.bool_)
        size = np.abs(L / self.lengths).max(axis=1)
        return np.asarray(np.abs(self.excess(L)).max(axis=1) <= _TOLERANCE * size)


def aliasing_of(x: Sequence[FloatArray | None], n: int, kept: tuple[int, ...]) -> Aliasing:
    """The aliased columns of X by those kept.

    Parameters
    ----------
    x : columns of X, None for a constant 1.
    n : number of rows.
    kept : positions of the columns that were estimated.
    """
    filled = [np.ones(n) if column is None else column for column in x]
    lengths = np.sqrt([column @ column / n for column in filled])
    lengths[lengths == 0] = lengths[lengths > 0].min(initial=1.0)
    left = np.setdiff1d(np.arange(len(x)), kept).tolist()
    rank = len(kept)
    if not left:
        return Aliasing(kept, np.zeros((rank, 0)), lengths)
    units = lengths[[*kept, *left]]
    triangle = triangle_of([filled[j] for j in (*kept, *left)], 1.0 / units)
    scaled = linalg.solve_triangular(triangle[:rank, :rank], triangle[:rank, rank:])
    # A zero in all columns is not rounding's to fill.
    coefficients = scaled * units[rank:] / units[:rank, None]
    return Aliasing(kept, np.where(np.abs(scaled) > _ROUNDING, coefficients, 0.0), lengths)


#: Coefficient of one column in another, both at length 1, that is rounding.
_ROUNDING = 1e-13
