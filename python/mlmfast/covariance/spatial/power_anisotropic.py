"""Anisotropic spatial power covariance: correlations that fade by coordinate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.covariance.spatial.power import ByPower
from mlmfast.running.cached import cached_property

#: Correlations that a start tells apart from 0 and 1.
_LOW, _HIGH = 0.02, 0.98


@dataclass(frozen=True, eq=False)
class SpatialPowerAnisotropic(ByPower, Spatial):
    """R[i, j] = sigma^2 prod_k rho_k^|x_ik - x_jk|, 0 < rho_k < 1; natural sigma^2 and rho_k.

    theta = (log sigma, log range_k) with rho_k = exp(-1 / range_k).

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=SP(POWA).

    Examples
    --------
    >>> points = np.array([[0.0, 0.0], [1.0, 2.0], [1.0, 0.0]])
    >>> sp_powa = SpatialPowerAnisotropic(3, points)
    >>> sp_powa.matrix(sp_powa.from_natural(np.array([[1.0, 0.8, 0.5]])))[0, 0].round(12).tolist()
    [1.0, 0.2, 0.8]
    """

    keyword: ClassVar[str] = "sp_powa"
    space: ClassVar[str] = "sp_powa"
    contained_in: ClassVar[tuple[str, ...]] = ("sp_powa_nugget",)
    label: ClassVar[str] = "anisotropic spatial power"
    formula: ClassVar[str] = "sigma^2 rho_1^|x_i1 - x_j1| rho_2^|x_i2 - x_j2| ..."
    parameters: ClassVar[str] = "1 + coordinates: variance, rho of each coordinate"
    use: ClassVar[str] = "points whose coordinates have different units, such as time and depth"
    sas: ClassVar[str | None] = "SP(POWA)"
    minimum_size: ClassVar[int] = 3
    for_random_effects: ClassVar[bool] = False
    compared: ClassVar[Literal["always", "several columns", "never"]] = "several columns"

    def kernel(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        value = np.exp(-z)
        return value, -value, value

    @staticmethod
    def separations(first: FloatArray, second: FloatArray) -> FloatArray:
        return np.abs(first - second)

    @cached_property
    def n_axes(self) -> int:
        """Number of coordinates."""
        return int(self.coordinates.shape[1])

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return tuple(f"SP(POWA) {k + 1}" for k in range(self.n_axes))

    def correlations(self, r: Jet) -> Jet:
        # exp(-sum_k d_k / range_k), by the rates 1 / range_k
        rate = 1.0 / r.value
        rates = r.through(rate, -(rate**2), 2.0 * rate**3)
        return rates.through_matrix(-self.distances).exp()

    def nearest(self, correlation: FloatArray) -> FloatArray:
        from scipy.optimize import nnls

        pairs = self.lags > 0
        gaps, rows = self.distances[pairs], self.rows[pairs]
        observed = np.clip(correlation[:, rows, rows - self.lags[pairs]], _LOW, _HIGH)
        typical = np.maximum(gaps.mean(axis=0), 1e-300)
        rates = [nnls(gaps / typical, -np.log(own))[0] for own in observed]
        return np.asarray(typical / np.maximum(rates, 1e-2))

    def start_at(self, distances: FloatArray) -> FloatArray:
        typical = np.array(
            [
                np.median(d[d > 0]) if (d > 0).any() else 1.0
                for d in distances.reshape(-1, self.n_axes).T
            ]
        )
        theta = np.concatenate([[0.0], np.log(typical * self.n_axes / 3.0)])
        return np.asarray(theta[None])
