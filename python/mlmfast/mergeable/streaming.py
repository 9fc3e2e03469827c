"""Rows of a source, part by part, to one content: a first pass where levels are to be found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from mlmfast.errors import DataError, FormulaError, MlmError
from mlmfast.formula.mixed_formula import MixedFormula, parse_formula
from mlmfast.formula.residual_formula import parse_residual
from mlmfast.formula.row_wise import call_over_all_rows
from mlmfast.formula.smooth_terms import SMOOTH
from mlmfast.mergeable.coding.levels import OtherLevels, given
from mlmfast.mergeable.coding.part_rows import CompleteRows, code_rows, complete_rows
from mlmfast.mergeable.coding.plan import Plan, check_width, plan_of, with_origin
from mlmfast.mergeable.coding.survey import (
    Survey,
    expressions_of,
    merge_surveys,
    survey_part,
)
from mlmfast.mergeable.coding.transform_states import transforms_in
from mlmfast.mergeable.content import Content, withhold, without_labels
from mlmfast.mergeable.residual import check_reducible, time_of
from mlmfast.mergeable.running import How, Task, frame_of_rows, reduced, surveyed
from mlmfast.sources.part import Part
from mlmfast.sources.source import Source
from mlmfast.sources.spool import repeatable
from mlmfast.words import is_one_of


@dataclass(frozen=True)
class Asked:
    """What a user says of a reduction; `mlmfast.reduce` documents the fields."""

    formula: str
    weights: str | None = None
    offset: str | None = None
    contrasts: Mapping[str, Any] | None = None
    levels: Mapping[str, Sequence[Any]] | None = None
    plan: Plan | None = None
    na_action: str = "drop"
    min_cluster_size: int | None = None
    labels: bool = True
    residual: str | None = None
    #: Whether rows stay where they are, and their sums are asked for at every step.
    held: bool = False

    def __post_init__(self) -> None:
        if not is_one_of(self.na_action, ("drop", "raise")):
            raise DataError(f"na_action is {self.na_action!r}; use 'drop' or 'raise'")
        for role, column in (("weights", self.weights), ("offset", self.offset)):
            if column is not None and not isinstance(column, str):
                raise DataError(f"{role} is the name of a column here, not {type(column).__name__}")
        parsed = parse_formula(self.formula)
        whole = call_over_all_rows(parsed, (SMOOTH,))
        if whole is not None:
            raise FormulaError(
                f"{whole}() looks at all rows at once, and rows are reduced part by part here; fit "
                "a data frame of all rows by mlmfast.lmm"
            )
        remembers = next(iter(transforms_in([self.parsed.response, *self.parsed.offsets])), None)
        if remembers is not None:
            raise FormulaError(
                f"{remembers} in the response or an offset goes by all rows at once, and rows are "
                "reduced part by part here; compute the column beforehand, or fit a data frame of "
                "all rows by mlmfast.lmm"
            )
        within = None if self.residual is None or self.held else parse_residual(self.residual)
        check_reducible(self.parsed, within, self.weights, self.held)
        if self.plan is not None:
            _check_plan(self, self.plan)

    @property
    def parsed(self) -> MixedFormula:
        """The formula in its parts."""
        return parse_formula(self.formula)

    @property
    def blank(self) -> Plan:
        """A plan before any row is read."""
        return Plan(self.formula, self.weights, self.offset, {}, {}, {}, {}, residual=self.residual)

    @property
    def variables(self) -> list[str]:
        """Columns of the data that are read."""
        return self.blank.variables

    @property
    def factors(self) -> list[str]:
        """Columns besides the formula's whose levels matter: visits and arms."""
        if self.residual is None:
            return []
        within = parse_residual(self.residual)
        visits = [] if time_of(within) is not None and self.held else within.coordinates
        return [*visits, *([] if within.arm is None else [within.arm])]

    def unsettled(self, survey: Survey) -> tuple[list[str], list[str]]:
        """Factors whose levels, and calls whose states, parts not yet looked at may change."""
        fixed = self.levels or {}
        names = [name for name in survey.levels if name not in fixed]
        return names, list(transforms_in(expressions_of(self.parsed)))

    def plan_by(self, surveys: Sequence[Survey], head: CompleteRows) -> Plan:
        """The plan by what was seen; ``head`` are rows near which columns lie."""
        survey = merge_surveys(surveys)
        levels = {n: given(n, own, survey.levels.get(n)) for n, own in (self.levels or {}).items()}
        plan = plan_of(
            survey,
            self.formula,
            self.weights,
            self.offset,
            self.contrasts or {},
            levels,
            self.residual,
        )
        check_width(plan)
        return with_origin(plan, code_rows(plan, head).whole)


