"""Fits with some covariances held, as statsmodels' ``free`` says, or at given parameters.

In the coordinates that statsmodels optimises: the lower triangle of G / sigma^2 or of its root, and
the variance components or their roots. What can be said by a model's terms, effects without
covariances, is fitted as such a model and does not come here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.statsmodels.model.likelihood import Likelihood
from mlmfast.statsmodels.parameters import MixedLMParams, chain_to_root

_NEWTON_STEPS = 20
_DECREMENT = 1e-8


@dataclass(frozen=True)
class Point:
    """Where a fit ended: packed covariances, whether at an optimum, iterations."""

    packed: FloatArray
    converged: bool
    iterations: int


def optimum(
    start: FloatArray,
    free: BoolArray,
    evaluate: Callable[[FloatArray], tuple[float, FloatArray]],
) -> Point:
    """Maximise over the free coordinates.

    Parameters
    ----------
    evaluate
        The log-likelihood and its gradient at a packed vector.
    """
    packed = np.array(start, dtype=np.float64)
    if not free.any():
        return Point(packed, True, 0)

    def negative(x: FloatArray) -> tuple[float, FloatArray]:
        packed[free] = x
        value, gradient = evaluate(packed)
        return -value, -gradient[free]

    found = optimize.minimize(
        negative, packed[free], jac=True, method="BFGS", options={"gtol": 1e-5}
    )
    x, iterations = np.asarray(found.x), int(found.nit)
    for _ in range(_NEWTON_STEPS):
        value, gradient = negative(x)
        hessian = _differences(negative, x)
        step, decrement = _step(hessian, gradient)
        if decrement < _DECREMENT:
            packed[free] = x
            return Point(packed, True, iterations)
        while step @ step > 1e-30 and not negative(x - step)[0] < value:
            step = step / 4
        x, iterations = x - step, iterations + 1
    packed[free] = x
    return Point(packed, False, iterations)


def _differences(
    evaluate: Callable[[FloatArray], tuple[float, FloatArray]], x: FloatArray
) -> FloatArray:
    """The Hessian by central differences of the gradient."""
    out = np.empty((len(x), len(x)))
    for j in range(len(x)):
        h = np.zeros(len(x))
        h[j] = 1e-5 * max(abs(float(x[j])), 1e-2)
        out[j] = (evaluate(x + h)[1] - evaluate(x - h)[1]) / (2 * h[j])
    return (out + out.T) / 2


def _step(hessian: FloatArray, gradient: FloatArray) -> tuple[FloatArray, float]:
    """Newton's step among the directions that curve upwards, and half its gain."""
    values, vectors = np.linalg.eigh(hessian)
    along = vectors.T @ gradient
    size = np.maximum(np.abs(values), 1e-8 * max(float(np.abs(values).max()), 1e-300))
    step = vectors @ (along / size)
    return step, 0.5 * float(gradient @ step)


def evaluation(
    likelihood: Callable[[MixedLMParams], Likelihood], k_fe: int, k_re: int, use_sqrt: bool
) -> Callable[[FloatArray], tuple[float, FloatArray]]:
    """The profile log-likelihood and its gradient by packed covariances."""

    def evaluate(packed: FloatArray) -> tuple[float, FloatArray]:
        params = MixedLMParams.from_packed(packed, k_fe, k_re, use_sqrt, has_fe=False)
        at = likelihood(params)
        by_u = at.score(at.beta)[1]
        if not use_sqrt:
            return at.value(at.beta), by_u
        root = np.zeros((k_re, k_re))
        root[np.tril_indices(k_re)] = packed[: params.k_re2]
        gradient = chain_to_root(params, by_u, root)
        # The sign of a component's root is free.
        gradient[params.k_re2 :] *= np.where(packed[params.k_re2 :] < 0.0, -1.0, 1.0)
        return at.value(at.beta), gradient

    return evaluate
