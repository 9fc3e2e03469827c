"""The order of the steps: start, Newton, boundary, estimates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.factor_analytic.factor_analytic import FactorAnalytic
from mlmfast.criterion.barrier import Barrier, residual_parts
from mlmfast.criterion.criterion import Criterion, criterion_of
from mlmfast.criterion.held import HeldCriterion
from mlmfast.criterion.scoring import LIFT, Scoring
from mlmfast.criterion.some_fits import SomeFits
from mlmfast.fitting.boundary import TRY_ZERO, replace_rows, set_zeros, settle
from mlmfast.fitting.confounding import confounded_terms
from mlmfast.fitting.core_steps import Ends, core_steps, whole_fit
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.iterative import fit_iteratively
from mlmfast.fitting.minima.counted import leaves_to_few
from mlmfast.fitting.minima.guarded import OpenEnds
from mlmfast.fitting.minima.near_singular import becomes_singular, leaves_barrier
from mlmfast.fitting.minima.several import is_better, search
from mlmfast.fitting.minima.singular_ends import NO_ENDS, bring_to_singular_ends
from mlmfast.fitting.starts.em import improved_by_em
from mlmfast.fitting.starts.kinds import is_linear, large_start
from mlmfast.fitting.starts.moments import moment_start
from mlmfast.fitting.starts.probed import first_start
from mlmfast.fitting.starts.stretches import residual_stretches
from mlmfast.fitting.unbounded import fit_unbounded
from mlmfast.fitting.undetermined.search import SUSPECT, with_flat_effects
from mlmfast.fitting.undetermined.values import without_flat_values
from mlmfast.newton.criterion import Progress
from mlmfast.newton.iteration import CriterionFunction, Leaves, NewtonResult, newton_raphson
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.engines.iterative import conjugate_gradients
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.running.memory import check_memory

#: Rows up to which a fit is tried as one of ordinary steps alone.
_FEW_ROWS = 5_000
#: Trials along a step in the search for other minima.
_FEW_HALVINGS = 6
#: Newton steps that an iteration from another start may take at least.
_STEPS_ELSEWHERE = 100
#: Scaled Hessian eigenvalue below which a direction may be one of those the data do not tell.
_FLOOR_BESIDE_FLAT = 1e-8
#: Newton decrement that is small enough to tell ends from each other.
_LOOSE = 1e-4
#: Matrices of second derivatives that exist side by side, those of the core included.
_MATRICES = 20


def fit_covariance(
    model: ReducedModel,
    method: str,
    options: NewtonOptions,
    start: FloatArray | None = None,
) -> CovarianceFit:
    """Estimate the covariance parameters of every response of a reduction."""
    criterion = criterion_of(model, method)
    if start is None and len(model.y_scaling) == 1 and model.design.is_bounded:
        ordinary = _ordinary_fit(model, criterion, options)
        if ordinary is not None:
            return ordinary
    if model.iterative is None:
        check_memory(
            8.0 * _MATRICES * len(model.y_scaling) * criterion.n_theta**2,
            f"Newton's method for {criterion.n_theta:,} covariance parameters",
            "write (... || g) or a structure with fewer parameters",
        )
    criterion = with_flat_effects(model, criterion)
    if not model.design.is_bounded:

        def within(bounded: ReducedModel) -> CovarianceFit:
            return _fit_covariance(bounded, criterion_of(bounded, method), options)

        return fit_unbounded(model, criterion, options, start, within)
    found = _fit_covariance(model, criterion, options, start)
    return without_flat_values(model, found)


def _ordinary_fit(
    model: ReducedModel, criterion: Criterion, options: NewtonOptions
) -> CovarianceFit | None:
    """The fit where it is one of ordinary steps alone, as most are; else None.

    Of few rows: where a fit turns out to be another, its evaluations were for nothing.
    """
    if model.design.n_obs > _FEW_ROWS or not (criterion.terms and _is_plain(model, criterion)):
        return None
    n_levels = min(model.design.factors[factor].n_levels for factor in model.levels)
    newton = whole_fit(criterion, options, Ends(n_levels, SUSPECT, LIFT, TRY_ZERO))
    if newton is None:
        return None
    inside = np.zeros((1, len(criterion.terms)), dtype=np.bool_)
    # One evaluation was for the start.
    return CovarianceFit(criterion, newton.theta, inside, newton, newton.n_evaluations + 1)


def _fit_covariance(
    model: ReducedModel,
    criterion: Criterion,
    options: NewtonOptions,
    start: FloatArray | None = None,
) -> CovarianceFit:
    n_fits = len(model.y_scaling)
    fits = np.arange(n_fits)
    if criterion.n_theta == 0:
        nothing = np.zeros((n_fits, 0), dtype=np.bool_)
        newton = _no_parameters(criterion)
        return CovarianceFit(criterion, newton.theta, nothing, newton, newton.n_evaluations)
    if model.iterative is not None:
        with conjugate_gradients():
            theta = moment_start(model, criterion) if start is None else start
            newton = fit_iteratively(criterion, theta, options)
            found = set_zeros(criterion, newton, fits)
        newton = found.newton
        return CovarianceFit(criterion, found.theta, found.singular, newton, newton.n_evaluations)
    if start is None and _is_plain(model, criterion):
        at_zero = criterion.at_zero if n_fits == 1 else criterion.at_zero_of(fits)
        return fit_independent(criterion, at_zero, options)
    if criterion.flat is not None:
        # Along what the data do not tell derivatives are rounding, and so would steps be.
        options = replace(options, floor=max(options.floor, _FLOOR_BESIDE_FLAT))
    structured = model.design.residual is not None
    # Scoring in the entries of R would leave its structure.
    scoring = None if structured else Scoring(criterion)
    given = start is not None
    if start is None:
        start = improved_by_em(model, criterion, first_start(model, criterion, fits))
    confounded = [] if given else confounded_terms(model, criterion, start)
    held = _held(criterion, confounded)
    parts = residual_parts(criterion) if structured else ()
    leaves = leaves_to_few(model, criterion, becomes_singular(parts)) if parts else None

    def few(theta: FloatArray, chosen: IntArray, steps: int | None) -> NewtonResult:
        theta = np.where(held, 0.0, theta)
        some = SomeFits(criterion, chosen)
        if steps is None:
            whole = replace(options, max_iter=max(options.max_iter, _STEPS_ELSEWHERE))
            return _iterate(some, theta, whole, scoring, held, leaves)
        few = replace(options, max_iter=steps, max_halvings=_FEW_HALVINGS)
        # Scoring steps held within a structure cost more than they save here.
        return _iterate(some, theta, few, None, held)

    def guarded(theta: FloatArray, chosen: IntArray, steps: int, weight: float) -> NewtonResult:
        barrier = Barrier(SomeFits(criterion, chosen), residual_parts(criterion), weight)
        few = replace(options, tolerance=_LOOSE, max_iter=steps, max_halvings=_FEW_HALVINGS)
        return _iterate(barrier, np.where(held, 0.0, theta), few, None, held)

    def iterate(theta: FloatArray, chosen: IntArray) -> NewtonResult:
        some = SomeFits(criterion, chosen)
        return _iterate(some, np.where(held, 0.0, theta), options, scoring, held, leaves)

    def without_scoring(
        criterion: CriterionFunction, theta: FloatArray, options: NewtonOptions
    ) -> NewtonResult:
        return _iterate(criterion, theta, options, None, held, leaves_barrier(criterion))

    newton = iterate(start, fits)
    if not given and scoring is not None and model.has_confounded_effects:
        large = iterate(large_start(criterion, n_fits), fits)
        replace_rows(newton, fits, large, is_better(newton, large))
    found = settle(criterion, newton, iterate, fits)
    lower: dict[int, OpenEnds] = {}
    n_elsewhere, unsearched = np.zeros(n_fits, dtype=np.intp), tuple[int, ...]()
    if not given:
        # A limit on the steps from the first start says nothing of other starts: these have limits
        # of their own, and none are tried where the first has reached its.
        within = found.newton.converged | (found.newton.n_iterations < options.max_iter)
        lower, n_elsewhere, unsearched = search(
            model, criterion, found, start, held, within, few, guarded
        )
    ends = NO_ENDS
    if structured:
        ends = bring_to_singular_ends(
            model, criterion, found, options, lower, n_elsewhere, without_scoring
        )
    found.singular[:, confounded] = True
    for stretch in residual_stretches(criterion):
        if isinstance(stretch.structure, FactorAnalytic):
            own = found.theta[:, stretch.theta]
            found.theta[:, stretch.theta] = stretch.structure.off_zero(own)
    newton = found.newton
    n_evaluations = newton.n_evaluations + int(not given and not structured)
    return CovarianceFit(
        replace(criterion, through_v=ends.through_v),
        found.theta,
        found.singular,
        newton,
        n_evaluations,
        tuple(confounded),
        ends.singular,
        ends.without_bound,
        n_elsewhere,
        ends.unbounded_elsewhere,
        unsearched=unsearched,
    )


def _is_plain(model: ReducedModel, criterion: Criterion) -> bool:
    """Whether there is one minimum to look for, and one start for it."""
    return (
        model.nested is not None
        and model.profiled
        and criterion.flat is None
        and all(is_linear(term.shared) for term in criterion.terms)
        and not model.has_confounded_effects
    )


def fit_independent(
    criterion: Criterion, at_zero: tuple[FloatArray, FloatArray], options: NewtonOptions
) -> CovarianceFit:
    """`fit_covariance` where residuals are independent and effects cannot be confounded.

    ``at_zero`` is `Criterion.at_zero_of` all fits.
    """
    fits = np.arange(len(at_zero[0]))
    theta = Scoring(criterion).start(fits, at_zero)

    def iterate(theta: FloatArray, chosen: IntArray) -> NewtonResult:
        some = SomeFits(criterion, chosen)
        ahead = core_steps(criterion, chosen, options)
        return newton_raphson(some, theta, options, _max_step, Scoring(criterion), None, ahead)

    found = settle(criterion, iterate(theta, fits), iterate, fits)
    newton = found.newton
    return CovarianceFit(criterion, found.theta, found.singular, newton, newton.n_evaluations + 1)


def _held(criterion: Criterion, blocks: list[int]) -> BoolArray:
    """The parameters of some blocks, shape (n_theta,)."""
    held = np.zeros(criterion.n_theta, dtype=np.bool_)
    for block in blocks:
        held[criterion.theta_slices[block]] = True
    return held


def _iterate(
    criterion: CriterionFunction,
    theta: FloatArray,
    options: NewtonOptions,
    scoring: Scoring | None,
    held: BoolArray,
    leaves: Leaves | None = None,
) -> NewtonResult:
    """Newton's iteration over the parameters that are not held."""
    if not held.any():
        ahead = None
        if scoring is not None and leaves is None and isinstance(criterion, SomeFits):
            ahead = core_steps(criterion.criterion, criterion.chosen, options)
        return newton_raphson(criterion, theta, options, _max_step, scoring, leaves, ahead)
    part = HeldCriterion(criterion, theta, np.flatnonzero(~held))
    held_too = None if leaves is None else _of_whole(leaves, held)
    found = newton_raphson(part, theta[:, ~held], options, _max_step, None, held_too)
    return replace(
        found,
        theta=part.whole(found.theta, np.arange(len(theta))),
        curvature=_whole(found.curvature, held),
    )


