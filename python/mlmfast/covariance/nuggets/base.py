"""A nugget beside correlations by distance: what two rows at nearly one place do not share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.spatial.base import Spatial

#: Shares of a nugget from which a start is looked for, and Gauss-Newton steps from the best.
_SHARES = (0.02, 0.1, 0.2, 0.3, 0.45, 0.6, 0.75, 0.9)
_STEPS, _LONGEST = 40, 2.0
#: How far a start's range goes from the first, as a logarithm, and its nugget's logit from 0.
_FAR, _FULL = 2.0, 5.0


@dataclass(frozen=True, eq=False)
class WithNugget(Spatial):
    """R = variance f(d_ij / range) + nugget 1(i = j): a mixin before a class of `Spatial`.

    theta = (log root of the sum of both variances, log range, logit of the nugget's share).
    Natural parameters are PROC MIXED's with LOCAL: the variance of what rows share, its range, and
    the variance of the nugget. nlme's (``nugget = TRUE``) is the nugget's share of the sum.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    sas: ClassVar[str | None] = None
    mmrm: ClassVar[str | None] = None
    nlme: ClassVar[str | None] = None
    glmmtmb: ClassVar[str | None] = None
    contained_in: ClassVar[tuple[str, ...]] = ()
    for_random_effects: ClassVar[bool] = False
    contains_residual: ClassVar[bool] = True
    takes_rows_at_one_place: ClassVar[bool] = True
    compared: ClassVar[Literal["always", "several columns", "never"]] = "never"
    minimum_size: ClassVar[int] = 3

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return (*super().correlation_names, "Nugget")

    def correlation_parameters(self, eta: Jet) -> Jet:
        share = 1.0 / (1.0 + np.exp(-eta.value[:, -1:]))
        slope = share * (1.0 - share)
        last = eta[slice(-1, None)].through(share, slope, slope * (1.0 - 2.0 * share))
        return concatenate([super().correlation_parameters(eta[slice(None, -1)]), last])

    def correlations(self, r: Jet) -> Jet:
        share = r[slice(-1, None)]
        shared = super().correlations(r[slice(None, -1)])
        own = (self.lags == 0).astype(np.float64)
        # The share of the nugget stands on the diagonal alone.
        alone: Jet = concatenate([share] * len(own)) * own
        return shared * (share * -1.0 + 1.0) + alone

    def unconstrained(self, r: FloatArray) -> FloatArray:
        share = r[:, -1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            logit = np.log(share) - np.log1p(-share)
        return np.concatenate([super().unconstrained(r[:, :-1]), logit], axis=1)

    def nearest(self, correlation: FloatArray) -> FloatArray:
        return np.stack([self._nearest(own) for own in correlation])

    def _nearest(self, correlation: FloatArray) -> FloatArray:
        """Least squares over the pairs, from the best of some shares."""
        pairs = self.lags > 0
        observed = correlation[self.rows[pairs], (self.rows - self.lags)[pairs]]
        best, lowest = np.empty(0), np.inf
        for share in _SHARES:
            shared = np.clip(correlation / (1.0 - share), -0.999, 0.999)
            np.fill_diagonal(shared, 1.0)
            tried = np.append(super().nearest(shared[None])[0], share)
            rest = self.correlations(Jet.constant(tried[None])).value[0, pairs] - observed
            if rest @ rest < lowest:
                best, lowest = tried, float(rest @ rest)
        eta = self.unconstrained(best[None])
        low, high = self._inside(eta)
        for _ in range(_STEPS):
            at = self.correlations(self.correlation_parameters(Jet.variables(eta)))
            rest = observed - at.value[0, pairs]
            step = np.linalg.lstsq(at.first[0, pairs], rest, rcond=1e-10)[0]
            step *= min(1.0, _LONGEST / max(float(np.abs(step).max()), 1e-300))
            step = np.clip(eta + step, low, high) - eta
            after = self.correlation_parameters(Jet.constant(eta + step))
            left = observed - self.correlations(after).value[0, pairs]
            if not left @ left < lowest:
                break
            eta, lowest = eta + step, float(left @ left)
        return np.asarray(self.correlation_parameters(Jet.constant(eta)).value[0])

    def _inside(self, eta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Where a start may lie: a range about the first, and both parts present."""
        low, high = eta - _FAR, eta + _FAR
        low[:, -1], high[:, -1] = -_FULL, _FULL
        if self.is_rough:
            low[:, 0] = np.log(self.shortest * self.smallest_distance)
        return low, high

    def start_at(self, distances: FloatArray) -> FloatArray:
        theta = super().start_at(distances)
        missing = self.n_theta - theta.shape[1]
        return np.pad(theta, ((0, 0), (0, missing)), constant_values=-1.0)

    def join_natural(self, variances: Jet, r: Jet) -> Jet:
        own = variances * r[slice(-1, None)]
        return concatenate([super().join_natural(variances - own, r[slice(None, -1)]), own])

    def split_natural(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        shared, r = super().split_natural(values[:, :-1])
        total = shared + values[:, -1:]
        return total, np.concatenate([r, values[:, -1:] / total], axis=1)

    def first_of_unit(self, rest: FloatArray) -> FloatArray:
        return np.asarray(1.0 - rest[:, -1:])
