"""Columns as the core reads them: where they lie in memory, their means and scales."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray, IntArray


class Statistics(NamedTuple):
    """Mean, root mean square about it, smallest and largest value of a column."""

    mean: float
    spread: float
    smallest: float
    largest: float

    @property
    def is_finite(self) -> bool:
        """Whether no value is missing or infinite."""
        # NaN spreads into the mean; an infinite value is itself smallest or largest.
        return all(map(math.isfinite, (self.mean, self.smallest, self.largest)))


class StackedColumns(NamedTuple):
    """Columns of equal length, and what the core says of each.

    Attributes
    ----------
    values : shape (k, n), those of one row side by side in memory
    raw : shape (k, 4), as `mean_and_spread` takes it
    """

    values: FloatArray
    raw: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> StackedColumns:
        """Columns that are here, copied only where they lie otherwise."""
        values = np.asfortranarray(values)
        return cls(values, _core.stacked_statistics(values.T[None])[0])

    @classmethod
    def copy_of(cls, matrix: FloatArray, less: FloatArray | None = None) -> StackedColumns:
        """Copies of the columns of a C-ordered matrix (n, k), less one of numbers by row.

        Examples
        --------
        >>> StackedColumns.copy_of(np.array([[1.0, 5.0], [3.0, 4.0]])).raw.tolist()
        [[2.0, 4.0, 1.0, 3.0], [-1.0, 1.0, 4.0, 5.0]]
        """
        out = np.empty(matrix.shape)
        return cls(out.T, _core.copy_responses(matrix, out, less))


def in_memory(column: FloatArray) -> Memory:
    """Where a column's values lie; a column of a C-ordered matrix is not copied.

    Examples
    --------
    >>> memory, offset, stride = in_memory(np.arange(6.0).reshape(3, 2)[:, 1])
    >>> memory.tolist(), offset, stride
    ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 1, 2)
    """
    if column.flags.c_contiguous:
        return column, 0, 1
    whole = _whole(column)
    stride = column.strides[0]
    if whole is None or stride <= 0 or stride % column.itemsize:
        return np.ascontiguousarray(column), 0, 1
    start = column.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return whole.reshape(-1), start // column.itemsize, stride // column.itemsize


def _whole(column: FloatArray) -> FloatArray | None:
    """The contiguous array of the same numbers that a column is a part of."""
    base: object = column.base
    while base is not None:
        if isinstance(base, memoryview):
            # What cannot be written to is a view of a buffer.
            base = base.obj
        elif not isinstance(base, np.ndarray) or base.dtype != column.dtype:
            return None
        elif base.flags.c_contiguous:
            return base
        else:
            base = base.base
    return None


def column_statistics(columns: Sequence[FloatArray]) -> list[Statistics]:
    """Statistics of columns of equal length, in one pass over each.

    Examples
    --------
    >>> column_statistics([np.array([1.0, 3.0])])
    [Statistics(mean=2.0, spread=1.0, smallest=1.0, largest=3.0)]
    """
    if not columns:
        return []
    n = len(columns[0])
    raw = _core.column_statistics([in_memory(column) for column in columns], n)
    own = zip(raw.tolist(), columns, strict=True)
    return [_statistics(numbers, float(column[0]), n) for numbers, column in own]


def _statistics(raw: list[float], first: float, n: int) -> Statistics:
    """`mean_and_spread` of one column: the same arithmetic without arrays of one number."""
    total, squares, smallest, largest = raw
    shift, about_first = total / n, squares / n
    square = about_first - shift * shift
    usable = math.isfinite(square) and square > 1e-4 * about_first
    spread = math.sqrt(square) if usable else largest / 4 - smallest / 4
    return Statistics(first + shift, spread, smallest, largest)


def mean_and_spread(
    raw: FloatArray, first: FloatArray, n: int | IntArray
) -> tuple[FloatArray, FloatArray]:
    """Mean and root mean square about it, from what the core says of columns of n values.

    Parameters
    ----------
    raw : shape (..., 4)
        Sum and sum of squares about the first value, smallest and largest value.
    first : shape (...,), first values.
    """
    total, squares, smallest, largest = np.moveaxis(raw, -1, 0)
    with np.errstate(over="ignore", invalid="ignore"):
        shift, about_first = total / n, squares / n
        square = about_first - shift * shift
        # Squares may leave the range of doubles, or cancel if the first value lies far out.
        usable = np.isfinite(square) & (square > 1e-4 * about_first)
        root = np.sqrt(np.where(usable, square, 0.0))
        return first + shift, np.where(usable, root, largest / 4 - smallest / 4)


class KnownStatistics:
    """Statistics of columns by the arrays that hold them, each column looked at once.

    Examples
    --------
    >>> known, column = KnownStatistics(), np.array([1.0, 3.0])
    >>> known.of([column])[0] is known.of([column])[0]
    True
    """

    def __init__(self) -> None:
        # The column is kept beside what was found, so that its address stays its own.
        self._found: dict[int, tuple[FloatArray, Statistics]] = {}

    def of(self, columns: Sequence[FloatArray]) -> list[Statistics]:
        """Statistics of columns of equal length."""
        found = self._found
        try:
            return [found[id(column)][1] for column in columns]
        except KeyError:
            new = {id(column): column for column in columns if id(column) not in found}
        looked_at = column_statistics(list(new.values()))
        for key, column, statistics in zip(new, new.values(), looked_at, strict=True):
            found[key] = column, statistics
        return [found[id(column)][1] for column in columns]

    def one(self, column: FloatArray) -> Statistics:
        """Statistics of a column."""
        found = self._found.get(id(column))
        return self.of([column])[0] if found is None else found[1]

    def is_known_finite(self, column: FloatArray) -> bool:
        """Whether a column was looked at, and has no value that is missing or infinite."""
        found = self._found.get(id(column))
        return found is not None and found[1].is_finite

    def among(self, columns: Iterable[FloatArray | None]) -> KnownStatistics:
        """What is known of some columns, without the others, which it would keep in memory."""
        out = KnownStatistics()
        keys = {id(column) for column in columns if column is not None}
        out._found = {key: found for key, found in self._found.items() if key in keys}
        return out

    def __reduce__(self) -> tuple[type[KnownStatistics], tuple[()]]:
        # A copy has arrays of its own.
        return KnownStatistics, ()


#: Contiguous memory, offset and stride of a column's values in it.
Memory: TypeAlias = tuple[FloatArray, int, int]
