"""The order of the steps: start, Newton, boundary, estimates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion import Criterion
from mlmfast.identification import HeldCriterion, confounded_terms
from mlmfast.newton import NewtonOptions, NewtonResult, newton_raphson
from mlmfast.reduced_model import ReducedModel

#: Eigenvalues of G (orthonormal basis: 1 is a unit's mean square) tried as exactly 0.
_TRY_ZERO = 1e-5
#: Rise of -2 log-likelihood that setting them to 0 may cost.
_FREE = 1e-9


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
    newton = newton_raphson(criterion, theta, options, _max_step, scoring)
    if start is None and scoring is not None and model.has_confounded_effects:
        theta = criterion.large_start(n_fits)
        newton = _better(newton, newton_raphson(criterion, theta, options, _max_step, scoring))
    theta, singular, tried = _set_zeros(criterion, newton)
    n_evaluations = newton.n_evaluations + int(start is None and not structured) + tried
    return CovarianceFit(criterion, theta, singular, newton, n_evaluations)


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
    theta, singular, tried = _set_zeros(criterion, newton)
    singular[:, confounded] = True
    return CovarianceFit(
        criterion, theta, singular, newton, newton.n_evaluations + tried, tuple(confounded)
    )


def _better(first: NewtonResult, second: NewtonResult) -> NewtonResult:
    """Row by row the result with the lower criterion; evaluations of both count."""
    margin = 1e-9 * (1.0 + np.abs(first.value))
    takes = second.converged & (~first.converged | (second.value < first.value - margin))

    def chosen(name: str) -> NDArray[Any]:
        mine, its = getattr(first, name), getattr(second, name)
        return np.asarray(np.where(takes.reshape(-1, *[1] * (mine.ndim - 1)), its, mine))

    names = ("theta", "value", "decrement", "min_eigenvalue", "converged", "n_iterations")
    parts = {name: chosen(name) for name in names}
    return NewtonResult(**parts, n_evaluations=first.n_evaluations + second.n_evaluations)


def _max_step(theta: FloatArray) -> FloatArray:
    # theta is in units where a random effect and the residual weigh the same in a unit's mean.
    return np.asarray(1.0 + 2.0 * np.sqrt((theta * theta).sum(axis=1)))


def _set_zeros(
    criterion: Criterion, newton: NewtonResult
) -> tuple[FloatArray, BoolArray, IntArray]:
    """Make small eigenvalues of G exactly 0 where that costs nothing.

    Returns theta, which terms are singular, and evaluations spent (n_fits,).
    """
    theta = newton.theta.copy()
    rounded = theta.copy()
    singular = np.zeros((len(theta), len(criterion.terms)), dtype=np.bool_)
    for k, (term, s) in enumerate(zip(criterion.terms, criterion.theta_slices, strict=True)):
        if term.is_residual:
            continue
        values, vectors = np.linalg.eigh(term.shared.matrix(theta[:, s]))
        small = values <= _TRY_ZERO
        rows = small.any(axis=1)
        singular[rows, k] = True
        if rows.any():
            kept = np.where(small, 0.0, values)[rows]
            matrix = (vectors[rows] * kept[:, None, :]) @ vectors[rows].mT
            rounded[rows, s] = term.shared.theta(matrix)
    try_rows = np.flatnonzero(singular.any(axis=1))
    tried = np.zeros(len(theta), dtype=np.intp)
    if try_rows.size:
        after = criterion.value(rounded[try_rows], try_rows)
        tried[try_rows] = 1
        good = after <= newton.value[try_rows] + _FREE
        theta[try_rows[good]] = rounded[try_rows[good]]
        singular[try_rows[~good]] = False
    return theta, singular, tried


def _no_parameters(criterion: Criterion) -> NewtonResult:
    n = len(criterion.reduction.y_scale)
    theta = np.zeros((n, 0))
    return NewtonResult(
        theta=theta,
        value=criterion.value(theta, np.arange(n)),
        decrement=np.zeros(n),
        min_eigenvalue=np.full(n, np.inf),
        converged=np.ones(n, dtype=np.bool_),
        n_iterations=np.zeros(n, dtype=np.intp),
        n_evaluations=np.ones(n, dtype=np.intp),
    )
