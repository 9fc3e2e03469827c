"""Fits of models whose rows stay in parts: theta goes out, sums come back, Newton runs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from mlmfast.arrays import IntArray
from mlmfast.criterion.series_matrices import check_series_are_here
from mlmfast.degrees_of_freedom import Ddf, method_of
from mlmfast.design.residual.design import LARGEST_ORDER, ResidualDesign
from mlmfast.errors import DataError, ModelError
from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.content import merge_contents
from mlmfast.mergeable.held.design import PartDesign, groups_of, header, shown_residual
from mlmfast.mergeable.held.place import Place, place_of, read_all
from mlmfast.mergeable.held.rows import (
    Group,
    PartRows,
    Reading,
    Summary,
    level_numbers,
    rows_with,
    stacked,
)
from mlmfast.mergeable.model import frame_of_design
from mlmfast.mergeable.residual import time_of
from mlmfast.mergeable.row_facts import row_facts
from mlmfast.mergeable.running import How
from mlmfast.mergeable.streaming import Asked, plan_by_all_parts
from mlmfast.newton.options import NewtonOptions
from mlmfast.prepared.fit_model import Wishes, fit_model
from mlmfast.prepared.model import PreparedModel
from mlmfast.reduction.engines.independence import is_within
from mlmfast.reduction.parts.model import model_of_parts
from mlmfast.reduction.parts.part import Part
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.result import LMMResult
from mlmfast.sources.source import Source

#: Bytes of rows of clusters that lie in several parts, which are brought together here.
_MOST_MOVED = 500_000_000
#: Notices of residual variances of 0: of all rows, at a visit, of a combination of visits.
_SINGULAR = frozenset({"MLM411", "MLM412", "MLM413"})


def fit_held(
    asked: Asked,
    data: Any,
    how: How,
    method: str,
    options: NewtonOptions | Mapping[str, Any] | None,
    ddf: Ddf | None,
    wishes: Wishes,
) -> LMMResult:
    """Fit a model whose rows stay in parts where the executor keeps them.

    Raises
    ------
    DataError, ModelError
        As the data or the model is at fault.
    """
    with ExitStack() as stack:
        plan, source = plan_by_all_parts(asked, how.opened(data), how, stack)
        place = place_of(how.executor, source)
        parts, summaries = read_all(place, _reading(asked, plan), source)
    _check_budget(how, place, source, summaries)
    reduced = _reduced(place, parts, summaries, plan)
    if reduced.design.residual is not None and reduced.design.residual.series is not None:
        by_matrices = ddf is not None and method_of(ddf).adjusts
        if wishes.hold or by_matrices:
            # Else the steps would be taken before standard errors turn out not to be had.
            check_series_are_here(reduced.design)
    model = PreparedModel(reduced.design, frame_of_design(reduced.design, plan))
    model._reductions[None] = reduced
    fit = fit_model(model, LMMResult, method, options, ddf, wishes)
    _check_regular(fit)
    facts = merge_contents([own.content for own in summaries]).facts
    fit._row_facts = row_facts(plan, facts)
    return fit


def _reading(asked: Asked, plan: Plan) -> Reading:
    groups = dict.fromkeys(groups_of(plan))
    if plan.within is not None:
        groups[tuple(plan.within.subject)] = None
    by_time = time_of(plan.within)
    return Reading(plan, asked.na_action, tuple(groups), by_time, LARGEST_ORDER + 1)


def _check_budget(how: How, place: Place, source: Source, summaries: Sequence[Summary]) -> None:
    """Refuse rows that take more than memory= allows, where they are kept here."""
    n_bytes = sum(own.nbytes for own in summaries)
    if how.budget is not None and how.executor is None and 3 * n_bytes > how.budget:
        raise MemoryError(
            f"this model asks the rows anew at every step, so that they must be kept: those of "
            f"{source.title} take {n_bytes / 1e6:,.0f} MB, and reduced about three times that, "
            f"more than memory= allows ({how.budget / 1e6:,.0f} MB). Raise memory=, or give "
            "executor=, a dask.distributed.Client, whose workers keep a part each"
        )


def _check_regular(fit: LMMResult) -> None:
    """Refuse residuals that became singular beside random effects.

    In memory such fits go by V, which is regular; by R and G, as sums over parts go, derivatives
    lose their digits and degrees of freedom are any number.
    """
    if fit._record.terms and any(notice.code in _SINGULAR for notice in fit.warnings):
        raise ModelError(
            "the residual covariance becomes singular beside the random effects, where sums over "
            "parts have no digits left for standard errors and degrees of freedom; leave the "
            "random effects out, take a simpler residual structure, or fit the rows in memory, "
            "mlm.lmm(formula, data, residual=...)"
        )


# -- whole clusters ------------------------------------------------------------------------------


def _whole_clusters(
    place: Place, parts: list[Any], summaries: Sequence[Summary], groups: tuple[Group, ...]
) -> tuple[list[Any], dict[Group, int]]:
    """Parts in which every cluster is whole, and how many levels there are of each factor.

    Rows of clusters that lie in several parts are brought together in one more.
    """
    summaries = [own for own in summaries if own.levels]
    found = {group: level_numbers([own.levels for own in summaries], group) for group in groups}
    counts = {group: _n_levels(numbers) for group, (numbers, _, _) in found.items()}
    outer = min(groups, key=lambda group: counts[group])
    numbers, part, labels = found[outer]
    shared = np.bincount(numbers)[numbers] > 1
    moved, out = [], list(parts)
    if shared.any():
        asked = {int(k): [own[shared & (part == k)] for own in labels] for k in part[shared]}
        _check_moved(summaries, found[outer], shared, outer)
        for k, own in asked.items():
            moved.append(place.keep(_rows_of, parts[k], outer, own, True))
            out[k] = place.keep(_rows_of, parts[k], outer, own, False)
        out.append(place.keep(stacked, place.fetch(moved)))
    inner = [group for group in groups if np.bincount(found[group][0]).max() > 1]
    met = place.fetch([place.keep(_levels_of, own, tuple(inner)) for own in out])
    _check_nested(out, met, inner, outer)
    return [own for own, (n, _) in zip(out, met, strict=True) if n], counts


def _n_levels(numbers: IntArray) -> int:
    return int(numbers.max(initial=-1)) + 1


def _rows_of(rows: PartRows, group: Group, labels: list[Any], wanted: bool) -> PartRows:
    return rows.taken(rows_with(rows, group, labels) == wanted)


def _levels_of(rows: PartRows, groups: tuple[Group, ...]) -> tuple[int, dict[Group, Any]]:
    return rows.n, {group: rows.levels(group) for group in groups} if rows.n else {}


def _check_moved(
    summaries: Sequence[Summary],
    found: tuple[IntArray, IntArray, Any],
    shared: Any,
    group: Group,
) -> None:
    """Refuse to bring too many rows together."""
    numbers, part, _ = found
    share = np.bincount(part, weights=shared, minlength=len(summaries)) / np.maximum(
        np.bincount(part, minlength=len(summaries)), 1
    )
    n_bytes = float(share @ np.array([own.nbytes for own in summaries], dtype=np.float64))
    if n_bytes > _MOST_MOVED:
        n = len(np.unique(numbers[shared]))
        raise ModelError(
            f"{n:,} clusters of {':'.join(group)!r} have rows in several parts, about "
            f"{n_bytes / 1e6:,.0f} MB of rows that would have to be brought together: sort the "
            "data by that column, or write a part a group of clusters (partition by it)"
        )


def _check_nested(
    parts: Sequence[Any], met: Sequence[tuple[int, Any]], groups: Sequence[Group], outer: Group
) -> None:
    """Refuse factors whose levels lie in several parts although clusters are whole: they cross."""
    present = [levels for n, levels in met if n]
    for group in groups:
        numbers, _, labels = level_numbers(present, group)
        twice = np.flatnonzero(np.bincount(numbers)[numbers] > 1)
        if twice.size:
            label = ":".join(str(own[twice[0]]) for own in labels)
            raise ModelError(
                f"the rows are kept in parts with whole clusters, and {label!r} of "
                f"{':'.join(group)!r} is met with several levels of {':'.join(outer)!r}: crossed "
                "factors cannot be divided; fit the rows in memory, mlm.lmm(formula, data)"
            )


# -- the reduced model ---------------------------------------------------------------------------


def _reduced(
    place: Place, parts: list[Any], summaries: Sequence[Summary], plan: Plan
) -> ReducedModel:
    content = merge_contents([own.content for own in summaries])
    if content.rows is None:
        raise DataError(
            f"no rows are left: the parts hold none without a missing value ({content.n_dropped} "
            "left out)"
        )
    groups = dict.fromkeys(groups_of(plan))
    if plan.within is not None:
        groups[tuple(plan.within.subject)] = None
    parts, counts = _whole_clusters(place, parts, summaries, tuple(groups))
    times = None
    if time_of(plan.within) is not None:
        times = np.unique(np.concatenate([own.times for own in summaries]))
    subject = None if plan.within is None else tuple(plan.within.subject)
    residual = shown_residual(plan, times, 0 if subject is None else counts[subject])
    make = PartDesign(plan, residual, times is not None)
    kept = [place.keep(_designed, make, own) for own in parts]
    inside = _inside(place, kept, residual)
    design = header(content, residual, counts, dict(zip(groups_of(plan), inside, strict=False)))
    return model_of_parts(place, kept, design)


def _designed(make: PartDesign, rows: PartRows) -> Part:
    return Part(make(rows))


def _inside(place: Place, parts: Sequence[Any], residual: ResidualDesign | None) -> list[bool]:
    """Whether the levels of each factor lie within subjects, in every part."""
    if residual is None:
        return []
    each = place.fetch([place.keep(_are_inside, own) for own in parts])
    return [all(own) for own in zip(*each, strict=True)]


def _are_inside(part: Part) -> list[bool]:
    design = part.design
    assert design.residual is not None, "there is a residual structure"
    units = design.residual.units
    return [is_within(f.codes, f.n_levels, units) for f in design.factors]
