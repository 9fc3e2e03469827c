"""Spatial Matern covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.matern_function import matern
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.errors import ModelError

#: Smoothness above this cannot be told from the Gaussian covariance.
LARGEST_NU = 20.0
_STARTS = (0.5, 1.5, 4.0)


@dataclass(frozen=True, eq=False)
class SpatialMatern(Spatial):
    """R[i, j] = sigma^2 2 / Gamma(nu) (z / 2)^nu K_nu(z), z = d_ij / range.

    K_nu is the modified Bessel function of the second kind; nu = 1/2 is the exponential covariance.
    theta = (log sigma, log range) and, where nu is free, log(nu / (20 - nu)): nu lies between 0 and
    20. Natural parameters are sigma^2, range and nu.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=SP(MATERN);
    Stein (1999), Interpolation of Spatial Data, section 2.7.

    Parameters
    ----------
    nu
        Smoothness, if it is known; a parameter by default.

    Examples
    --------
    >>> matern = SpatialMatern(2, np.array([0.0, 3.0]), nu=0.5)
    >>> matern.matrix(matern.from_natural(np.array([[1.0, 3.0]])))[0].round(4).tolist()
    [[1.0, 0.3679], [0.3679, 1.0]]
    """

    nu: float | None = None

    keyword: ClassVar[str] = "sp_matern"
    space: ClassVar[str] = "sp_matern"
    contained_in: ClassVar[tuple[str, ...]] = ("sp_matern_nugget",)
    label: ClassVar[str] = "spatial Matern"
    formula: ClassVar[str] = "sigma^2 2 / Gamma(nu) (d_ij / (2 range))^nu K_nu(d_ij / range)"
    parameters: ClassVar[str] = "3: variance, range, smoothness nu (2 with nu known)"
    use: ClassVar[str] = "points in space, smoothness estimated or chosen"
    sas: ClassVar[str | None] = "SP(MATERN)"
    glmmtmb: ClassVar[str | None] = "mat"
    option: ClassVar[str | None] = "nu"
    option_names: ClassVar[tuple[str, ...]] = ("nu",)
    random_option: ClassVar[str | None] = "nu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nu is not None and not 0 < self.nu < LARGEST_NU:
            raise ModelError(
                f"sp_matern({self.nu}): the smoothness nu must lie between 0 and {LARGEST_NU:g}"
            )
        if self.nu is None and self.size < 3:
            raise ModelError(
                "sp_matern needs at least 3 points to estimate its smoothness; give nu"
            )

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return ("Range", "Smoothness") if self.nu is None else ("Range",)

    def correlation_parameters(self, eta: Jet) -> Jet:
        if self.nu is not None:
            return eta.exp()
        nu = LARGEST_NU / (1.0 + np.exp(-eta.value[:, 1:]))
        slope = nu * (1.0 - nu / LARGEST_NU)
        smoothness = eta[1:].through(nu, slope, slope * (1.0 - 2.0 * nu / LARGEST_NU))
        return concatenate([eta[:1].exp(), smoothness])

    def correlations(self, r: Jet) -> Jet:
        if self.nu is not None:
            return super().correlations(r)
        apart = self.lags > 0
        pairs = slice(None) if apart.all() else apart
        length = r.value[:, :1]
        z = self.distances[pairs] / length
        at = matern(z, r.value[:, 1:])
        slope = -z / length
        value = np.ones((len(z), len(apart)))
        first = np.zeros((*value.shape, 2))
        second = np.zeros((*value.shape, 2, 2))
        value[:, pairs] = at.value
        first[:, pairs, 0], first[:, pairs, 1] = at.by_z * slope, at.by_nu
        second[:, pairs, 0, 0] = (at.by_zz * z + 2.0 * at.by_z) * z / length**2
        second[:, pairs, 0, 1] = second[:, pairs, 1, 0] = at.by_z_nu * slope
        second[:, pairs, 1, 1] = at.by_nu_nu
        return r.compose(value, first, second)

    def kernel(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        nu = _STARTS[0] if self.nu is None else self.nu
        if (nu - 0.5).is_integer():
            return _half_integer(z, int(nu - 0.5))
        at = matern(z, np.full((len(z), 1), nu))
        return at.value, at.by_z, at.by_zz

    #: Smooth in 1 / range itself, for a smoothness above 1.
    rate_power: ClassVar[int] = 1

    def unconstrained(self, r: FloatArray) -> FloatArray:
        if self.nu is not None:
            return np.log(r)
        nu = r[:, 1:]
        return np.concatenate([np.log(r[:, :1]), np.log(nu) - np.log(LARGEST_NU - nu)], axis=1)

    def nearest(self, correlation: FloatArray) -> FloatArray:
        if self.nu is not None:
            return self.nearest_range(correlation)
        best = np.full((len(correlation), 1), np.inf)
        out = np.ones((len(correlation), 2))
        for nu in _STARTS:
            known = SpatialMatern(self.size, self.coordinates, nu)
            length = known.nearest_range(correlation)
            pairs = self.lags > 0
            rows = self.rows[pairs]
            gap = known.kernel(self.distances[pairs] / length)[0]
            gap = gap - correlation[:, rows, rows - self.lags[pairs]]
            loss = (gap * gap).sum(axis=1, keepdims=True)
            tried = np.concatenate([length, np.full_like(length, nu)], axis=1)
            out, best = np.where(loss < best, tried, out), np.minimum(loss, best)
        return out


def _half_integer(z: FloatArray, p: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The correlation of smoothness p + 1/2 with two derivatives by z: polynomials times exp(-z).

    With M_p the correlation, M_p+1 = M_p + z^2 / (4 p^2 - 1) M_p-1 and d M_p / dz = -z / (2 p - 1)
    M_p-1, from the recurrences of K (Abramowitz and Stegun 1964, 9.6.26 and 10.2).
    """
    fading = np.exp(-z)
    if p == 0:
        return fading, -fading, fading
    before, last = fading, (1.0 + z) * fading
    slope = -fading  # of the one before
    for k in range(1, p):
        slope = -z / (2.0 * k - 1.0) * before
        before, last = last, last + z * z / (4.0 * k * k - 1.0) * before
    scale = 1.0 / (2.0 * p - 1.0)
    return last, -scale * z * before, -scale * (before + z * slope)
