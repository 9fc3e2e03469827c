"""Fits whose residual covariance becomes singular: the end of the way, or that there is none.

Two things happen as an eigenvalue of R goes to 0. Where random effects keep V regular, -2
log-likelihood has its infimum at a singular R, where the core cannot stand (it inverts R). Where
they do not, and fewer subjects have certain visits together than those visits are, it falls without
bound. A barrier

    -mu [log det R - K log(tr R / K)]

tells the two apart and leads to the first: it holds the iteration where derivatives are exact, and
its minimum lies within mu times the rank lost of the infimum. An infimum of minus infinity is none
for any mu below the slope, at least 1, of -2 log-likelihood by the logarithm of the eigenvalue.

Evaluated through V (`through_v`) the criterion is exact all the way, and the way goes on until
nothing is left of it. Where an engine inverts R the point reported lies further along the way than
the one whose derivatives the certificate proves, as far as -2 log-likelihood is exact to about
1e-4: within 1e-3 of its infimum as a rule, 1e-2 where R is small beside the random effects.

References: Fiacco and McCormick (1968), Nonlinear Programming, chapter 3; Nocedal and Wright
(2006), Numerical Optimization, section 19.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance import floor_eigenvalues
from mlmfast.covariance.chains import MarkovChain
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.barrier import Barrier, ResidualPart, barrier, residual_parts
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.some_fits import SomeFits
from mlmfast.errors import ModelError
from mlmfast.fitting.minima.barrier_path import RecordedBarrier, Tangent
from mlmfast.newton.iteration import CriterionFunction, Leaves, NewtonResult
from mlmfast.newton.options import NewtonOptions
from mlmfast.newton.step import newton_step

#: Weights of the barrier: below the smallest slope of a likelihood without bound; then on the way
#: to the infimum, as far as rounding lets derivatives be trusted, at least to the one of `_ENOUGH`.
_WEIGHTS = (0.5, 0.1, 1e-2, 1e-4, 1e-6)
_ENOUGH = 1
#: The smallest one (its place) at which a fall without bound is told from rounding.
_TELLS = 2
#: Ratios of weights that are told apart, and from which on one between is worth while.
_APART, _TOO_FAR = 0.2, 0.05
#: Newton decrement, over the weight, of a minimum on the way.
_ROUGHLY = 1e-2
#: The weight to which other starts are brought (`guarded`).
GUARDED = _WEIGHTS[2]
#: Smallest eigenvalue of R, over the mean variance, of a fit that is not near singular; of the
#: start.
_NEAR, _START = 1e-4, 1e-2
#: Fall of -2 log-likelihood beyond an earlier stage that only a likelihood without bound has.
_WITHOUT_BOUND = 1.0
_TOLERANCE, _MAX_ITER, _MAX_HALVINGS = 5e-9, 30, 6
#: Smallest eigenvalue of R, over the mean variance, from which on -2 log-likelihood that still
#: falls does so without bound.
_BEYOND = 1e-9
#: Smallest eigenvalue, over that of a nearly singular R, with which no iteration goes on.
_FAR_BEYOND = 1e-3
#: Newton decrement of a point on the way of the barrier's minima, and smallest eigenvalue for it.
_ON_THE_WAY, _FLOOR = 0.1, 1e-5
#: Smallest eigenvalue of R below which rounding moves -2 log-likelihood by more than 1e-4.
_INEXACT = 1e-11
#: Newton decrement that is little, and smallest eigenvalue of R where values are exact enough.
_LITTLE, _EXACT = 1e-2, 1e-10
#: The smallest eigenvalue of R shrinks at least so much from stage to stage where it goes to 0.
_SHRINKS = 0.5
#: Where the end is foreseen, what takes longer is rounding.
_MAX_ITER_FORESEEN, _MAX_HALVINGS_FORESEEN = 12, 3
#: How much smaller weights than the last are tried, by its tangent.
_FURTHER = (1e-3, 1e-2, 1e-1)
#: Smallest eigenvalue of R, over the mean variance, below which values are rounding.
_LOST = 1e-13
#: Smallest eigenvalue of a residual covariance to start from, over its mean variance, and that over
#: the response's that counts as none.
_SINGULAR_START, _NO_VARIANCE = 1e-10, 1e-12
#: Newton's iteration from theta (1, n_theta) for one criterion.
Minimise: TypeAlias = Callable[[CriterionFunction, FloatArray, NewtonOptions], NewtonResult]


def smallest_eigenvalue(parts: tuple[ResidualPart, ...], theta: FloatArray) -> FloatArray:
    """Smallest eigenvalue of the residual covariances over their mean variances, shape (a,)."""
    out = np.full(len(theta), np.inf)
    for part in parts:
        for row, own in enumerate(theta[:, part.theta]):
            matrix = part.structure.matrix(own[None])[0]
            if np.isfinite(matrix).all():
                ratio = np.linalg.eigvalsh(matrix)[0] / (np.trace(matrix) / len(matrix))
                out[row] = min(out[row], ratio)
    return out


def is_near_singular(parts: tuple[ResidualPart, ...], theta: FloatArray) -> BoolArray:
    """Whether a residual covariance is nearly singular, shape (a,)."""
    return smallest_eigenvalue(parts, theta) < _NEAR


def becomes_singular(parts: tuple[ResidualPart, ...], near: float = _NEAR) -> Leaves:
    """Whether steps led to a nearly singular residual covariance, further than where they began.

    An iteration without a barrier gains nothing there: the way goes on for ever, as far as rounding
    lets it.
    """

    def leaves(before: FloatArray, after: FloatArray) -> BoolArray:
        size = smallest_eigenvalue(parts, after)
        out = size < near
        falls = size[out] < _SHRINKS * smallest_eigenvalue(parts, before[out])
        out[out] = falls | (size[out] < _FAR_BEYOND * near)
        return out

    return leaves


def leaves_barrier(criterion: CriterionFunction) -> Leaves | None:
    """Where no minimum will be found behind a barrier whose weight tells whether there is one."""
    if isinstance(criterion, Barrier) and criterion.mu >= _WEIGHTS[_TELLS]:
        return becomes_singular(criterion.parts, _BEYOND)
    return None


def is_lost(parts: tuple[ResidualPart, ...], theta: FloatArray) -> BoolArray:
    """Whether a residual covariance is so singular that values mean nothing, shape (a,)."""
    return ~(smallest_eigenvalue(parts, theta) > _LOST)


def _has_collapsed(parts: tuple[ResidualPart, ...], theta: FloatArray) -> bool:
    """Whether some correlations are nearly singular, whatever the variances, or a variance 0."""
    for part in parts:
        matrix = part.structure.matrix(theta[:, part.theta])[0]
        if not np.isfinite(matrix).all():
            return True
        variances = np.diag(matrix)
        if variances.min() <= _NEAR**2 * variances.max():
            return True
        if np.linalg.eigvalsh(matrix / np.sqrt(np.outer(variances, variances)))[0] < _NEAR:
            return True
    return False


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
    end = way.follow(theta, _WEIGHTS[_WEIGHTS.index(GUARDED) :])
    if end.newton is not None:
        return end
    # Where rounding leaves nothing to prove at that weight there is at a larger one.
    larger = way.follow(theta, _WEIGHTS)
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
        lifted(parts, theta), _WEIGHTS[:1]
    )


def _follow_from(way: _Way, theta: FloatArray) -> SingularEnd:
    """See `follow`; by the weight of the barrier that fits ``theta`` best, or from the largest."""
    weight = _fitting_weight(way.criterion, theta)
    spent = 1
    if weight < np.inf:
        weight = max(weight, _WEIGHTS[-2])
        smaller = [mu for mu in _WEIGHTS if mu < _APART * weight]
        end = way.follow(theta, (weight, *smaller))
        spent += end.n_evaluations
        if end.newton is not None:
            return replace(end, n_evaluations=spent)
    end = way.follow(lifted(way.parts, theta), _WEIGHTS)
    return replace(end, n_evaluations=end.n_evaluations + spent)


def _fitting_weight(criterion: SomeFits, theta: FloatArray) -> float:
    """The weight of the barrier whose minimum is nearest to theta, on the way to an infimum.

    Infinite where theta is not on such a way. Where the criterion falls with the eigenvalue, that
    is a times exp(t), its decrement by t is its slope by the logarithm of the eigenvalue, and so is
    the weight; where t is the root of the eigenvalue it is twice that.
    """
    at = criterion(theta, np.zeros(1, dtype=np.intp))
    decrement = float(newton_step(at, _FLOOR).decrement[0])
    return decrement if 0.0 <= decrement < _ON_THE_WAY else np.inf


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

    def follow(self, theta: FloatArray, weights: Sequence[float]) -> SingularEnd:
        """Minima with falling weights, from theta (1, n_theta) on, as far as they are proven."""
        left, stages, spent = list(weights), list[_Stage](), 0
        beyond: _Stage | None = None
        while left:
            mu = left.pop(0)
            stage = self._stage(theta, stages[-1] if stages else None, mu)
            newton = stage.newton
            spent += int(newton.n_evaluations[0])
            if newton.converged[0] and stage.value == -np.inf:
                return SingularEnd(None, False, True, spent, stages[-1].newton if stages else None)
            if not newton.converged[0]:
                lost = self._is_lost(stage, stages[-1].value if stages else np.inf)
                if not stages or lost or mu >= _WEIGHTS[_ENOUGH]:
                    near = lost or _is_unproven_end(self.parts, newton)
                    return SingularEnd(None, False, lost, spent, newton if near else None)
                between = np.sqrt(stages[-1].mu * mu)
                if mu < _TOO_FAR * stages[-1].mu and stage.size > self.least:
                    left = [between, mu, *left]
                    continue
                # Rounding ends the proof here.
                beyond = stage
                break
            if stages and stage.size < self.least:
                # The eigenvalue goes with the square of the weight: just as far as that.
                between = stages[-1].mu * np.sqrt(1.5 * self.least / stages[-1].size)
                left = [between] if left and between < 0.8 * stages[-1].mu else []
                continue
            stages.append(stage)
        return self._end(stages, beyond, spent)

    def _stage(self, theta: FloatArray, before: _Stage | None, mu: float) -> _Stage:
        """The minimum with a weight, from the one before it or from theta."""
        few = replace(
            self.options,
            tolerance=max(_TOLERANCE, _ROUGHLY * mu),
            max_iter=_MAX_ITER,
            max_halvings=_MAX_HALVINGS,
        )
        if before is not None:
            ahead = before.tangent
            theta = before.newton.theta if ahead is None else ahead.at(mu)
            if ahead is not None and mu < _WEIGHTS[_TELLS]:
                few = replace(few, max_iter=_MAX_ITER_FORESEEN, max_halvings=_MAX_HALVINGS_FORESEEN)
        return self._minimum(theta, mu, few)

    def _minimum(self, theta: FloatArray, mu: float, options: NewtonOptions) -> _Stage:
        barrier = RecordedBarrier(self.criterion, self.parts, mu)
        newton = self.minimise(barrier, theta, options)
        size = float(smallest_eigenvalue(self.parts, newton.theta)[0])
        value = _without_barrier(newton, self.parts, mu)
        return _Stage(mu, newton, value, size, barrier.tangent())

    def _is_lost(self, stage: _Stage, before: float) -> bool:
        """Whether an iteration that did not converge tells of a fall without bound."""
        fell = not np.isfinite(stage.value) or stage.value < before - _WITHOUT_BOUND
        tells = stage.mu >= _WEIGHTS[_TELLS] and fell
        # What rests but for rounding has come to its end.
        at_rest = 0.0 <= stage.newton.decrement[0] < _LITTLE
        return bool(tells and not at_rest and _has_collapsed(self.parts, stage.newton.theta))

    def _end(self, stages: list[_Stage], beyond: _Stage | None, spent: int) -> SingularEnd:
        """What the minima with falling weights lead to."""
        last = stages[-1]
        if len(stages) > 1 and last.size > _SHRINKS * stages[-2].size:
            # The way was blocked, the minimum is not singular.
            result = self.minimise(self.criterion, last.newton.theta, self.options)
            spent += int(result.n_evaluations[0])
            return SingularEnd(result if result.converged[0] else None, False, False, spent)
        proven = None
        for stage in reversed(stages):
            proven = stage
            if stage.newton.decrement[0] > _TOLERANCE:
                few = _foreseen(replace(self.options, tolerance=_TOLERANCE))
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

        What is left falls with the weight, or with its square root.
        """
        theta, value, mu = last.newton.theta, last.value, last.mu
        tangent, shares = last.tangent, _FURTHER
        if beyond is not None and beyond.value < value and beyond.size >= self.least:
            theta, value, mu = beyond.newton.theta, beyond.value, beyond.mu
            tangent = None if tangent is None else tangent.from_beyond(theta, mu)
        elif self.least == 0.0:
            shares = shares[:1]
        for spent, share in enumerate(shares if tangent is not None else ()):
            assert tangent is not None, "there is a way"
            trial = tangent.at(share * mu)
            if smallest_eigenvalue(self.parts, trial)[0] < self.least:
                continue
            found = self.criterion.criterion.value(trial, self.criterion.chosen)
            if found[0] < value:
                return trial, float(found[0]), spent + 1
        return theta, value, len(shares)


