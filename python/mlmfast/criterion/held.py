"""A criterion some of whose parameters stand still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.newton.iteration import CriterionFunction, Derivatives


@dataclass(frozen=True)
class HeldCriterion:
    """A criterion as a function of some of theta, the others held.

    Attributes
    ----------
    criterion
        The whole criterion.
    theta : shape (n_fits, n_theta), values of the others.
    free
        Positions of the free ones.
    """

    criterion: CriterionFunction
    theta: FloatArray
    free: IntArray

    def whole(self, theta: FloatArray, fits: IntArray) -> FloatArray:
        """All of theta."""
        out = self.theta[fits].copy()
        out[:, self.free] = theta
        return out

    def __call__(self, theta: FloatArray, fits: IntArray) -> Derivatives:
        """The criterion with its derivatives by the free local coordinates."""
        at = self.criterion(self.whole(theta, fits), fits)
        block = np.ix_(np.arange(len(theta)), self.free, self.free)
        return at._replace(
            gradient=at.gradient[:, self.free],
            hessian=at.hessian[block],
            expected=at.expected[block],
        )

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """The point at local coordinates ``step`` around ``theta``; terms move as a whole."""
        n = len(theta)
        whole = np.repeat(self.theta[:1], n, axis=0)
        away = np.zeros_like(whole)
        whole[:, self.free], away[:, self.free] = theta, step
        return np.asarray(self.criterion.move(whole, away)[:, self.free])
