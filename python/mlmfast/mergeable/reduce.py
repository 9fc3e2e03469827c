"""`mlmfast.reduce`: the rows of a source, part by part, to the statistics of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlmfast.errors import DataError, ModelError
from mlmfast.formula.mixed_formula import MixedFormula, parse_formula
from mlmfast.mergeable.coding.levels import given
from mlmfast.mergeable.coding.part_rows import Part, code_rows, complete_rows, told_of
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
from mlmfast.mergeable.reduction import Reduction
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


def reduce(
    formula: str,
    source: Any,
    *,
    weights: str | None = None,
    offset: str | None = None,
    contrasts: Mapping[str, Any] | None = None,
    levels: Mapping[str, Sequence[Any]] | None = None,
    plan: Plan | None = None,
    na_action: str = "drop",
    min_cluster_size: int | None = None,
    labels: bool = True,
) -> Reduction:
    """Read rows part by part and keep what the likelihood of a model needs of them.

    For each cluster, a combination of levels of all grouping factors, few weighted rows stay that
    have the sums of squares and products of all its rows: as many as there are columns that vary in
    it, and one. The fit is that of the rows, to rounding.

    Parameters
    ----------
    formula
        As `mlmfast.lmm` takes it.
    source
        A list or an iterator of frames.
    weights, offset
        Columns of the data.
    contrasts
        As `mlmfast.lmm` takes them.
    levels
        Levels of factors fixed beforehand, by column, in their order. The others are found by a
        first pass over the source.
    plan
        How another reduction coded its rows (`Reduction.plan`), in place of a first pass.
    na_action
        "drop" or "raise".
    min_cluster_size
        Leave out clusters of fewer rows, and count what was left out (`Reduction.n_withheld`).
    labels
        False to put numbers that mean nothing elsewhere in place of the labels of clusters. Each
        cluster must then be whole in this source.

    Raises
    ------
    FormulaError, DataError, ModelError
        As the formula, the data or their combination is at fault; errors of a part name it.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> reduction = mlm.reduce("Reaction ~ Days + (Days | Subject)", [data[:100], data[100:]])
    >>> reduction.nobs, reduction.n_rows
    (180, 54)
    >>> reduction.fit().params.round(4).to_dict()
    {'(Intercept)': 251.4051, 'Days': 10.4673}
    """
    if not is_one_of(na_action, ("drop", "raise")):
        raise DataError(f"na_action is {na_action!r}; use 'drop' or 'raise'")
    parsed = parse_formula(formula)
    for role, column in (("weights", weights), ("offset", offset)):
        if column is not None and not isinstance(column, str):
            raise DataError(f"{role} is the name of a column here, not {type(column).__name__}")
    opened = _opened(source)
    if plan is None:
        first = _Survey(parsed, weights, offset, na_action, dict(levels or {}))
        plan = first.plan_of(opened, formula, dict(contrasts or {}))
    else:
        _check_plan(plan, formula, weights, offset, contrasts, levels)
    content = _reduced(plan, opened.parts(plan.variables), na_action)
    if min_cluster_size is not None:
        content = withhold(content, min_cluster_size)
    if not labels:
        content = without_labels(content)
    return Reduction(content)


def _opened(source: Any) -> Source:
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


@dataclass(frozen=True)
class _Survey:
    """The first pass."""

    parsed: MixedFormula
    weights: str | None
    offset: str | None
    na_action: str
    levels: dict[str, Sequence[Any]]

    def plan_of(self, source: Source, formula: str, contrasts: dict[str, Any]) -> Plan:
        """The plan by what the parts say: of the first, if nothing depends on the others."""
        blank = Plan(formula, self.weights, self.offset, {}, {}, {}, {})
        found: list[Survey] = []
        head = None
        for part in source.parts(blank.variables):
            rows = complete_rows(part, blank.variables, [], self.na_action)
            if rows.frame is None:
                continue
            head = rows if head is None else head
            with told_of(part.name):
                found.append(survey_part(self.parsed, rows.frame, part.name))
            if not self._needs_all(found[0]):
                break
            if not source.repeatable:
                raise self._read_once(found[0])
        if head is None:
            raise DataError(
                "no rows are left: every row of the source has a missing value in some variable of "
                f"the model ({', '.join(blank.variables)}), or there are no rows"
            )
        survey = merge_surveys(found)
        fixed = {name: given(name, own, survey.levels.get(name)) for name, own in self.levels.items()}
        plan = plan_of(survey, formula, self.weights, self.offset, contrasts, fixed)
        return with_origin(plan, code_rows(plan, head).columns)

    def _needs_all(self, survey: Survey) -> bool:
        """Whether the other parts may have something to say."""
        open_levels = [name for name in survey.levels if name not in self.levels]
        return bool(open_levels or transforms_in(expressions_of(self.parsed)))

    def _read_once(self, survey: Survey) -> ModelError:
        names = [name for name in survey.levels if name not in self.levels]
        calls = list(transforms_in(expressions_of(self.parsed)))
        if names:
            return ModelError(
                f"the levels of {', '.join(map(repr, names))} are found by a first pass, and this "
                f"source can be read only once; fix them by levels={{{names[0]!r}: [...]}}, or give "
                "a source that can be read again (files, a list of frames)"
            )
        return ModelError(
            f"{', '.join(calls)} must see all rows before any is coded, and this source can be read "
            "only once; give a source that can be read again (files, a list of frames), or plan="
        )


def _check_plan(
    plan: Plan,
    formula: str,
    weights: str | None,
    offset: str | None,
    contrasts: Mapping[str, Any] | None,
    levels: Mapping[str, Any] | None,
) -> None:
    for what, own, theirs in (
        ("formula", formula, plan.formula),
        ("weights", weights, plan.weights),
        ("offset", offset, plan.offset),
    ):
        if own != theirs:
            raise DataError(f"{what} is {own!r}, and {theirs!r} in the plan; they must be the same")
    if contrasts or levels:
        raise DataError("contrasts and levels are those of the plan; leave them out beside plan=")