def _foreseen(options: NewtonOptions) -> NewtonOptions:
    """Settings of an iteration that begins near its end."""
    return replace(options, max_iter=_MAX_ITER_FORESEEN, max_halvings=_MAX_HALVINGS_FORESEEN)


def _without_barrier(result: NewtonResult, parts: tuple[ResidualPart, ...], mu: float) -> float:
    """-2 log-likelihood where an iteration of one row behind a barrier ended."""
    own = [barrier(part, result.theta[:, part.theta])[0][0] for part in parts]
    with np.errstate(invalid="ignore"):
        return float(result.value[0] - mu * sum(own))


def _is_unproven_end(parts: tuple[ResidualPart, ...], result: NewtonResult) -> bool:
    """Whether an iteration of one row stopped near a minimum where values are still exact."""
    near = 0.0 <= result.decrement[0] < _LITTLE
    return bool(near and smallest_eigenvalue(parts, result.theta)[0] > _EXACT)


def check_start(criterion: Criterion, theta: FloatArray) -> None:
    """Refuse residual covariances to start from that are singular.

    Raises
    ------
    ModelError
        Where one is.
    """
    for part in residual_parts(criterion, spatial=True):
        if isinstance(part.structure, Spatial) and not isinstance(part.structure, MarkovChain):
            continue
        matrix = part.structure.matrix(theta[:, part.theta])[0]
        # The response has mean square about 1 here.
        scale = max(float(np.trace(matrix)) / len(matrix), _NO_VARIANCE)
        smallest = float(np.linalg.eigvalsh(matrix)[0])
        if not smallest > _SINGULAR_START * scale:
            raise ModelError(
                "the residual covariance to start from is singular (its smallest eigenvalue is "
                f"{smallest / scale:.1e} of the mean variance); start from variances above 0 and "
                "correlations inside -1 and 1"
            )


def lifted(parts: tuple[ResidualPart, ...], theta: FloatArray) -> FloatArray:
    """theta (a, n_theta) with residual covariances away from singularity, for starts."""
    out = theta.copy()
    for part in parts:
        for row, own in enumerate(theta[:, part.theta]):
            matrix = part.structure.matrix(own[None])
            if not np.isfinite(matrix).all():
                matrix = np.eye(part.structure.size)[None]
            least = _START * np.trace(matrix[0]) / len(matrix[0])
            if np.linalg.eigvalsh(matrix[0])[0] < least:
                floored = floor_eigenvalues(matrix, 0.0, least)
                out[row, part.theta] = part.structure.theta(floored)[0]
    return out
