"""Other minima: starts that differ in kind, judged by their values, refined together.

A screen of values picks the most promising starts of each fit. These are refined as one batch of
Newton rows, a few steps at a time: rows that are on their way to where another row of the same fit
is, or further on, are given up. What is left at the end settles at its zeros, and the lowest
minimum is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.barrier import ResidualPart, residual_parts
from mlmfast.criterion.criterion import Criterion
from mlmfast.fitting.boundary import Settled, settle
from mlmfast.fitting.minima.guarded import Guarded, OpenEnds, guarded_ends
from mlmfast.fitting.minima.iterated_rows import rows_of, stacked
from mlmfast.fitting.minima.where_to_search import (
    FEW_ROWS,
    MANY_ROWS,
    fits_to_search,
    is_too_dear,
)
from mlmfast.fitting.starts.kinds import other_starts
from mlmfast.fitting.starts.levels import round_minimum
from mlmfast.fitting.starts.moments import FIRST_SHARE
from mlmfast.fitting.starts.stretches import residual_stretches
from mlmfast.newton.iteration import NewtonResult
from mlmfast.reduction.reduced_model import ReducedModel

#: Starts of each kind that are refined: where rows are few, and where they are many.
_FOLLOWED, _FEW_ROWS_FOLLOWED, _FEW_FOLLOWED = 8, 16, 2
#: Entries of covariances above which an evaluation is dear.
_MANY_ENTRIES = 100
#: Starts of each kind that are followed behind the barrier, and where evaluations are dear.
_MANY, _FEW_DEAR = 24, 8
#: Newton steps after which rows are compared, and how many of a fit go on; again and again.
_ROUNDS = ((3, 16), (4, 10), (8, 6), (15, 4))
#: Squared distance in standard errors (-2 log-likelihood, by the curvature) of rows that count as
#: on the way to the same minimum.
_SAME = 0.5
#: Fall below a minimum for which there is another search round the new one.
_LOWER = 1e-6
#: Searches, each from where the one before ended.
_TURNS = 2
#: Difference of values that is rounding.
_NOISE = 1e-7

#: Newton's iteration from theta for the listed fits, over so many steps at most.
Few: TypeAlias = Callable[[FloatArray, IntArray, int | None], NewtonResult]


def is_better(first: NewtonResult, second: NewtonResult) -> BoolArray:
    """Row by row, whether the second iteration ended lower."""
    reached = np.isfinite(first.value)
    before = np.where(reached, first.value, 0.0)
    lower = ~reached | (second.value < before - 1e-9 * (1.0 + np.abs(before)))
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


def search(
    model: ReducedModel,
    criterion: Criterion,
    found: Settled,
    moments: FloatArray,
    held: BoolArray,
    within: BoolArray,
    few: Few,
    guarded: Guarded,
) -> tuple[dict[int, OpenEnds], IntArray, tuple[int, ...]]:
    """Look for lower minima where there may be some; keep them in ``found``.

    Parameters
    ----------
    moments : shape (n_fits, n_theta), where the first iterations started.
    held : shape (n_theta,), parameters that stay 0.
    within : shape (n_fits,), fits whose first iteration did not end at its limit of steps.
    few, guarded
        The iteration, and the one with a barrier at singular residual covariances.

    Returns
    -------
    By fit, where iterations to a singular residual covariance are to go on; evaluations (n_fits,);
    fits whose search was left out, since it would take too long.
    """
    rows, left_out = fits_to_search(model, criterion, found, within), ()
    if rows.size and is_too_dear(model, criterion):
        rows, left_out = rows[:0], tuple(rows.tolist())
    before_all = found.newton.n_evaluations.copy()
    open_ends: dict[int, OpenEnds] = {}
    parts = residual_parts(criterion)
    if rows.size and parts:
        kinds = _kinds(criterion, rows, moments, held)
        n_obs = model.design.n_observations
        open_ends = _look_guarded(criterion, parts, found, kinds, rows, n_obs, few, guarded)
        for of_arm in _of_one_arm(criterion, kinds, found, rows):
            _look_guarded(criterion, parts, found, of_arm, rows, n_obs, few, guarded)
    elif rows.size:
        _look_in_turns(model, criterion, found, rows, moments, held, few)
    spent = found.newton.n_evaluations - before_all
    found.newton.n_evaluations[:] = before_all
    return open_ends, spent, left_out


def _kinds(
    criterion: Criterion, rows: IntArray, base: FloatArray, held: BoolArray
) -> list[FloatArray]:
    """Starts of several kinds, each of shape (n_rows, n_starts, n_theta)."""
    starts = [other_starts(criterion, int(row), base[row], FIRST_SHARE) for row in rows]
    return [np.where(held, 0.0, kind) for kind in zip(*starts, strict=True) if len(kind[0])]


def _of_one_arm(
    criterion: Criterion, kinds: list[FloatArray], found: Settled, rows: IntArray
) -> Iterator[list[FloatArray]]:
    """Starts of one arm beside what is found of the others by then, arm after arm.

    The likelihood is as good as a product over the arms, each of which may have several minima;
    starts that change all arms at once meet the best of every arm together by luck alone.
    """
    arms = residual_stretches(criterion)
    for arm in arms if len(arms) > 1 else ():
        of_arm = []
        for kind in kinds:
            own = np.repeat(found.theta[rows][:, None, :], kind.shape[1], axis=1)
            own[:, :, arm.theta] = kind[:, :, arm.theta]
            of_arm.append(own)
        yield of_arm


def _round(
    criterion: Criterion, rows: IntArray, theta: FloatArray, held: BoolArray
) -> list[FloatArray]:
    """Starts round the minima found, by kind, each of shape (n_rows, n_starts, n_theta)."""
    starts = [round_minimum(criterion, theta[row]) for row in rows]
    return [np.where(held, 0.0, kind) for kind in zip(*starts, strict=True) if len(kind[0])]


def _look_in_turns(
    model: ReducedModel,
    criterion: Criterion,
    found: Settled,
    rows: IntArray,
    base: FloatArray,
    held: BoolArray,
    few: Few,
) -> None:
    """Search from other starts, and again round a lower minimum; keep in ``found`` what is."""
    most = _followed(model.design.n_observations)
    for turn in range(_TURNS):
        kinds = _kinds(criterion, rows, base, held)
        if turn == 0:
            kinds += _round(criterion, rows, found.theta, held)
        before = found.newton.value.copy()
        _look_elsewhere(criterion, found, kinds, rows, most, few)
        # A lower minimum is a place to look round from.
        rows, base = rows[found.newton.value[rows] < before[rows] - _LOWER], found.theta
        if rows.size == 0:
            break


def _followed(n_obs: int) -> int:
    """Starts of each kind that are refined."""
    if n_obs < FEW_ROWS:
        return _FEW_ROWS_FOLLOWED
    return _FOLLOWED if n_obs < MANY_ROWS else _FEW_FOLLOWED


def _look_guarded(
    criterion: Criterion,
    parts: tuple[ResidualPart, ...],
    found: Settled,
    kinds: list[FloatArray],
    rows: IntArray,
    n_obs: int,
    few: Few,
    guarded: Guarded,
) -> dict[int, OpenEnds]:
    """Search behind a barrier; keep lower minima in ``found``, and return where others begin."""
    n_entries = sum(s.stop - s.start for s in criterion.entry_slices)
    is_dear = n_entries > _MANY_ENTRIES or n_obs >= FEW_ROWS
    most = _FEW_DEAR if is_dear else _MANY
    found.newton.n_evaluations[rows] += sum(kind.shape[1] for kind in kinds)
    chosen = [screen(criterion, kind, rows, most) for kind in kinds]
    chosen.append((np.arange(len(rows)), found.theta[rows]))
    place, starts = (np.concatenate(part) for part in zip(*chosen, strict=True))
    ends = guarded_ends(criterion, parts, starts, place, rows, guarded, is_dear)
    found.newton.n_evaluations[rows] += ends.n_evaluations
    at = ends.near_singular.copy()
    inside = np.flatnonzero(~at)
    theta, own = ends.theta[inside], ends.rows[inside]
    if own.size:
        newton = few(theta, rows[own], None)
        np.add.at(found.newton.n_evaluations, rows[own], newton.n_evaluations)
        before = newton.n_evaluations.copy()
        settled = settle(criterion, newton, lambda t, some: few(t, some, None), rows[own])
        np.add.at(found.newton.n_evaluations, rows[own], settled.newton.n_evaluations - before)
        others = Others(settled, own, ends.n_evaluations)
        for k, row in enumerate(rows):
            _keep_lowest(found, int(row), k, others)
        # The others are singular too, seen from nearer.
        at[inside] = ~settled.newton.converged
    nowhere = found.theta[:0]
    return {
        int(row): OpenEnds(ends.theta[at & (ends.rows == k)], ends.lost.get(k, nowhere))
        for k, row in enumerate(rows)
    }


def _look_elsewhere(
    criterion: Criterion,
    found: Settled,
    kinds: list[FloatArray],
    rows: IntArray,
    most: int,
    few: Few,
) -> None:
    """Search from other starts, and keep in ``found`` what is lower.

    Parameters
    ----------
    found
        Where the first iteration of each fit ended.
    kinds : shapes (n_rows, n_starts, n_theta), starts of several kinds.
    rows : shape (n_rows,), the fits to search.
    most
        Starts of each kind to refine.
    few
        The iteration.
    """
    found.newton.n_evaluations[rows] += sum(starts.shape[1] for starts in kinds)
    chosen = [screen(criterion, starts, rows, most) for starts in kinds]
    place, starts = (np.concatenate(part) for part in zip(*chosen, strict=True))
    before = rows_of(found.newton, rows)
    others = refine(criterion, starts, place, rows, before, few)
    found.newton.n_evaluations[rows] += others.n_evaluations
    for k, row in enumerate(rows):
        _keep_lowest(found, int(row), k, others)
        _go_on(criterion, found, int(row), k, others, few)


def _go_on(
    criterion: Criterion, found: Settled, row: int, place: int, others: Others, few: Few
) -> None:
    """Follow the lowest iteration that has not ended, where it is below what is kept of the fit."""
    newton = others.settled.newton
    own = np.flatnonzero((others.fits == place) & ~newton.converged & np.isfinite(newton.value))
    if own.size == 0:
        return
    lowest = own[[np.argmin(newton.value[own])]]
    kept = found.newton.value[row] if found.newton.converged[row] else np.inf
    if not newton.value[lowest[0]] < kept - _LOWER:
        return
    fit = np.array([row])
    whole = few(others.settled.theta[lowest], fit, None)
    ended = settle(criterion, whole, lambda theta, chosen: few(theta, chosen, None), fit)
    found.newton.n_evaluations[row] += ended.newton.n_evaluations[0]
    _put(found, row, ended, np.zeros(1, dtype=np.intp))


def _keep_lowest(found: Settled, row: int, place: int, others: Others) -> None:
    """Put the lowest minimum of a fit into ``found``."""
    newton = others.settled.newton
    own = np.flatnonzero((others.fits == place) & newton.converged)
    if own.size:
        _put(found, row, others.settled, own[[np.argmin(newton.value[own])]])


def _put(found: Settled, row: int, other: Settled, best: IntArray) -> None:
    """Replace a fit by one row of other iterations, if that ended lower."""
    at, newton = np.array([row]), rows_of(other.newton, best, spend=False)
    takes = is_better(rows_of(found.newton, at), newton)
    found.put(at, Settled(other.theta[best], other.singular[best], newton), takes)


def screen(
    criterion: Criterion, starts: FloatArray, fits: IntArray, most: int
) -> tuple[IntArray, FloatArray]:
    """The starts of each fit where the criterion is lowest.

    Parameters
    ----------
    starts : shape (n_fits, n_starts, n_theta)
    fits : shape (n_fits,)
    most
        How many to choose.

    Returns
    -------
    Position among ``fits`` of each start chosen, and these starts, lowest first.
    """
    n_fits, n_starts, n_theta = starts.shape
    flat = starts.reshape(n_fits * n_starts, n_theta)
    values = criterion.value(flat, np.repeat(fits, n_starts)).reshape(n_fits, n_starts)
    values = np.where(np.isfinite(values), values, np.inf)
    order = np.argsort(values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=1)
    # The same start twice, as where a structure has no such member, is one.
    fresh = np.isfinite(ranked)
    fresh[:, 1:] &= ranked[:, 1:] != ranked[:, :-1]
    row, place = np.nonzero(fresh & (np.cumsum(fresh, axis=1) <= most))
    return row, starts[row, order[row, place]]


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
    spent, taken = np.zeros(len(fits), dtype=np.intp), np.zeros(len(rows), dtype=np.intp)
    ended: list[NewtonResult] = []
    owner: list[IntArray] = []
    for steps, most in _ROUNDS:
        if rows.size == 0:
            break
        newton = few(theta, fits[rows], steps)
        np.add.at(spent, rows, newton.n_evaluations)
        newton = rows_of(newton, np.arange(len(rows)), spend=False)
        newton.n_iterations[:] += taken
        keep = _distinct(newton, rows, found, most)
        done = keep & (newton.converged | (most == _ROUNDS[-1][1]))
        ended.append(rows_of(newton, np.flatnonzero(done)))
        owner.append(rows[done])
        go = keep & ~done & np.isfinite(newton.value)
        theta, rows, taken = newton.theta[go], rows[go], newton.n_iterations[go]
    whole, own = stacked(ended), np.concatenate(owner)

    def iterate(theta: FloatArray, chosen: IntArray) -> NewtonResult:
        return few(theta, chosen, _ROUNDS[-1][0])

    settled = settle(criterion, whole, iterate, fits[own])
    np.add.at(spent, own, settled.newton.n_evaluations)
    return Others(settled, own, spent)


def _distinct(newton: NewtonResult, rows: IntArray, found: NewtonResult, most: int) -> BoolArray:
    """Rows to go on with: the lowest ``most`` of each fit.

    Not those that are on their way to where a lower row of their fit, or the fit itself, is.
    """
    keep = np.isfinite(newton.value)
    for fit in np.unique(rows):
        own = np.flatnonzero((rows == fit) & keep)
        own = own[np.argsort(newton.value[own], kind="stable")]
        goals = [(found, int(fit))]
        for row in own.tolist():
            if len(goals) > most or any(_leads_to(newton, row, *goal) for goal in goals):
                keep[row] = False
            else:
                goals.append((newton, row))
    return keep


def _leads_to(newton: NewtonResult, row: int, other: NewtonResult, goal: int) -> bool:
    """Whether a row is near to where another is, and not below it; or both have ended."""
    if not np.isfinite(other.value[goal]):
        return False
    above = newton.value[row] - other.value[goal]
    if newton.converged[row] and other.converged[goal]:
        return bool(above > -_NOISE)
    way = newton.theta[row] - other.theta[goal]
    distance = float((np.abs(other.curvature[goal]) * way * way).sum())
    return bool(-_NOISE < above < _SAME and distance < _SAME)
