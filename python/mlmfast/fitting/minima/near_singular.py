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

from collections.abc import Callable
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
from mlmfast.newton.iteration import CriterionFunction, Leaves, NewtonResult
from mlmfast.newton.options import NewtonOptions
from mlmfast.newton.step import newton_step

#: Weights of the barrier: below the smallest slope of a likelihood without bound; then on the way
#: to the infimum, as far as rounding lets derivatives be trusted, at least to the one of `_ENOUGH`.
_WEIGHTS = (0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_ENOUGH = 1
#: The smallest one (its place) at which a fall without bound is told from rounding.
_TELLS = 2
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
#: Fall of -2 log-likelihood for which another stage is worth while.
_FALLS = 1e-5
#: The smallest eigenvalue of R shrinks at least so much from stage to stage where it goes to 0.
_SHRINKS = 0.5
#: Stages after which the end of the next one is foreseen; the first begins anywhere.
_STAGES = 3
#: Where the end is foreseen, what takes longer is rounding, if there is an inverse of R.
_MAX_ITER_FORESEEN, _MAX_HALVINGS_FORESEEN = 8, 3
#: How far beyond the last stage, in steps of that stage.
_FURTHER = (0.1, 0.25, 0.4, 0.5, 1.0, 1.5, 2.0, 3.0)
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
    least = 0.0 if is_exact else _INEXACT
    if not is_guarded:
        return _follow_from(criterion, parts, theta, options, minimise, least)
    stages = (_WEIGHTS.index(GUARDED), _WEIGHTS.index(GUARDED) - 1)
    spent, end = 0, None
    for first in stages:
        # Where rounding leaves nothing to prove at that weight there is at the one before.
        end = _follow(criterion, parts, theta, options, minimise, first, least)
        spent += end.n_evaluations
        if end.newton is not None:
            break
    assert end is not None, "there are stages"
    unproven = None if end.without_bound else end.unproven
    return replace(end, without_bound=False, n_evaluations=spent, unproven=unproven)


def _follow_from(
    criterion: SomeFits,
    parts: tuple[ResidualPart, ...],
    theta: FloatArray,
    options: NewtonOptions,
    minimise: Minimise,
    least: float,
) -> SingularEnd:
    """See `follow`; by the weight of the barrier that fits ``theta`` best, or from the largest."""
    weight = _fitting_weight(criterion, theta)
    if not weight < np.inf:
        end = _follow(criterion, parts, lifted(parts, theta), options, minimise, 0, least)
        return replace(end, n_evaluations=end.n_evaluations + 1)
    first = min(sum(mu > weight for mu in _WEIGHTS), len(_WEIGHTS) - 2)
    end = _follow(criterion, parts, theta, options, minimise, first, least)
    spent = end.n_evaluations + 1
    if end.newton is None:
        end = _follow(criterion, parts, lifted(parts, theta), options, minimise, 0, least)
        spent += end.n_evaluations
    return replace(end, n_evaluations=spent)


def _fitting_weight(criterion: SomeFits, theta: FloatArray) -> float:
    """The weight of the barrier whose minimum is nearest to theta, on the way to an infimum.

    Infinite where theta is not on such a way. Where the criterion falls with the eigenvalue, that
    is a times exp(t), its decrement by t is its slope by the logarithm of the eigenvalue, and so is
    the weight; where t is the root of the eigenvalue it is twice that.
    """
    at = criterion(theta, np.zeros(1, dtype=np.intp))
    decrement = float(newton_step(at, _FLOOR).decrement[0])
    return decrement if 0.0 <= decrement < _ON_THE_WAY else np.inf


def _follow(
    criterion: SomeFits,
    parts: tuple[ResidualPart, ...],
    theta: FloatArray,
    options: NewtonOptions,
    minimise: Minimise,
    first: int,
    least: float,
) -> SingularEnd:
    """See `follow`; from the stage ``first`` on, R having no eigenvalue below ``least``."""
    few = replace(
        options,
        tolerance=_TOLERANCE,
        max_iter=_MAX_ITER,
        max_halvings=_MAX_HALVINGS,
    )
    spent, proven, value, sizes = 0, None, np.inf, [np.inf]
    before_last, last_weight, last_size = theta, np.inf, np.inf
    weights, ways = list(_WEIGHTS[first:]), list[FloatArray]()
    while weights:
        mu = weights.pop(0)
        if len(ways) == _STAGES and least > 0.0:
            few = replace(few, max_iter=_MAX_ITER_FORESEEN, max_halvings=_MAX_HALVINGS_FORESEEN)
        result = minimise(Barrier(criterion, parts, mu), theta + _next_way(ways), few)
        reached = _without_barrier(result, parts, mu)
        spent += int(result.n_evaluations[0])
        if result.converged[0] and reached == -np.inf:
            return SingularEnd(None, False, True, spent, proven)
        if not result.converged[0]:
            fell = not np.isfinite(reached) or reached < value - _WITHOUT_BOUND
            tells = mu >= _WEIGHTS[_TELLS]
            lost = tells and fell and _has_collapsed(parts, result.theta)
            if proven is None or lost or mu >= _WEIGHTS[_ENOUGH]:
                near = _is_unproven_end(parts, result)
                return SingularEnd(None, False, lost, spent, result if near or lost else None)
            # Rounding ends the proof here, and the way where the criterion falls no further.
            if not reached < value - _FALLS:
                break
        size = float(smallest_eigenvalue(parts, result.theta)[0])
        if proven is not None and size < least:
            # The eigenvalue goes with the square of the weight: once more, just as far as that.
            between = last_weight * np.sqrt(1.5 * least / last_size)
            weights = [between] if len(weights) > 0 and between < 0.8 * last_weight else []
            last_weight = 0.0
            continue
        ways.append(result.theta - theta)
        before_last, theta, value, last_weight, last_size = theta, result.theta, reached, mu, size
        if result.converged[0]:
            proven = result
            sizes.append(size)
    assert proven is not None, "a first stage that did not converge has returned"
    if sizes[-1] > _SHRINKS * sizes[-2]:
        # The way was blocked, the minimum is not singular.
        result = minimise(criterion, theta, options)
        spent += int(result.n_evaluations[0])
        return SingularEnd(result if result.converged[0] else None, False, False, spent)
    theta, value = _further(criterion, parts, theta, theta - before_last, value, least)
    if value == -np.inf:
        return SingularEnd(None, False, True, spent + len(_FURTHER), proven)
    found = replace(proven, theta=theta, value=np.array([value]))
    return SingularEnd(found, True, False, spent + len(_FURTHER))


def _without_barrier(result: NewtonResult, parts: tuple[ResidualPart, ...], mu: float) -> float:
    """-2 log-likelihood where an iteration of one row behind a barrier ended."""
    own = [barrier(part, result.theta[:, part.theta])[0][0] for part in parts]
    with np.errstate(invalid="ignore"):
        return float(result.value[0] - mu * sum(own))


def _next_way(ways: list[FloatArray]) -> FloatArray | float:
    """Where the next stage ends, seen from the last: ``ways`` are those from stage to stage.

    Parameters whose ends are at infinity go on by the same length, others by a share that is also
    that of the stage before.
    """
    if len(ways) < _STAGES:
        return 0.0
    before, last = ways[-2:]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(np.abs(before) > 0.0, last / before, 0.0)
    return np.asarray(last * np.clip(share, 0.0, 1.0))


def _is_unproven_end(parts: tuple[ResidualPart, ...], result: NewtonResult) -> bool:
    """Whether an iteration of one row stopped near a minimum where values are still exact."""
    near = 0.0 <= result.decrement[0] < _LITTLE
    return bool(near and smallest_eigenvalue(parts, result.theta)[0] > _EXACT)


def _further(
    criterion: SomeFits,
    parts: tuple[ResidualPart, ...],
    theta: FloatArray,
    way: FloatArray,
    value: float,
    least: float,
) -> tuple[FloatArray, float]:
    """Go on along the way of the last stages as long as the criterion falls.

    It falls with the square root of what goes to 0, a tenth of it from stage to stage.
    """
    trials = theta + np.outer(_FURTHER, way[0])
    values = criterion.criterion.value(trials, np.repeat(criterion.chosen, len(trials)))
    exact = np.isfinite(values) & (smallest_eigenvalue(parts, trials) >= least)
    values = np.where(exact, values, np.inf)
    rises = np.flatnonzero(values >= np.concatenate([[value], values[:-1]]))
    last = int(rises[0]) if rises.size else len(trials)
    return (theta, value) if last == 0 else (trials[last - 1 : last], float(values[last - 1]))


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
