"""Rows of a part as numbers: read by a worker, which keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray
from mlmfast.data.frame import Frame
from mlmfast.mergeable.coding.part_rows import CodedRows, code_rows, complete_rows
from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.condensed.keys import code_cells, joined
from mlmfast.mergeable.condensed.rows import condense
from mlmfast.mergeable.content import (
    Content,
    codes_of,
    fingerprint,
    grouping_key,
    merge_contents,
    nothing,
)
from mlmfast.mergeable.row_facts import facts_of_part
from mlmfast.reduction.parts.part import in_one_piece
from mlmfast.sources.part import Part

#: A factor's columns of the data, whose combinations are its levels.
Group = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PartRows:
    """Rows of one part.

    Attributes
    ----------
    columns : each of shape (n,), in the order of `Plan.places`
    weights : shape (n,) or None
    keys
        By grouping column, a code a row and the values that codes stand for.
    arms : shape (n,), codes of the arms of a residual covariance
    places : shape (n,), visit of each row, or its time
    """

    columns: tuple[FloatArray, ...]
    weights: FloatArray | None
    keys: Mapping[str, tuple[CodeArray, NDArray[Any]]]
    arms: CodeArray
    places: NDArray[Any]

    def __reduce__(self) -> tuple[Any, ...]:
        own = (self.columns, self.weights, dict(self.keys), self.arms, self.places)
        return in_one_piece(PartRows, *own)

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.columns[0])

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return sum(own.nbytes for own in (*self.columns, self.places, self.arms)) + sum(
            codes.nbytes + values.nbytes for codes, values in self.keys.values()
        )

    def cells(self, group: Group) -> tuple[CodeArray, IntArray]:
        """Level of each row among those of a factor, and a row of each level."""
        own = [self.keys[name][1][self.keys[name][0]] for name in group]
        return code_cells(own, self.n)

    def levels(self, group: Group) -> list[NDArray[Any]]:
        """By column of a factor, its value in each level that is met."""
        _, first = self.cells(group)
        return [self.keys[name][1][self.keys[name][0][first]] for name in group]

    def taken(self, rows: NDArray[Any]) -> PartRows:
        """Some of the rows."""
        return PartRows(
            tuple(column[rows] for column in self.columns),
            None if self.weights is None else self.weights[rows],
            {name: (codes[rows], values) for name, (codes, values) in self.keys.items()},
            self.arms[rows],
            self.places[rows],
        )


def stacked(parts: Sequence[PartRows]) -> PartRows:
    """The rows of several parts."""
    first = parts[0]
    if len(parts) == 1:
        return first
    weights = [part.weights for part in parts if part.weights is not None]
    keys = {}
    for name in first.keys:
        values = joined([part.keys[name][1] for part in parts], name)
        ends = np.cumsum([0, *(len(part.keys[name][1]) for part in parts)])
        codes = [
            part.keys[name][0] + np.int32(at) for part, at in zip(parts, ends[:-1], strict=True)
        ]
        keys[name] = np.concatenate(codes), values
    return PartRows(
        tuple(np.concatenate(own) for own in zip(*(p.columns for p in parts), strict=True)),
        np.concatenate(weights) if weights else None,
        keys,
        np.concatenate([part.arms for part in parts]),
        np.concatenate([part.places for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class Summary:
    """What is known of the rows of a part without them.

    Attributes
    ----------
    content
        Few rows with the sums of all, without regard to clusters; counts and means.
    levels
        By factor, the levels met.
    times : distinct times, as far as they are few; visits are known beforehand
    nbytes
        Bytes that the rows take.
    """

    content: Content
    levels: Mapping[Group, list[NDArray[Any]]]
    times: FloatArray
    nbytes: int


@dataclass(frozen=True)
class Reading:
    """How a worker reads rows; small, and pickles.

    Attributes
    ----------
    plan, na_action
        How rows are coded, and what is done with missing values.
    groups
        The grouping factors, and the subjects of a residual covariance.
    by_time
        The column of times; None where the residual covariance is over visits, or there is none.
    most_times
        Distinct times from which on they are not told one by one.
    """

    plan: Plan
    na_action: str
    groups: tuple[Group, ...]
    by_time: str | None
    most_times: int

    def read(self, parts: Sequence[Part]) -> tuple[PartRows | None, Summary]:
        """The rows of some parts together, and what is known of them."""
        found = [self._read(part) for part in parts]
        rows = [own for own, _ in found if own is not None]
        contents = [content for _, content in found]
        whole = stacked(rows) if rows else None
        content = merge_contents(contents) if contents else nothing(self.plan)
        return whole, self._summary(whole, content)

    def _summary(self, rows: PartRows | None, content: Content) -> Summary:
        if rows is None:
            return Summary(content, {}, np.zeros(0), 0)
        times = np.zeros(0)
        if self.by_time is not None:
            times = np.unique(rows.places)[: self.most_times]
        levels = {group: rows.levels(group) for group in self.groups}
        return Summary(content, levels, times, rows.nbytes)

    def _read(self, part: Part) -> tuple[PartRows | None, Content]:
        plan = self.plan
        numbers = [*plan.typical, *plan.numbers]
        if self.by_time is not None:
            numbers.append(self.by_time)
        rows = complete_rows(part, plan.variables, numbers, self.na_action)
        if rows.frame is None:
            return None, replace(nothing(plan), n_dropped=rows.n_dropped)
        coded = code_rows(plan, rows)
        names = dict.fromkeys(name for group in self.groups for name in group)
        own = PartRows(
            tuple(map(np.ascontiguousarray, coded.whole)),
            coded.weights,
            {name: grouping_key(rows.frame, name) for name in names},
            self._arms(coded.frame),
            self._places(coded.frame),
        )
        return own, self._content(coded, part, rows.n_dropped)

    def _arms(self, frame: Frame) -> CodeArray:
        within = self.plan.within
        if within is None or within.arm is None:
            return np.zeros(frame.n_rows, dtype=np.int32)
        return codes_of(self.plan, frame, within.arm)

    def _places(self, frame: Frame) -> NDArray[Any]:
        if self.by_time is not None:
            return np.array(frame.numeric(self.by_time))
        out: CodeArray = np.zeros(frame.n_rows, dtype=np.int32)
        within = self.plan.within
        for name in () if within is None else within.coordinates:
            size = np.int32(len(self.plan.levels[name].labels))
            out = out * size + codes_of(self.plan, frame, name)
        return out

    def _content(self, coded: CodedRows, part: Part, n_dropped: int) -> Content:
        plan, weights = self.plan, coded.weights
        rows = condense({}, coded.whole, plan.origin, weights)
        facts = facts_of_part(plan, coded.frame, coded.offset_mean)
        mark = fingerprint(rows, part.name, part.first_row)
        own = replace(
            nothing(plan),
            rows=rows,
            n_obs=coded.frame.n_rows,
            n_dropped=n_dropped,
            facts=facts,
            parts={mark: part.name},
        )
        if weights is None:
            return own
        unweighted = condense({}, coded.whole, plan.origin, None)
        return replace(own, log_weights=float(np.log(weights).sum()), unweighted=unweighted)


def level_numbers(
    parts: Sequence[Mapping[Group, list[NDArray[Any]]]], group: Group
) -> tuple[IntArray, IntArray, list[NDArray[Any]]]:
    """Of each level that a part has of a factor: its number among all, and the part's.

    Parameters
    ----------
    parts
        The levels of each part by factor; nothing for a part without rows.

    Returns
    -------
    numbers, parts : shape (n,)
    labels
        By column of the factor, its value in each.
    """
    met = [(k, levels[group]) for k, levels in enumerate(parts) if levels]
    labels = [joined([own[j] for _, own in met], name) for j, name in enumerate(group)]
    n = [len(own[0]) for _, own in met]
    numbers, _ = code_cells(labels, sum(n))
    return np.asarray(numbers, dtype=np.intp), np.repeat([k for k, _ in met], n), labels


def rows_with(rows: PartRows, group: Group, labels: list[NDArray[Any]]) -> BoolArray:
    """Which rows have one of some levels of a factor, shape (n,)."""
    own = rows.levels(group)
    together = [joined([a, b], name) for a, b, name in zip(labels, own, group, strict=True)]
    n = len(labels[0])
    numbers, _ = code_cells(together, n + len(own[0]))
    wanted: BoolArray = np.isin(numbers[n:], numbers[:n])
    return np.asarray(wanted[rows.cells(group)[0]], dtype=np.bool_)
