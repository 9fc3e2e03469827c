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

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance import floor_eigenvalues
from mlmfast.covariance.chains import MarkovChain
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.barrier import Barrier, ResidualPart, residual_parts
from mlmfast.criterion.criterion import Criterion
from mlmfast.errors import ModelError
from mlmfast.fitting.minima.barrier_path import RecordedBarrier
from mlmfast.newton.criterion import Progress
from mlmfast.newton.iteration import CriterionFunction, Leaves

#: Weights of the barrier: below the smallest slope of a likelihood without bound; then on the way
#: to the infimum, as far as rounding lets derivatives be trusted.
WEIGHTS = (0.5, 0.1, 1e-2, 1e-4, 1e-6)
#: The smallest one (its place) at which a fall without bound is told from rounding.
TELLS = 2
#: The weight to which other starts are brought (`guarded`).
GUARDED = WEIGHTS[2]
#: Smallest eigenvalue of R, over the mean variance, of a fit that is not near singular; of the
#: start.
_NEAR, _START = 1e-4, 1e-2
#: Smallest eigenvalue of R of a fit that is on its way there already, by a decrement that is small
#: and falls slowly, and what the eigenvalue falls by a step.
_FORESEEN, _SETTLED, _FALLS = 0.05, 0.1, 0.9
#: Smallest eigenvalue of R, over the mean variance, from which on -2 log-likelihood that still
#: falls does so without bound.
_BEYOND = 1e-9
#: The smallest eigenvalue of R shrinks at least so much from stage to stage where it goes to 0.
SHRINKS = 0.5
#: Smallest eigenvalue, over that of a nearly singular R, with which no iteration goes on.
_FAR_BEYOND = 1e-3
#: Smallest eigenvalue of R, over the mean variance, below which values are rounding.
LOST = 1e-13
#: Smallest eigenvalue of a residual covariance to start from, over its mean variance, and that over
#: the response's that counts as none.
_SINGULAR_START, _NO_VARIANCE = 1e-10, 1e-12


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


def may_become_singular(parts: tuple[ResidualPart, ...], theta: FloatArray) -> BoolArray:
    """Whether an iteration that ended early may have been on the way there, shape (a,)."""
    return smallest_eigenvalue(parts, theta) < _FORESEEN


def becomes_singular(
    parts: tuple[ResidualPart, ...], near: float = _NEAR, foreseen: float = _FORESEEN
) -> Leaves:
    """Whether steps led to a nearly singular residual covariance, further than where they began.

    An iteration without a barrier gains nothing there: the way goes on for ever, as far as rounding
    lets it.
    """

    def leaves(before: FloatArray, after: FloatArray, progress: Progress) -> BoolArray:
        size = smallest_eigenvalue(parts, after)
        was = smallest_eigenvalue(parts, before)
        out = (size < near) & ((size < SHRINKS * was) | (size < _FAR_BEYOND * near))
        if foreseen > near:
            # What is left to fall is the eigenvalue's where there is little of it.
            settled = progress.is_slow & (progress.decrement < _SETTLED)
            out |= settled & (size < foreseen) & (size < _FALLS * was)
        return out

    return leaves


def leaves_barrier(criterion: CriterionFunction) -> Leaves | None:
    """Where no minimum will be found behind a barrier.

    Steps that go on beyond where its weight tells whether there is one, and steps that only
    rounding makes.
    """
    if not isinstance(criterion, Barrier):
        return None
    gone = (
        becomes_singular(criterion.parts, _BEYOND, _BEYOND)
        if criterion.mu >= WEIGHTS[TELLS]
        else None
    )
    if not isinstance(criterion, RecordedBarrier):
        return gone

    def leaves(before: FloatArray, after: FloatArray, progress: Progress) -> BoolArray:
        rests = np.full(len(after), criterion.rests() or criterion.is_rounding(progress))
        return rests if gone is None else rests | gone(before, after, progress)

    return leaves


def is_lost(parts: tuple[ResidualPart, ...], theta: FloatArray) -> BoolArray:
    """Whether a residual covariance is so singular that values mean nothing, shape (a,)."""
    return ~(smallest_eigenvalue(parts, theta) > LOST)


def has_collapsed(parts: tuple[ResidualPart, ...], theta: FloatArray) -> bool:
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


def lifted(parts: tuple[ResidualPart, ...], theta: FloatArray, share: float = _START) -> FloatArray:
    """theta (a, n_theta) with residual covariances away from singularity, for starts.

    No eigenvalue is less than a share of the mean variance.
    """
    out = theta.copy()
    for part in parts:
        for row, own in enumerate(theta[:, part.theta]):
            matrix = part.structure.matrix(own[None])
            if not np.isfinite(matrix).all():
                matrix = np.eye(part.structure.size)[None]
            least = share * np.trace(matrix[0]) / len(matrix[0])
            if np.linalg.eigvalsh(matrix[0])[0] < least:
                floored = floor_eigenvalues(matrix, 0.0, least)
                out[row, part.theta] = part.structure.theta(floored)[0]
    return out
