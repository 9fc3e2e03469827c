"""Few weighted subjects for each pattern of visits, with the sums that all its subjects have.

Subjects seen at the same visits, in one arm, have one covariance V. With A the rows of a subject, a
line a visit, the likelihood asks of them sums of A'V^-1 A over subjects, whatever V is: sums of
squares and products of the entries of A. These are kept as `condensed_rows` keeps those of rows.

A subject may go on in the next part: the first and the last of a part stay open, row by row, until
their other rows are met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray
from mlmfast.errors import DataError
from mlmfast.mergeable.condensed.keys import Keys, code_cells, joined

#: Positions that the bits of an integer tell.
_BITS = 62


class PatternKey(NamedTuple):
    """An arm, and the positions of the visits seen, in order."""

    arm: int
    visits: tuple[int, ...]


class Pattern(NamedTuple):
    """Subjects that stand for those of a pattern.

    Attributes
    ----------
    n_subjects
        Subjects of the pattern.
    values : shape (k, n_visits, n_columns)
    weights : shape (k,), what each counts
    """

    n_subjects: int
    values: FloatArray
    weights: FloatArray


@dataclass(frozen=True, eq=False)
class OpenRows:
    """Rows of subjects that other parts may have more of.

    Attributes
    ----------
    subjects
        By column, its value a row.
    arms, positions : shape (n,)
    values : shape (n, n_columns)
    """

    subjects: Keys
    arms: CodeArray
    positions: CodeArray
    values: FloatArray


@dataclass(frozen=True, eq=False)
class CondensedUnits:
    """Subjects by pattern.

    Attributes
    ----------
    patterns
        By arm and visits.
    subjects
        By column, its value of each subject that is closed; empty where labels are withheld.
    open_rows
        Rows of the others.
    origin : shape (n_columns,)
        What was subtracted from each column.
    """

    patterns: dict[PatternKey, Pattern]
    subjects: Keys
    open_rows: OpenRows
    origin: FloatArray

    @property
    def n_closed(self) -> int:
        """Subjects that are closed."""
        return sum(pattern.n_subjects for pattern in self.patterns.values())

    @property
    def n_rows(self) -> int:
        """Rows that were read."""
        closed = sum(own.n_subjects * len(key.visits) for key, own in self.patterns.items())
        return closed + len(self.open_rows.positions)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        arrays = [*self.subjects.values(), self.open_rows.values]
        arrays += [array for own in self.patterns.values() for array in own[1:]]
        return sum(array.nbytes for array in arrays)


def condense_units(
    subjects: dict[str, tuple[CodeArray, NDArray[Any]]],
    arms: CodeArray,
    positions: CodeArray,
    columns: Sequence[FloatArray],
    origin: FloatArray,
) -> CondensedUnits:
    """Rows as they are read; the subjects of the first and the last row stay open.

    Parameters
    ----------
    subjects
        By column, codes of the rows and the value that each code stands for.
    arms, positions : shape (n,)
    columns : each of shape (n,)
    """
    values = np.stack(columns, axis=1) - origin
    by_row = {name: own[codes] for name, (codes, own) in subjects.items()}
    codes, first = code_cells([codes for codes, _ in subjects.values()], len(values))
    is_open: BoolArray = (codes == codes[0]) | (codes == codes[-1])
    rows = OpenRows(by_row, arms, positions, values)
    closed = _Sorted.of(_taken(rows, ~is_open))
    labels = {name: own[first] for name, own in by_row.items()}
    keep = np.ones(len(first), dtype=np.bool_)
    keep[[codes[0], codes[-1]]] = False
    return CondensedUnits(
        closed.patterns(),
        {name: own[keep] for name, own in labels.items()},
        _taken(rows, is_open),
        origin,
    )


def merge_units(parts: Sequence[CondensedUnits]) -> CondensedUnits:
    """The subjects of all parts.

    Raises
    ------
    DataError
        Where a subject that is closed in a part has rows in another.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    names = list(first.subjects)
    subjects = {name: joined([p.subjects[name] for p in parts], name) for name in names}
    opened = _stacked([replace_origin(part, first.origin) for part in parts], names)
    _check_whole(subjects, opened.subjects)
    return CondensedUnits(_merged_patterns(parts, first.origin), subjects, opened, first.origin)


def close(units: CondensedUnits) -> CondensedUnits:
    """With all subjects closed: there are no more rows."""
    rows = units.open_rows
    if not len(rows.positions):
        return units
    _, first = code_cells(list(rows.subjects.values()), len(rows.positions))
    labels = {name: own[first] for name, own in rows.subjects.items()}
    nothing = _taken(rows, np.zeros(len(rows.positions), dtype=np.bool_))
    more = CondensedUnits(_Sorted.of(rows).patterns(), labels, nothing, units.origin)
    return merge_units([replace(units, open_rows=nothing), more])


def replace_origin(units: CondensedUnits, origin: FloatArray) -> OpenRows:
    """The open rows less another constant."""
    shift = units.origin - origin
    rows = units.open_rows
    return replace(rows, values=rows.values + shift) if shift.any() else rows


def _taken(rows: OpenRows, chosen: BoolArray) -> OpenRows:
    subjects = {name: own[chosen] for name, own in rows.subjects.items()}
    return OpenRows(subjects, rows.arms[chosen], rows.positions[chosen], rows.values[chosen])


