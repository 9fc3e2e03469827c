"""Series whose covariance is factored by a recursion along the rows at every evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.chains import QuasiSeparable
from mlmfast.covariance.jet import Jet
from mlmfast.reduction.residual.form import CoreChain, CoreSeries
from mlmfast.reduction.residual.series import SeriesCovariance, derivative_kind, derivative_of

if TYPE_CHECKING:
    import mlmfast._core as _core

#: A row as it is, which takes nothing of the row before.
STAY = [(1.0, 0.0, 1.0), (0.0, 0.0, 0.0)]


@dataclass(frozen=True)
class WalkedSeries(SeriesCovariance):
    """A quasi-separable covariance along each series, of all subjects or of those of an arm."""

    @staticmethod
    def rows_of(parts: Sequence[SeriesCovariance]) -> tuple[CoreSeries, CoreChain | None]:
        """Rows as they are; a walk along them needs two functions of each step."""
        series, n_basis = parts[0].series, sum(len(part._orders) for part in parts)
        stay = (series.step, len(parts), series.n_steps.size, STAY, False, 1.0)
        return (*stay, n_basis, True), None

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """a and b of each step with derivatives by eta, mixing, log|R|; see `SeriesCovariance`.

        log|C| is found on the walk: marks tell which kind each of its derivatives belongs to.
        """
        assert isinstance(self.structure, QuasiSeparable), "checked where the design was read"
        out, n_classes, kinds = self._empty(len(theta), derivatives)
        log_sd, n_rows = theta[:, 0], self.series.n_rows[self.arm]
        with np.errstate(all="ignore"):
            a, b = self.structure.generators(Jet.variables(theta[:, 1:]), self.series.gaps)
        for basis, order in enumerate(self._orders if derivatives else [()]):
            out[:, basis, 1:n_classes:2] = derivative_of(a, order)
            out[:, basis, 2:n_classes:2] = derivative_of(b, order)
            if order:
                which = sorted([1 + k for k in order], reverse=True)
                out[:, basis, n_classes + kinds + derivative_kind(which, self.n_theta)] = 1.0
        mixing = out[..., n_classes : n_classes + kinds]
        self._mix(mixing, derivatives)
        mixing *= np.exp(-2.0 * log_sd)[:, None, None]
        logdet = out[:, 0, n_classes + kinds :]
        logdet[:, 0] += 2.0 * n_rows * log_sd
        if derivatives:
            logdet[:, 1] = 2.0 * n_rows
        return out

    def start(self, core: _core.NestedReduction, fit: int, share: float) -> FloatArray:
        """A share of the variance; correlations at the shortest step and at two of it."""
        assert isinstance(self.structure, QuasiSeparable), "checked where the design was read"
        products = core.lag_products(fit).reshape(len(self.series.n_rows), -1, 4)[self.arm]
        # Gaps ascend; residuals are scaled to mean square 1.
        shortest = int(np.flatnonzero(self.series.n_steps[self.arm])[0])
        sums, counts = products[shortest, ::2], products[shortest, 1::2]
        first, second = (sums / np.maximum(counts, 1.0)).tolist()
        return np.array([0.5 * np.log(share), *self.structure.eta_of_lags(first, second)])