def content_of(asked: Asked, source: Any, how: How | None = None) -> Content:
    """Statistics of all rows of a source."""
    how = How() if how is None else how
    with ExitStack() as stack:
        content = _content_of(asked, how.opened(source), how, stack)
    if asked.min_cluster_size is not None:
        content = withhold(content, asked.min_cluster_size)
    return content if asked.labels else without_labels(content)


def _content_of(asked: Asked, source: Source, how: How, stack: ExitStack) -> Content:
    names = asked.variables
    if asked.plan is not None:
        return reduced(Task(asked.plan, asked.na_action), source, source.parts(names), how)
    first = source.parts(names)
    head, seen = _head(asked, first)
    parts: Iterator[Part] = chain(seen, first)
    survey = survey_part(asked.parsed, frame_of_rows(head), head.name, asked.factors)
    factors, calls = asked.unsettled(survey)
    if not factors and not calls:
        task = Task(asked.plan_by([survey], head), asked.na_action)
        return reduced(task, source, parts, how)
    if not source.repeatable:
        source = stack.enter_context(repeatable(source, names, parts))
        parts = first = source.parts(names)
    if not calls:
        # Most often the first part has all levels; what it lacks would show when others are read.
        with suppress(OtherLevels):
            task = Task(_plan_by_one(asked, survey, head), asked.na_action, tuple(factors))
            return reduced(task, source, parts, how)
    first.close()
    surveys = surveyed((asked.parsed, asked.factors), names, asked.na_action, source, how)
    task = Task(asked.plan_by(surveys, head), asked.na_action)
    return reduced(task, source, source.parts(names), how)


def plan_by_all_parts(
    asked: Asked, source: Source, how: How, stack: ExitStack
) -> tuple[Plan, Source]:
    """How rows are coded, by all of them where that is to be found, and what reads them (again)."""
    names = asked.variables
    if asked.plan is not None:
        return asked.plan, source
    first = source.parts(names)
    head, seen = _head(asked, first)
    parts: Iterator[Part] = chain(seen, first)
    if not source.repeatable:
        source = stack.enter_context(repeatable(source, names, parts))
    else:
        first.close()
    survey = survey_part(asked.parsed, frame_of_rows(head), head.name, asked.factors)
    factors, calls = asked.unsettled(survey)
    surveys = [survey]
    if factors or calls:
        surveys = surveyed((asked.parsed, asked.factors), names, asked.na_action, source, how)
    return asked.plan_by(surveys, head), source


def _plan_by_one(asked: Asked, survey: Survey, head: CompleteRows) -> Plan:
    try:
        return asked.plan_by([survey], head)
    except MlmError:
        # Of a factor, for example, the first part may have one level only.
        raise OtherLevels from None


def _head(asked: Asked, parts: Iterator[Part]) -> tuple[CompleteRows, list[Part]]:
    """The first rows that are complete, and the parts looked at for them."""
    seen: list[Part] = []
    for part in parts:
        seen.append(part)
        rows = complete_rows(part, asked.variables, asked.blank.numbers, asked.na_action)
        if rows.frame is not None:
            return rows, seen
    raise DataError(
        "no rows are left: every row of the source has a missing value in some variable of the "
        f"model ({', '.join(asked.variables)}), or there are no rows"
    )


def _check_plan(asked: Asked, plan: Plan) -> None:
    for what in ("formula", "residual", "weights", "offset"):
        own, theirs = getattr(asked, what), getattr(plan, what)
        if own != theirs:
            raise DataError(f"{what} is {own!r}, and {theirs!r} in the plan; they must be the same")
    if asked.contrasts or asked.levels:
        raise DataError("contrasts and levels are those of the plan; leave them out beside plan=")