def _stacked(parts: Sequence[OpenRows], names: Sequence[str]) -> OpenRows:
    return OpenRows(
        {name: joined([part.subjects[name] for part in parts], name) for name in names},
        np.concatenate([part.arms for part in parts]),
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def _check_whole(closed: Keys, opened: Keys) -> None:
    n = len(next(iter(closed.values())))
    m = len(next(iter(opened.values())))
    together = [joined([closed[name], opened[name]], name) for name in closed]
    codes, _ = code_cells(together, n + m)
    n_closed = np.bincount(codes[:n], minlength=int(codes.max(initial=-1)) + 1)
    found = np.flatnonzero(n_closed[codes] > (np.arange(n + m) < n))
    if found.size:
        label = ":".join(str(own[found[0]]) for own in together)
        raise DataError(
            f"the subject {label!r} has rows in several parts that are not neighbours; residual= "
            "needs the rows of a subject together: sort the data by subject, or write a part a "
            "group of subjects (partition by subject)"
        )


def _merged_patterns(
    parts: Sequence[CondensedUnits], origin: FloatArray
) -> dict[PatternKey, Pattern]:
    by_key: dict[PatternKey, list[Pattern]] = {}
    for part in parts:
        shift = part.origin - origin
        for key, own in part.patterns.items():
            moved = own._replace(values=own.values + shift) if shift.any() else own
            by_key.setdefault(key, []).append(moved)
    return {key: _merged(own) for key, own in sorted(by_key.items())}


def _merged(patterns: Sequence[Pattern]) -> Pattern:
    if len(patterns) == 1:
        return patterns[0]
    values = np.concatenate([own.values for own in patterns])
    weights = np.concatenate([own.weights for own in patterns])
    return _compressed(values, weights, sum(own.n_subjects for own in patterns))


def _compressed(block: FloatArray, weights: FloatArray | None, count: int) -> Pattern:
    """Few subjects for those of a block, (n, n_visits, n_columns)."""
    n, q, m = block.shape
    constant: BoolArray = (block == block[:, :1]).all(axis=(0, 1))
    flat = np.ascontiguousarray(block).reshape(-1)
    entries = [(v, j) for j in range(m) for v in range(1 if constant[j] else q)]
    columns = [((flat, v * m + j, q * m), 0.0, 1.0) for v, j in entries]
    codes = np.zeros(n, dtype=np.int32)
    _, found, own = _core.compress_rows(codes, 1, columns, weights)
    values = np.empty((len(own), q, m))
    for at, (v, j) in enumerate(entries):
        # What is constant within each subject stays so to the last bit.
        values[:, slice(None) if constant[j] else v, j] = (
            found[:, at : at + 1] if constant[j] else found[:, at]
        )
    return Pattern(count, values, own)


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Rows sorted by subject and visit.

    Attributes
    ----------
    first : shape (n_subjects + 1,), where the rows of each subject begin
    """

    rows: OpenRows
    first: IntArray

    @classmethod
    def of(cls, rows: OpenRows) -> _Sorted:
        """Sort rows.

        Raises
        ------
        DataError
            Where a subject has two rows of one visit.
        """
        n = len(rows.positions)
        codes, _ = code_cells(list(rows.subjects.values()), n)
        order = np.lexsort((rows.positions, codes))
        codes = codes[order]
        ordered = OpenRows(
            {name: own[order] for name, own in rows.subjects.items()},
            rows.arms[order],
            rows.positions[order],
            rows.values[order],
        )
        _check_once(codes, ordered)
        first = np.flatnonzero(np.diff(codes, prepend=-1))
        return cls(ordered, np.append(first, n))

    def patterns(self) -> dict[PatternKey, Pattern]:
        """The subjects by pattern, condensed."""
        out: dict[PatternKey, Pattern] = {}
        starts, sizes = self.first[:-1], np.diff(self.first)
        if not len(starts):
            return out
        codes, places = code_cells([self.rows.arms[starts], *self._visits(starts)], len(starts))
        for code, place in enumerate(places.tolist()):
            q = int(sizes[place])
            own = starts[codes == code]
            visits = self.rows.positions[starts[place] : starts[place] + q]
            block = self.rows.values[own[:, None] + np.arange(q)]
            key = PatternKey(int(self.rows.arms[starts[place]]), tuple(visits.tolist()))
            out[key] = _compressed(block, None, len(own))
        return dict(sorted(out.items()))

    def _visits(self, starts: IntArray) -> list[NDArray[np.int64]]:
        """Which positions each subject has, as the bits of integers."""
        positions, out = self.rows.positions, []
        for low in range(0, int(positions.max(initial=0)) + 1, _BITS):
            inside = (positions >= low) & (positions < low + _BITS)
            bits = np.where(inside, np.int64(1) << np.where(inside, positions - low, 0), 0)
            out.append(np.bitwise_or.reduceat(bits.astype(np.int64), starts))
        return out


def _check_once(codes: CodeArray, rows: OpenRows) -> None:
    twice = (codes[1:] == codes[:-1]) & (rows.positions[1:] == rows.positions[:-1])
    apart = (codes[1:] == codes[:-1]) & (rows.arms[1:] != rows.arms[:-1])
    for wrong, what in ((twice, "two rows of one visit"), (apart, "rows in two arms")):
        if wrong.any():
            row = int(np.argmax(wrong))
            label = ":".join(str(own[row]) for own in rows.subjects.values())
            raise DataError(
                f"the subject {label!r} has {what}; residual= takes at most one row of each visit "
                "of a subject, and a subject in one arm"
            )
