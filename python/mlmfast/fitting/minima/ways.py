"""The way to a singular residual covariance, by minima with a barrier whose weight falls.

Why there are such ways, and what the barrier tells of their ends, says `near_singular`. From one
weight to the next, many times smaller, leads the tangent of the way (`barrier_path`).

Reference: Nocedal and Wright (2006), Numerical Optimization, section 19.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.barrier import Barrier, ResidualPart, barrier
from mlmfast.criterion.some_fits import SomeFits
from mlmfast.fitting.minima.barrier_path import RecordedBarrier, Tangent, fitting_weight
from mlmfast.fitting.minima.near_singular import (
    GUARDED,
    LOST,
    SHRINKS,
    TELLS,
    WEIGHTS,
    has_collapsed,
    lifted,
    smallest_eigenvalue,
)
from mlmfast.newton.iteration import CriterionFunction, Derivatives, NewtonResult
from mlmfast.newton.options import NewtonOptions
from mlmfast.newton.step import newton_step

#: The weight (its place) down to which a minimum is to be proven at least.
_ENOUGH = 1
#: Ratios of weights that are told apart, and from which on one between is worth while.
_APART, _TOO_FAR = 0.2, 0.05
#: Rise of -2 log-likelihood along a tangent that has left the way.
_FAR_UP = 1.0
#: The weight from below which the tangent leads to the last one, where values are exact.
_AT_ONCE = 3e-2
#: The least weight to begin with.
_LEAST = 1e-5
#: Newton decrement, over the weight, of a minimum on the way.
_ROUGHLY = 1e-2
#: Fall of -2 log-likelihood beyond an earlier stage that only a likelihood without bound has.
_WITHOUT_BOUND = 1.0
_TOLERANCE, _MAX_ITER, _MAX_HALVINGS = 5e-9, 30, 6
#: Smallest scaled eigenvalue of a Hessian where a tangent has led too far.
_BENT = -0.01
#: Smallest eigenvalue of R below which rounding moves -2 log-likelihood by more than 1e-4.
_INEXACT = 1e-11
#: Newton decrement that is little, and smallest eigenvalue of R where values are exact enough.
_LITTLE, _EXACT = 1e-2, 1e-10
#: Where the end is foreseen, what takes longer is rounding; without an inverse of R; and where the
#: curvature at the beginning is rounding; and where only a proof is left.
_MAX_ITER_FORESEEN, _MAX_HALVINGS_FORESEEN, _MAX_ITER_EXACT, _MAX_ITER_BENT = 8, 3, 10, 5
_MAX_ITER_PROOF = 5
#: Fall of -2 log-likelihood for which an iteration that is not proven is worth while.
_FALLS = 1e-5
#: How much smaller weights than the last are tried, by its tangent.
_FURTHER = (1e-3, 1e-2, 1e-1)
#: A point (1, n_theta) and the criterion there.
_Known: TypeAlias = tuple[FloatArray, Derivatives]
#: Newton's iteration from theta (1, n_theta) for one criterion.
Minimise: TypeAlias = Callable[[CriterionFunction, FloatArray, NewtonOptions], NewtonResult]


@dataclass(frozen=True)
class SingularEnd:
    """What was found of one fit.

    Attributes
    ----------
    newton
        The iteration to the infimum; None where there is none, or it was not reached.
    is_singular
        Whether R is singular there.
    without_bound
        Whether -2 log-likelihood falls without bound.
    n_evaluations
        Evaluations spent.
    unproven
        Where rounding ended the iteration, with little left to fall, before derivatives could
        prove a minimum, or how far -2 log-likelihood was seen to fall without bound; None
        elsewhere.
    """

    newton: NewtonResult | None
    is_singular: bool
    without_bound: bool
    n_evaluations: int
    unproven: NewtonResult | None = None


def follow(
    criterion: SomeFits,
    parts: tuple[ResidualPart, ...],
    theta: FloatArray,
    options: NewtonOptions,
    minimise: Minimise,
    is_guarded: bool = False,
    is_exact: bool = False,
) -> SingularEnd:
    """Go to the infimum from the stalled ``theta`` (1, n_theta), or find that there is none.

    With ``is_guarded`` theta is the minimum with a barrier of weight ``GUARDED``; the way goes on
    from there. ``is_exact`` says that the criterion needs no inverse of R.
    """
    way = _Way(criterion, parts, options, minimise, 0.0 if is_exact else _INEXACT)
    if not is_guarded:
        return _follow_from(way, theta)
    end = way.follow(theta, WEIGHTS[WEIGHTS.index(GUARDED) :])
    if end.newton is not None:
        return end
    # Where rounding leaves nothing to prove at that weight there is at a larger one.
    larger = way.follow(theta, WEIGHTS)
    spent = end.n_evaluations + larger.n_evaluations
    is_nearer = larger.newton is None and not larger.without_bound and not end.without_bound
    return replace(end if is_nearer else larger, n_evaluations=spent)


def falls_without_bound(
    criterion: SomeFits,
    parts: tuple[ResidualPart, ...],
    theta: FloatArray,
    options: NewtonOptions,
    minimise: Minimise,
) -> SingularEnd:
    """Whether -2 log-likelihood has no minimum near where an iteration was lost, (1, n_theta)."""
    return _Way(criterion, parts, options, minimise, _INEXACT).follow(
        lifted(parts, theta), WEIGHTS[:1]
    )


def _follow_from(way: _Way, theta: FloatArray) -> SingularEnd:
    """See `follow`; by the weight of the barrier that fits ``theta`` best, or from the largest."""
    known = theta, way.criterion(theta, np.zeros(1, dtype=np.intp))
    weight = fitting_weight(way.criterion, way.parts, *known)
    spent = 1
    if weight < np.inf:
        weight = max(weight, _LEAST)
        smaller = [mu for mu in WEIGHTS if mu < _APART * weight]
        if way.least == 0.0 and weight < _AT_ONCE:
            smaller = smaller[-1:]
        end = way.follow(theta, (weight, *smaller), known)
        spent += end.n_evaluations
        if end.newton is not None:
            return replace(end, n_evaluations=spent)
    end = way.follow(lifted(way.parts, theta), WEIGHTS)
    return replace(end, n_evaluations=end.n_evaluations + spent)


@dataclass(frozen=True)
class _Stage:
    """Where an iteration with the barrier ended.

    Attributes
    ----------
    mu
        The weight.
    newton
        The iteration.
    value
        -2 log-likelihood there, without the barrier.
    size
        Smallest eigenvalue of R, over the mean variance.
    tangent
        Where minima with smaller weights are; None where derivatives do not tell.
    """

    mu: float
    newton: NewtonResult
    value: float
    size: float
    tangent: Tangent | None


@dataclass(frozen=True)
class _Way:
    """The way of one fit to a singular residual covariance.

    Attributes
    ----------
    criterion, parts, options, minimise
        See `follow`.
    least
        Eigenvalue of R, over the mean variance, below which the criterion is not exact.
    """

    criterion: SomeFits
    parts: tuple[ResidualPart, ...]
    options: NewtonOptions
    minimise: Minimise
    least: float

    def follow(
        self, theta: FloatArray, weights: Sequence[float], known: _Known | None = None
    ) -> SingularEnd:
        """Minima with falling weights, from theta (1, n_theta) on, as far as they are proven.

        ``known`` is the criterion at theta.
        """
        left, stages, spent = list(weights), list[_Stage](), 0
        beyond: _Stage | None = None
        is_bent = False
        while left:
            mu = left.pop(0)
            if stages:
                theta, known = self._foreseen_from(stages[-1], mu)
                spent += int(stages[-1].tangent is not None)
                is_bent = known is not None and self._is_bent(mu, known)
                if is_bent and mu < _TOO_FAR * stages[-1].mu:
                    left = [float(np.sqrt(stages[-1].mu * mu)), mu, *left]
                    continue
            few = self._settings(mu, bool(stages), is_bent, is_last=not left)
            stage = self._minimum(theta, mu, few, known=known)
            spent += int(stage.newton.n_evaluations[0])
            if not stage.newton.converged[0]:
                stopped = self._stopped(stage, stages, spent)
                if stopped is not None:
                    return stopped
                if stage.value < (beyond or stages[-1]).value - _FALLS:
                    beyond = stage
                mu = float(np.sqrt(stages[-1].mu * mu))
                too_far = stage.mu < _TOO_FAR * stages[-1].mu and not _rests(stage)
                if too_far and stage.size > self.least:
                    # Rounding ends the proof on the way there; else that was too far at once.
                    left = [mu, stage.mu, *left]
                    continue
                break
            elif stage.value == -np.inf or self._outweighs(stage):
                return SingularEnd(None, False, True, spent, stages[-1].newton if stages else None)
            elif stages and self._is_inexact(stage.size):
                # The eigenvalue goes with the square of the weight: just as far as that.
                between = stages[-1].mu * float(np.sqrt(1.5 * self.least / stages[-1].size))
                left = [between] if left and between < 0.8 * stages[-1].mu else []
            else:
                stages.append(stage)
                if mu <= GUARDED and self._is_blocked(stages):
                    break
        return self._end(stages, beyond, spent)

    def _stopped(self, stage: _Stage, stages: list[_Stage], spent: int) -> SingularEnd | None:
        """The end where an iteration that did not converge is one; None on the way."""
        lost = self._is_lost(stage, stages[-1].value if stages else np.inf)
        if stages and not lost and stage.mu < WEIGHTS[_ENOUGH]:
            return None
        near = lost or _is_unproven_end(self.parts, stage.newton)
        return SingularEnd(None, False, lost, spent, stage.newton if near else None)

    def _foreseen_from(self, last: _Stage, mu: float) -> tuple[FloatArray, _Known | None]:
        """Where the minimum with a smaller weight is foreseen, and the criterion there."""
        if last.tangent is None:
            return last.newton.theta, None
        theta = last.tangent.at(mu)
        at = self.criterion(theta, np.zeros(1, dtype=np.intp))
        if mu >= GUARDED and not at.value[0] < last.value + _FAR_UP:
            # A way that bends is left by its tangent, and large weights do not lead far.
            return last.newton.theta, None
        return theta, (theta, at)

    def _is_bent(self, mu: float, known: _Known) -> bool:
        """Whether a point is one from which no step leads to the minimum with a weight."""
        at = Barrier(self.criterion, self.parts, mu).added(*known)
        return not newton_step(at, self.options.floor).min_eigenvalue[0] > _BENT

    def _settings(self, mu: float, goes_on: bool, is_bent: bool, is_last: bool) -> NewtonOptions:
        """Settings of an iteration with a weight, from where it is foreseen if ``goes_on``."""
        few = replace(
            self.options,
            tolerance=_TOLERANCE if is_last else max(_TOLERANCE, _ROUGHLY * mu),
            max_iter=_MAX_ITER // 2 if goes_on else _MAX_ITER,
            max_halvings=_MAX_HALVINGS,
        )
        if is_bent and mu < GUARDED:
            # So near to a minimum what bends is rounding.
            return replace(few, max_iter=_MAX_ITER_BENT, max_halvings=_MAX_HALVINGS_FORESEEN)
        if goes_on and mu < GUARDED and not (mu == WEIGHTS[-1] and self.least == 0.0):
            return self._foreseen(few)
        return few

    def _foreseen(self, options: NewtonOptions) -> NewtonOptions:
        """Settings of an iteration that begins near its end: what takes longer is rounding."""
        most = _MAX_ITER_EXACT if self.least == 0.0 else _MAX_ITER_FORESEEN
        return replace(options, max_iter=most, max_halvings=_MAX_HALVINGS_FORESEEN)

    def _minimum(
        self,
        theta: FloatArray,
        mu: float,
        options: NewtonOptions,
        is_patient: bool = False,
        known: _Known | None = None,
    ) -> _Stage:
        tolerance = options.tolerance
        barrier = RecordedBarrier(self.criterion, self.parts, mu, is_patient, tolerance, known)
        newton = self.minimise(barrier, theta, options)
        # What was known has been counted.
        newton.n_evaluations[:] -= int(known is not None)
        size = float(smallest_eigenvalue(self.parts, newton.theta)[0])
        value = _without_barrier(newton, self.parts, mu)
        return _Stage(mu, newton, value, size, barrier.tangent())

    def _is_inexact(self, size: float) -> bool:
        """Whether the criterion is not exact at a smallest eigenvalue, but for rounding."""
        return size < self.least - LOST

    def _is_lost(self, stage: _Stage, before: float) -> bool:
        """Whether an iteration that did not converge tells of a fall without bound."""
        fell = not np.isfinite(stage.value) or stage.value < before - _WITHOUT_BOUND
        tells = stage.mu >= WEIGHTS[TELLS] and fell
        if self._outweighs(stage):
            return True
        # What rests but for rounding has come to its end.
        at_rest = 0.0 <= stage.newton.decrement[0] < _LITTLE
        return bool(tells and not at_rest and has_collapsed(self.parts, stage.newton.theta))

    def _outweighs(self, stage: _Stage) -> bool:
        """Whether the likelihood grows faster than the barrier does as R becomes singular.

        An iteration ended by itself where the barrier is infinite but for rounding.
        """
        ended = stage.newton.converged[0] or 0.0 <= stage.newton.decrement[0] < _LITTLE
        return bool(ended and stage.mu >= WEIGHTS[TELLS] and stage.size < LOST)

    def _is_blocked(self, stages: list[_Stage]) -> bool:
        """Whether the smallest eigenvalue of R no longer falls with the weight."""
        size = stages[-1].size
        # Smaller ones are rounding.
        return len(stages) > 1 and size > LOST and size > SHRINKS * stages[-2].size

    def _end(self, stages: list[_Stage], beyond: _Stage | None, spent: int) -> SingularEnd:
        """What the minima with falling weights lead to."""
        last = stages[-1]
        if self._is_blocked(stages):
            # The way was blocked, the minimum is not singular.
            result = self.minimise(self.criterion, last.newton.theta, self.options)
            spent += int(result.n_evaluations[0])
            return SingularEnd(result if result.converged[0] else None, False, False, spent)
        proven = None
        for stage in reversed(stages):
            proven = stage
            if stage.newton.decrement[0] > _TOLERANCE:
                few = self._foreseen(replace(self.options, tolerance=_TOLERANCE))
                few = replace(few, max_iter=_MAX_ITER_PROOF)
                proven = self._minimum(stage.newton.theta, stage.mu, few)
                spent += int(proven.newton.n_evaluations[0])
            if proven.newton.converged[0]:
                break
            beyond = beyond or stage
        assert proven is not None, "there are stages"
        if not proven.newton.converged[0]:
            near = _is_unproven_end(self.parts, proven.newton)
            return SingularEnd(None, False, False, spent, proven.newton if near else None)
        theta, value, n_evaluations = self._further(proven, beyond)
        spent += n_evaluations
        if value == -np.inf:
            return SingularEnd(None, False, True, spent, proven.newton)
        found = replace(proven.newton, theta=theta, value=np.array([value]))
        return SingularEnd(found, True, False, spent)

    def _further(self, last: _Stage, beyond: _Stage | None) -> tuple[FloatArray, float, int]:
        """The lowest point further along the way, its value, and evaluations.

        What is left falls with the weight, or with its square root. From a minimum with the barrier
        to the infimum -2 log-likelihood falls by the weight times the rank that is lost: what lies
        lower is rounding.
        """
        theta, value, mu = last.newton.theta, last.value, last.mu
        least = self._least_below(last)
        tangent, shares = last.tangent, list(_FURTHER)
        if (
            beyond is not None
            and least < beyond.value < value
            and not self._is_inexact(beyond.size)
        ):
            theta, value, mu = beyond.newton.theta, beyond.value, beyond.mu
            least = max(least, self._least_below(beyond))
            tangent = None if tangent is None else tangent.from_beyond(theta, mu)
            if self.least == 0.0 and tangent is not None:
                # Rounding takes the proof away, not the values.
                few = replace(self.options, max_iter=_MAX_ITER, max_halvings=_MAX_HALVINGS_FORESEEN)
                start, known = self._begins(tangent.at(WEIGHTS[-1]), beyond, WEIGHTS[-1])
                end = self._minimum(start, WEIGHTS[-1], few, is_patient=True, known=known)
                if least < end.value < value:
                    theta, value = end.newton.theta, end.value
                return theta, value, 1 + int(end.newton.n_evaluations[0])
        elif self.least == 0.0:
            shares = shares[:1]
        for spent, share in enumerate(shares if tangent is not None else ()):
            assert tangent is not None, "there is a way"
            trial = tangent.at(share * mu)
            if self._is_inexact(float(smallest_eigenvalue(self.parts, trial)[0])):
                continue
            found = self.criterion.criterion.value(trial, self.criterion.chosen)
            if least < found[0] < value:
                return trial, float(found[0]), spent + 1
        return theta, value, len(shares)

    def _least_below(self, stage: _Stage) -> float:
        """What the infimum is not below, seen from a stage that came to its end, or nearly."""
        left = max(float(stage.newton.decrement[0]), 0.0)
        return stage.value - left - stage.mu * sum(part.structure.size for part in self.parts)

    def _begins(
        self, foreseen: FloatArray, last: _Stage, mu: float
    ) -> tuple[FloatArray, _Known | None]:
        """Where to begin with a weight: as foreseen, or at the last point where that is lower."""
        at = self.criterion(foreseen, np.zeros(1, dtype=np.intp))
        there = Barrier(self.criterion, self.parts, mu).added(foreseen, at).value[0]
        here = last.value + mu * _barriers(self.parts, last.newton.theta)
        return (foreseen, (foreseen, at)) if there <= here else (last.newton.theta, None)


def _rests(stage: _Stage) -> bool:
    """Whether an iteration that did not converge came to its end, but for rounding."""
    return stage.mu < GUARDED and 0.0 <= stage.newton.decrement[0] <= _ROUGHLY * stage.mu


def _without_barrier(result: NewtonResult, parts: tuple[ResidualPart, ...], mu: float) -> float:
    """-2 log-likelihood where an iteration of one row behind a barrier ended."""
    with np.errstate(invalid="ignore"):
        return float(result.value[0] - mu * _barriers(parts, result.theta))


def _barriers(parts: tuple[ResidualPart, ...], theta: FloatArray) -> float:
    """The barrier with weight 1 at theta (1, n_theta)."""
    return float(sum(barrier(part, theta[:, part.theta])[0][0] for part in parts))


def _is_unproven_end(parts: tuple[ResidualPart, ...], result: NewtonResult) -> bool:
    """Whether an iteration of one row stopped near a minimum where values are still exact."""
    near = 0.0 <= result.decrement[0] < _LITTLE
    return bool(near and smallest_eigenvalue(parts, result.theta)[0] > _EXACT)
