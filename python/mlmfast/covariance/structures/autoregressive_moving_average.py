"""First-order autoregressive moving-average covariance over equally spaced levels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.by_lag import ByLag
from mlmfast.covariance.chains import QuasiSeparable
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.scaled_correlation import MARGIN, ScaledCorrelation
from mlmfast.running.cached import cached_property

#: Lags among which two are looked for.
_FIRST = 20
#: Correlations by which others are divided, at least.
_WITHIN_REACH = 0.1
#: Distance of 2 gamma - rho from +-1 that is none: where iterations end that go there.
_NO_INVERSE = 1e-6


@dataclass(frozen=True)
class AutoregressiveMovingAverage(ByLag, ScaledCorrelation, QuasiSeparable):
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
    space: ClassVar[str] = "arma11"
    label: ClassVar[str] = "autoregressive moving average"
    formula: ClassVar[str] = "sigma^2 gamma rho^(|i - j| - 1), sigma^2 on the diagonal"
    parameters: ClassVar[str] = "3: variance, rho, gamma"
    use: ClassVar[str] = "ar1 observed with independent error: the first lag drops further"
    sas: ClassVar[str | None] = "ARMA(1,1)"
    nlme: ClassVar[str | None] = "corARMA(p = 1, q = 1)"
    minimum_size: ClassVar[int] = 3
    holds_sums: ClassVar[bool] = False
    sequential: ClassVar[bool] = True
    from_one_series: ClassVar[bool] = True
    contains_residual: ClassVar[bool] = True
    contained_in: ClassVar[tuple[str, ...]] = ("toep",)

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
        steps, which = self.steps
        return concatenate([r.ones(), r[1:] * r[:1].powers(steps[1:] - 1)])[which]

    def unconstrained(self, r: FloatArray) -> FloatArray:
        return np.arctanh(np.stack([r[:, 0], 2.0 * r[:, 1] - r[:, 0]], axis=1))

    def nearest(self, correlation: FloatArray) -> FloatArray:
        edge = 1.0 - MARGIN
        shorter, longer = self._pair_of_lags
        at = self.step_means(correlation, np.array([shorter, longer]))
        near, far = at.T
        known = np.abs(near) > 1e-8
        ratio = np.where(known, far / np.where(known, near, 1.0), 0.0)
        rho = np.clip(_root(ratio, longer - shorter), -edge, edge)
        lag = int(self.steps[0][1])
        first = near if lag == shorter else self.step_means(correlation, np.array([lag]))[:, 0]
        if lag > 1:
            first = first / np.where(np.abs(rho) > _WITHIN_REACH, rho, 1.0) ** (lag - 1)
        return np.stack([rho, 0.5 * (rho + np.clip(2.0 * first - rho, -edge, edge))], axis=1)

    @cached_property
    def _pair_of_lags(self) -> tuple[int, int]:
        """Two lags next to each other, an odd number of steps apart where there are such.

        The ratio of their correlations is a power of rho, which has its sign if it is odd.
        """
        lags = self.steps[0][1:_FIRST].tolist()
        pairs = [(b - a, a, b) for a, b in itertools.combinations(lags, 2)]
        _, shorter, longer = min(pairs, key=lambda pair: (pair[0] % 2 == 0, pair))
        return shorter, longer

    def at_moving_ends(self, theta: FloatArray) -> tuple[str, ...]:
        """Gamma where the moving average has a root of +-1 and no inverse."""
        at_end = 1.0 - np.abs(np.tanh(theta[0, -1])) < _NO_INVERSE
        return ("Gamma",) if at_end else ()

    def generators(self, eta: Jet, gaps: FloatArray) -> tuple[Jet, Jet]:
        r = self.correlation_parameters(eta)
        rho, gamma = r[:1], r[1:]
        return gamma * rho.powers(gaps - 1.0), rho.powers(gaps)

    def eta_of_lags(self, first: float, second: float) -> FloatArray:
        gamma = float(np.clip(first, -0.9, 0.9))
        rho = float(np.clip(second / gamma if abs(gamma) > 1e-3 else 0.0, -0.9, 0.9))
        return np.arctanh([rho, np.clip(2.0 * gamma - rho, -0.9, 0.9)])


def _root(power: FloatArray, n: int) -> FloatArray:
    """The n-th root, 0 where there is none."""
    if n == 1:
        return power
    size = np.abs(power) ** (1.0 / n)
    return np.asarray(np.copysign(size, power) if n % 2 else np.where(power > 0, size, 0.0))
