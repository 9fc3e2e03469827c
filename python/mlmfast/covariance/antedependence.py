"""First-order ante-dependence: a Markov chain whose correlations differ by step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.heterogeneous import Heterogeneous
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.scaled_correlation import MARGIN, ScaledCorrelation
from mlmfast.errors import ModelError


@dataclass(frozen=True)
class Antedependence(ScaledCorrelation):
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
    label: ClassVar[str] = "ante-dependence, one variance"
    formula: ClassVar[str] = "sigma^2 rho_i ... rho_(j-1), i < j"
    parameters: ClassVar[str] = "K: variance, rho_1 ... rho_(K-1)"
    use: ClassVar[str] = "ordered times, unequally spaced: each depends on the one before"
    mmrm: ClassVar[str | None] = "ad"
    option: ClassVar[str | None] = "order"
    option_names: ClassVar[tuple[str, ...]] = ("order",)
    minimum_size: ClassVar[int] = 2
    sequential: ClassVar[bool] = True

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

    @cached_property
    def _positions(self) -> IntArray:
        """Position of each entry when they stand by lag, then by column."""
        starts = np.cumsum([0, *range(self.size, 1, -1)])
        return np.asarray(starts[self.lags] + self.rows - self.lags)


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
    label: ClassVar[str] = "ante-dependence"
    formula: ClassVar[str] = "sigma_i sigma_j rho_i ... rho_(j-1), i < j"
    parameters: ClassVar[str] = "2 K - 1: variances, rho_1 ... rho_(K-1)"
    use: ClassVar[str] = "as ad, with variances that differ by time"
    sas: ClassVar[str | None] = "ANTE(1)"
    mmrm: ClassVar[str | None] = "adh"
    has_mirror: ClassVar[bool] = True

    def mirrored(self, angles: FloatArray, signs: FloatArray) -> FloatArray:
        return np.asarray(angles * signs[:, :-1] * signs[:, 1:])
