"""Diagonal covariance: uncorrelated effects, each with its own variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.base import CovarianceStructure
from mlmfast.covariance.opened import opened_entries


@dataclass(frozen=True)
class Diagonal(CovarianceStructure):
    """G = diag(theta^2); theta are relative standard deviations.

    Examples
    --------
    >>> Diagonal(2).matrix(np.array([[2.0, 3.0]]))[0].tolist()
    [[4.0, 0.0], [0.0, 9.0]]
    """

    keyword: ClassVar[str] = "diag"
    space: ClassVar[str] = "diag"
    label: ClassVar[str] = "diagonal (uncorrelated)"
    formula: ClassVar[str] = "sigma_i^2 1(i = j)"
    parameters: ClassVar[str] = "K: variances"
    use: ClassVar[str] = "independent levels, variances that differ"
    sas: ClassVar[str | None] = "UN(1)"
    nlme: ClassVar[str | None] = "varIdent, pdDiag"
    glmmtmb: ClassVar[str | None] = "diag"
    exchangeable: ClassVar[bool] = True
    natural_entries: ClassVar[bool] = True
    scales: ClassVar[bool] = True
    independent: ClassVar[bool] = True
    variances_alone: ClassVar[bool] = True
    first_theta: ClassVar[Literal["logarithm", "root"] | None] = "root"
    named_by_effects: ClassVar[bool] = True
    from_one_series: ClassVar[bool] = True
    contained_in: ClassVar[tuple[str, ...]] = ("csh", "ar1h", "adh", "un", "fa")

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return tuple((a, a) for a in range(self.size))

    @property
    def n_theta(self) -> int:
        return self.size

    def opened(self) -> CovarianceStructure:
        return opened_entries(self)

    def matrix(self, theta: FloatArray) -> FloatArray:
        return _diagonal(theta * theta)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return _diagonal(2 * theta)

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        return _diagonal(2 * weight)

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        return np.asarray(np.abs(theta + step))

    def move_far(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        return np.asarray(theta * np.exp(step / np.maximum(theta, 1e-300)))

    def theta(self, matrix: FloatArray) -> FloatArray:
        return np.asarray(np.sqrt(np.maximum(np.diagonal(matrix, axis1=1, axis2=2), 0.0)))

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(f"UN({k},{k})" for k in range(1, self.size + 1))

    def natural(self, theta: FloatArray) -> FloatArray:
        return theta * theta

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        return _diagonal(2 * theta)

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        n = self.size
        out = np.zeros((len(theta), n, n, n))
        index = np.arange(n)
        out[:, index, index, index] = 2.0
        return out

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self._check_natural(values)
        outside = ~(np.isfinite(values) & (values >= 0)).all(axis=1)
        if outside.any():
            raise self._outside(values[outside][0])
        return np.asarray(np.sqrt(values))


def _diagonal(values: FloatArray) -> FloatArray:
    out = np.zeros((*values.shape, values.shape[1]))
    index = np.arange(values.shape[1])
    out[:, index, index] = values
    return out
