"""Newton-Raphson for many criteria at once; a single fit is a batch of one.

The module knows nothing of mixed models. Rows never mix: each has its own step, line search and
stop, so a fit gives the same bits alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.newton.ahead import StepsAhead
from mlmfast.newton.criterion import CriterionFunction as CriterionFunction
from mlmfast.newton.criterion import Leaves as Leaves
from mlmfast.newton.criterion import Progress
from mlmfast.newton.criterion import Scoring as Scoring
from mlmfast.newton.options import NewtonOptions as NewtonOptions
from mlmfast.newton.options import check_settings as check_settings
from mlmfast.newton.record import NewtonResult as NewtonResult
from mlmfast.newton.search import FLAT, Search
from mlmfast.newton.step import Derivatives as Derivatives
from mlmfast.newton.step import Step
from mlmfast.newton.step import newton_step as newton_step
from mlmfast.newton.tails import Tails

#: Steps after which rows are asked whether they leave.
_BEFORE_LEAVING = 3
#: Longest last step in a coordinate, over 1 and the largest coordinate.
_LAST = 0.1
#: Ratio of decrements two steps apart from which on an iteration is slow.
_SLOW = 0.1


def newton_raphson(
    criterion: CriterionFunction,
    theta: FloatArray,
    options: NewtonOptions,
    max_step: Callable[[FloatArray], FloatArray],
    scoring: Scoring | None = None,
    leaves: Leaves | None = None,
    ahead: StepsAhead | None = None,
) -> NewtonResult:
    """Minimise one criterion per row of ``theta``.

    ``criterion(theta, fits)`` evaluates the listed fits only, so a converged fit costs nothing.
    ``max_step(theta)`` bounds the length of a Newton step, shape (a,). Far from the optimum, and
    where the gradient has died out at a saddle, a scoring step is tried first. ``ahead`` takes
    steps of which none of this would be asked.
    """
    n = len(theta)
    theta = theta.copy()
    stretch, tails = np.ones(n), Tails(theta, options.tolerance)
    past = np.full((2, n), np.inf)
    went = None
    if ahead is not None:
        went = ahead.go(theta, np.arange(n), None, tails, stretch, options.max_iter)
    if went is not None:
        record = went.record(theta)
        active, state = went.left(np.arange(n))
    else:
        state = criterion(theta, np.arange(n))
        record = _begun(theta, state)
        active = np.flatnonzero(np.isfinite(state.value))
        state = state.rows(np.isfinite(state.value))
    while active.size:
        move = newton_step(state, options.floor)
        record.value[active] = state.value
        record.decrement[active] = move.decrement
        record.min_eigenvalue[active] = move.min_eigenvalue
        record.curvature[active] = np.einsum("aii->ai", state.hessian)
        at_minimum = move.min_eigenvalue > FLAT
        done = (move.decrement <= options.tolerance) & at_minimum
        if done.any():
            # The last step costs no evaluation and squares the error that is left.
            start, last = theta[active[done]], move.step[done]
            if ahead is None:
                # What is not told to this is no error that is left, but a flat direction.
                most = _LAST * (1.0 + np.abs(start).max(axis=1, keepdims=True))
                last = np.clip(last, -most, most)
            theta[active[done]] = criterion.move(start, last)
            record.converged[active[done]] = True
            go = ~done
            active, state, move = active[go], state.rows(go), Step(*(part[go] for part in move))
            if active.size == 0:
                break
        record.n_iterations[active] += 1
        before = theta[active]
        search = Search(criterion, theta, active, state, record, options)
        if scoring is not None:
            far = (move.decrement > options.near) | (move.min_eigenvalue <= FLAT)
            slow = move.min_eigenvalue < options.flat
            score = np.flatnonzero((far & (stretch[active] > 0)) | (slow & ~far))
            length = np.where(far, stretch[active], 1.0)[score]
            search.score(scoring, score, far[score], length, options.max_scoring)
            stretch[active] = search.next_stretch(stretch[active], far)
        search.newton(move, max_step, tails)
        go = search.moved.copy()
        if leaves is not None:
            late = np.flatnonzero(go & (record.n_iterations[active] >= _BEFORE_LEAVING))
            slow = move.decrement > _SLOW * past[0, active]
            past[:, active] = past[1, active], move.decrement
            progress = Progress(move.decrement[late], move.min_eigenvalue[late], slow[late])
            go[late] = ~leaves(before[late], theta[active[late]], progress)
            record.value[active[late]] = search.new.value[late]
        go &= record.n_iterations[active] < options.max_iter
        active, state = active[go], search.new.rows(go)
        if ahead is not None and active.size:
            active, state = _go_ahead(ahead, record, active, state, tails, stretch, options)
    return record


def _begun(theta: FloatArray, state: Derivatives) -> NewtonResult:
    """The record of rows that were looked at once."""
    n = len(theta)
    return NewtonResult(
        theta=theta,
        value=state.value.copy(),
        decrement=np.full(n, np.inf),
        min_eigenvalue=np.full(n, -np.inf),
        curvature=np.zeros((n, state.hessian.shape[-1])),
        converged=np.zeros(n, dtype=np.bool_),
        n_iterations=np.zeros(n, dtype=np.intp),
        n_evaluations=np.ones(n, dtype=np.intp),
    )


def _go_ahead(
    ahead: StepsAhead,
    record: NewtonResult,
    active: IntArray,
    state: Derivatives,
    tails: Tails,
    stretch: FloatArray,
    options: NewtonOptions,
) -> tuple[IntArray, Derivatives]:
    """Ordinary steps of the rows whose last steps were of their whole length."""
    plain = tails.is_plain(active)
    rows = active[plain]
    if rows.size == 0:
        return active, state
    most = options.max_iter - record.n_iterations[rows]
    went = ahead.go(record.theta[rows], rows, state.rows(plain), tails, stretch, most)
    if went is None:
        return active, state
    went.put(record, rows)
    left, at = went.left(rows)
    rest = state.rows(~plain)
    joined = (np.concatenate(parts) for parts in zip(rest, at, strict=True))
    return np.concatenate([active[~plain], left]), Derivatives(*joined)
