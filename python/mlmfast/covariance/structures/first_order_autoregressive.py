"""First-order autoregression over equally spaced levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.by_lag import ByLag
from mlmfast.covariance.chains import (
    MarkovChain,
    StepCorrelations,
    VisitChain,
    VisitSteps,
    within_start,
)
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.scaled_correlation import MARGIN, Heterogeneous, ScaledCorrelation


@dataclass(frozen=True)
class FirstOrderAutoregressive(ByLag, ScaledCorrelation, MarkovChain):
    """R[i, j] = sigma^2 rho^|i - j|, theta = (log sigma, atanh rho).

    Levels may leave out steps (``places``): then i and j are the steps at which they stand.

    References: Pinheiro and Bates (2000), Mixed-Effects Models in S and S-PLUS, section 5.3.

    Examples
    --------
    >>> ar1 = FirstOrderAutoregressive(3)
    >>> ar1.matrix(ar1.from_natural(np.array([[4.0, 0.5]])))[0].round(12).tolist()
    [[4.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 4.0]]
    """

    keyword: ClassVar[str] = "ar1"
    space: ClassVar[str] = "ar1"
    label: ClassVar[str] = "first-order autoregressive"
    formula: ClassVar[str] = "sigma^2 rho^|i - j|"
    parameters: ClassVar[str] = "2: variance, rho"
    use: ClassVar[str] = "equally spaced times, correlation that fades with the distance"
    sas: ClassVar[str | None] = "AR(1)"
    mmrm: ClassVar[str | None] = "ar1"
    nlme: ClassVar[str | None] = "corAR1"
    glmmtmb: ClassVar[str | None] = "ar1"
    minimum_size: ClassVar[int] = 2
    sequential: ClassVar[bool] = True
    from_one_series: ClassVar[bool] = True
    contained_in: ClassVar[tuple[str, ...]] = ("ar1h", "arma11", "ad")

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return ("AR(1)",)

    def correlation_parameters(self, eta: Jet) -> Jet:
        return eta.tanh()

    def correlations(self, r: Jet) -> Jet:
        steps, which = self.steps
        return r.powers(steps)[which]

    def unconstrained(self, r: FloatArray) -> FloatArray:
        return np.arctanh(r)

    def nearest(self, correlation: FloatArray) -> FloatArray:
        steps, _ = self.steps
        # A root has its sign where the number of steps is odd.
        odd = steps[steps % 2 == 1]
        step = int(odd[0] if odd.size else steps[1])
        means = self.step_means(correlation, np.array([step]))
        root = means if step == 1 else np.copysign(np.abs(means) ** (1.0 / step), means)
        return np.clip(root, MARGIN - 1.0, 1.0 - MARGIN)

    def step_correlations(self, eta: FloatArray, gaps: FloatArray) -> StepCorrelations:
        rho, small = np.tanh(eta), np.exp(-2.0 * np.abs(eta))
        # 1 - |rho| = 2 small / (1 + small), so its powers keep their digits next to 1.
        with np.errstate(divide="ignore"):
            log_rho = np.log1p(-small) - np.log1p(small)
        along = np.multiply(gaps, log_rho, out=np.zeros((len(eta), len(gaps))), where=gaps > 0)
        size, room = np.exp(along), -np.expm1(along)
        odd = (rho < 0) & (gaps % 2 == 1)
        square = 4.0 * small / (1.0 + small) ** 2
        once = gaps * rho ** np.maximum(gaps - 1.0, 0.0)
        twice = gaps * (gaps - 1.0) * rho ** np.maximum(gaps - 2.0, 0.0)
        second = twice * square**2 - 2.0 * once * rho * square
        f = Jet(np.where(odd, -size, size), (once * square)[..., None], second[..., None, None])
        return StepCorrelations(f, np.where(odd, 1.0 + size, room), np.where(odd, room, 1.0 + size))

    def eta_of_steps(
        self, gaps: FloatArray, correlations: FloatArray, weights: FloatArray
    ) -> FloatArray:
        at = int(np.argmin(gaps))
        r, gap = float(correlations[at]), float(gaps[at])
        size = abs(r) ** (1.0 / gap) if r > 0 or gap % 2 == 1 else 0.0
        return np.arctanh([within_start(np.copysign(size, r))])


@dataclass(frozen=True)
class HeterogeneousFirstOrderAutoregressive(Heterogeneous, FirstOrderAutoregressive, VisitChain):
    """R[i, j] = sigma_i sigma_j rho^|i - j|; natural parameters sigma_i^2 and rho.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=ARH(1).

    Examples
    --------
    >>> ar1h = HeterogeneousFirstOrderAutoregressive(2)
    >>> ar1h.matrix(ar1h.from_natural(np.array([[1.0, 4.0, 0.5]])))[0].round(12).tolist()
    [[1.0, 1.0], [1.0, 4.0]]
    """

    keyword: ClassVar[str] = "ar1h"
    space: ClassVar[str] = "ar1h"
    label: ClassVar[str] = "heterogeneous first-order autoregressive"
    formula: ClassVar[str] = "sigma_i sigma_j rho^|i - j|"
    parameters: ClassVar[str] = "K + 1: variances, rho"
    use: ClassVar[str] = "as ar1, with variances that differ by time"
    sas: ClassVar[str | None] = "ARH(1)"
    mmrm: ClassVar[str | None] = "ar1h"
    nlme: ClassVar[str | None] = "corAR1 + varIdent"
    glmmtmb: ClassVar[str | None] = "hetar1"
    from_one_series: ClassVar[bool] = False
    contained_in: ClassVar[tuple[str, ...]] = ("toeph", "adh")

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return ("ARH(1)",)

    def step_parameters(self, before: IntArray, at: IntArray) -> tuple[IntArray, IntArray]:
        return np.arange(len(before) + 1), np.zeros(len(before), dtype=np.intp)

    def visit_steps(self, eta: FloatArray, before: IntArray, at: IntArray) -> VisitSteps:
        gaps = self._steps_between(before, at)
        steps = self.step_correlations(eta[None], gaps.astype(np.float64))
        f, room = steps.f, (steps.below * steps.above)[0]
        return VisitSteps(f.value[0], room, f.first[0, :, 0], f.second[0, :, 0, 0])

    def eta_of_visit_steps(
        self, before: IntArray, at: IntArray, f: FloatArray, weights: FloatArray
    ) -> FloatArray:
        gaps, codes = np.unique(self._steps_between(before, at), return_inverse=True)
        total = np.bincount(codes, weights).astype(np.float64)
        mean = np.bincount(codes, weights * f) / np.maximum(total, 1e-300)
        return self.eta_of_steps(gaps.astype(np.float64), mean, total)

    def _steps_between(self, before: IntArray, at: IntArray) -> IntArray:
        return np.asarray(np.abs(self.standing[at] - self.standing[before]))
