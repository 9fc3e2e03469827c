"""The order of the steps: start, Newton, boundary, estimates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.criterion import Criterion
from mlmfast.newton import NewtonOptions, NewtonResult, newton_raphson
from mlmfast.reduced_model import ReducedModel

#: Relative standard deviations (per unit, in the orthonormal basis) under which an eigenvalue of G
#: is tried as exactly 0.
_BOUNDARY = 1e-3


@dataclass(frozen=True)
class CovarianceFit:
    """Covariance parameters of a batch of fits.

    Attributes
    ----------
    theta : shape (n_fits, n_theta), final parameters.
    newton
        The iteration.
    """

    criterion: Criterion
    theta: FloatArray
    newton: NewtonResult


def fit_covariance(
    model: ReducedModel,
    method: str,
    options: NewtonOptions,
    start: FloatArray | None = None,
) -> CovarianceFit:
    """Estimate the covariance parameters of every response of a reduction."""
    criterion = model.criterion(method)
    fits = np.arange(len(model.y_scaling))
    if criterion.n_theta == 0:
        return CovarianceFit(criterion, np.zeros((len(fits), 0)), _no_parameters(criterion))
    theta = criterion.start(fits) if start is None else start
    newton = newton_raphson(criterion, theta, options, _max_step)
    return CovarianceFit(criterion, criterion.reflect(newton.theta), newton)


def _max_step(theta: FloatArray) -> FloatArray:
    # theta is in units where a random effect and the residual weigh the same in a unit's mean.
    return np.asarray(1.0 + 2.0 * np.sqrt((theta * theta).sum(axis=1)))


def _no_parameters(criterion: Criterion) -> NewtonResult:
    n = len(criterion.reduction.y_scale)
    fits = np.arange(n)
    ones = np.ones(n, dtype=np.intp)
    done: BoolArray = np.ones(n, dtype=np.bool_)
    return NewtonResult(
        theta=np.zeros((n, 0)),
        value=criterion.value(np.zeros((n, 0)), fits),
        decrement=np.zeros(n),
        min_eigenvalue=np.full(n, np.inf),
        converged=done,
        n_iterations=ones * 0,
        n_evaluations=ones,
    )
