"""The way of a barrier's minimum as its weight falls, seen ahead by its tangent.

At a minimum the gradients of criterion and barrier cancel, so that the minimum moves by
-H^-1 (mu b') a unit of log mu, b' the gradient of the barrier and H the Hessian of the sum. A
covariance's logarithms that go to minus infinity do so by the same length a unit of log mu, and
what else there is hardly moves: the tangent leads over several powers of ten.

Reference: Nocedal and Wright (2006), Numerical Optimization, section 19.6.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.structures.unstructured import Unstructured
from mlmfast.criterion.barrier import Barrier, ResidualPart, barrier
from mlmfast.criterion.some_fits import SomeFits
from mlmfast.newton.criterion import Progress
from mlmfast.newton.step import Derivatives, newton_step

#: Scaled Hessian eigenvalues below this are treated as this.
_FLOOR = 1e-9
#: Fall of a step, over the weight, that is rounding; and one too small to be patient for.
_STILL, _STILL_IF_PATIENT = 1e-3, 1e-7
#: Weight from which on curvature is exact.
_EXACT = 1e-2
#: Weights that may fit a point, and the decrement over the weight with which one does.
_FITTING, _FITS = np.logspace(-0.5, -5.0, 19), 0.5
#: Decrement without a barrier that is small, and the smallest eigenvalue for it.
_SMALL, _FLOOR_OF_FIT = 0.1, 1e-5
#: Share of the way foreseen from which on a coordinate is one that goes to infinity.
_GOES_ON = 0.7


@dataclass(frozen=True)
class RecordedBarrier(Barrier):
    """A barrier of one row that remembers where it was evaluated last: there iterations end.

    A ``patient`` one goes on where steps hardly lead down, as long as values fall by what anyone
    could see. ``tolerance`` is the decrement at which its iteration ends, where it is at a minimum.
    ``known`` is the criterion at a point (1, n_theta) where it has been looked at.
    """

    patient: bool = False
    tolerance: float = 0.0
    known: tuple[FloatArray, Derivatives] | None = None
    last: list[tuple[FloatArray, Derivatives]] = field(default_factory=list, compare=False)
    #: Values after steps.
    values: list[float] = field(default_factory=list, compare=False)

    def __call__(self, theta: FloatArray, fits: IntArray) -> Derivatives:
        """See `Barrier`."""
        known = self.known
        if known is not None and (theta == known[0]).all():
            at = self.added(theta, known[1])
        else:
            at = super().__call__(theta, fits)
        self.last[:] = [(theta.copy(), at)]
        return at

    def rests(self) -> bool:
        """Whether steps, of which this is asked after each, no longer lead down."""
        self.values.append(float(self.last[0][1].value[0]))
        falls = -np.diff(self.values[-4:])
        little = max(_STILL * self.mu, _STILL_IF_PATIENT if self.patient else 0.0)
        return len(falls) == 3 and bool((falls < little).all())

    def is_rounding(self, progress: Progress) -> bool:
        """Whether only rounding of its curvature keeps a point of one row from being the end."""
        own = progress.decrement
        return bool(self.mu < _EXACT and len(own) and own[0] <= self.tolerance)

    def tangent(self) -> Tangent | None:
        """How the minimum last come to moves; None where derivatives are lost."""
        if not self.last:
            return None
        theta, at = self.last[0]
        pull = np.zeros_like(theta)
        for part in self.parts:
            pull[:, part.theta] += self.mu * barrier(part, theta[:, part.theta])[1]
        if not np.isfinite(pull).all():
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            step = newton_step(at._replace(gradient=pull), _FLOOR).step
        # What is held stands at 0.
        step = np.where(theta == 0.0, 0.0, step)
        return Tangent(self, theta, step) if np.isfinite(step).all() else None


def fitting_weight(
    criterion: SomeFits, parts: tuple[ResidualPart, ...], theta: FloatArray, at: Derivatives
) -> float:
    """The weight of the barrier whose minimum is nearest to theta (1, n_theta).

    That with the least decrement for its size, which Newton's method for barriers goes by; infinite
    where theta is not near the way. Where the criterion falls with the eigenvalue, that is a
    times exp(t), its decrement by t is its slope by the logarithm of the eigenvalue, and so is the
    weight.
    """
    best, fits = np.inf, _FITS
    for mu in _FITTING.tolist():
        step = newton_step(Barrier(criterion, parts, mu).added(theta, at), _FLOOR_OF_FIT)
        ratio = float(step.decrement[0]) / mu
        if step.min_eigenvalue[0] > 0.0 and 0.0 <= ratio < fits:
            best, fits = mu, ratio
    if best == np.inf:
        decrement = float(newton_step(at, _FLOOR_OF_FIT).decrement[0])
        best = decrement if 0.0 <= decrement < _SMALL else np.inf
    return best


@dataclass(frozen=True)
class Tangent:
    """Where the minimum with a smaller weight lies, by what is known of one.

    Attributes
    ----------
    barrier
        The criterion with that weight.
    theta : shape (1, n_theta), the minimum.
    step : shape (1, n_theta), how it moves a unit of log mu, in local coordinates.
    """

    barrier: Barrier
    theta: FloatArray
    step: FloatArray

    def from_beyond(self, theta: FloatArray, mu: float) -> Tangent:
        """The tangent at a minimum further on, (1, n_theta), where derivatives do not tell.

        What has come as far as foreseen goes on, other coordinates have all but come to their end.
        """
        foreseen, went = self.at(mu) - self.theta, theta - self.theta
        goes = np.abs(went) > _GOES_ON * np.abs(foreseen)
        for part in self.barrier.parts:
            goes[:, part.theta] |= isinstance(part.structure, Unstructured)
        return Tangent(replace(self.barrier, mu=mu), theta, np.where(goes, self.step, 0.0))

    def at(self, mu: float) -> FloatArray:
        """The minimum with another weight, (1, n_theta)."""
        step = np.log(mu / self.barrier.mu) * self.step
        out = self.barrier.move(self.theta, step)
        for part in self.barrier.parts:
            s = part.theta
            own = part.structure
            far = own.move_far if part.in_chart else own.move_far_by_theta
            out[:, s] = far(self.theta[:, s], step[:, s])
        return out
