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
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.criterion import Criterion
from mlmfast.fitting.boundary import Settled, settle
from mlmfast.fitting.near_singular import is_lost, residual_parts
from mlmfast.fitting.starts import is_linear, other_starts, residual_stretches
from mlmfast.newton import NewtonResult
from mlmfast.reduction.blocks import structure_of
from mlmfast.reduction.independence import is_within
from mlmfast.reduction.reduced_model import FIRST_SHARE, ReducedModel

#: Starts of each kind that are refined, and where rows are many.
_FOLLOWED, _FEW_FOLLOWED, _MANY_ROWS = 8, 2, 2_000
#: Rows a parameter below which to search: residual covariances alone, and beside random effects.
_FEW_ROWS_ALONE, _FEW_ROWS = 15, 40
#: Smallest eigenvalue of a Hessian that is not flat.
_FLAT = 1e-4
#: Newton steps after which rows are compared, and how many of a fit go on; again and again.
_ROUNDS = ((3, 12), (4, 8), (8, 5), (15, 3))
#: Newton steps of one row, which a limit on the iteration has to allow for a search.
STEPS = sum(steps for steps, _ in _ROUNDS)
#: Squared distance in standard errors (-2 log-likelihood, by the curvature) of rows that count as
#: on the way to the same minimum.
_SAME = 0.5
#: Fall below a minimum for which a stalled iteration is followed to its end.
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
    few: Few,
) -> tuple[dict[int, NewtonResult], IntArray]:
    """Look for lower minima where there may be some; keep them in ``found``.

    Parameters
    ----------
    moments : shape (n_fits, n_theta), where the first iterations started.
    held : shape (n_theta,), parameters that stay 0.

    Returns
    -------
    Iterations that stalled below the minimum that is kept, by fit, and evaluations (n_fits,).
    """
    rows = np.flatnonzero(_may_have_others(model, criterion, found))
    most = _FOLLOWED if model.design.n_obs < _MANY_ROWS else _FEW_FOLLOWED
    before_all = found.newton.n_evaluations.copy()
    stalled: dict[int, NewtonResult] = {}
    base = moments
    for _ in range(_TURNS if rows.size else 0):
        starts = [other_starts(criterion, int(row), base[row], FIRST_SHARE) for row in rows]
        kinds = [np.where(held, 0.0, kind) for kind in zip(*starts, strict=True) if len(kind[0])]
        before = found.newton.value.copy()
        stalled |= _look_elsewhere(criterion, found, kinds, rows, most, few)
        # A lower minimum is a place to look round from.
        rows, base = rows[found.newton.value[rows] < before[rows] - _LOWER], found.theta
        if rows.size == 0:
            break
    spent = found.newton.n_evaluations - before_all
    found.newton.n_evaluations[:] = before_all
    return stalled, spent


def _may_have_others(model: ReducedModel, criterion: Criterion, found: Settled) -> BoolArray:
    """Fits whose first minimum need not be the lowest, shape (n_fits,).

    Covariances that are not linear in their parameters, and residual ones beside random effects,
    where rows are few for the parameters; or where the first minimum is a doubtful one.
    """
    n = len(found.theta)
    if all(not term.is_residual and is_linear(term.shared) for term in criterion.terms):
        return np.zeros(n, dtype=np.bool_)
    effects = any(not term.is_residual for term in criterion.terms)
    alone = len(criterion.terms) == 1 and is_linear(structure_of(criterion.terms[0]))
    few = _FEW_ROWS if effects else _FEW_ROWS_ALONE
    # An unstructured or diagonal covariance alone has one minimum.
    if not alone and model.design.n_obs < few * criterion.n_theta:
        return np.ones(n, dtype=np.bool_)
    if effects and _share_subjects(model):
        return np.ones(n, dtype=np.bool_)
    doubtful = ~found.newton.converged
    spatial = any(isinstance(s.structure, Spatial) for s in residual_stretches(criterion))
    if spatial or model.design.n_obs < _MANY_ROWS:
        # A range below all distances is as good as any other such one, and need not be the best.
        doubtful |= found.newton.min_eigenvalue < _FLAT
    parts = zip(criterion.terms, criterion.theta_slices, found.singular.T, strict=True)
    for term, s, singular in parts:
        if not term.is_residual and term.has_vague_parameters:
            doubtful |= singular | term.shared.is_vague(found.newton.curvature[:, s])
    return np.asarray(doubtful)


