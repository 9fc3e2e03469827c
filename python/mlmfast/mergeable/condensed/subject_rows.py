"""The rows of subjects as they are read, sorted into the patterns of visits that subjects have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray
from mlmfast.errors import DataError
from mlmfast.mergeable.condensed.keys import code_cells
from mlmfast.mergeable.condensed.patterns import Entry, Pattern, PatternKey, condense_pattern

#: Positions that the bits of an integer tell.
_BITS = 62


@dataclass(frozen=True, eq=False)
class SubjectRows:
    """Rows of subjects.

    Attributes
    ----------
    subjects
        By column, codes of the rows and the value that each code stands for.
    arms, positions : shape (n,)
    columns : each of shape (n,), or None where the table has it
    origin : shape (n_columns,), what is subtracted from them
    table : shapes (n,) and (n_cells, n_columns)
        The cell of each row, and columns that go by the cell alone, less the origin.
    """

    subjects: Mapping[str, tuple[NDArray[np.integer], NDArray[Any]]]
    arms: CodeArray
    positions: CodeArray
    columns: Sequence[FloatArray | None]
    origin: FloatArray
    table: tuple[CodeArray, FloatArray] | None = None

    def codes(self) -> CodeArray:
        """A code for the subject of each row."""
        return code_cells([codes for codes, _ in self.subjects.values()], len(self.positions))[0]

    def label(self, row: int) -> str:
        """The subject of a row, in words."""
        return ":".join(str(own[codes[row]]) for codes, own in self.subjects.values())

    def keys(self, rows: IntArray) -> dict[str, NDArray[Any]]:
        """By column of the subject, its value in some rows."""
        return {name: own[codes[rows]] for name, (codes, own) in self.subjects.items()}

    def values(self, rows: IntArray) -> FloatArray:
        """All columns of some rows, less the origin."""
        out = np.empty((len(rows), len(self.columns)))
        for j, column in enumerate(self.columns):
            if column is None:
                assert self.table is not None, "a column that is not read goes by the cell"
                out[:, j] = self.table[1][self.table[0][rows], j]
            else:
                out[:, j] = column[rows] - self.origin[j]
        return out

    def taken(self, rows: IntArray) -> SubjectRows:
        """Some rows, in the order given."""
        return replace(
            self,
            subjects={name: (codes[rows], own) for name, (codes, own) in self.subjects.items()},
            arms=self.arms[rows],
            positions=self.positions[rows],
            columns=[None if column is None else column[rows] for column in self.columns],
            table=None if self.table is None else (self.table[0][rows], self.table[1]),
        )


@dataclass(frozen=True, eq=False)
class SortedRows:
    """Rows of subjects one after the other, the visits of each in order.

    Attributes
    ----------
    rows
        The rows.
    first : shape (n_subjects,), where the rows of each subject begin
    sizes : shape (n_subjects,), its rows
    codes : shape (n_subjects,), its code
    """

    rows: SubjectRows
    first: IntArray
    sizes: IntArray
    codes: CodeArray

    @classmethod
    def of(cls, rows: SubjectRows, codes: CodeArray) -> SortedRows:
        """Sort rows, which ``codes`` tell the subjects of; most often they are sorted.

        Raises
        ------
        DataError
            Where a subject has two rows of one visit, or rows in two arms.
        """
        n_subjects = int(codes.max(initial=-1)) + 1
        another: BoolArray = codes[1:] != codes[:-1]
        follows: BoolArray = rows.positions[1:] > rows.positions[:-1]
        if np.count_nonzero(another) + 1 != n_subjects or not (another | follows).all():
            order = np.lexsort((rows.positions, codes))
            rows, codes = rows.taken(order), codes[order]
            another = codes[1:] != codes[:-1]
            _check(rows, ~another & (rows.positions[1:] == rows.positions[:-1]), _TWICE)
        _check(rows, ~another & (rows.arms[1:] != rows.arms[:-1]), _TWO_ARMS)
        first = np.append(0, np.flatnonzero(another) + 1)[:n_subjects]
        return cls(rows, first, np.diff(first, append=len(codes)), codes[first])

    def patterns(self, chosen: BoolArray | None = None) -> dict[PatternKey, Pattern]:
        """The subjects, or those chosen, by pattern, condensed."""
        first = self.first if chosen is None else self.first[chosen]
        if not len(first):
            return {}
        visits = self._visits()
        if chosen is not None:
            visits = [own[chosen] for own in visits]
        sizes = self.sizes if chosen is None else self.sizes[chosen]
        codes, places = code_cells([self.rows.arms[first], *visits], len(first))
        # Codes of 16 bits are sorted by their digits, in one pass.
        narrow = codes.astype(np.int16) if len(places) < 2**15 else codes
        order = np.argsort(narrow, kind="stable")
        ends = np.cumsum(np.bincount(codes))[:-1]
        out = {}
        for own, place in zip(np.split(first[order], ends), places.tolist(), strict=True):
            key, pattern = self._pattern(own, int(sizes[place]))
            out[key] = pattern
        return dict(sorted(out.items()))

    def _pattern(self, first: IntArray, q: int) -> tuple[PatternKey, Pattern]:
        """Subjects of one pattern, whose rows begin at some places."""
        rows = self.rows
        start = int(first[0])
        arm, visits = int(rows.arms[start]), rows.positions[start : start + q]
        shared = np.empty((q, len(rows.columns)))
        entries = self._entries_by_cell(first, shared)
        for j, (column, center) in enumerate(zip(rows.columns, rows.origin.tolist(), strict=True)):
            if column is not None:
                own = [(v, column[first + v]) for v in range(q)]
                entries += _entries(own, j, q, center)
        count = len(first)
        pattern = condense_pattern(count, count, entries, None, shared)
        return PatternKey(arm, tuple(visits.tolist())), pattern

    def _entries_by_cell(self, first: IntArray, shared: FloatArray) -> list[Entry]:
        """Columns that go by the cell; what all subjects have goes to ``shared``."""
        if self.rows.table is None:
            return []
        cells, values = self.rows.table
        own = [j for j, column in enumerate(self.rows.columns) if column is None]
        at = [cells[first + v] for v in range(len(shared))]
        varies = np.empty((len(at), len(own)), dtype=np.bool_)
        for v, of_subject in enumerate(at):
            present = values[np.flatnonzero(np.bincount(of_subject))][:, own]
            shared[v, own] = present[0]
            varies[v] = (present != present[0]).any(axis=0)
        out = []
        for k, j in enumerate(own):
            visits = np.flatnonzero(varies[:, k]).tolist()
            out += _entries([(v, values[at[v], j]) for v in visits], j, len(at), 0.0)
        return out

    def _visits(self) -> list[NDArray[np.int64]]:
        """Which positions each subject has, as the bits of integers."""
        positions, out = self.rows.positions, []
        for low in range(0, int(positions.max(initial=0)) + 1, _BITS):
            bits = np.zeros(int(positions.max()) + 1, dtype=np.int64)
            own = bits[low : low + _BITS]
            own[:] = np.int64(1) << np.arange(len(own))
            out.append(np.bitwise_or.reduceat(bits[positions], self.first))
        return out


def _entries(own: Sequence[tuple[int, FloatArray]], j: int, q: int, center: float) -> list[Entry]:
    """The values of a column at some of q visits, one entry where subjects keep theirs."""
    is_kept = len(own) == q and all(np.array_equal(other, own[0][1]) for _, other in own[1:])
    if is_kept:
        return [Entry(((own[0][1], 0, 1), center, 1.0), j, None)]
    return [Entry(((values, 0, 1), center, 1.0), j, v) for v, values in own]


_TWICE, _TWO_ARMS = "two rows of one visit", "rows in two arms"


def _check(rows: SubjectRows, wrong: BoolArray, what: str) -> None:
    if wrong.any():
        label = rows.label(int(np.argmax(wrong)))
        raise DataError(
            f"the subject {label!r} has {what}; residual= takes at most one row of each "
            "visit of a subject, and a subject in one arm"
        )
