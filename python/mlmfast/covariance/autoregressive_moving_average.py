"""First-order autoregressive moving-average covariance over equally spaced levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.quasi_separable import QuasiSeparable
from mlmfast.covariance.scaled_correlation import MARGIN, ScaledCorrelation, lag_means


@dataclass(frozen=True)
class AutoregressiveMovingAverage(ScaledCorrelation, QuasiSeparable):
    """R[i, j] = sigma^2 gamma rho^(h - 1) at lag h = |i - j| > 0.

    theta = (log sigma, atanh rho, atanh(2 gamma - rho)). The stationary and invertible ARMA(1, 1)
    processes are those with |rho| < 1 and |2 gamma - rho| < 1: there R is positive definite
    whatever the number of levels. With autoregressive phi and moving average theta,
    gamma = (1 + phi theta) (phi + theta) / (1 + 2 phi theta + theta^2) and rho = phi.

    References: Box and Jenkins (1976), Time Series Analysis, section 3.4; SAS/STAT User's Guide,
    The MIXED Procedure, REPEATED statement, TYPE=ARMA(1,1).

    Examples
    --------
    >>> arma11 = AutoregressiveMovingAverage(3)
    >>> arma11.matrix(arma11.from_natural(np.array([[4.0, 0.5, 0.25]])))[0].round(12).tolist()
    [[4.0, 1.0, 0.5], [1.0, 4.0, 1.0], [0.5, 1.0, 4.0]]
    """

    keyword: ClassVar[str] = "arma11"
    label: ClassVar[str] = "autoregressive moving average"
    formula: ClassVar[str] = "sigma^2 gamma rho^(|i - j| - 1), sigma^2 on the diagonal"
    parameters: ClassVar[str] = "3: variance, rho, gamma"
    use: ClassVar[str] = "ar1 observed with independent error: the first lag drops further"
    sas: ClassVar[str | None] = "ARMA(1,1)"
    nlme: ClassVar[str | None] = "corARMA(p = 1, q = 1)"
    minimum_size: ClassVar[int] = 3
    holds_sums: ClassVar[bool] = False
    sequential: ClassVar[bool] = True

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return ("Rho", "Gamma")

    def correlation_parameters(self, eta: Jet) -> Jet:
        return self.bounded(eta.tanh())

    def bounded(self, u: Jet) -> Jet:
        return concatenate([u[:1], (u[:1] + u[1:]) * 0.5])

    def to_bounded(self, r: FloatArray) -> FloatArray:
        return np.stack([r[:, 0], 2.0 * r[:, 1] - r[:, 0]], axis=1)

    def correlations(self, r: Jet) -> Jet:
        lags = np.arange(self.size - 1)
        return concatenate([r.ones(), r[1:] * r[:1].powers(lags)])[self.lags]

    def unconstrained(self, r: FloatArray) -> FloatArray:
        return np.arctanh(np.stack([r[:, 0], 2.0 * r[:, 1] - r[:, 0]], axis=1))

    def nearest(self, correlation: FloatArray) -> FloatArray:
        edge = 1.0 - MARGIN
        first, second = lag_means(correlation, range(1, 3)).T
        known = np.abs(first) > 1e-8
        ratio = np.where(known, second / np.where(known, first, 1.0), 0.0)
        rho = np.clip(ratio, -edge, edge)
        return np.stack([rho, 0.5 * (rho + np.clip(2.0 * first - rho, -edge, edge))], axis=1)

    def generators(self, eta: Jet, gaps: FloatArray) -> tuple[Jet, Jet]:
        r = self.correlation_parameters(eta)
        rho, gamma = r[:1], r[1:]
        return gamma * rho.powers(gaps - 1.0), rho.powers(gaps)

    def eta_of_lags(self, first: float, second: float) -> FloatArray:
        gamma = float(np.clip(first, -0.9, 0.9))
        rho = float(np.clip(second / gamma if abs(gamma) > 1e-3 else 0.0, -0.9, 0.9))
        return np.arctanh([rho, np.clip(2.0 * gamma - rho, -0.9, 0.9)])
