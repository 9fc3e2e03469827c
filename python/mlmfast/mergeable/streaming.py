"""Rows of a source, part by part, to one content: a first pass where levels are to be found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

from mlmfast.errors import DataError, ModelError
from mlmfast.formula.mixed_formula import MixedFormula, parse_formula
from mlmfast.mergeable.coding.levels import given
from mlmfast.mergeable.coding.part_rows import (
    CompleteRows,
    Part,
    code_rows,
    complete_rows,
    told_of,
)
from mlmfast.mergeable.coding.plan import Plan, plan_of, with_origin
from mlmfast.mergeable.coding.survey import (
    Survey,
    expressions_of,
    merge_surveys,
    survey_part,
)
from mlmfast.mergeable.coding.transform_states import transforms_in
from mlmfast.mergeable.content import (
    Content,
    merge_contents,
    reduce_part,
    withhold,
    without_labels,
)
from mlmfast.words import is_one_of


class Source(Protocol):
    """Rows in parts."""

    @property
    def repeatable(self) -> bool: ...
    def parts(self, columns: Sequence[str] | None) -> Iterator[Part]: ...


@dataclass(frozen=True)
class FramePart:
    """A frame among others."""

    frame: Any
    name: str
    first_row: int = 0


@dataclass(frozen=True)
class Frames:
    """Frames in memory, or an iterator of them."""

    frames: Any

    @property
    def repeatable(self) -> bool:
        """Whether they can be read twice."""
        return isinstance(self.frames, list | tuple)

    def parts(self, columns: Sequence[str] | None) -> Iterator[Part]:
        """The frames, one after the other."""
        for k, frame in enumerate(self.frames):
            yield FramePart(frame, f"frame {k + 1}")


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

    def __post_init__(self) -> None:
        if not is_one_of(self.na_action, ("drop", "raise")):
            raise DataError(f"na_action is {self.na_action!r}; use 'drop' or 'raise'")
        for role, column in (("weights", self.weights), ("offset", self.offset)):
            if column is not None and not isinstance(column, str):
                raise DataError(f"{role} is the name of a column here, not {type(column).__name__}")
        parse_formula(self.formula)
        if self.plan is not None:
            _check_plan(self, self.plan)

    @property
    def parsed(self) -> MixedFormula:
        """The formula in its parts."""
        return parse_formula(self.formula)

    @property
    def variables(self) -> list[str]:
        """Columns of the data that are read."""
        return Plan(self.formula, self.weights, self.offset, {}, {}, {}, {}).variables

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
            survey, self.formula, self.weights, self.offset, self.contrasts or {}, levels
        )
        return with_origin(plan, code_rows(plan, head).columns)


def content_of(asked: Asked, source: Any) -> Content:
    """Statistics of all rows of a source."""
    opened = opened_source(source)
    if asked.plan is None:
        plan, parts = _first_pass(asked, opened)
    else:
        plan, parts = asked.plan, opened.parts(asked.plan.variables)
    content = _reduced(plan, parts, asked.na_action)
    if asked.min_cluster_size is not None:
        content = withhold(content, asked.min_cluster_size)
    return content if asked.labels else without_labels(content)


def opened_source(source: Any) -> Source:
    """What the rows are read from."""
    if hasattr(source, "parts") and hasattr(source, "repeatable"):
        found: Source = source
        return found
    return Frames(source)


def _reduced(plan: Plan, parts: Iterator[Part], na_action: str) -> Content:
    """Statistics of all parts, merged two by two as they come."""
    waiting: list[tuple[int, Content]] = []
    for part in parts:
        content, depth = reduce_part(plan, part, na_action), 0
        while waiting and waiting[-1][0] == depth:
            content = merge_contents([waiting.pop()[1], content])
            depth += 1
        waiting.append((depth, content))
    if not waiting:
        raise DataError("the source has no parts; a model needs observations")
    return merge_contents([content for _, content in waiting])


def _first_pass(asked: Asked, source: Source) -> tuple[Plan, Iterator[Part]]:
    """The plan, and the parts to reduce: of the source's first, if nothing depends on the others."""
    found: list[Survey] = []
    seen: list[Part] = []
    names = asked.variables
    head, parts = None, source.parts(names)
    for part in parts:
        seen.append(part)
        rows = complete_rows(part, names, [], asked.na_action)
        if rows.frame is None:
            continue
        head = rows if head is None else head
        with told_of(part.name):
            found.append(survey_part(asked.parsed, rows.frame, part.name))
        if not any(asked.unsettled(found[0])):
            return asked.plan_by(found, head), chain(seen, parts)
        if not source.repeatable:
            raise _read_once(*asked.unsettled(found[0]))
        seen.clear()
    if head is None:
        raise DataError(
            "no rows are left: every row of the source has a missing value in some variable of the "
            f"model ({', '.join(names)}), or there are no rows"
        )
    return asked.plan_by(found, head), source.parts(names)


def _read_once(names: list[str], calls: list[str]) -> ModelError:
    if names:
        return ModelError(
            f"the levels of {', '.join(map(repr, names))} are found by a first pass, and this "
            f"source can be read only once; fix them by levels={{{names[0]!r}: [...]}}, or give a "
            "source that can be read again (files, a list of frames)"
        )
    return ModelError(
        f"{', '.join(calls)} must see all rows before any is coded, and this source can be read "
        "only once; give a source that can be read again (files, a list of frames), or plan="
    )


def _check_plan(asked: Asked, plan: Plan) -> None:
    for what in ("formula", "weights", "offset"):
        own, theirs = getattr(asked, what), getattr(plan, what)
        if own != theirs:
            raise DataError(f"{what} is {own!r}, and {theirs!r} in the plan; they must be the same")
    if asked.contrasts or asked.levels:
        raise DataError("contrasts and levels are those of the plan; leave them out beside plan=")
