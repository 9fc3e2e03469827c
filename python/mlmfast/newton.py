"""Newton-Raphson for many criteria at once; a single fit is a batch of one.

The module knows nothing of mixed models. Rows never mix: each has its own step, line search and
stop, so a fit gives the same bits alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray


class Derivatives(NamedTuple):
    """A criterion at one theta a row: value (a,), gradient (a, t), two Hessians (a, t, t)."""

    value: FloatArray
    gradient: FloatArray
    hessian: FloatArray
    expected: FloatArray

    def rows(self, keep: IntArray | BoolArray) -> Derivatives:
        """The rows ``keep``."""
        return Derivatives(*(part[keep] for part in self))


CriterionFunction = Callable[[FloatArray, IntArray], Derivatives]


@dataclass(frozen=True)
class NewtonOptions:
    """Settings of the iteration.

    Parameters
    ----------
    tolerance
        Stop when the Newton decrement g'H^-1 g, twice the predicted fall of the criterion, is
        below this.
    max_iter
        Newton steps after which a row gives up.
    max_halvings
        Trials along one step.
    floor
        Scaled Hessian eigenvalues below this are treated as this.

    Examples
    --------
    >>> NewtonOptions().max_iter
    100
    """

    tolerance: float = 1e-10
    max_iter: int = 100
    max_halvings: int = 12
    floor: float = 1e-5


@dataclass(frozen=True)
class NewtonResult:
    """One row a fit; ``theta`` is the last point evaluated plus a last full step.

    Attributes
    ----------
    theta : shape (n_fits, n_theta)
    value : shape (n_fits,), criterion at the last evaluated point.
    decrement : shape (n_fits,), g'H^-1 g there.
    min_eigenvalue : shape (n_fits,), smallest eigenvalue of the scaled Hessian there.
    converged : shape (n_fits,)
    n_iterations, n_evaluations : shape (n_fits,)
    """

    theta: FloatArray
    value: FloatArray
    decrement: FloatArray
    min_eigenvalue: FloatArray
    converged: BoolArray
    n_iterations: IntArray
    n_evaluations: IntArray


class _Step(NamedTuple):
    step: FloatArray
    slope: FloatArray
    decrement: FloatArray
    min_eigenvalue: FloatArray


def newton_step(at: Derivatives, floor: float) -> _Step:
    """Newton steps -|H|^-1 g with eigenvalues of the scaled Hessian made positive.

    The Hessian is scaled by the roots of the expected information's diagonal; ``|eigenvalue|``
    turns a step towards a saddle into a step away from it.
    """
    diagonal = np.maximum(
        np.einsum("aii->ai", at.expected), np.abs(np.einsum("aii->ai", at.hessian))
    )
    scale = np.sqrt(np.maximum(diagonal, 1e-12 * diagonal.max(axis=1, initial=1e-300)[:, None]))
    scaled = at.hessian / (scale[:, :, None] * scale[:, None, :])
    values, vectors = np.linalg.eigh(scaled)
    gradient = at.gradient / scale
    along = (vectors.mT @ gradient[:, :, None])[..., 0]
    size = np.maximum(np.abs(values), floor)
    step = -(vectors @ (along / size)[:, :, None])[..., 0] / scale
    slope = (at.gradient[:, None, :] @ step[:, :, None])[:, 0, 0]
    return _Step(step, slope, -slope, values[:, 0])


def newton_raphson(
    criterion: CriterionFunction,
    theta: FloatArray,
    options: NewtonOptions,
    max_step: Callable[[FloatArray], FloatArray],
) -> NewtonResult:
    """Minimise one criterion per row of ``theta``.

    ``criterion(theta, fits)`` evaluates the listed fits only, so a converged fit costs nothing.
    ``max_step(theta)`` bounds the length of a step, shape (a,).
    """
    n = len(theta)
    theta = theta.copy()
    state = criterion(theta, np.arange(n))
    record = NewtonResult(
        theta=theta,
        value=state.value.copy(),
        decrement=np.full(n, np.inf),
        min_eigenvalue=np.full(n, -np.inf),
        converged=np.zeros(n, dtype=np.bool_),
        n_iterations=np.zeros(n, dtype=np.intp),
        n_evaluations=np.ones(n, dtype=np.intp),
    )
    active = np.flatnonzero(np.isfinite(state.value))
    state = state.rows(active)
    for _ in range(options.max_iter):
        if active.size == 0:
            break
        move = newton_step(state, options.floor)
        record.value[active] = state.value
        record.decrement[active] = move.decrement
        record.min_eigenvalue[active] = move.min_eigenvalue
        done = (move.decrement <= options.tolerance) & (move.min_eigenvalue > -1e-6)
        # The last step costs no evaluation and squares the error that is left.
        theta[active[done]] += move.step[done]
        record.converged[active[done]] = True
        go = ~done
        active, state = active[go], state.rows(go)
        if active.size == 0:
            break
        step, slope = move.step[go], move.slope[go]
        step = _leave_saddle(state, step, move, go)
        length = np.sqrt((step * step).sum(axis=1))
        factor = np.minimum(1.0, max_step(theta[active]) / np.maximum(length, 1e-300))
        state, moved = _search(
            criterion, theta, active, state, step * factor[:, None], slope * factor, record, options
        )
        record.n_iterations[active] += 1
        active, state = active[moved], state.rows(moved)
    return record


def _leave_saddle(
    state: Derivatives, step: FloatArray, move: _Step, go: BoolArray
) -> FloatArray:
    """A step along the direction of negative curvature where the gradient has died out."""
    stuck = (move.decrement[go] <= 1e-8) & (move.min_eigenvalue[go] < -1e-6)
    if not stuck.any():
        return step
    step = step.copy()
    for row in np.flatnonzero(stuck):
        _, vectors = np.linalg.eigh(state.hessian[row])
        direction = vectors[:, 0]
        sign = -1.0 if state.gradient[row] @ direction > 0 else 1.0
        step[row] += 0.1 * sign * direction
    return step


def _search(
    criterion: CriterionFunction,
    theta: FloatArray,
    active: IntArray,
    state: Derivatives,
    step: FloatArray,
    slope: FloatArray,
    record: NewtonResult,
    options: NewtonOptions,
) -> tuple[Derivatives, BoolArray]:
    """Shorten each row's step until its criterion falls; moves ``theta`` in place.

    Value and derivatives are taken together at every trial, so an accepted full step costs one
    evaluation. Rows that cannot fall any further are given up.
    """
    new = Derivatives(*(part.copy() for part in state))
    moved = np.zeros(len(active), dtype=np.bool_)
    factor = np.ones(len(active))
    todo = np.arange(len(active))
    start = theta[active]
    # Below this a difference of two values is rounding error.
    noise = 1e-13 * (1.0 + np.abs(state.value))
    for _ in range(options.max_halvings):
        trial_theta = start[todo] + factor[todo, None] * step[todo]
        trial = criterion(trial_theta, active[todo])
        record.n_evaluations[active[todo]] += 1
        allowed = state.value[todo] + 1e-4 * factor[todo] * slope[todo] + noise[todo]
        good = trial.value <= allowed
        accepted = todo[good]
        for part, value in zip(new, trial, strict=True):
            part[accepted] = value[good]
        theta[active[accepted]] = trial_theta[good]
        moved[accepted] = True
        rise = trial.value[~good] - state.value[todo[~good]]
        todo = todo[~good]
        if todo.size == 0:
            break
        factor[todo] *= _shorten(rise, factor[todo] * slope[todo])
    return new, moved


def _shorten(rise: FloatArray, slope: FloatArray) -> FloatArray:
    """Minimum of the parabola through value, slope and the failed trial, kept in [0.1, 0.5]."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        best = -slope / (2.0 * (rise - slope))
    best = np.where(np.isfinite(best), best, 0.1)
    return np.asarray(np.clip(best, 0.1, 0.5))
