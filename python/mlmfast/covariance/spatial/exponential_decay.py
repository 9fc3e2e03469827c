"""Correlations exp(-(distance / range)^k), for ranges from 0 to infinity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.scaled_correlation import ScaledCorrelation
from mlmfast.covariance.spatial.base import Spatial


@dataclass(frozen=True, eq=False)
class ExponentialDecay(Spatial):
    """The correlations are powers of that at the smallest distance, the square of a sine.

    With powers of at least 1 they are smooth at both ends: independence at range 0, and one common
    value at an infinite range.
    """

    #: Power of the distance in the exponent.
    exponent: ClassVar[int] = 1
    widest_angle: ClassVar[float] = 0.5 * np.pi

    def closed_parameters(self, angles: Jet) -> Jet:
        # exp(-(d / range)^k) = sin^2 at the smallest distance d
        s, c = np.sin(angles.value), np.cos(angles.value)
        # At a correlation of 1 the rate is 0, without the sign that its logarithm has.
        k, rate = self.exponent, np.abs(2.0 * np.log(np.abs(s)))
        value = self.smallest_distance * rate ** (-1.0 / k)
        slope, bend = -2.0 * c / s, 2.0 / s**2
        first = -value / (k * rate) * slope
        second = -value / (k * rate) * (bend - (1.0 + 1.0 / k) * slope**2 / rate)
        return angles.through(value, first, second)

    def closed_correlations(self, angles: Jet) -> Jet:
        s, c = np.sin(angles.value), np.cos(angles.value)
        power = 2.0 * (self.distances / self.smallest_distance) ** self.exponent
        # At distance 0 the correlation is 1 whatever the angle.
        size, pairs = np.where(self.lags > 0, np.abs(s), 1.0), self.lags > 0
        value = size**power
        with np.errstate(divide="ignore", invalid="ignore"):
            first = np.where(pairs, power * size ** (power - 1.0) * np.sign(s) * c, 0.0)
            bend = power * (power - 1.0) * size ** (power - 2.0) * c**2 - power * value
        return angles.through(value, first, np.where(pairs, bend, 0.0))

    def angles(self, r: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            root = np.exp(-0.5 * (self.smallest_distance / r) ** self.exponent)
        return np.asarray(np.arcsin(np.where(r >= 0.0, root, np.nan)))

    def nearest_end(self, angles: FloatArray) -> FloatArray:
        return ScaledCorrelation.nearest_end(self, angles)
