"""Compound symmetry: all pairs of levels equally correlated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.base import CovarianceStructure
from mlmfast.covariance.closed import SumOfSquares
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.opened import Opened
from mlmfast.covariance.scaled_correlation import MARGIN, Heterogeneous, ScaledCorrelation


@dataclass(frozen=True)
class CompoundSymmetry(ScaledCorrelation):
    """R[i, j] = sigma^2 rho off the diagonal, sigma^2 on it, -1 / (K - 1) < rho < 1.

    theta = (log sigma, eta), eta the log ratio of the two eigenvalues of the correlation matrix,
    (1 + (K - 1) rho) / (1 - rho): rho = 0 at eta = 0, and every eta gives a positive definite R.
    Natural parameters are those of PROC MIXED: the variance sigma^2 (1 - rho) that a level has of
    its own, and the covariance sigma^2 rho that all share.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=CS.

    Examples
    --------
    >>> cs = CompoundSymmetry(3)
    >>> theta = cs.from_natural(np.array([[3.0, 1.0]]))
    >>> cs.matrix(theta)[0].round(12).tolist()
    [[4.0, 1.0, 1.0], [1.0, 4.0, 1.0], [1.0, 1.0, 4.0]]
    """

    keyword: ClassVar[str] = "cs"
    space: ClassVar[str] = "cs"
    label: ClassVar[str] = "compound symmetry"
    formula: ClassVar[str] = "variance 1(i = j) + covariance"
    parameters: ClassVar[str] = "2: variance, covariance"
    use: ClassVar[str] = "exchangeable levels: the same as a random intercept, negative too"
    sas: ClassVar[str | None] = "CS"
    mmrm: ClassVar[str | None] = "cs"
    nlme: ClassVar[str | None] = "corCompSymm"
    glmmtmb: ClassVar[str | None] = "homcs"
    exchangeable: ClassVar[bool] = True
    contains_residual: ClassVar[bool] = True
    contained_in: ClassVar[tuple[str, ...]] = ("csh", "toep", "hf")
    minimum_size: ClassVar[int] = 2

    def first_of_unit(self, rest: FloatArray) -> FloatArray:
        # What the shared part leaves of the variance.
        return 1.0 - rest[:, :1]

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return ("CS",)

    def correlation_parameters(self, eta: Jet) -> Jet:
        k = self.size
        # rho = (e - 1) / (e + K - 1) with e = exp(eta), written without overflow.
        with np.errstate(over="ignore", invalid="ignore"):
            rho = np.where(
                eta.value > 0,
                -np.expm1(-eta.value) / (1.0 + (k - 1) * np.exp(-eta.value)),
                np.expm1(eta.value) / (np.exp(eta.value) + k - 1),
            )
        slope = (1.0 - rho) * (1.0 + (k - 1) * rho) / k
        return eta.through(rho, slope, slope * (k - 2 - 2 * (k - 1) * rho) / k)

    def correlations(self, r: Jet) -> Jet:
        return concatenate([r.ones(), r])[np.minimum(self.lags, 1)]

    def unconstrained(self, r: FloatArray) -> FloatArray:
        return np.log1p((self.size - 1) * r) - np.log1p(-r)

    def nearest(self, correlation: FloatArray) -> FloatArray:
        k = self.size
        mean = (correlation.sum(axis=(1, 2)) - k) / (k * (k - 1))
        return np.asarray(np.clip(mean, (MARGIN - 1.0) / (k - 1), 1.0 - MARGIN)[:, None])

    def bounded(self, u: Jet) -> Jet:
        # From -1 / (K - 1) to 1.
        k = self.size
        return (u * k + (k - 2.0)) * (0.5 / (k - 1))

    def to_bounded(self, r: FloatArray) -> FloatArray:
        k = self.size
        return np.asarray((2.0 * (k - 1) * r - (k - 2)) / k)

    def closed(self) -> CovarianceStructure:
        # The eigenvalues: of the mean of the levels once, of their contrasts K - 1 times.
        k = self.size
        forms = np.array([[1 / k, (a == b) - 1 / k] for a, b in self.entries])
        return SumOfSquares(k, self, forms, np.array([[0.0, 1.0], [1 / k, -1 / k]]))

    def opened(self) -> CovarianceStructure:
        return Opened(self.size, self, np.array([[float(a == b), 1.0] for a, b in self.entries]))

    def join_natural(self, variances: Jet, r: Jet) -> Jet:
        covariance = variances * r
        return concatenate([variances - covariance, covariance])

    def split_natural(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        total = values.sum(axis=1, keepdims=True)
        return total, values[:, 1:] / total


@dataclass(frozen=True)
class HeterogeneousCompoundSymmetry(Heterogeneous, CompoundSymmetry):
    """R[i, j] = sigma_i sigma_j rho off the diagonal; natural parameters sigma_i^2 and rho.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=CSH.

    Examples
    --------
    >>> csh = HeterogeneousCompoundSymmetry(2)
    >>> csh.matrix(csh.from_natural(np.array([[1.0, 4.0, 0.5]])))[0].round(12).tolist()
    [[1.0, 1.0], [1.0, 4.0]]
    """

    keyword: ClassVar[str] = "csh"
    space: ClassVar[str] = "csh"
    label: ClassVar[str] = "heterogeneous compound symmetry"
    formula: ClassVar[str] = "sigma_i sigma_j (1(i = j) + rho 1(i != j))"
    parameters: ClassVar[str] = "K + 1: variances, rho"
    use: ClassVar[str] = "equal correlations, variances that differ by level"
    sas: ClassVar[str | None] = "CSH"
    mmrm: ClassVar[str | None] = "csh"
    nlme: ClassVar[str | None] = "corCompSymm + varIdent"
    glmmtmb: ClassVar[str | None] = "cs"
    contains_residual: ClassVar[bool] = False
    contained_in: ClassVar[tuple[str, ...]] = ("toeph",)

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return ("CSH",)

    def opened(self) -> CovarianceStructure:
        return CovarianceStructure.opened(self)
