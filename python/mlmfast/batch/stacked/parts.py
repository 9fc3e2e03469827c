"""Designs that are parts of one table: which rows each has, and in which units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray
from mlmfast.data.factor import code_integers
from mlmfast.design.design import Design


@dataclass(frozen=True)
class Parts:
    """Stretches of rows, each a design by itself.

    Attributes
    ----------
    first, sizes : shape (n_parts,), the first row of each and how many there are.
    codes
        By grouping factor the code of each row, (n,), numbered anew in each part.
    n_units : shape (n_parts, n_factors), levels of each factor that a part has.

    Examples
    --------
    >>> codes = np.array([4, 4, 7, 7, 4], dtype=np.int32)
    >>> parts = Parts.of([codes], [9], np.array([3, 2]))
    >>> parts.codes[0].tolist(), parts.n_units.tolist()
    ([0, 0, 1, 1, 0], [[2], [2]])
    """

    first: IntArray
    sizes: IntArray
    codes: tuple[CodeArray, ...]
    n_units: IntArray

    @classmethod
    def of(
        cls, codes: Sequence[CodeArray | IntArray], n_levels: Sequence[int], sizes: IntArray
    ) -> Parts:
        """Parts that stand one after the other, by the codes of their factors over all rows."""
        part_of_row = np.repeat(np.arange(len(sizes)), sizes)
        first = np.cumsum(sizes) - sizes
        own = tuple(
            within_parts(code, n, part_of_row) for code, n in zip(codes, n_levels, strict=True)
        )
        units = [np.maximum.reduceat(code, first) + 1 for code in own]
        return cls(first, sizes, own, np.stack(units, axis=1).astype(np.intp))

    def __len__(self) -> int:
        return len(self.first)

    def some(self, keep: IntArray) -> Parts:
        """Some of the parts; the rows stay where they are."""
        return Parts(self.first[keep], self.sizes[keep], self.codes, self.n_units[keep])

    def taken(self, keep: IntArray) -> tuple[IntArray, Parts]:
        """Rows of some of the parts, one part after the other, and the parts of these rows."""
        sizes = self.sizes[keep]
        first = np.cumsum(sizes) - sizes
        rows = np.arange(sizes.sum()) + np.repeat(self.first[keep] - first, sizes)
        return rows, Parts(
            first, sizes, tuple(code[rows] for code in self.codes), self.n_units[keep]
        )

    def stretch(self, some: slice) -> Parts:
        """Neighbouring parts, and their rows alone: from `rows_of` the stretch."""
        rows, first = self.rows_of(some), self.first[some]
        codes = tuple(np.ascontiguousarray(code[rows]) for code in self.codes)
        return Parts(first - rows.start, self.sizes[some], codes, self.n_units[some])

    def rows_of(self, some: slice) -> slice:
        """The rows of neighbouring parts that stand one after the other."""
        first, sizes = self.first[some], self.sizes[some]
        return slice(int(first[0]), int(first[-1] + sizes[-1]))

    def core_argument(
        self, factors: tuple[int, ...]
    ) -> tuple[IntArray, IntArray, list[CodeArray], IntArray]:
        """As the core reads them: ``factors`` from the outermost in."""
        units = np.ascontiguousarray(self.n_units[:, factors]).ravel()
        return self.first, self.sizes, [self.codes[f] for f in factors], units

    @property
    def stretches(self) -> tuple[IntArray, IntArray]:
        """First rows and sizes, as the core reads them."""
        return self.first, self.sizes


def within_parts(codes: CodeArray | IntArray, n_levels: int, part_of_row: IntArray) -> CodeArray:
    """Codes among the levels that occur in each row's part; ``part_of_row`` ascends.

    Examples
    --------
    >>> codes = np.array([4, 4, 7, 7, 4], dtype=np.int32)
    >>> within_parts(codes, 9, np.array([0, 0, 0, 1, 1])).tolist()
    [0, 0, 1, 1, 0]
    """
    if part_of_row.size == 0:
        return np.empty(0, dtype=np.int32)
    _, ranks = code_integers(part_of_row * n_levels + codes)
    # In sorted parts each part's lowest rank is one above the highest of the part before.
    highest = np.maximum.accumulate(ranks)
    starts = np.flatnonzero(np.diff(part_of_row, prepend=-1))
    first = np.concatenate([[0], highest[starts[1:] - 1] + 1])
    return np.asarray(ranks - np.repeat(first, np.diff([*starts, len(codes)])), dtype=np.int32)


def are_identified(design: Design, parts: Parts) -> BoolArray:
    """Parts with rows and levels enough for their effects: see `check_identified` of one."""
    used = sorted({term.factor for term in design.random})
    units = parts.n_units[:, used]
    rows = parts.sizes[:, None]
    several = ((units > 1) & (units < rows)).all(axis=1)
    # Which factor is the outer one goes by their numbers of levels.
    order = np.argsort(units, axis=1, kind="stable")
    return np.asarray(several & (parts.sizes > len(design.x)) & (order == order[:1]).all(axis=1))


def slopes_vary(design: Design, parts: Parts, rows: IntArray | None = None) -> BoolArray:
    """Parts, one after the other, in which no column of Z is constant, but those of ones.

    Parameters
    ----------
    rows : shape (n,), rows of the design that the parts are of; None for all of them in order.
    """
    out = np.ones(len(parts), dtype=np.bool_)
    for term in design.random:
        for column in term.columns:
            if column is not None:
                out &= varies(column if rows is None else column[rows], parts)
    return out


def varies(column: FloatArray, parts: Parts) -> BoolArray:
    """Parts, one after the other, in which a column has two values at least.

    Examples
    --------
    >>> codes = np.zeros(5, dtype=np.int32)
    >>> varies(np.array([1.0, 1.0, 2.0, 2.0, 2.0]), Parts.of([codes], [1], np.array([3, 2])))
    array([ True, False])
    """
    least = np.minimum.reduceat(column, parts.first)
    return np.asarray(least < np.maximum.reduceat(column, parts.first))
