"""A variance of its own for each level, on top of any correlation structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.cached import cached_property
from mlmfast.covariance.base import CovarianceStructure
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.scaled_angles import ScaledAngles
from mlmfast.covariance.scaled_correlation import ScaledCorrelation


@dataclass(frozen=True)
class Heterogeneous(ScaledCorrelation):
    """R = D^1/2 C D^1/2 with D diagonal and free; theta = (log standard deviations, eta).

    Stands before the correlation structure among the bases of a class. The natural parameters are
    the variances and the correlation parameters.
    """

    scales: ClassVar[bool] = True

    @property
    def n_scales(self) -> int:
        return self.size

    @cached_property
    def exponents(self) -> FloatArray:
        one = np.eye(self.size)
        return np.asarray(one[self.rows] + one[self.rows - self.lags])

    def closed(self) -> CovarianceStructure:
        return ScaledAngles(self.size, self)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return (*(f"Var({k + 1})" for k in range(self.size)), *self.correlation_names)

    def join_natural(self, variances: Jet, r: Jet) -> Jet:
        return concatenate([variances, r])

    def split_natural(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        return values[:, : self.size], values[:, self.size :]

    def first_of_unit(self, rest: FloatArray) -> FloatArray:
        return np.ones((len(rest), 1))

    def _pool(self, variances: FloatArray) -> FloatArray:
        return variances
