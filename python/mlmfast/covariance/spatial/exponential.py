"""Spatial exponential covariance; in one dimension, continuous-time autoregression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.chains import MarkovChain, StepCorrelations
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.spatial.exponential_decay import ExponentialDecay


@dataclass(frozen=True, eq=False)
class SpatialExponential(ExponentialDecay, MarkovChain):
    """R[i, j] = sigma^2 exp(-d_ij / range), theta = (log sigma, log range).

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=SP(EXP).

    Examples
    --------
    >>> sp_exp = SpatialExponential(2, np.array([0.0, 3.0]))
    >>> sp_exp.matrix(sp_exp.from_natural(np.array([[1.0, 3.0]])))[0].round(4).tolist()
    [[1.0, 0.3679], [0.3679, 1.0]]
    """

    keyword: ClassVar[str] = "sp_exp"
    space: ClassVar[str] = "sp_exp"
    contained_in: ClassVar[tuple[str, ...]] = ("sp_exp_nugget",)
    aliases: ClassVar[tuple[str, ...]] = ("car1", "ou")
    label: ClassVar[str] = "spatial exponential"
    formula: ClassVar[str] = "sigma^2 exp(-d_ij / range)"
    parameters: ClassVar[str] = "2: variance, range"
    use: ClassVar[str] = "unequally spaced times (continuous-time AR(1)) or points in space"
    sas: ClassVar[str | None] = "SP(EXP)"
    mmrm: ClassVar[str | None] = "sp_exp"
    nlme: ClassVar[str | None] = "corExp, corCAR1"
    glmmtmb: ClassVar[str | None] = "exp, ou"

    def kernel(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        value = np.exp(-z)
        return value, -value, value

    def step_correlations(self, eta: FloatArray, gaps: FloatArray) -> StepCorrelations:
        z = gaps / np.exp(eta)
        f = np.exp(-z)
        first, second = z * f, (z - 1.0) * z * f
        jet = Jet(f, first[..., None], second[..., None, None])
        return StepCorrelations(jet, -np.expm1(-z), 1.0 + f)

    def eta_of_steps(
        self, gaps: FloatArray, correlations: FloatArray, weights: FloatArray
    ) -> FloatArray:
        observed = min(float(correlations @ weights), 0.95 * float(weights.sum()))
        low, high = np.log(0.2 * gaps.min()), np.log(100.0 * gaps.max())
        for _ in range(45):
            middle = 0.5 * (low + high)
            short = float(np.exp(-gaps / np.exp(middle)) @ weights) < observed
            low, high = (middle, high) if short else (low, middle)
        return np.array([0.5 * (low + high)])
