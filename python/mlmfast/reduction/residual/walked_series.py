"""Series whose covariance is factored by a recursion along the rows at every evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.chains import QuasiSeparable
from mlmfast.covariance.jet import Jet
from mlmfast.reduction.residual.series import (
    CoreSeries,
    SeriesCovariance,
    derivative_kind,
    derivative_of,
    derivative_orders,
)

if TYPE_CHECKING:
    import mlmfast._core as _core


@dataclass(frozen=True)
class WalkedSeries(SeriesCovariance):
    """A quasi-separable covariance along each series, with parameters of its own in each arm."""

    @property
    def core_argument(self) -> CoreSeries:
        """Rows as they are; a walk along them needs two functions of each step."""
        n_basis = self.n_arms * len(derivative_orders(self.structure.n_theta - 1))
        rows = [(1.0, 0.0, 1.0), (0.0, 0.0, 0.0)]
        n_steps = self.series.n_steps.size
        return self.series.step, self.n_arms, n_steps, rows, False, 1.0, n_basis, True

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """a and b of each step with derivatives by eta, mixing, log|R|; see `SeriesCovariance`.

        log|C| is found on the walk: marks tell which kind each of its derivatives belongs to.
        """
        assert isinstance(self.structure, QuasiSeparable), "checked where the design was read"
        n, t = self.structure.n_theta, self.n_theta
        n_gaps = len(self.series.gaps)
        n_classes = self.n_arms * (1 + 2 * n_gaps)
        kinds = 1 + t + t * (t + 1) // 2 if derivatives else 1
        orders = derivative_orders(n - 1)
        out = np.zeros((len(theta), self.n_arms * len(orders), n_classes + 2 * kinds))
        for arm in range(self.n_arms):
            log_sd = theta[:, arm * n]
            own = out[:, arm * len(orders) : (arm + 1) * len(orders)]
            eta = Jet.variables(theta[:, arm * n + 1 : (arm + 1) * n])
            with np.errstate(all="ignore"):
                a, b = self.structure.generators(eta, self.series.gaps)
            first = self.n_arms + 2 * n_gaps * arm
            for basis, order in enumerate(orders if derivatives else orders[:1]):
                stretch = own[:, basis, first : first + 2 * n_gaps]
                stretch[:, ::2], stretch[:, 1::2] = derivative_of(a, order), derivative_of(b, order)
                if derivatives and order:
                    which = sorted([arm * n + 1 + k for k in order], reverse=True)
                    own[:, basis, n_classes + kinds + derivative_kind(which, t)] = 1.0
            mixing = own[..., n_classes : n_classes + kinds]
            self._mix(mixing, arm, derivatives)
            mixing *= np.exp(-2.0 * log_sd)[:, None, None]
            logdet = out[:, 0, n_classes + kinds :]
            logdet[:, 0] += 2.0 * self.series.n_rows[arm] * log_sd
            if derivatives:
                logdet[:, 1 + arm * n] = 2.0 * self.series.n_rows[arm]
        return out

    def start(self, core: _core.NestedReduction, fit: int, share: float) -> FloatArray:
        """A share of the variance; correlations at the shortest step and at two of it."""
        assert isinstance(self.structure, QuasiSeparable), "checked where the design was read"
        products = core.lag_products(fit).reshape(self.n_arms, -1, 4)
        theta = []
        for arm in range(self.n_arms):
            # Gaps ascend; residuals are scaled to mean square 1.
            shortest = int(np.flatnonzero(self.series.n_steps[arm])[0])
            sums, counts = products[arm, shortest, ::2], products[arm, shortest, 1::2]
            first, second = (sums / np.maximum(counts, 1.0)).tolist()
            theta.append([0.5 * np.log(share), *self.structure.eta_of_lags(first, second)])
        return np.concatenate(theta)
