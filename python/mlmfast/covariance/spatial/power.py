"""Spatial power covariance: the exponential one, in the correlation at distance 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.scaled_correlation import ScaledCorrelation
from mlmfast.covariance.spatial.exponential import SpatialExponential


@dataclass(frozen=True, eq=False)
class ByPower(ScaledCorrelation):
    """Correlations rho at distance 1 as natural parameters, of ranges -1 / log rho.

    A mixin.
    """

    def join_natural(self, variances: Jet, r: Jet) -> Jet:
        rate = 1.0 / r.value
        rho = np.exp(-rate)
        slope = rho * rate**2
        return concatenate([variances, r.through(rho, slope, slope * (rate**2 - 2.0 * rate))])

    def split_natural(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        return values[:, :1], -1.0 / np.log(values[:, 1:])


@dataclass(frozen=True, eq=False)
class SpatialPower(ByPower, SpatialExponential):
    """R[i, j] = sigma^2 rho^d_ij, 0 < rho < 1; natural parameters sigma^2 and rho.

    The spatial exponential with range -1 / log rho, and iterated as that.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=SP(POW).

    Examples
    --------
    >>> sp_pow = SpatialPower(3, np.array([0.0, 1.0, 3.0]))
    >>> sp_pow.matrix(sp_pow.from_natural(np.array([[1.0, 0.5]])))[0].round(12).tolist()
    [[1.0, 0.5, 0.125], [0.5, 1.0, 0.25], [0.125, 0.25, 1.0]]
    """

    keyword: ClassVar[str] = "sp_pow"
    space: ClassVar[str] = "sp_pow"
    contained_in: ClassVar[tuple[str, ...]] = ("sp_pow_nugget",)
    aliases: ClassVar[tuple[str, ...]] = ()
    label: ClassVar[str] = "spatial power"
    formula: ClassVar[str] = "sigma^2 rho^d_ij"
    parameters: ClassVar[str] = "2: variance, rho"
    use: ClassVar[str] = "as sp_exp, reported as the correlation at distance 1"
    sas: ClassVar[str | None] = "SP(POW)"
    mmrm: ClassVar[str | None] = None
    nlme: ClassVar[str | None] = "corCAR1"
    glmmtmb: ClassVar[str | None] = "ou"
