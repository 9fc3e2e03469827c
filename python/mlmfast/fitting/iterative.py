"""The zero of the estimated score by Newton's method with average information.

Value and score are estimated by the same fixed probes, each without bias, but the score is not
the exact derivative of the value. Far from the optimum steps must lower the value; near it the
score alone decides, and a step is good if the Newton decrement falls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.scoring import Scoring
from mlmfast.newton.iteration import Derivatives, NewtonResult
from mlmfast.newton.options import NewtonOptions
from mlmfast.newton.step import newton_step

#: Above this Newton decrement the value decides whether a step is taken, below it the score.
_NEAR = 0.1
#: What the decrement of a step near the optimum must fall to, relative to what it was.
_FALL = 0.5
#: Shortening of a step that did no good.
_SHORTER = 0.25
#: Decrement at which a step that rounding stops counts as arrived.
_ARRIVED = 1e-8


class _Row(NamedTuple):
    theta: FloatArray
    value: float
    decrement: float
    min_eigenvalue: float
    curvature: FloatArray
    converged: bool
    n_iterations: int
    n_evaluations: int


def fit_iteratively(
    criterion: Criterion, theta: FloatArray, options: NewtonOptions, fits: IntArray | None = None
) -> NewtonResult:
    """Find the zero of the estimated score from ``theta`` (a, n_theta), of all fits by default.

    Reference: Gilmour, Thompson and Cullis (1995), Biometrics 51, 1440 (average information).
    """
    which = np.arange(len(theta)) if fits is None else fits
    rows = [_one(criterion, theta[k : k + 1], which[k : k + 1], options) for k in range(len(theta))]
    return NewtonResult(
        theta=np.concatenate([row.theta for row in rows]),
        value=np.array([row.value for row in rows]),
        decrement=np.array([row.decrement for row in rows]),
        min_eigenvalue=np.array([row.min_eigenvalue for row in rows]),
        curvature=np.concatenate([row.curvature for row in rows]),
        converged=np.array([row.converged for row in rows], dtype=np.bool_),
        n_iterations=np.array([row.n_iterations for row in rows], dtype=np.intp),
        n_evaluations=np.array([row.n_evaluations for row in rows], dtype=np.intp),
    )


def _one(criterion: Criterion, theta: FloatArray, fit: IntArray, options: NewtonOptions) -> _Row:
    at = criterion(theta, fit)
    move = newton_step(at, options.floor)
    n_evaluations, converged, iteration = 1, False, 0
    while np.isfinite(at.value[0]):
        decrement = float(move.decrement[0])
        if decrement <= options.tolerance:
            # The last step costs no evaluation and reduces the error that is left.
            theta, converged = criterion.move(theta, move.step), True
            break
        if iteration == options.max_iter:
            break
        iteration += 1
        for candidate in _path(criterion, theta, at, move.step, options):
            trial = criterion(candidate, fit)
            n_evaluations += 1
            after = newton_step(trial, options.floor)
            if _is_better(at, trial, decrement, float(after.decrement[0])):
                theta, at, move = candidate, trial, after
                break
        else:
            converged = decrement <= _ARRIVED
            break
    return _Row(
        theta,
        float(at.value[0]),
        float(move.decrement[0]),
        float(move.min_eigenvalue[0]),
        np.einsum("aii->ai", at.hessian),
        converged,
        iteration,
        n_evaluations,
    )


def _is_better(at: Derivatives, trial: Derivatives, before: float, after: float) -> bool:
    if not np.isfinite(trial.value[0]):
        return False
    if before > _NEAR:
        return bool(trial.value[0] < at.value[0])
    return after <= _FALL * before


def _path(
    criterion: Criterion,
    theta: FloatArray,
    at: Derivatives,
    step: FloatArray,
    options: NewtonOptions,
) -> Iterator[FloatArray]:
    """Points to try: the scoring step in the covariances where far, Newton's step, and shorter."""
    decrement = -float(at.gradient[0] @ step[0])
    if decrement > _NEAR:
        target, slope = Scoring(criterion).target(theta, at, np.array([True]))
        if slope[0] < 0:
            yield target
    factor = min(1.0, _longest(theta) / max(float(np.linalg.norm(step)), 1e-300))
    for _ in range(options.max_halvings):
        yield criterion.move(theta, factor * step)
        factor *= _SHORTER


def _longest(theta: FloatArray) -> float:
    return 1.0 + 2.0 * float(np.linalg.norm(theta))
