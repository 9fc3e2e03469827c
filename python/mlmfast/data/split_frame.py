"""A table cut into parts by the levels of a factor, each part a table by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.data.columns import Columns, Kind
from mlmfast.data.columns.elapsed import Elapsed
from mlmfast.data.factor import Factor, drop_unused_levels
from mlmfast.data.frame import Frame


class SplitFrame:
    """The rows of each level of a factor, in their order.

    A column is sorted by the levels once, so that a part is a slice of it.

    Parameters
    ----------
    frame
        The whole table.
    codes : shape (n_rows,), -1 for rows of no part.
    n_parts
        Number of levels.

    Examples
    --------
    >>> frame = Frame.from_native({"x": [1.0, 2.0, 3.0], "f": ["a", "b", "a"]})
    >>> part = SplitFrame(frame, frame.factor("f").codes, 2).part(0)
    >>> part.numeric("x").tolist(), part.factor("f").levels
    ([1.0, 3.0], ('a',))
    """

    def __init__(self, frame: Frame, codes: CodeArray, n_parts: int) -> None:
        self._frame = frame
        order = np.argsort(codes, kind="stable")
        counts = np.bincount(codes + 1, minlength=n_parts + 1)
        self._order, self._ends = order, np.cumsum(counts)
        self._numbers: dict[str, FloatArray] = {}
        self._factors: dict[str, Factor] = {}
        self._times: dict[str, Elapsed] = {}

    def rows(self, part: int) -> IntArray:
        """Positions of the rows of a part."""
        return np.asarray(self._order[self._ends[part] : self._ends[part + 1]])

    def part(self, part: int) -> Frame:
        """The rows of one level as a table."""
        rows, index = self.rows(part), self._frame.index
        stretch = slice(int(self._ends[part]), int(self._ends[part + 1]))
        columns = _Part(self, stretch)
        return self._frame.with_columns(columns, None if index is None else index[rows])

    def all_parts(self) -> tuple[Frame, IntArray]:
        """The rows of all parts, one part after the other, as a table; the part of each."""
        first, sizes = int(self._ends[0]), np.diff(self._ends)
        columns = _Part(self, slice(first, int(self._ends[-1])))
        return self._frame.with_columns(columns, None), np.repeat(np.arange(len(sizes)), sizes)

    def numbers(self, name: str) -> FloatArray:
        """All values of a column, sorted by the parts."""
        if name not in self._numbers:
            self._numbers[name] = self._frame.numeric(name)[self._order]
        return self._numbers[name]

    def factor(self, name: str) -> Factor:
        """A column as a factor, its rows sorted by the parts."""
        if name not in self._factors:
            whole = self._frame.factor(name)
            self._factors[name] = replace(whole, codes=whole.codes[self._order])
        return self._factors[name]

    def elapsed(self, name: str) -> Elapsed:
        """Times of a column of dates, sorted by the parts."""
        if name not in self._times:
            whole = self._frame.elapsed(name)
            self._times[name] = replace(whole, ticks=whole.ticks[self._order])
        return self._times[name]

    @property
    def table(self) -> Columns:
        """The whole table."""
        return self._frame.table


class _Part:
    """Columns of one part; see `mlmfast.data.columns.Columns`."""

    def __init__(self, split: SplitFrame, stretch: slice) -> None:
        self._split, self._stretch = split, stretch
        self.n_rows = stretch.stop - stretch.start
        self.names = split.table.names
        self.kind: Callable[[str], Kind] = split.table.kind
        self.dtype_name: Callable[[str], str] = split.table.dtype_name

    def numbers(self, name: str) -> FloatArray:
        """Values of the part's rows."""
        return self._split.numbers(name)[self._stretch]

    def factor(self, name: str) -> Factor:
        """Levels that occur in the part's rows; of a logical both, as in a table by itself."""
        whole = self._split.factor(name)
        if whole.values.dtype == np.bool_:
            return replace(whole, codes=whole.codes[self._stretch])
        if whole.n_levels <= self.n_rows:
            return drop_unused_levels(replace(whole, codes=whole.codes[self._stretch]))
        met, codes = np.unique(whole.codes[self._stretch], return_inverse=True)
        missing = int(met.size > 0 and met[0] < 0)
        levels = tuple(whole.levels[k] for k in met[missing:].tolist())
        own = codes.astype(np.int32) - np.int32(missing)
        return Factor(own, levels, whole.values[met[missing:]], whole.declared)

    def elapsed(self, name: str) -> Elapsed:
        """Times of the part's rows."""
        whole = self._split.elapsed(name)
        return replace(whole, ticks=whole.ticks[self._stretch])
