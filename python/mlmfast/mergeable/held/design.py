"""The design of a part's rows, and that of a few rows that have the sums of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, overload

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.data.factor import Factor
from mlmfast.data.frame import Frame
from mlmfast.design.checks import check_columns, check_identified
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor, RandomEffects
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.read import residual_design, units_of_rows
from mlmfast.design.residual.series import Series, series_of
from mlmfast.errors import DataError, ModelError
from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.content import Content
from mlmfast.mergeable.held.rows import Group, PartRows
from mlmfast.mergeable.model import columns_of_places, condensed_design

#: Fewest subjects of each arm among those that show what a residual covariance is.
_FEWEST = 2


class Numbered(Sequence[str]):
    """Labels that nobody asks for: the numbers of the levels.

    Examples
    --------
    >>> labels = Numbered(3)
    >>> len(labels), labels[1]
    (3, '1')
    """

    def __init__(self, n: int) -> None:
        self._n = n

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, k: int) -> str: ...

    @overload
    def __getitem__(self, k: slice) -> Sequence[str]: ...

    def __getitem__(self, k: int | slice) -> str | Sequence[str]:
        found = range(self._n)[k]
        return str(found) if isinstance(found, int) else tuple(map(str, found))


def _labels(n: int) -> tuple[str, ...]:
    return cast(tuple[str, ...], Numbered(n))


def groups_of(plan: Plan) -> tuple[Group, ...]:
    """Grouping factors of the random effects, each once."""
    return tuple(dict.fromkeys(tuple(term.group) for term in plan.parsed.random))


@dataclass(frozen=True, eq=False)
class PartDesign:
    """How the rows of a part become a design; pickles.

    Attributes
    ----------
    plan
        How they were coded.
    residual
        The residual covariance as a few subjects show it; None for independent residuals.
    by_time
        Whether rows stand at times; else at visits.
    """

    plan: Plan
    residual: ResidualDesign | None
    by_time: bool

    def __call__(self, rows: PartRows) -> Design:
        """The design."""
        plan, raw = self.plan, list(rows.columns)
        factors = tuple(_factor(rows, group) for group in groups_of(plan))
        residual = None if self.residual is None else self._residual(self.residual, rows)
        if residual is not None and not factors:
            factors = (residual.subject,)
        return Design(
            y=raw[plan.places.y],
            x=columns_of_places(plan.places.x, raw),
            x_names=plan.fixed_matrix.names,
            factors=factors,
            random=random_effects(plan, raw),
            weights=rows.weights,
            response=plan.parsed.response,
            residual=residual,
        )

    def _residual(self, whole: ResidualDesign, rows: PartRows) -> ResidualDesign:
        """The residual covariance of the rows, by the structure that all parts share."""
        within = self.plan.within
        assert within is not None, "there is a residual structure"
        subject = _factor(rows, within.subject)
        _check_arms(self.plan, subject, rows)
        common = replace(whole, subject=subject, units=subject.codes, n_units=subject.n_levels)
        if whole.series is None:
            labels, codes = whole.visits, np.asarray(rows.places, dtype=np.int32)
            as_factor = Factor(subject.codes, _own_labels(rows, within.subject), np.empty(0))
            independent = whole.structure.independent
            units, n_units = units_of_rows(within, as_factor, codes, labels, independent)
            positions = rows.arms * np.int32(len(labels)) + codes
            return replace(common, units=units, n_units=n_units, positions=positions)
        times = rows.places if self.by_time else _times_of_visits(whole.series, rows.places)
        self._check_repeated(rows, subject, times)
        series = series_of(times, subject.codes, rows.arms, len(whole.arms))
        series = replace(series, visits=whole.series.visits)
        return replace(common, along=series, positions=series.positions)

    def _check_repeated(self, rows: PartRows, subject: GroupingFactor, times: FloatArray) -> None:
        """Refuse subjects that have several rows at one time."""
        order = np.lexsort((times, subject.codes))
        codes, sorted_times = subject.codes[order], times[order]
        again = np.flatnonzero((codes[1:] == codes[:-1]) & (np.diff(sorted_times) == 0))
        if again.size:
            within, k = self.plan.within, int(codes[again[0]])
            assert within is not None, "there is a residual structure"
            label = _own_labels(rows, within.subject)[k]
            raise DataError(
                f"residual={within.text!r}: subject {label!r} has several rows at "
                f"{sorted_times[again[0]]:g}; a subject has one row at each visit"
            )


def _own_labels(rows: PartRows, group: Group) -> tuple[str, ...]:
    parts = [map(str, values.tolist()) for values in rows.levels(group)]
    return tuple(":".join(own) for own in zip(*parts, strict=True))


def _factor(rows: PartRows, group: Group) -> GroupingFactor:
    codes, first = rows.cells(group)
    return GroupingFactor(":".join(group), codes, _labels(len(first)), group)


def _check_arms(plan: Plan, subject: GroupingFactor, rows: PartRows) -> None:
    within = plan.within
    assert within is not None, "there is a residual structure"
    arm = np.empty(subject.n_levels, dtype=rows.arms.dtype)
    arm[subject.codes] = rows.arms
    other = np.flatnonzero(arm[subject.codes] != rows.arms)
    if other.size and within.arm is not None:
        label = _own_labels(rows, within.subject)[subject.codes[other[0]]]
        names = plan.levels[within.arm].labels
        both = names[rows.arms[other[0]]], names[arm[subject.codes[other[0]]]]
        raise DataError(
            f"residual={within.text!r}: subject {label!r} is in the arms {both[0]!r} and "
            f"{both[1]!r}; a subject belongs to one"
        )


def _times_of_visits(series: Series, visits: IntArray) -> FloatArray:
    """Times of rows at visits; the few subjects have every visit, in their order."""
    first = np.flatnonzero(series.arms == series.arms[0])
    return series.times[first][visits]


def random_effects(plan: Plan, raw: list[FloatArray]) -> tuple[RandomEffects, ...]:
    """The random-effects terms over columns of a part, or of few rows."""
    groups = groups_of(plan)
    return tuple(
        RandomEffects(
            groups.index(tuple(term.group)),
            matrix.names,
            columns_of_places(own, raw),
            structure,
            term.text,
        )
        for term, matrix, own, structure in zip(
            plan.parsed.random, plan.random_matrices, plan.places.z, plan.structures, strict=True
        )
    )


def shown_residual(plan: Plan, times: FloatArray | None, n_subjects: int) -> ResidualDesign | None:
    """The residual covariance over a few subjects that have every visit, or times.

    Of ``n_subjects`` as many are shown as an unstructured covariance has rows.

    Raises
    ------
    ModelError
        For structures of which parts cannot make the same: over scattered points, over very many
        visits.
    """
    within = plan.within
    if within is None:
        return None
    sizes = [len(plan.levels[n].labels) for n in within.coordinates] if times is None else []
    n = int(np.prod(sizes)) if times is None else len(times)
    n_arms = 1 if within.arm is None else len(plan.levels[within.arm].labels)
    shown = max(_FEWEST, min(n_subjects // n_arms, n + 1))
    cell = np.tile(np.arange(n), shown * n_arms)
    subject = np.repeat(np.arange(shown * n_arms), n)
    columns: dict[str, Any] = {}
    if times is not None:
        columns[within.coordinates[0]] = times[cell]
    left = cell
    for name, size in zip(reversed(within.coordinates), reversed(sizes), strict=False):
        left, codes = np.divmod(left, size)
        columns[name] = plan.levels[name].taken(codes)
    if within.arm is not None:
        columns[within.arm] = plan.levels[within.arm].taken(subject // shown)
    for name in within.subject:
        columns[name] = subject
    found = residual_design(within, Frame.from_native(columns))
    if found.chain is not None or (found.points is not None and found.series is None):
        raise ModelError(
            f"residual={within.text!r}: covariances over points in space, and over very many "
            "visits, are not summed over parts; fit the rows in memory, "
            "mlm.lmm(formula, data, residual=...)"
        )
    return found


def header(
    content: Content,
    residual: ResidualDesign | None,
    counts: dict[Group, int],
    inside: dict[Group, bool],
) -> Design:
    """Few rows with the sums of all, and how many levels there are of each factor.

    Parameters
    ----------
    residual
        As `shown_residual` gives it.
    counts
        Levels by factor, and subjects of the residual covariance.
    inside
        Whether each level of a factor lies within one subject.
    """
    plan = content.plan
    base, raw = condensed_design(content)
    factors = []
    for group in groups_of(plan):
        codes: CodeArray = np.zeros(base.n_obs, dtype=np.int32)
        if residual is not None:
            # Where a level of a factor stands to subjects is all that is asked of these.
            codes = residual.units if inside[group] else np.zeros_like(residual.units)
        factors.append(GroupingFactor(":".join(group), codes, _labels(counts[group]), group))
    if residual is not None:
        assert plan.within is not None, "there is a residual structure"
        own = residual.subject
        subject = GroupingFactor(
            own.name, own.codes, _labels(counts[tuple(plan.within.subject)]), own.columns
        )
        residual = replace(residual, subject=subject, n_units=subject.n_levels)
        factors = factors or [subject]
    design = replace(
        base, factors=tuple(factors), random=random_effects(plan, raw), residual=residual
    )
    check_columns(design)
    check_identified(design)
    return design
