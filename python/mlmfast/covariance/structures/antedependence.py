"""First-order ante-dependence: a Markov chain whose correlations differ by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.chains import VisitChain, VisitSteps, log_correlations, within_start
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.scaled_correlation import MARGIN, Heterogeneous, ScaledCorrelation
from mlmfast.errors import ModelError
from mlmfast.running.cached import cached_property

#: Steps' worth of weight that the mean correlation has in the start of each.
_LEAN = 4.0


@dataclass(frozen=True)
class Antedependence(ScaledCorrelation, VisitChain):
    """R[i, j] = sigma^2 rho_i ... rho_j-1 for i < j, theta = (log sigma, atanh rho).

    References: Kenward (1987), Applied Statistics 36, 296-308.

    Parameters
    ----------
    order
        Visits before that a visit depends on: 1.

    Examples
    --------
    >>> ad = Antedependence(3)
    >>> ad.matrix(ad.from_natural(np.array([[4.0, 0.5, -0.5]])))[0].round(12).tolist()
    [[4.0, 2.0, -1.0], [2.0, 4.0, -2.0], [-1.0, -2.0, 4.0]]
    """

    order: int = 1

    keyword: ClassVar[str] = "ad"
    space: ClassVar[str] = "ad"
    label: ClassVar[str] = "ante-dependence, one variance"
    formula: ClassVar[str] = "sigma^2 rho_i ... rho_(j-1), i < j"
    parameters: ClassVar[str] = "K: variance, rho_1 ... rho_(K-1)"
    use: ClassVar[str] = "ordered times, unequally spaced: each depends on the one before"
    mmrm: ClassVar[str | None] = "ad"
    option: ClassVar[str | None] = "order"
    option_names: ClassVar[tuple[str, ...]] = ("order",)
    minimum_size: ClassVar[int] = 2
    sequential: ClassVar[bool] = True
    ordered: ClassVar[bool] = True
    differs_by_step: ClassVar[bool] = True
    contained_in: ClassVar[tuple[str, ...]] = ("adh",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order != 1:
            raise ModelError(
                f"{self.keyword}({self.order}): ante-dependence is of order 1; take un(q) or us "
                "for dependence over more visits"
            )

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return tuple(f"Rho({k})" for k in range(1, self.size))

    def correlation_parameters(self, eta: Jet) -> Jet:
        return eta.tanh()

    def correlations(self, r: Jet) -> Jet:
        by_lag = [r.ones(self.size)]
        for lag in range(1, self.size):
            by_lag.append(by_lag[-1][: self.size - lag] * r[lag - 1 :])
        return concatenate(by_lag)[self._positions]

    def unconstrained(self, r: FloatArray) -> FloatArray:
        return np.arctanh(r)

    def nearest(self, correlation: FloatArray) -> FloatArray:
        adjacent = np.diagonal(correlation, -1, 1, 2)
        return np.clip(adjacent, MARGIN - 1.0, 1.0 - MARGIN)

    def step_parameters(self, before: IntArray, at: IntArray) -> tuple[IntArray, IntArray]:
        offsets = np.concatenate([[0], np.cumsum(at - before)])
        return offsets, np.arange(offsets[-1]) - np.repeat(offsets[:-1] - before, at - before)

    def visit_steps(self, eta: FloatArray, before: IntArray, at: IntArray) -> VisitSteps:
        lengths = at - before
        offsets, which = self.step_parameters(before, at)
        pairs = np.concatenate([[0], np.cumsum(lengths * (lengths + 1) // 2)])
        r, small = np.tanh(eta), np.exp(-2.0 * np.abs(eta))
        slope = 4.0 * small / (1.0 + small) ** 2
        first, second = np.empty(offsets[-1]), np.empty(pairs[-1])
        f = np.empty(len(before))
        for length in np.unique(lengths).tolist():
            steps = np.flatnonzero(lengths == length)
            own = which[offsets[steps, None] + np.arange(length)]
            f[steps], by, by_pairs = _products(r[own], slope[own])
            first[offsets[steps, None] + np.arange(length)] = by
            second[pairs[steps, None] + np.arange(length * (length + 1) // 2)] = by_pairs
        along = np.add.reduceat(log_correlations(eta)[which], offsets[:-1])
        return VisitSteps(f, -np.expm1(2.0 * along), first, second)

    def eta_of_visit_steps(
        self, before: IntArray, at: IntArray, f: FloatArray, weights: FloatArray
    ) -> FloatArray:
        # Of a longer step each of its parts gets the same share; few subjects lean on all others.
        part = np.copysign(np.abs(f) ** (1.0 / (at - before)), f)
        weight = weights / (at - before)
        overall = float((weight * part).sum()) / max(float(weight.sum()), 1e-300)
        which = self.step_parameters(before, at)[1]
        sums, counts = (
            np.bincount(which, np.repeat(values, at - before), self.size - 1)
            for values in (weight * part, weight)
        )
        mean = (sums + _LEAN * overall) / (counts + _LEAN)
        return np.arctanh([within_start(value) for value in mean.tolist()])

    @cached_property
    def _positions(self) -> IntArray:
        """Position of each entry when they stand by lag, then by column."""
        starts = np.cumsum([0, *range(self.size, 1, -1)])
        return np.asarray(starts[self.lags] + self.rows - self.lags)


def _products(r: FloatArray, slope: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Products of tanh eta over g steps, (n, g), with derivatives by each eta and by pairs.

    Returns
    -------
    Values (n,), first derivatives (n, g), and second ones by the pairs (0, 0), (1, 0), (1, 1), ...
    """
    n, g = r.shape
    one = np.ones((n, 1))
    left = np.cumprod(np.concatenate([one, r[:, :-1]], axis=1), axis=1)
    right = np.cumprod(np.concatenate([r[:, 1:], one], axis=1)[:, ::-1], axis=1)[:, ::-1]
    others = left * right
    second = np.empty((n, g * (g + 1) // 2))
    rows = np.arange(g)
    second[:, rows * (rows + 3) // 2] = -2.0 * r * slope * others
    for k in range(g - 1):
        # Without the k-th and the l-th factor, for all l > k.
        between = np.cumprod(np.concatenate([one, r[:, k + 1 : -1]], axis=1), axis=1)
        later = rows[k + 1 :]
        product = left[:, k, None] * between * right[:, k + 1 :]
        second[:, later * (later + 1) // 2 + k] = product * slope[:, k, None] * slope[:, k + 1 :]
    return left[:, -1] * r[:, -1], others * slope, second


@dataclass(frozen=True)
class HeterogeneousAntedependence(Heterogeneous, Antedependence):
    """R[i, j] = sigma_i sigma_j rho_i ... rho_j-1; natural parameters sigma_i^2 and rho_k.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=ANTE(1).

    Examples
    --------
    >>> adh = HeterogeneousAntedependence(2)
    >>> adh.matrix(adh.from_natural(np.array([[1.0, 4.0, 0.5]])))[0].round(12).tolist()
    [[1.0, 1.0], [1.0, 4.0]]
    """

    keyword: ClassVar[str] = "adh"
    space: ClassVar[str] = "adh"
    label: ClassVar[str] = "ante-dependence"
    formula: ClassVar[str] = "sigma_i sigma_j rho_i ... rho_(j-1), i < j"
    parameters: ClassVar[str] = "2 K - 1: variances, rho_1 ... rho_(K-1)"
    use: ClassVar[str] = "as ad, with variances that differ by time"
    sas: ClassVar[str | None] = "ANTE(1)"
    mmrm: ClassVar[str | None] = "adh"
    contained_in: ClassVar[tuple[str, ...]] = ("us",)
    has_mirror: ClassVar[bool] = True

    def mirrored(self, angles: FloatArray, signs: FloatArray) -> FloatArray:
        return np.asarray(angles * signs[:, :-1] * signs[:, 1:])
