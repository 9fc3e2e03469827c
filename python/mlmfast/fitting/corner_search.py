"""The search for a minimum in a corner of -2 log-likelihood, where Newton's method stalls.

Newton's steps cross a corner (`corners`) back and forth for ever. Here the corners on both sides of
a minimum by one range are brought together, other parameters following, until one is left or the
cell between two. A corner holds the range while the other parameters go to their minimum by
Newton's method, and the slopes on both sides of it then prove that this is one.

Reference: Clarke (1983), Optimization and Nonsmooth Analysis, section 2.3 (0 lies between the
slopes of both sides).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.held import HeldCriterion
from mlmfast.fitting.corners import Corners
from mlmfast.newton.criterion import CriterionFunction, Leaves, Progress
from mlmfast.newton.iteration import NewtonResult, newton_raphson
from mlmfast.newton.options import NewtonOptions
from mlmfast.newton.step import Derivatives, newton_step

#: theta (1, n_theta), and the criterion there.
_Point: TypeAlias = tuple[FloatArray, Derivatives]

#: How far from a corner its sides are looked at.
_BESIDE = 1e-8
#: Searches for corners, each from where the one before ended.
_ROUNDS = 6
#: Rise over the lowest value met with which an end is none.
_HIGHER = 1e-6


class _Between:
    """The corners between which there is a minimum by one range: the line search's bracket.

    Attributes
    ----------
    low, high
        The last corner below the minimum, and the first above; -1 and n where there are none.
    below, above
        A point next to each, with what the criterion is there; None where none was looked at.
    """

    def __init__(self, own: Corners, theta: FloatArray, at: Derivatives) -> None:
        self.position = own.position
        place = int(np.searchsorted(own.at, theta[0, own.position]))
        self.low, self.high, self.stride = -1, len(own.at), 1
        self.below: _Point | None = None
        self.above: _Point | None = None
        if at.gradient[0, own.position] < 0.0:
            self.low, self.below = place - 1, (theta, at)
        else:
            self.high, self.above = place, (theta, at)

    def next(self) -> int | None:
        """The corner to look at next; None where none is left."""
        if self.high - self.low <= 1:
            return None
        if self.below is not None and self.above is not None:
            return (self.low + self.high) // 2
        stride, self.stride = self.stride, 2 * self.stride
        if self.below is not None:
            return min(self.low + stride, self.high - 1)
        return max(self.high - stride, self.low + 1)

    @property
    def best(self) -> _Point:
        """The lower of the two points."""
        points = [point for point in (self.below, self.above) if point is not None]
        return min(points, key=lambda point: float(point[1].value[0]))

    def is_below(self, at: Derivatives) -> bool:
        """Whether a minimum lies above a point at the upper side of a corner.

        Where the point is higher than the lower of the two that there are, that is towards it.
        """
        if self._is_higher(at):
            return self.best is self.above
        return bool(at.gradient[0, self.position] < 0.0)

    def is_above(self, at: Derivatives) -> bool:
        """The same for a minimum below, and a point at the lower side."""
        if self._is_higher(at):
            return self.best is self.below
        return bool(at.gradient[0, self.position] > 0.0)

    def _is_higher(self, at: Derivatives) -> bool:
        return not at.value[0] <= self.best[1].value[0]


@dataclass
class CornerSearch:
    """The search for the corner near which the iteration of one fit stalled.

    Attributes
    ----------
    criterion
        That of the fit, of one row.
    corners
        All there are.
    free : shape (n_theta,)
        Parameters that are not held for other reasons.
    options
        Settings of the iteration.
    leaves
        Which iterations are left.
    """

    criterion: CriterionFunction
    corners: tuple[Corners, ...]
    free: BoolArray
    options: NewtonOptions
    leaves: Leaves | None
    n_evaluations: int = 0
    n_iterations: int = 0
    lowest: float = np.inf

    def end(self, theta: FloatArray) -> NewtonResult | None:
        """The minimum from theta (1, n_theta) on; None where none is proven.

        Evaluations and steps are those of the search.
        """
        held = dict[int, float]()
        for _ in range(_ROUNDS):
            for own in self.corners:
                if own.position not in held and self.free[own.position]:
                    found = self._located(own, theta)
                    if found is None:
                        return None
                    theta, is_corner = found
                    if is_corner:
                        held[own.position] = float(theta[0, own.position])
            newton = self._minimum(theta, held)
            theta = newton.theta
            if not newton.converged[0]:
                held = {}
                theta = self._beside(theta, -1.0)
                continue
            released = self._released(theta, held)
            if not released:
                return newton if newton.value[0] <= self.lowest + _HIGHER else None
            theta = theta.copy()
            for position, side in released.items():
                theta[0, position] = held.pop(position) + side * _BESIDE
        return None

    def _look(self, theta: FloatArray) -> Derivatives:
        self.n_evaluations += 1
        at = self.criterion(theta, np.zeros(1, dtype=np.intp))
        if np.isfinite(at.value[0]):
            self.lowest = min(self.lowest, float(at.value[0]))
        return at

    def _located(self, own: Corners, theta: FloatArray) -> tuple[FloatArray, bool] | None:
        """Where slopes by one range change their sign, others following; whether in a corner.

        Else between two corners, or beyond all. None where the criterion is infinite on the way.
        """
        between = _Between(own, theta, self._look(theta))
        while (k := between.next()) is not None:
            self.n_iterations += 1
            nearest, at = between.best
            theta = self._following(own, nearest, at, own.at[k] + _BESIDE)
            at = self._look(theta)
            if between.is_below(at):
                between.low, between.below = k, (theta, at)
                continue
            theta = theta.copy()
            theta[0, own.position] = own.at[k] - _BESIDE
            at = self._look(theta)
            if between.is_above(at):
                between.high, between.above = k, (theta, at)
                continue
            if not np.isfinite(at.gradient).all():
                return None
            theta[0, own.position] = own.at[k]
            return theta, True
        return between.best[0], False

    def _following(
        self, own: Corners, theta: FloatArray, at: Derivatives, target: float
    ) -> FloatArray:
        """theta with one range at ``target``, where the others then have their minimum."""
        others = self.free.copy()
        others[[corners.position for corners in self.corners]] = False
        step = np.zeros_like(theta)
        if others.any():
            away = target - theta[0, own.position]
            gradient = at.gradient + away * at.hessian[:, :, own.position]
            own_step = newton_step(_of(at._replace(gradient=gradient), others), self.options.floor)
            step[:, others] = own_step.step
            step /= max(1.0, float(np.sqrt((step * step).sum())))
        out = self.criterion.move(theta, step)
        out[0, own.position] = target
        return out

    def _minimum(self, theta: FloatArray, held: dict[int, float]) -> NewtonResult:
        """The minimum by all parameters that no corner holds, as far as it is come to."""
        free = self.free.copy()
        free[list(held)] = False
        part = HeldCriterion(self.criterion, theta, np.flatnonzero(free))
        leaves = None if self.leaves is None else _of_whole(self.leaves, theta, free)
        if not free.any():
            return _no_steps(self._look(theta), theta)
        found = newton_raphson(part, theta[:, free], self.options, _longest, None, leaves)
        self.n_evaluations += int(found.n_evaluations[0])
        self.n_iterations += int(found.n_iterations[0])
        curvature = np.zeros_like(theta)
        curvature[:, free] = found.curvature
        whole = part.whole(found.theta, np.zeros(1, dtype=np.intp))
        return replace(found, theta=whole, curvature=curvature)

    def _released(self, theta: FloatArray, held: dict[int, float]) -> dict[int, float]:
        """Ranges by which a way leads down from their corner, and to which side."""
        if not held:
            return {}
        out = {}
        for side in (1.0, -1.0):
            at = self._look(self._beside(theta, side))
            for position in held:
                slope = side * at.gradient[0, position]
                size = max(float(at.expected[0, position, position]), 1e-300)
                if slope < 0.0 and slope**2 > self.options.tolerance * size:
                    out[position] = side
        return out

    def _beside(self, theta: FloatArray, side: float) -> FloatArray:
        """theta with ranges that stand in corners moved to one side of these."""
        out = theta.copy()
        for own in self.corners:
            if own.holds(theta):
                out[0, own.position] += side * _BESIDE
        return out


def _of(at: Derivatives, free: BoolArray) -> Derivatives:
    """Derivatives by some of the parameters."""
    which = np.flatnonzero(free)
    block = np.ix_(np.arange(len(at.value)), which, which)
    return at._replace(
        gradient=at.gradient[:, which], hessian=at.hessian[block], expected=at.expected[block]
    )


def _of_whole(leaves: Leaves, theta: FloatArray, free: BoolArray) -> Leaves:
    def whole(own: FloatArray) -> FloatArray:
        out = np.repeat(theta, len(own), axis=0)
        out[:, free] = own
        return out

    def leave(before: FloatArray, after: FloatArray, progress: Progress) -> BoolArray:
        return leaves(whole(before), whole(after), progress)

    return leave


def _longest(theta: FloatArray) -> FloatArray:
    """The longest step from theta (n_fits, n_free), as of other iterations."""
    return np.asarray(1.0 + 2.0 * np.sqrt((theta * theta).sum(axis=1)))


def _no_steps(at: Derivatives, theta: FloatArray) -> NewtonResult:
    """The end where corners hold all parameters."""
    one = np.ones(1, dtype=np.intp)
    return NewtonResult(
        theta,
        at.value,
        np.zeros(1),
        np.full(1, np.inf),
        np.zeros_like(theta),
        one > 0,
        0 * one,
        one,
    )


def brought_to_corners(
    newton: NewtonResult,
    criterion: CriterionFunction,
    corners: tuple[Corners, ...],
    free: BoolArray,
    options: NewtonOptions,
    leaves: Leaves | None,
) -> NewtonResult:
    """Iterations with those of them that stalled near a corner brought to their end."""
    for row in np.flatnonzero(~newton.converged & np.isfinite(newton.value)) if corners else ():
        search = CornerSearch(_OneRow(criterion, int(row)), corners, free, options, leaves)
        search.lowest = float(newton.value[row])
        end = search.end(newton.theta[[row]])
        newton.n_evaluations[row] += search.n_evaluations
        newton.n_iterations[row] += search.n_iterations
        if end is not None:
            for name in ("theta", "value", "decrement", "min_eigenvalue", "curvature", "converged"):
                getattr(newton, name)[row] = getattr(end, name)[0]
    return newton


@dataclass(frozen=True)
class _OneRow:
    """One row of a criterion, as a criterion of its own."""

    criterion: CriterionFunction
    row: int

    def __call__(self, theta: FloatArray, fits: IntArray) -> Derivatives:
        return self.criterion(theta, np.full(len(theta), self.row))

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        return self.criterion.move(theta, step)
