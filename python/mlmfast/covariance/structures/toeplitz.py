"""Toeplitz covariance: one correlation for each lag, or for the first few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure, symmetric
from mlmfast.covariance.by_lag import ByLag, banded_entries
from mlmfast.covariance.jet import Chart, Jet, concatenate
from mlmfast.covariance.opened import Opened
from mlmfast.covariance.scaled_correlation import Heterogeneous, ScaledCorrelation, shrink_factor
from mlmfast.errors import ModelError
from mlmfast.running.cached import cached_property

#: Steps that a sequence of random effects may have.
_MOST_STEPS = 200
#: By how much correlations are taken smaller, until all steps of a sequence can have them.
_SMALLER = 0.9


@dataclass(frozen=True)
class Toeplitz(ByLag, ScaledCorrelation):
    """R[i, j] = sigma^2 r_|i - j|, r_0 = 1, and 0 from lag ``order`` on.

    theta = (log sigma, atanh of the partial autocorrelations). The Levinson-Durbin recursion turns
    any partial autocorrelations in (-1, 1) into a positive definite Toeplitz matrix, and every such
    matrix has them. With fewer bands than levels the first ``order`` levels are positive definite
    by construction, all K only where the bands are small enough: elsewhere `matrix` is not positive
    definite. Natural parameters are the variance and the band covariances sigma^2 r_h.

    Where levels leave out steps (``places``), r has the lags that two levels are apart, eta is
    their atanh, and `matrix` is not positive definite everywhere either: the levels alone need a
    positive definite matrix, and not the steps between. As a covariance of random effects, which
    may be singular, it is that of a stationary sequence at all steps, partial autocorrelations
    being 0 at lags that no two levels are apart.

    References: Barndorff-Nielsen and Schou (1973), Journal of Multivariate Analysis 3, 408-419;
    SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=TOEP.

    Parameters
    ----------
    order
        Number of bands, the diagonal included; all of them by default.

    Examples
    --------
    >>> toep = Toeplitz(3)
    >>> toep.matrix(toep.from_natural(np.array([[4.0, 2.0, -1.0]])))[0].round(12).tolist()
    [[4.0, 2.0, -1.0], [2.0, 4.0, 2.0], [-1.0, 2.0, 4.0]]
    """

    order: int | None = None

    keyword: ClassVar[str] = "toep"
    space: ClassVar[str] = "toep"
    label: ClassVar[str] = "Toeplitz"
    formula: ClassVar[str] = "sigma_|i - j|, 0 from lag q on"
    parameters: ClassVar[str] = "K (or q): variance, covariance at each lag"
    use: ClassVar[str] = "equally spaced times, one free covariance for each lag"
    sas: ClassVar[str | None] = "TOEP, TOEP(q)"
    mmrm: ClassVar[str | None] = "toep"
    nlme: ClassVar[str | None] = None
    glmmtmb: ClassVar[str | None] = "homtoep"
    sequential: ClassVar[bool] = True
    contains_residual: ClassVar[bool] = True
    contained_in: ClassVar[tuple[str, ...]] = ("toeph",)
    option: ClassVar[str | None] = "order"
    option_names: ClassVar[tuple[str, ...]] = ("order", "q")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_bands(self.order)

    @classmethod
    def counts_steps(cls, number: float | None) -> bool:
        return number != 1

    @classmethod
    def is_diagonal(cls, number: float | None) -> bool:
        return number == 1

    @property
    def bands(self) -> int:
        """Number of bands, the diagonal included."""
        return int(np.ptp(self.standing)) + 1 if self.order is None else self.order

    @cached_property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return banded_entries(self.standing, self.order)

    @cached_property
    def lags_met(self) -> IntArray:
        """Lags within the bands that two levels are apart, ascending from 1 or more."""
        return self.steps[0][1:]

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return tuple(f"TOEP({lag + 1})" for lag in self.lags_met.tolist())

    def correlation_parameters(self, eta: Jet) -> Jet:
        return eta.tanh() if self.has_gaps else _autocorrelations(eta.tanh())

    def closed(self) -> CovarianceStructure:
        if self.has_gaps and int(self.lags_met[-1]) > _MOST_STEPS:
            raise ModelError(
                f"{self.keyword!r} of random effects takes levels at most {_MOST_STEPS} steps "
                f"apart where they leave out steps, found {int(self.lags_met[-1])}; take ar1, or "
                "sp_exp over the levels as numbers"
            )
        return super().closed()

    def opened(self) -> CovarianceStructure:
        return Opened(self.size, self, np.eye(self.n_theta)[self.steps[1]])

    def bounded(self, u: Jet) -> Jet:
        if not self.has_gaps:
            return _autocorrelations(u)
        # A constant 0 stands at the end, for lags that no two levels are apart.
        padded = concatenate([u, u.ones() * 0.0])
        where = np.full(int(self.lags_met[-1]), u.value.shape[1])
        where[self.lags_met - 1] = np.arange(u.value.shape[1])
        return _autocorrelations(padded[where])[self.lags_met - 1]

    def to_bounded(self, r: FloatArray) -> FloatArray:
        if not self.has_gaps:
            return _partial_autocorrelations(r)
        whole = np.full((len(r), int(self.lags_met[-1])), np.nan)
        whole[:, self.lags_met - 1] = r
        return _partial_autocorrelations(whole)[:, self.lags_met - 1]

    def angles(self, r: FloatArray) -> FloatArray:
        found = super().angles(r)
        outside = ~np.isfinite(found).all(axis=1)
        share = np.ones((len(r), 1))
        # Levels with gaps have matrices that those of all steps do not reach.
        while self.has_gaps and np.isfinite(r).all() and outside.any():
            share[outside] *= _SMALLER
            found[outside] = super().angles(share[outside] * r[outside])
            outside = ~np.isfinite(found).all(axis=1)
        return found

    def correlations(self, r: Jet) -> Jet:
        return concatenate([r.ones(), r])[self.steps[1]]

    def correlation_chart(self, eta: FloatArray, weight: FloatArray) -> Chart:
        if self.has_gaps:
            return super().correlation_chart(eta, weight)
        partial = np.tanh(eta)
        slope = 1.0 - partial * partial
        return self._chart_through(partial, slope, -2.0 * partial * slope, weight)

    def closed_chart(self, angles: FloatArray, weight: FloatArray) -> Chart:
        if self.has_gaps:
            return super().closed_chart(angles, weight)
        partial = np.sin(angles)
        return self._chart_through(partial, np.cos(angles), -partial, weight)

    def _chart_through(
        self, partial: FloatArray, slope: FloatArray, bend: FloatArray, weight: FloatArray
    ) -> Chart:
        """Correlations by parameters of partial autocorrelations, with the derivatives of these."""
        a, n = partial.shape
        codes = self.steps[1]
        if n == 0:
            return Chart(np.ones(weight.shape), np.zeros((*weight.shape, 0)), np.zeros((a, 0, 0)))
        by_lag = np.zeros((a, n + 1))
        for row, own in enumerate(weight):
            np.add.at(by_lag[row], codes, own)
        by_lag = np.ascontiguousarray(by_lag[:, 1:])
        r, first, second = _core.autocorrelations_chart(np.ascontiguousarray(partial), by_lag)
        pull = (first.mT @ by_lag[:, :, None])[..., 0]
        second *= slope[:, :, None] * slope[:, None, :]
        np.einsum("aii->ai", second)[:] += pull * bend
        value = np.concatenate([np.ones((a, 1)), r], axis=1)
        by = np.concatenate([np.zeros((a, 1, n)), first * slope[:, None, :]], axis=1)
        return Chart(value[:, codes], by[:, codes], second)

    def unconstrained(self, r: FloatArray) -> FloatArray:
        if not self.has_gaps:
            return np.arctanh(_partial_autocorrelations(r))
        eta = np.arctanh(r)
        if self.order is None:
            matrices = self._of_lags(np.nan_to_num(r, nan=2.0))
            eta[np.linalg.eigvalsh(matrices)[:, 0] <= 0.0] = np.nan
        return eta

    def nearest(self, correlation: FloatArray) -> FloatArray:
        means = self.step_means(correlation, self.lags_met)
        return means * shrink_factor(self._of_lags(means))

    def _of_lags(self, r: FloatArray) -> FloatArray:
        """Matrices with 1 on the diagonal and r at the lags, shape (n_fits, K, K)."""
        values = np.concatenate([np.ones((len(r), 1)), r], axis=1)[:, self.steps[1]]
        return symmetric(values, self.size, self.rows, self.rows - self.lags)

    def join_natural(self, variances: Jet, r: Jet) -> Jet:
        return concatenate([variances, variances * r])

    def split_natural(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        return values[:, :1], values[:, 1:] / values[:, :1]


@dataclass(frozen=True)
class HeterogeneousToeplitz(Heterogeneous, Toeplitz):
    """R[i, j] = sigma_i sigma_j r_|i - j|; natural parameters sigma_i^2 and r_h.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=TOEPH.

    Examples
    --------
    >>> toeph = HeterogeneousToeplitz(2)
    >>> toeph.matrix(toeph.from_natural(np.array([[1.0, 4.0, 0.5]])))[0].round(12).tolist()
    [[1.0, 1.0], [1.0, 4.0]]
    """

    keyword: ClassVar[str] = "toeph"
    space: ClassVar[str] = "toeph"
    label: ClassVar[str] = "heterogeneous Toeplitz"
    formula: ClassVar[str] = "sigma_i sigma_j rho_|i - j|, 0 from lag q on"
    parameters: ClassVar[str] = "2 K - 1 (or K + q - 1): variances, correlation at each lag"
    use: ClassVar[str] = "as toep, with variances that differ by time"
    sas: ClassVar[str | None] = "TOEPH, TOEPH(q)"
    mmrm: ClassVar[str | None] = "toeph"
    glmmtmb: ClassVar[str | None] = "toep"
    contains_residual: ClassVar[bool] = False
    contained_in: ClassVar[tuple[str, ...]] = ("us",)

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return tuple(f"TOEPH({lag})" for lag in self.lags_met.tolist())

    def opened(self) -> CovarianceStructure:
        return CovarianceStructure.opened(self)


def _autocorrelations(partial: Jet) -> Jet:
    """Levinson-Durbin: autocorrelations r_1, ... of partial autocorrelations."""
    if partial.value.shape[1] < 2:
        return partial
    if partial.first.shape[-1] == 0:
        return Jet.constant(_core.autocorrelations_of(np.ascontiguousarray(partial.value)))
    return partial.compose(*_levinson_with_derivatives(partial.value))


def _levinson_with_derivatives(partial: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The same with first and second derivatives, (a, n, n) and (a, n, n, n).

    What is known before the lag h + 1 depends on the first h partial autocorrelations alone, and
    each step is linear in the next one, or quadratic (the variance of the prediction).
    """
    a, n = partial.shape
    r, r1, r2 = np.zeros((a, n)), np.zeros((a, n, n)), np.zeros((a, n, n, n))
    w, w1, w2 = np.zeros((a, n)), np.zeros((a, n, n)), np.zeros((a, n, n, n))
    r[:, 0] = w[:, 0] = partial[:, 0]
    r1[:, 0, 0] = w1[:, 0, 0] = 1.0
    error, e1, e2 = _product_of_complements(partial)
    for h in range(1, n):
        last, back = partial[:, h], slice(h - 1, None, -1)
        x, x1, x2 = w[:, :h], w1[:, :h, :h], w2[:, :h, :h, :h]
        z, z1, z2 = r[:, back], r1[:, back, :h], r2[:, back, :h, :h]
        r[:, h] = (x * z).sum(axis=1) + last * error[:, h]
        first = x1.mT @ z[..., None] + z1.mT @ x[..., None]
        r1[:, h, :h] = first[..., 0] + last[:, None] * e1[:, h, :h]
        r1[:, h, h] = error[:, h]
        cross = x1.mT @ z1
        bent = np.einsum("aj,ajpq->apq", x, z2) + np.einsum("aj,ajpq->apq", z, x2)
        r2[:, h, :h, :h] = bent + cross + cross.mT + last[:, None, None] * e2[:, h, :h, :h]
        r2[:, h, h, :h] = r2[:, h, :h, h] = e1[:, h, :h]
        turned = x[:, ::-1].copy(), x1[:, ::-1].copy(), x2[:, ::-1].copy()
        w[:, :h] -= turned[0] * last[:, None]
        w1[:, :h, :h] -= turned[1] * last[:, None, None]
        w1[:, :h, h] = -turned[0]
        w2[:, :h, :h, :h] -= turned[2] * last[:, None, None, None]
        w2[:, :h, h, :h] = w2[:, :h, :h, h] = -turned[1]
        w[:, h], w1[:, h, h] = last, 1.0
    return r, r1, r2


