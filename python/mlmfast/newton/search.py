"""One step of an iteration: trials along a path until the criterion falls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.newton.criterion import CriterionFunction, Scoring
from mlmfast.newton.options import NewtonOptions
from mlmfast.newton.record import NewtonResult
from mlmfast.newton.step import Derivatives, Step, newton_step
from mlmfast.newton.tails import Tails
from mlmfast.running.interruptible import interruptible

#: Scaled Hessian eigenvalues above this are not negative.
FLAT = -1e-6
#: Fall of the criterion, over the decrement, of a step of several Newton steps: one alone falls by
#: half of it where the criterion is quadratic, and by 0.63 or 0.66 along a tail.
_LONG_FALL = 0.7

#: A path from each of the listed rows: fractions (a,) of a full step -> theta (a, t).
_Path = Callable[[IntArray, FloatArray], FloatArray]


class Search:
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
        options: NewtonOptions,
    ) -> None:
        self.criterion, self.theta, self.active = criterion, theta, active
        self.state, self.record = state, record
        self.options = options
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
        self, move: Step, max_step: Callable[[FloatArray], FloatArray], tails: Tails
    ) -> None:
        """Along Newton's step, for the rows that have not moved."""
        rows = np.flatnonzero(~self.moved)
        scored = np.flatnonzero(self.moved)
        tails.begin_anew(self.active[scored])
        if rows.size == 0:
            return
        start, move = self.theta[self.active[rows]], Step(*(part[rows] for part in move))
        step = _leave_saddle(self.state.rows(rows), move)
        length = np.sqrt((step * step).sum(axis=1))
        most = max_step(start) / np.maximum(length, 1e-300)
        bound = np.minimum(1.0, most)
        step = step * bound[:, None]
        way = self.criterion.move(start, step) - start
        each = tails.repeated(self.active[rows], way, step)
        times = tails.lengths(self.active[rows], way, move.decrement)
        times = np.where(bound < 1.0, 1.0, np.minimum(times, most))
        longer = np.where(each, times[:, None], 1.0) * step
        self._lengthened(rows, start, longer, times, move.decrement)

        def path(chosen: IntArray, factor: FloatArray) -> FloatArray:
            return self.criterion.move(start[left[chosen]], factor[:, None] * step[left[chosen]])

        left = np.flatnonzero(~self.moved[rows])
        over = left[times[left] > 1.0]
        tails.failed(self.active[rows[over]], times[over])
        times[left] = 1.0
        if left.size:
            share = tails.first_share(self.active[rows[left]])
            slope, trials = (move.slope * bound)[left], self.options.max_halvings
            found = self._along(path, rows[left], slope, trials, share, max_step)
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
        """Along ``step``, where that is ``times`` Newton steps at once; kept if that pays."""
        long = np.flatnonzero(times > 1.0)
        if long.size == 0:
            return
        theta = self.criterion.move(start[long], step[long])
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
        max_step: Callable[[FloatArray], FloatArray] | None = None,
    ) -> FloatArray:
        """Try shares of a step, the whole one or ``share`` of it first; the last share tried.

        With ``max_step`` a first trial that does not lead down is followed by Newton's step from
        there.
        """
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
            todo, theta, trial = todo[~good], theta[~good], trial.rows(~good)
            if todo.size and trials_done == 0 and max_step is not None:
                lost = ~self._gone_on(rows[todo], theta, trial, allowed[~good], max_step)
                todo, trial = todo[lost], trial.rows(lost)
            if todo.size == 0:
                break
            rise = trial.value - value[todo]
            factor[todo] *= _shorten(rise, factor[todo] * slope[todo])
        return factor

    def _gone_on(
        self,
        rows: IntArray,
        theta: FloatArray,
        at: Derivatives,
        allowed: FloatArray,
        max_step: Callable[[FloatArray], FloatArray],
    ) -> BoolArray:
        """Go on by Newton's step from trials ``theta`` that were too high; which rows have moved.

        A valley that bends is left by a straight step; where the criterion is convex there, the
        next one leads back to its bottom, further on than a shorter step would come. Only where
        that is foreseen to lie below where the step began.
        """
        out = np.zeros(len(rows), dtype=np.bool_)
        move = newton_step(at, self.options.floor)
        # Where V is no covariance matrix the criterion is infinite.
        told = np.isfinite(at.value) & np.isfinite(move.decrement)
        back = np.flatnonzero(told & (move.min_eigenvalue > 0))
        ahead = at.value[back] - 0.5 * move.decrement[back]
        back = back[ahead < self.state.value[rows[back]]]
        if back.size == 0:
            return out
        start, step = theta[back], move.step[back]
        length = np.sqrt((step * step).sum(axis=1))
        share = np.minimum(1.0, max_step(start) / np.maximum(length, 1e-300))
        there, fits = self.criterion.move(start, share[:, None] * step), self.active[rows[back]]
        trial = self.criterion(there, fits)
        self.record.n_evaluations[fits] += 1
        good = trial.value <= allowed[back]
        self._accept(rows[back[good]], there[good], trial.rows(good), False)
        out[back[good]] = True
        return out


def _leave_saddle(state: Derivatives, move: Step) -> FloatArray:
    """Newton's step, or one along negative curvature where the gradient has died out."""
    step = move.step.copy()
    stuck = (move.decrement <= 1e-8) & (move.min_eigenvalue < FLAT)
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
