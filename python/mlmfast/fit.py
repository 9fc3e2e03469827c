"""The order of the steps: start, Newton, boundary, estimates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.boundary import Iterate, Settled, SomeFits, replace_rows, set_zeros, settle
from mlmfast.covariance.spatial import Spatial
from mlmfast.criterion import Criterion
from mlmfast.identification import HeldCriterion, confounded_terms
from mlmfast.iterative import fit_iteratively
from mlmfast.near_singular import (
    Minimise,
    follow,
    is_near_singular,
    nearer_independence,
    residual_parts,
)
from mlmfast.newton import CriterionFunction, NewtonOptions, NewtonResult, newton_raphson
from mlmfast.reduced_model import ReducedModel
from mlmfast.several_minima import is_better, look_elsewhere

#: Share of the random effects in the variance, and whether residuals are correlated, of further
#: starts for random effects inside subjects.
_OTHER_SHARES = ((0.6, False), (0.1, True))
#: Rows a parameter below which a residual structure is fitted from uncorrelated residuals too: of
#: 70 small designs `fa` had a better minimum there in 3, `adh` and `un` in one, `us` in none.
_FEW_ROWS = 15
#: Starts with smaller and smaller correlations, where the first is singular to rounding.
_STARTS = 30
#: Typical distances, as parts of those between all points, from which other ranges start; smallest
#: eigenvalue of a Hessian that is not flat; fall of the criterion that counts.
_RANGES, _FLAT, _GAIN = (0.5, 2.0, 8.0), 1e-4, 1e-7


@dataclass(frozen=True)
class CovarianceFit:
    """Covariance parameters of a batch of fits.

    Attributes
    ----------
    criterion
        What was minimised.
    theta : shape (n_fits, n_theta), final parameters, exact zeros on the boundary.
    singular : shape (n_fits, n_terms), terms (in the criterion's order) with a singular G.
    newton
        The iteration.
    n_evaluations : shape (n_fits,)
        Evaluations of the criterion by start, iteration and rounding to the boundary.
    """

    criterion: Criterion
    theta: FloatArray
    singular: BoolArray
    newton: NewtonResult
    n_evaluations: IntArray
    #: Blocks of random effects that the residual covariance expresses already, held at 0.
    confounded: tuple[int, ...] = ()
    #: Fits whose residual covariance is singular at the infimum, and those that have no infimum.
    singular_residual: tuple[int, ...] = ()
    without_bound: tuple[int, ...] = ()


def fit_covariance(
    model: ReducedModel,
    method: str,
    options: NewtonOptions,
    start: FloatArray | None = None,
) -> CovarianceFit:
    """Estimate the covariance parameters of every response of a reduction."""
    criterion = model.criterion(method)
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
    if start is not None:
        theta = start
    else:
        theta = model.residual_start(criterion, fits) if structured else criterion.start(fits)
    # Scoring in the entries of R would leave its structure.
    scoring = None if structured else criterion
    confounded = confounded_terms(model, criterion, theta) if start is None else []
    if confounded:
        return _fit_held(criterion, theta, options, confounded)

    def iterate(theta: FloatArray, chosen: IntArray) -> NewtonResult:
        some = SomeFits(criterion, chosen)
        return newton_raphson(some, theta, options, _max_step, scoring)

    newton = iterate(theta, fits)
    if structured:
        _start_again(criterion, newton, theta, iterate)
        if start is None:
            _other_ranges(criterion, newton, theta, iterate)
            if _may_have_other_minima(model, criterion):
                other = iterate(model.residual_start(criterion, fits, correlated=False), fits)
                lower = is_better(newton, other) & (other.value < newton.value)
                replace_rows(newton, fits, other, lower)
    if start is None and scoring is not None and model.has_confounded_effects:
        large = iterate(criterion.large_start(n_fits), fits)
        replace_rows(newton, fits, large, is_better(newton, large))
    if start is None and structured and model.has_effects_inside_subjects:
        # Part of the variance within a subject may pass for either: several minima are common.
        for share, correlated in _OTHER_SHARES:
            theta_other = model.residual_start(criterion, fits, share, correlated)
            other = iterate(theta_other, fits)
            replace_rows(newton, fits, other, is_better(newton, other))
    found = settle(criterion, newton, iterate, fits)
    if start is None:
        look_elsewhere(criterion, found, theta, iterate)
    ends = _near_singular(criterion, found, options) if structured else ((), ())
    newton = found.newton
    n_evaluations = newton.n_evaluations + int(start is None and not structured)
    return CovarianceFit(criterion, found.theta, found.singular, newton, n_evaluations, (), *ends)


def fit_independent(criterion: Criterion, n_fits: int, options: NewtonOptions) -> CovarianceFit:
    """`fit_covariance` where residuals are independent and effects cannot be confounded."""
    fits = np.arange(n_fits)
    theta = criterion.start(fits)

    def iterate(theta: FloatArray, chosen: IntArray) -> NewtonResult:
        some = SomeFits(criterion, chosen)
        return newton_raphson(some, theta, options, _max_step, criterion)

    found = settle(criterion, iterate(theta, fits), iterate, fits)
    look_elsewhere(criterion, found, theta, iterate)
    newton = found.newton
    return CovarianceFit(criterion, found.theta, found.singular, newton, newton.n_evaluations + 1)


def _may_have_other_minima(model: ReducedModel, criterion: Criterion) -> bool:
    """Whether a structure of the residual has few rows for its parameters."""
    parts = residual_parts(criterion)
    structured = any(not part.structure.mixes for part in parts)
    return structured and model.design.n_obs < _FEW_ROWS * criterion.n_theta


def _start_again(
    criterion: Criterion, newton: NewtonResult, theta: FloatArray, iterate: Iterate
) -> None:
    """Iterate from smaller correlations where R at the start was singular to rounding."""
    parts = residual_parts(criterion, spatial=True)
    lost = np.flatnonzero(~np.isfinite(newton.value))
    for _ in range(_STARTS if parts else 0):
        if lost.size == 0:
            break
        theta = theta.copy()
        theta[lost] = nearer_independence(parts, theta[lost])
        other = iterate(theta[lost], lost)
        replace_rows(newton, lost, other, np.isfinite(other.value))
        lost = lost[~np.isfinite(other.value)]


def _other_ranges(
    criterion: Criterion, newton: NewtonResult, theta: FloatArray, iterate: Iterate
) -> None:
    """Iterate from other ranges where a spatial fit ended on a flat stretch.

    A range below all distances is as good as any other such one, and need not be the best.
    """
    parts = residual_parts(criterion, spatial=True)
    spatial = [p for p in parts if isinstance(p.structure, Spatial)]
    flat = np.flatnonzero(newton.converged & (newton.min_eigenvalue < _FLAT))
    for factor in _RANGES if spatial and flat.size else ():
        other_theta = theta[flat].copy()
        for part in spatial:
            assert isinstance(part.structure, Spatial), "chosen above"
            points = part.structure.coordinates
            gaps = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
            variance = other_theta[:, part.theta.start].copy()
            other_theta[:, part.theta] = part.structure.start_at(factor * gaps)
            other_theta[:, part.theta.start] = variance
        other = iterate(other_theta, flat)
        better = other.converged & (other.value < newton.value[flat] - _GAIN)
        replace_rows(newton, flat, other, better)


def _near_singular(
    criterion: Criterion, found: Settled, options: NewtonOptions, held: BoolArray | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Bring fits that stalled at a nearly singular residual covariance to their end.

    ``held`` (n_theta,) marks parameters that stay. Returns the fits that are singular there, and
    those whose -2 log-likelihood has no infimum.
    """
    parts = residual_parts(criterion)
    stalled = np.flatnonzero(~found.newton.converged)
    stalled = stalled[is_near_singular(parts, found.theta[stalled])] if parts else stalled[:0]
    singular, without_bound = [], []
    for row in stalled:
        own = SomeFits(criterion, np.array([row]))
        end = follow(own, parts, found.theta[[row]], options, _minimise(held))
        found.newton.n_evaluations[row] += end.n_evaluations
        if end.without_bound:
            without_bound.append(int(row))
        if end.newton is not None:
            other = replace(end.newton, n_evaluations=np.zeros(1, dtype=np.intp))
            replace_rows(found.newton, np.array([row]), other, np.ones(1, dtype=np.bool_))
            found.theta[row] = end.newton.theta[0]
            if end.is_singular:
                singular.append(int(row))
    return tuple(singular), tuple(without_bound)


def _minimise(held: BoolArray | None) -> Minimise:
    """Newton's iteration over the parameters that are not held."""

    def minimise(
        criterion: CriterionFunction, theta: FloatArray, options: NewtonOptions
    ) -> NewtonResult:
        if held is None:
            return newton_raphson(criterion, theta, options, _max_step)
        part = HeldCriterion(criterion, theta, np.flatnonzero(~held))
        found = newton_raphson(part, theta[:, ~held], options, _max_step)
        return replace(found, theta=part.whole(found.theta, np.arange(len(theta))))

    return minimise


def _fit_held(
    criterion: Criterion, theta: FloatArray, options: NewtonOptions, confounded: list[int]
) -> CovarianceFit:
    """Fit with some random effects held at 0, which costs nothing: R expresses their share of V."""
    theta = theta.copy()
    held = np.zeros(criterion.n_theta, dtype=np.bool_)
    for block in confounded:
        held[criterion.theta_slices[block]] = True
    theta[:, held] = 0.0
    part = HeldCriterion(criterion, theta, np.flatnonzero(~held))
    newton = newton_raphson(part, theta[:, ~held], options, _max_step)
    found = part.whole(newton.theta, np.arange(len(theta)))
    newton = replace(newton, theta=found)
    settled = set_zeros(criterion, newton, np.arange(len(theta)))
    settled.singular[:, confounded] = True
    ends = _near_singular(criterion, settled, options, held)
    newton = settled.newton
    return CovarianceFit(
        criterion,
        settled.theta,
        settled.singular,
        newton,
        newton.n_evaluations,
        tuple(confounded),
        *ends,
    )


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