def _share_subjects(model: ReducedModel) -> bool:
    """Whether random effects vary inside the subjects of a residual covariance.

    Part of the variance within a subject may pass for either, whatever the number of rows.
    """
    residual = model.design.residual
    if residual is None or residual.formula is None:
        return False
    factors = [model.design.factors[term.factor] for term in model.design.random]
    return any(
        factor.n_levels > residual.n_units
        and is_within(factor.codes, factor.n_levels, residual.units)
        for factor in factors
    )


def _look_elsewhere(
    criterion: Criterion,
    found: Settled,
    kinds: list[FloatArray],
    rows: IntArray,
    most: int,
    few: Few,
) -> dict[int, NewtonResult]:
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
    before = _rows(found.newton, rows)
    others = refine(criterion, starts, place, rows, before, few)
    found.newton.n_evaluations[rows] += others.n_evaluations
    below = [_keep_lowest(criterion, found, int(row), k, others) for k, row in enumerate(rows)]
    stalled = {int(row): part for row, part in zip(rows, below, strict=True) if part is not None}
    return _followed(criterion, found, stalled, few)


def _keep_lowest(
    criterion: Criterion, found: Settled, row: int, place: int, others: Others
) -> NewtonResult | None:
    """Put the lowest minimum of a fit into ``found``; what stalled below it, if anything."""
    own = np.flatnonzero(others.fits == place)
    newton, first = others.settled.newton, _rows(found.newton, np.array([row]), spend=False)
    converged = own[newton.converged[own]]
    if converged.size:
        best = converged[[np.argmin(newton.value[converged])]]
        _put(found, row, others.settled, best)
    candidates = [_rows(newton, own[~newton.converged[own]], spend=False)]
    if not first.converged[0] and found.newton.converged[row]:
        candidates.append(first)
    each = _stacked(candidates)
    each = _rows(each, np.flatnonzero(~is_lost(residual_parts(criterion), each.theta)))
    if len(each.value) == 0:
        return None
    lowest = int(np.argmin(each.value))
    margin = _LOWER if found.newton.converged[row] else 0.0
    if not each.value[lowest] < found.newton.value[row] - margin:
        return None
    return _rows(each, np.array([lowest]))


def _put(found: Settled, row: int, other: Settled, best: IntArray) -> None:
    """Replace a fit by one row of other iterations, if that ended lower."""
    at, newton = np.array([row]), _rows(other.newton, best, spend=False)
    takes = is_better(_rows(found.newton, at), newton)
    found.put(at, Settled(other.theta[best], other.singular[best], newton), takes)


def _followed(
    criterion: Criterion, found: Settled, stalled: dict[int, NewtonResult], few: Few
) -> dict[int, NewtonResult]:
    """Iterations below the minimum that is kept, gone on with; those that stall for good."""
    out = {}
    for row, newton in stalled.items():
        fit = np.array([row])
        whole = few(newton.theta, fit, None)
        other = settle(criterion, whole, lambda theta, chosen: few(theta, chosen, None), fit)
        found.newton.n_evaluations[row] += other.newton.n_evaluations[0]
        _put(found, row, other, np.zeros(1, dtype=np.intp))
        last = _rows(other.newton, np.zeros(1, dtype=np.intp), spend=False)
        if not last.converged[0] and last.value[0] < found.newton.value[row] - _LOWER:
            out[row] = last
    return out


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
        newton = _rows(newton, np.arange(len(rows)), spend=False)
        newton.n_iterations[:] += taken
        keep = _distinct(newton, rows, found, most)
        done = keep & (newton.converged | (most == _ROUNDS[-1][1]))
        ended.append(_rows(newton, np.flatnonzero(done)))
        owner.append(rows[done])
        go = keep & ~done & np.isfinite(newton.value)
        theta, rows, taken = newton.theta[go], rows[go], newton.n_iterations[go]
    whole, own = _stacked(ended), np.concatenate(owner)

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


def _rows(newton: NewtonResult, keep: IntArray, spend: bool = True) -> NewtonResult:
    """Some rows of an iteration; without ``spend`` their evaluations have been counted."""
    parts = {name: value[keep] for name, value in vars(newton).items()}
    if not spend:
        parts["n_evaluations"] = np.zeros(len(keep), dtype=np.intp)
    return NewtonResult(**parts)


def _stacked(parts: list[NewtonResult]) -> NewtonResult:
    names = NewtonResult.__dataclass_fields__
    return NewtonResult(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})