def _product_of_complements(u: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """prod_(j < h) (1 - u_j^2) for h = 0, 1, ..., n - 1 with derivatives by u."""
    a, n = u.shape
    value, first, second = np.ones((a, n)), np.zeros((a, n, n)), np.zeros((a, n, n, n))
    for h in range(1, n):
        j, k = h - 1, u[:, h - 1]
        factor, slope = 1.0 - k * k, -2.0 * k
        value[:, h] = value[:, j] * factor
        first[:, h, :j] = first[:, j, :j] * factor[:, None]
        first[:, h, j] = value[:, j] * slope
        second[:, h, :j, :j] = second[:, j, :j, :j] * factor[:, None, None]
        second[:, h, j, :j] = second[:, h, :j, j] = first[:, j, :j] * slope[:, None]
        second[:, h, j, j] = -2.0 * value[:, j]
    return value, first, second


def _partial_autocorrelations(r: FloatArray) -> FloatArray:
    """The inverse of `_autocorrelations`; outside (-1, 1) where r is not positive definite.

    A lag whose r is NaN has the partial autocorrelation 0.
    """
    r = np.array(r, dtype=np.float64)
    if r.shape[1]:
        r[:, 0] = np.where(np.isnan(r[:, 0]), 0.0, r[:, 0])
    partial = r.copy()
    weights = r[:, :1]
    error = 1.0 - r[:, :1] ** 2
    for h in range(1, r.shape[1]):
        predicted = (weights * r[:, :h][:, ::-1]).sum(axis=1, keepdims=True)
        open_ = np.isnan(r[:, h : h + 1])
        r[:, h : h + 1] = np.where(open_, predicted, r[:, h : h + 1])
        last = (r[:, h : h + 1] - predicted) / error
        partial[:, h : h + 1] = last
        weights = np.concatenate([weights - weights[:, ::-1] * last, last], axis=1)
        error = error * (1.0 - last * last)
    return partial
