"""Other minima: starts that differ in kind, judged by their values, refined together.

A screen of values picks the most promising starts of each fit. These are refined as one batch of
Newton rows, a few steps at a time: rows that are on their way to where another row of the same fit
is, or further on, are given up. What is left at the end settles at its zeros, and the lowest
minimum is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.boundary import Settled, settle
from mlmfast.criterion import Criterion
from mlmfast.newton import NewtonResult
from mlmfast.reduced_model import FIRST_SHARE, ReducedModel
from mlmfast.starts import is_linear, other_starts

#: Starts of a fit that are refined.
_FOLLOWED = 60
#: Newton steps after which rows are compared, and again.
_ROUNDS = (3, 4, 8, 15)
#: Squared distance in standard errors (-2 log-likelihood, by the curvature) of rows that count as
#: on the way to the same minimum.
_SAME = 0.5
#: Fall below a minimum for which a stalled iteration is followed to its end.
_LOWER = 1e-6
#: Difference of values that is rounding.
_NOISE = 1e-7

#: Newton's iteration from theta for the listed fits, over so many steps at most.
Few: TypeAlias = Callable[[FloatArray, IntArray, int | None], NewtonResult]


def is_better(first: NewtonResult, second: NewtonResult) -> BoolArray:
    """Row by row, whether the second iteration ended lower."""
    margin = 1e-9 * (1.0 + np.abs(first.value))
    lower = second.value < first.value - margin
    return np.asarray(second.converged & (~first.converged | lower))


@dataclass(frozen=True)
class Others:
    """Where the iterations from other starts ended.

    Attributes
    ----------
    settled
        Rows, of which some may not have converged.
    fits : shape (n_rows,), the fit of each row, a position among those searched.
    n_evaluations : shape (n_fits,), evaluations of all rows, those given up too.
    """

    settled: Settled
    fits: IntArray
    n_evaluations: IntArray


@dataclass(frozen=True)
class Lower:
    """Iterations that stalled below the minimum that is kept.

    Attributes
    ----------
    fits : shape (n_rows,), position of the fit of each.
    newton
        Where they stalled.
    """

    fits: IntArray
    newton: NewtonResult


def search(
    model: ReducedModel,
    criterion: Criterion,
    found: Settled,
    moments: FloatArray,
    held: BoolArray,
    few: Few,
) -> Lower | None:
    """Look for lower minima where there may be some; keep them in ``found``.

    Parameters
    ----------
    moments : shape (n_fits, n_theta), where the first iterations started.
    held : shape (n_theta,), parameters that stay 0.
    """
    rows = np.flatnonzero(_may_have_others(model, criterion, found))
    if rows.size == 0:
        return None
    starts = np.stack([other_starts(criterion, row, moments[row], FIRST_SHARE) for row in rows])
    starts[:, :, held] = 0.0
    return look_elsewhere(criterion, found, starts, rows, few)


def _may_have_others(model: ReducedModel, criterion: Criterion, found: Settled) -> BoolArray:
    """Fits whose first minimum need not be the lowest, shape (n_fits,)."""
    structured = model.design.residual is not None
    if not structured and not any(not is_linear(term.shared) for term in criterion.terms):
        return np.zeros(len(found.theta), dtype=np.bool_)
    return np.ones(len(found.theta), dtype=np.bool_)


def look_elsewhere(
    criterion: Criterion, found: Settled, starts: FloatArray, rows: IntArray, few: Few
) -> Lower:
    """Search from other starts, and keep in ``found`` what is lower.

    Parameters
    ----------
    found
        Where the first iteration of each fit ended.
    starts : shape (n_rows, n_starts, n_theta)
    rows : shape (n_rows,), the fits to search.
    few
        The iteration.
    """
    found.newton.n_evaluations[rows] += starts.shape[1]
    place, which = screen(criterion, starts, rows)
    before = _rows(found.newton, rows)
    others = refine(criterion, starts[place, which], place, rows, before, few)
    found.newton.n_evaluations[rows] += others.n_evaluations
    stalled = [_keep_lowest(found, row, k, others) for k, row in enumerate(rows)]
    below = [part for part in stalled if part is not None]
    if not below:
        nothing = np.zeros(0, dtype=np.intp)
        return Lower(nothing, _rows(found.newton, nothing))
    return Lower(np.array([row for row, _ in below]), _stacked([part for _, part in below]))


def _keep_lowest(
    found: Settled, row: int, place: int, others: Others
) -> tuple[int, NewtonResult] | None:
    """Put the lowest minimum of a fit into ``found``; what stalled below it, if anything."""
    own = np.flatnonzero(others.fits == place)
    values, converged = others.settled.newton.value[own], others.settled.newton.converged[own]
    first = _rows(found.newton, np.array([row]), spend=False)
    if converged.any():
        best = own[[np.argmin(np.where(converged, values, np.inf))]]
        at = others.settled
        other = Settled(at.theta[best], at.singular[best], _rows(at.newton, best, spend=False))
        found.put(np.array([row]), other, is_better(first, other.newton))
    stalled = own[~converged]
    candidates = [_rows(others.settled.newton, stalled, spend=False)] if stalled.size else []
    if not first.converged[0] and found.newton.converged[row]:
        candidates.append(first)
    if not candidates:
        return None
    each = _stacked(candidates)
    lowest = int(np.argmin(each.value))
    margin = _LOWER if found.newton.converged[row] else 0.0
    if not each.value[lowest] < found.newton.value[row] - margin:
        return None
    return row, _rows(each, np.array([lowest]))


def screen(criterion: Criterion, starts: FloatArray, fits: IntArray) -> tuple[IntArray, IntArray]:
    """The starts of each fit where the criterion is lowest.

    Parameters
    ----------
    starts : shape (n_fits, n_starts, n_theta)
    fits : shape (n_fits,)

    Returns
    -------
    Position among ``fits`` of each start chosen, and its position among the starts, lowest first.
    """
    n_fits, n_starts, n_theta = starts.shape
    flat = starts.reshape(n_fits * n_starts, n_theta)
    values = criterion.value(flat, np.repeat(fits, n_starts)).reshape(n_fits, n_starts)
    values = np.where(np.isfinite(values), values, np.inf)
    order = np.argsort(values, axis=1, kind="stable")[:, :_FOLLOWED]
    rank = np.sort(values, axis=1)[:, : order.shape[1]]
    # The same start twice, as where a structure has no such member, is one.
    fresh = np.ones(rank.shape, dtype=np.bool_)
    fresh[:, 1:] = rank[:, 1:] != rank[:, :-1]
    row, place = np.nonzero(np.isfinite(rank) & fresh)
    return row, order[row, place]


def refine(
    criterion: Criterion,
    theta: FloatArray,
    rows: IntArray,
    fits: IntArray,
    found: NewtonResult,
    few: Few,
) -> Others:
    """Newton from all rows at once, in rounds after which rows that are not needed are given up.

    Parameters
    ----------
    theta : shape (n_rows, n_theta), starts.
    rows : shape (n_rows,), position among ``fits`` of each.
    fits : shape (n_fits,)
    found
        Where the first iteration of each of ``fits`` ended.
    """
    spent = np.zeros(len(fits), dtype=np.intp)
    ended: list[NewtonResult] = []
    owner: list[IntArray] = []
    for steps in _ROUNDS:
        if rows.size == 0:
            break
        newton = few(theta, fits[rows], steps)
        np.add.at(spent, rows, newton.n_evaluations)
        newton = _rows(newton, np.arange(len(rows)), spend=False)
        keep = _distinct(newton, rows, found)
        done = keep & (newton.converged | (steps == _ROUNDS[-1]))
        ended.append(_rows(newton, np.flatnonzero(done)))
        owner.append(rows[done])
        go = keep & ~done & np.isfinite(newton.value)
        theta, rows = newton.theta[go], rows[go]
    whole, own = _stacked(ended), np.concatenate(owner)

    def iterate(theta: FloatArray, chosen: IntArray) -> NewtonResult:
        return few(theta, chosen, _ROUNDS[-1])

    settled = settle(criterion, whole, iterate, fits[own])
    np.add.at(spent, own, settled.newton.n_evaluations)
    return Others(settled, own, spent)


def _distinct(newton: NewtonResult, rows: IntArray, found: NewtonResult) -> BoolArray:
    """Rows that are not on their way to where a lower row of their fit, or the fit itself, is."""
    keep = np.isfinite(newton.value)
    for fit in np.unique(rows):
        own = np.flatnonzero((rows == fit) & keep)
        own = own[np.lexsort((newton.value[own], ~newton.converged[own]))]
        goals = [(found, fit)] if found.converged[fit] else []
        for row in own:
            if any(_leads_to(newton, row, *goal) for goal in goals):
                keep[row] = False
            else:
                goals.append((newton, row))
    return keep


def _leads_to(newton: NewtonResult, row: int, other: NewtonResult, goal: int) -> bool:
    """Whether a row is near to where another is, and not below it."""
    above = newton.value[row] - other.value[goal]
    way = newton.theta[row] - other.theta[goal]
    distance = float((np.abs(other.curvature[goal]) * way * way).sum())
    return bool(-_NOISE < above < _SAME and distance < _SAME)


def _rows(newton: NewtonResult, keep: IntArray, spend: bool = True) -> NewtonResult:
    """Some rows of an iteration; without ``spend`` their evaluations have been counted."""
    parts = {name: value[keep] for name, value in vars(newton).items()}
    if not spend:
        parts["n_evaluations"] = np.zeros(len(keep), dtype=np.intp)
    return NewtonResult(**parts)


def _stacked(parts: list[NewtonResult]) -> NewtonResult:
    names = NewtonResult.__dataclass_fields__
    return NewtonResult(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})