def _of_whole(leaves: Leaves, held: BoolArray) -> Leaves:
    """The same question about the parameters that are not held; those that are do not matter."""

    def leave(before: FloatArray, after: FloatArray, progress: Progress) -> BoolArray:
        return leaves(_whole(before, held), _whole(after, held), progress)

    return leave


def _whole(curvature: FloatArray, held: BoolArray) -> FloatArray:
    out = np.zeros((len(curvature), len(held)))
    out[:, ~held] = curvature
    return out


def _max_step(theta: FloatArray) -> FloatArray:
    # theta is in units where a random effect and the residual weigh the same in a unit's mean.
    return np.asarray(1.0 + 2.0 * np.sqrt((theta * theta).sum(axis=1)))


def _no_parameters(criterion: Criterion) -> NewtonResult:
    n = len(criterion.reduction.y_scale)
    theta = np.zeros((n, 0))
    return NewtonResult(
        theta=theta,
        value=criterion.value(theta, np.arange(n)),
        decrement=np.zeros(n),
        min_eigenvalue=np.full(n, np.inf),
        curvature=theta,
        converged=np.ones(n, dtype=np.bool_),
        n_iterations=np.zeros(n, dtype=np.intp),
        n_evaluations=np.ones(n, dtype=np.intp),
    )
