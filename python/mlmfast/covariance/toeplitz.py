"""Toeplitz covariance: one correlation for each lag, or for the first few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.cached import cached_property
from mlmfast.covariance.base import lower_entries
from mlmfast.covariance.heterogeneous import Heterogeneous
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.scaled_correlation import (
    ScaledCorrelation,
    lag_means,
    shrink_factor,
)
from mlmfast.errors import ModelError


@dataclass(frozen=True)
class Toeplitz(ScaledCorrelation):
    """R[i, j] = sigma^2 r_|i - j|, r_0 = 1, and 0 from lag ``order`` on.

    theta = (log sigma, atanh of the partial autocorrelations). The Levinson-Durbin recursion turns
    any partial autocorrelations in (-1, 1) into a positive definite Toeplitz matrix, and every such
    matrix has them. With fewer bands than levels the first ``order`` levels are positive definite
    by construction, all K only where the bands are small enough: elsewhere `matrix` is not positive
    definite. Natural parameters are the variance and the band covariances sigma^2 r_h.

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
    label: ClassVar[str] = "Toeplitz"
    formula: ClassVar[str] = "sigma_|i - j|, 0 from lag q on"
    parameters: ClassVar[str] = "K (or q): variance, covariance at each lag"
    use: ClassVar[str] = "equally spaced times, one free covariance for each lag"
    sas: ClassVar[str | None] = "TOEP, TOEP(q)"
    mmrm: ClassVar[str | None] = "toep"
    nlme: ClassVar[str | None] = None
    glmmtmb: ClassVar[str | None] = "homtoep"
    sequential: ClassVar[bool] = True
    option: ClassVar[str | None] = "order"
    option_names: ClassVar[tuple[str, ...]] = ("order", "q")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order is not None and not 1 <= self.order <= self.size:
            raise ModelError(
                f"{self.keyword}({self.order}) over {self.size} levels: the number of bands must "
                f"lie between 1 and {self.size}"
            )

    @property
    def bands(self) -> int:
        """Number of bands, the diagonal included."""
        return self.size if self.order is None else self.order

    @cached_property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return lower_entries(self.size, self.bands)

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return tuple(f"TOEP({lag + 1})" for lag in range(1, self.bands))

    def correlation_parameters(self, eta: Jet) -> Jet:
        return _autocorrelations(eta.tanh())

    def bounded(self, u: Jet) -> Jet:
        return _autocorrelations(u)

    def to_bounded(self, r: FloatArray) -> FloatArray:
        return _partial_autocorrelations(r)

    def correlations(self, r: Jet) -> Jet:
        return concatenate([r.ones(), r])[self.lags]

    def unconstrained(self, r: FloatArray) -> FloatArray:
        partial = _partial_autocorrelations(r)
        return np.arctanh(partial)

    def nearest(self, correlation: FloatArray) -> FloatArray:
        means = lag_means(correlation, range(1, self.bands))
        index = np.arange(self.size)
        lags = np.abs(index[:, None] - index)
        zeros = np.zeros((len(means), self.size - self.bands))
        padded = np.concatenate([np.ones((len(means), 1)), means, zeros], axis=1)
        return means * shrink_factor(padded[:, lags])

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
    label: ClassVar[str] = "heterogeneous Toeplitz"
    formula: ClassVar[str] = "sigma_i sigma_j rho_|i - j|, 0 from lag q on"
    parameters: ClassVar[str] = "2 K - 1 (or K + q - 1): variances, correlation at each lag"
    use: ClassVar[str] = "as toep, with variances that differ by time"
    sas: ClassVar[str | None] = "TOEPH, TOEPH(q)"
    mmrm: ClassVar[str | None] = "toeph"
    glmmtmb: ClassVar[str | None] = "toep"

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return tuple(f"TOEPH({lag})" for lag in range(1, self.bands))


def _autocorrelations(partial: Jet) -> Jet:
    """Levinson-Durbin: autocorrelations r_1, ... of partial autocorrelations."""
    n = partial.value.shape[1]
    if n < 2:
        return partial
    r = weights = partial[:1]
    error = partial.ones() - partial[:1] * partial[:1]
    for h in range(1, n):
        last = partial[h : h + 1]
        # r_h+1 = sum_j w_j r_h+1-j + last * (variance of the one-step prediction)
        r = concatenate([r, (weights * r[::-1]).sum() + last * error])
        weights = concatenate([weights - weights[::-1] * last, last])
        error = error - error * last * last
    return r


def _partial_autocorrelations(r: FloatArray) -> FloatArray:
    """The inverse of `_autocorrelations`; outside (-1, 1) where r is not positive definite."""
    partial = np.array(r, dtype=np.float64)
    weights = r[:, :1]
    error = 1.0 - r[:, :1] ** 2
    for h in range(1, r.shape[1]):
        predicted = (weights * r[:, :h][:, ::-1]).sum(axis=1, keepdims=True)
        last = (r[:, h : h + 1] - predicted) / error
        partial[:, h : h + 1] = last
        weights = np.concatenate([weights - weights[:, ::-1] * last, last], axis=1)
        error = error * (1.0 - last * last)
    return partial
