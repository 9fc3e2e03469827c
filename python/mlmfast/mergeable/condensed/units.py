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

import numpy as np

from mlmfast.arrays import BoolArray, CodeArray, FloatArray
from mlmfast.errors import DataError
from mlmfast.mergeable.condensed.keys import Keys, code_cells, joined
from mlmfast.mergeable.condensed.patterns import Pattern, PatternKey, merge_patterns
from mlmfast.mergeable.condensed.subject_rows import SortedRows, SubjectRows


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


def condense_units(rows: SubjectRows) -> CondensedUnits:
    """Rows as they are read; the subjects of the first and the last row stay open."""
    codes = rows.codes()
    ends = codes[[0, -1]]
    is_open: BoolArray = (codes == ends[0]) | (codes == ends[1])
    opened = np.flatnonzero(is_open)
    ordered = SortedRows.of(rows, codes)
    closed: BoolArray = (ordered.codes != ends[0]) & (ordered.codes != ends[1])
    return CondensedUnits(
        ordered.patterns(closed),
        ordered.rows.keys(ordered.first[closed]),
        OpenRows(rows.keys(opened), rows.arms[opened], rows.positions[opened], rows.values(opened)),
        rows.origin,
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
    ordered = _sorted(rows)
    nothing = OpenRows(
        {name: own[:0] for name, own in rows.subjects.items()},
        rows.arms[:0],
        rows.positions[:0],
        rows.values[:0],
    )
    labels = ordered.rows.keys(ordered.first)
    more = CondensedUnits(ordered.patterns(), labels, nothing, units.origin)
    return merge_units([replace(units, open_rows=nothing), more])


def _sorted(rows: OpenRows) -> SortedRows:
    by_row = np.arange(len(rows.positions))
    codes, _ = code_cells(list(rows.subjects.values()), len(by_row))
    subjects = {name: (by_row, own) for name, own in rows.subjects.items()}
    columns = list(rows.values.T)
    origin = np.zeros(len(columns))
    return SortedRows.of(SubjectRows(subjects, rows.arms, rows.positions, columns, origin), codes)


def replace_origin(units: CondensedUnits, origin: FloatArray) -> OpenRows:
    """The open rows less another constant."""
    shift = units.origin - origin
    rows = units.open_rows
    return replace(rows, values=rows.values + shift) if shift.any() else rows


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
    return {key: merge_patterns(own) for key, own in sorted(by_key.items())}
