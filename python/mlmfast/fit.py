"""The order of the steps: start, Newton, boundary, estimates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.boundary import SomeFits, replace_rows, set_zeros, settle
from mlmfast.criterion import Criterion
from mlmfast.identification import HeldCriterion, confounded_terms
from mlmfast.iterative import fit_iteratively
from mlmfast.newton import NewtonOptions, NewtonResult, newton_raphson
from mlmfast.reduced_model import ReducedModel
from mlmfast.several_minima import is_better, look_elsewhere

#: Share of the random effects in the variance, and whether residuals are correlated, of further
#: starts for random effects inside subjects.
_OTHER_SHARES = ((0.6, False), (0.1, True))


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
    newton = found.newton
    n_evaluations = newton.n_evaluations + int(start is None and not structured)
    return CovarianceFit(criterion, found.theta, found.singular, newton, n_evaluations)


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
    spent = settled.newton.n_evaluations
    return CovarianceFit(
        criterion, settled.theta, settled.singular, newton, spent, tuple(confounded)
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
