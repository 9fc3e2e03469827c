"""Newton-Raphson for many criteria at once; a single fit is a batch of one.

The module knows nothing of mixed models. Rows never mix: each has its own step, line search and
stop, so a fit gives the same bits alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.newton.ahead import StepsAhead
from mlmfast.newton.options import NewtonOptions as NewtonOptions
from mlmfast.newton.options import check_settings as check_settings
from mlmfast.newton.record import NewtonResult as NewtonResult
from mlmfast.newton.step import Derivatives as Derivatives
from mlmfast.newton.step import Step
from mlmfast.newton.step import newton_step as newton_step
from mlmfast.newton.tails import Tails
from mlmfast.running.interruptible import interruptible

#: Scaled Hessian eigenvalues above this are not negative.
_FLAT = -1e-6
#: Fall of the criterion, over the decrement, of a step of several Newton steps: one alone falls by
#: half of it where the criterion is quadratic, and by 0.63 or 0.66 along a tail.
_LONG_FALL = 0.7
#: Steps after which rows are asked whether they leave.
_BEFORE_LEAVING = 3


class CriterionFunction(Protocol):
    """What Newton minimises, one row a fit; coordinates of a step are local to theta."""

    def __call__(self, theta: FloatArray, fits: IntArray, /) -> Derivatives:
        """Value and derivatives of the listed fits."""

    def move(self, theta: FloatArray, step: FloatArray, /) -> FloatArray:
        """The point at local coordinates ``step`` around ``theta``."""


class Scoring(Protocol):
    """Scoring steps in the natural parameters, for points far from the optimum."""

    def target(
        self, theta: FloatArray, at: Derivatives, far: BoolArray, /
    ) -> tuple[FloatArray, FloatArray]:
        """Where the step leads, in theta (a, t), and the slope towards it (a,).

        ``far`` (a,) asks for the expected instead of the exact curvature. A slope of 0 says that
        there is no such step.
        """

    def between(self, theta: FloatArray, target: FloatArray, factor: FloatArray, /) -> FloatArray:
        """The point a fraction ``factor`` (a,) of the way, straight in the natural parameters."""


#: Whether rows that went from one theta (a, t) to another are given up, shape (a,).
Leaves: TypeAlias = Callable[[FloatArray, FloatArray], BoolArray]
#: A path from each of the listed rows: fractions (a,) of a full step -> theta (a, t).
_Path = Callable[[IntArray, FloatArray], FloatArray]


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
        at_minimum = move.min_eigenvalue > _FLAT
        done = (move.decrement <= options.tolerance) & at_minimum
        if done.any():
            # The last step costs no evaluation and squares the error that is left.
            theta[active[done]] = criterion.move(theta[active[done]], move.step[done])
            record.converged[active[done]] = True
            go = ~done
            active, state, move = active[go], state.rows(go), Step(*(part[go] for part in move))
            if active.size == 0:
                break
        record.n_iterations[active] += 1
        before = theta[active]
        search = _Search(criterion, theta, active, state, record)
        if scoring is not None:
            far = (move.decrement > options.near) | (move.min_eigenvalue <= _FLAT)
            slow = move.min_eigenvalue < options.flat
            score = np.flatnonzero((far & (stretch[active] > 0)) | (slow & ~far))
            length = np.where(far, stretch[active], 1.0)[score]
            search.score(scoring, score, far[score], length, options.max_scoring)
            stretch[active] = search.next_stretch(stretch[active], far)
        search.newton(move, max_step, options.max_halvings, tails)
        go = search.moved.copy()
        if leaves is not None:
            late = np.flatnonzero(go & (record.n_iterations[active] >= _BEFORE_LEAVING))
            go[late] = ~leaves(before[late], theta[active[late]])
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


class _Search:
    """One step of every active row: trials along a path until the criterion falls.

    Value and derivatives are taken together at every trial, so an accepted full step costs one
    evaluation. Rows that cannot fall any further stay where they are and are given up.
    """

    def __init__(
        self,
        criterion: CriterionFunction,
        theta: FloatArray,
        active: IntArray,
        state: Derivatives,
        record: NewtonResult,
    ) -> None:
        self.criterion, self.theta, self.active = criterion, theta, active
        self.state, self.record = state, record
        #: The criterion where the rows are; that where they were as long as none has moved.
        self.new = state
        self.moved = np.zeros(len(active), dtype=np.bool_)
        #: Rows that moved at the first trial.
        self.first = np.zeros(len(active), dtype=np.bool_)
        #: Fall of the criterion over what the scoring step's quadratic model predicted.
        self.gain = np.zeros(len(active))

    def score(
        self,
        scoring: Scoring,
        rows: IntArray,
        far: BoolArray,
        length: FloatArray,
        trials: int,
    ) -> None:
        """Along the line to the scoring step, from a multiple ``length`` of it on."""
        if rows.size == 0:
            return
        start = self.theta[self.active[rows]]
        target, slope = scoring.target(start, self.state.rows(rows), far)
        falls = slope < 0
        rows, start, target = rows[falls], start[falls], target[falls]
        slope, length = slope[falls], length[falls]

        def path(chosen: IntArray, factor: FloatArray) -> FloatArray:
            factor = factor * length[chosen]
            whole = factor == 1.0
            between = scoring.between(start[chosen], target[chosen], factor)
            return np.where(whole[:, None], target[chosen], between)

        self._along(path, rows, slope * length, trials)
        fall = self.state.value[rows] - self.new.value[rows]
        self.gain[rows] = np.where(self.first[rows], fall / (-0.5 * slope * length), 0.0)

    def next_stretch(self, stretch: FloatArray, far: BoolArray) -> FloatArray:
        """How far to go along the next scoring step; 0 lets Newton's step have a turn.

        A criterion that fell as fast all the way (gain 2) or faster is not curved yet: go further.
        """
        grown = np.where(self.gain > 1.7, 3.0 * np.maximum(stretch, 1.0), 1.0)
        return np.asarray(np.where(far & (self.gain < 0.25) & (stretch > 0), 0.0, grown))

    def newton(
        self,
        move: Step,
        max_step: Callable[[FloatArray], FloatArray],
        trials: int,
        tails: Tails,
    ) -> None:
        """Along Newton's step, for the rows that have not moved."""
        rows = np.flatnonzero(~self.moved)
        scored = np.flatnonzero(self.moved)
        tails.begin_anew(self.active[scored])
        if rows.size == 0:
            return
        start = self.theta[self.active[rows]]
        step = _leave_saddle(self.state.rows(rows), move, rows)
        length = np.sqrt((step * step).sum(axis=1))
        most = max_step(start) / np.maximum(length, 1e-300)
        bound = np.minimum(1.0, most)
        step = step * bound[:, None]
        way = self.criterion.move(start, step) - start
        times = tails.lengths(self.active[rows], way, move.decrement[rows])
        times = np.where(bound < 1.0, 1.0, np.minimum(times, most))
        self._lengthened(rows, start, step, times, move.decrement[rows])

        def path(chosen: IntArray, factor: FloatArray) -> FloatArray:
            return self.criterion.move(start[left[chosen]], factor[:, None] * step[left[chosen]])

        left = np.flatnonzero(~self.moved[rows])
        over = left[times[left] > 1.0]
        tails.failed(self.active[rows[over]], times[over])
        times[left] = 1.0
        if left.size:
            share = tails.first_share(self.active[rows[left]])
            found = self._along(path, rows[left], (move.slope[rows] * bound)[left], trials, share)
            tails.found(self.active[rows[left]], self.first[rows[left]], found)
        whole = self.first[rows] & (bound >= 1.0) & (tails.share[self.active[rows]] >= 1.0)
        tails.keep(self.active[rows], way, times, whole)

    def _lengthened(
        self,
        rows: IntArray,
        start: FloatArray,
        step: FloatArray,
        times: FloatArray,
        decrement: FloatArray,
    ) -> None:
        """Several Newton steps at once, where there are ``times`` of them; kept if that pays."""
        long = np.flatnonzero(times > 1.0)
        if long.size == 0:
            return
        theta = self.criterion.move(start[long], times[long, None] * step[long])
        fits = self.active[rows[long]]
        trial = self.criterion(theta, fits)
        self.record.n_evaluations[fits] += 1
        good = trial.value <= self.state.value[rows[long]] - _LONG_FALL * decrement[long]
        self._accept(rows[long[good]], theta[good], trial.rows(good), True)

    def _accept(self, rows: IntArray, theta: FloatArray, found: Derivatives, first: bool) -> None:
        """Move rows to theta, where the criterion is ``found``."""
        if len(rows) == len(self.active):
            self.new = found
        elif rows.size:
            if self.new is self.state:
                self.new = Derivatives(*(part.copy() for part in self.state))
            for part, other in zip(self.new, found, strict=True):
                part[rows] = other
        self.theta[self.active[rows]] = theta
        self.moved[rows] = True
        self.first[rows] = first

    def _along(
        self,
        path: _Path,
        rows: IntArray,
        slope: FloatArray,
        trials: int,
        share: FloatArray | None = None,
    ) -> FloatArray:
        """Try shares of a step, the whole one or ``share`` of it first; the last share tried."""
        value = self.state.value[rows]
        noise = 1e-13 * (1.0 + np.abs(value))  # below this a difference is rounding error
        factor = np.ones(len(rows)) if share is None else share.copy()
        todo = np.arange(len(rows))
        for trials_done in range(trials if todo.size else 0):
            theta = path(todo, factor[todo])
            fits = self.active[rows[todo]]
            trial = self.criterion(theta, fits)
            self.record.n_evaluations[fits] += 1
            allowed = value[todo] + 1e-4 * factor[todo] * slope[todo] + noise[todo]
            good = trial.value <= allowed
            self._accept(rows[todo[good]], theta[good], trial.rows(good), trials_done == 0)
            rise = trial.value[~good] - value[todo[~good]]
            todo = todo[~good]
            if todo.size == 0:
                break
            factor[todo] *= _shorten(rise, factor[todo] * slope[todo])
        return factor


def _leave_saddle(state: Derivatives, move: Step, rows: IntArray) -> FloatArray:
    """Newton's step, or one along negative curvature where the gradient has died out."""
    step = move.step[rows]
    stuck = (move.decrement[rows] <= 1e-8) & (move.min_eigenvalue[rows] < _FLAT)
    for row in np.flatnonzero(stuck):
        _, vectors = interruptible(np.linalg.eigh, state.hessian[row])
        direction = vectors[:, 0]
        sign = -1.0 if state.gradient[row] @ direction > 0 else 1.0
        step[row] += 0.1 * sign * direction
    return step


def _shorten(rise: FloatArray, slope: FloatArray) -> FloatArray:
    """Minimum of the parabola through value, slope and the failed trial, kept in [0.1, 0.5]."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        best = -slope / (2.0 * (rise - slope))
    best = np.where(np.isfinite(best), best, 0.1)
    return np.asarray(np.clip(best, 0.1, 0.5))
