"""The order of the steps: start, Newton, boundary, estimates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.structures.factor_analytic import FactorAnalytic
from mlmfast.criterion.criterion import Criterion
from mlmfast.fitting.boundary import Settled, SomeFits, replace_rows, set_zeros, settle
from mlmfast.fitting.confounding import HeldCriterion, confounded_terms
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.iterative import fit_iteratively
from mlmfast.fitting.near_singular import ResidualPart, follow, is_near_singular, residual_parts
from mlmfast.fitting.several_minima import STEPS, is_better, search
from mlmfast.fitting.starts import large_start, residual_stretches
from mlmfast.fitting.undetermined.search import with_flat_effects
from mlmfast.fitting.undetermined.values import without_flat_values
from mlmfast.memory import check_memory
from mlmfast.newton import CriterionFunction, NewtonOptions, NewtonResult, newton_raphson
from mlmfast.reduction.reduced_model import ReducedModel

#: Trials along a step in the search for other minima.
_FEW_HALVINGS = 6
#: Matrices of second derivatives that exist side by side, those of the core included.
_MATRICES = 20
#: Scaled eigenvalue of a Hessian that is lost in rounding.
_LOST = 1e-13


def fit_covariance(
    model: ReducedModel,
    method: str,
    options: NewtonOptions,
    start: FloatArray | None = None,
) -> CovarianceFit:
    """Estimate the covariance parameters of every response of a reduction."""
    criterion = model.criterion(method)
    if model.iterative is None:
        check_memory(
            8.0 * _MATRICES * len(model.y_scaling) * criterion.n_theta**2,
            f"Newton's method for {criterion.n_theta:,} covariance parameters",
            "write (... || g) or a structure with fewer parameters",
        )
    criterion = with_flat_effects(model, criterion)
    found = _fit_covariance(model, criterion, options, start)
    return without_flat_values(model, found)


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
        theta = model.moment_start(criterion) if start is None else start
        newton = fit_iteratively(criterion, theta, options)
        found = set_zeros(criterion, newton, fits)
        newton = found.newton
        return CovarianceFit(criterion, found.theta, found.singular, newton, newton.n_evaluations)
    structured = model.design.residual is not None
    # Scoring in the entries of R would leave its structure.
    scoring = None if structured else criterion
    given = start is not None
    if start is None:
        start = model.residual_start(criterion, fits) if structured else criterion.start(fits)
    confounded = [] if given else confounded_terms(model, criterion, start)
    held = _held(criterion, confounded)

    def few(theta: FloatArray, chosen: IntArray, steps: int | None) -> NewtonResult:
        theta = np.where(held, 0.0, theta)
        some = SomeFits(criterion, chosen)
        if steps is None:
            return _iterate(some, theta, options, scoring, held)
        few = replace(options, max_iter=min(steps, options.max_iter), max_halvings=_FEW_HALVINGS)
        # Scoring steps held within a structure cost more than they save here.
        return _iterate(some, theta, few, None, held)

    def iterate(theta: FloatArray, chosen: IntArray) -> NewtonResult:
        return few(theta, chosen, None)

    newton = iterate(start, fits)
    if not given and scoring is not None and model.has_confounded_effects:
        large = iterate(large_start(criterion, n_fits), fits)
        replace_rows(newton, fits, large, is_better(newton, large))
    found = settle(criterion, newton, iterate, fits)
    lower: dict[int, NewtonResult] = {}
    n_elsewhere = np.zeros(n_fits, dtype=np.intp)
    if not given and options.max_iter >= STEPS:
        lower, n_elsewhere = search(model, criterion, found, start, held, few)
    ends = _near_singular(criterion, found, options, held, lower) if structured else ((), ())
    found.singular[:, confounded] = True
    for stretch in residual_stretches(criterion):
        if isinstance(stretch.structure, FactorAnalytic):
            own = found.theta[:, stretch.theta]
            found.theta[:, stretch.theta] = stretch.structure.off_zero(own)
    newton = found.newton
    n_evaluations = newton.n_evaluations + int(not given and not structured)
    return CovarianceFit(
        criterion,
        found.theta,
        found.singular,
        newton,
        n_evaluations,
        tuple(confounded),
        *ends,
        n_elsewhere,
    )


def fit_independent(criterion: Criterion, n_fits: int, options: NewtonOptions) -> CovarianceFit:
    """`fit_covariance` where residuals are independent and effects cannot be confounded."""
    fits = np.arange(n_fits)
    theta = criterion.start(fits)

    def iterate(theta: FloatArray, chosen: IntArray) -> NewtonResult:
        some = SomeFits(criterion, chosen)
        return newton_raphson(some, theta, options, _max_step, criterion)

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
    scoring: Criterion | None,
    held: BoolArray,
) -> NewtonResult:
    """Newton's iteration over the parameters that are not held."""
    if not held.any():
        return newton_raphson(criterion, theta, options, _max_step, scoring)
    part = HeldCriterion(criterion, theta, np.flatnonzero(~held))
    found = newton_raphson(part, theta[:, ~held], options, _max_step)
    return replace(
        found,
        theta=part.whole(found.theta, np.arange(len(theta))),
        curvature=_whole(found.curvature, held),
    )


def _whole(curvature: FloatArray, held: BoolArray) -> FloatArray:
    out = np.zeros((len(curvature), len(held)))
    out[:, ~held] = curvature
    return out


def _near_singular(
    criterion: Criterion,
    found: Settled,
    options: NewtonOptions,
    held: BoolArray,
    lower: dict[int, NewtonResult],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Bring fits that stalled at a nearly singular residual covariance to their end.

    ``held`` (n_theta,) marks parameters that stay. Returns the fits that are singular there, and
    those whose -2 log-likelihood has no infimum.
    """
    parts = residual_parts(criterion)
    singular, without_bound = [], []

    def minimise(
        criterion: CriterionFunction, theta: FloatArray, options: NewtonOptions
    ) -> NewtonResult:
        return _iterate(criterion, theta, options, None, held)

    for row, theta in _stalled(parts, found, lower):
        own = SomeFits(criterion, np.array([row]))
        end = follow(own, parts, theta, options, minimise)
        found.newton.n_evaluations[row] += end.n_evaluations
        converged = not _is_stalled(found.newton, row)
        if end.without_bound and not converged:
            without_bound.append(row)
            found.newton.converged[row] = False
        if end.newton is None or (converged and not end.newton.value[0] < found.newton.value[row]):
            continue
        other = replace(end.newton, n_evaluations=np.zeros(1, dtype=np.intp))
        replace_rows(found.newton, np.array([row]), other, np.ones(1, dtype=np.bool_))
        found.theta[row] = end.newton.theta[0]
        if end.is_singular:
            singular.append(row)
    return tuple(singular), tuple(without_bound)


def _stalled(
    parts: tuple[ResidualPart, ...], found: Settled, lower: dict[int, NewtonResult]
) -> list[tuple[int, FloatArray]]:
    """Fits, and where an iteration stalled at a nearly singular covariance: the lowest of each."""
    if not parts:
        return []
    out = []
    for row in range(len(found.theta)):
        if row in lower or _is_stalled(found.newton, row):
            theta = lower[row].theta if row in lower else found.theta[[row]]
            if is_near_singular(parts, theta)[0]:
                out.append((row, theta))
    return out


def _is_stalled(newton: NewtonResult, row: int) -> bool:
    """Whether an iteration has not converged, or ended where all derivatives have died out."""
    return not newton.converged[row] or bool(abs(newton.min_eigenvalue[row]) < _LOST)


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
