"""Independent levels with one variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.base import CovarianceStructure
from mlmfast.covariance.closed import SumOfSquares
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.opened import Opened
from mlmfast.covariance.scaled_correlation import ScaledCorrelation
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class HomogeneousDiagonal(ScaledCorrelation):
    """R = sigma^2 I, theta = log sigma; natural parameter sigma^2 (TYPE=VC in PROC MIXED).

    Examples
    --------
    >>> HomogeneousDiagonal(2).matrix(np.log([[2.0]]))[0].round(12).tolist()
    [[4.0, 0.0], [0.0, 4.0]]
    """

    keyword: ClassVar[str] = "homdiag"
    space: ClassVar[str] = "homdiag"
    label: ClassVar[str] = "independent, one variance"
    formula: ClassVar[str] = "sigma^2 1(i = j)"
    parameters: ClassVar[str] = "1: variance"
    use: ClassVar[str] = "no correlation left after the random effects, equal variances"
    sas: ClassVar[str | None] = "VC"
    nlme: ClassVar[str | None] = "pdIdent"
    glmmtmb: ClassVar[str | None] = "homdiag"
    exchangeable: ClassVar[bool] = True
    independent: ClassVar[bool] = True
    from_one_series: ClassVar[bool] = True
    contains_residual: ClassVar[bool] = True
    contained_in: ClassVar[tuple[str, ...]] = (
        *("diag", "cs", "ar1", "ad", "hf"),
        *("sp_exp", "sp_gau", "sp_pow", "sp_sph", "sp_matern", "sp_lin", "sp_linl", "sp_ratio"),
    )

    @cached_property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return tuple((a, a) for a in range(self.size))

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return ()

    def correlation_parameters(self, eta: Jet) -> Jet:
        return eta

    def correlations(self, r: Jet) -> Jet:
        return r.ones(self.size)

    def unconstrained(self, r: FloatArray) -> FloatArray:
        return r

    def nearest(self, correlation: FloatArray) -> FloatArray:
        return np.empty((len(correlation), 0))

    def closed(self) -> CovarianceStructure:
        return SumOfSquares(self.size, self, np.ones((self.size, 1)), np.ones((1, 1)))

    def opened(self) -> CovarianceStructure:
        return Opened(self.size, self, np.ones((self.size, 1)))
