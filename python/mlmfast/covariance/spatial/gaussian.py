"""Spatial Gaussian covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.spatial.exponential_decay import ExponentialDecay


@dataclass(frozen=True, eq=False)
class SpatialGaussian(ExponentialDecay):
    """R[i, j] = sigma^2 exp(-(d_ij / range)^2), theta = (log sigma, log range).

    Very smooth: R is nearly singular where the range is long against the distances.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=SP(GAU).

    Examples
    --------
    >>> sp_gau = SpatialGaussian(2, np.array([0.0, 3.0]))
    >>> sp_gau.matrix(sp_gau.from_natural(np.array([[1.0, 3.0]])))[0].round(4).tolist()
    [[1.0, 0.3679], [0.3679, 1.0]]
    """

    keyword: ClassVar[str] = "sp_gau"
    space: ClassVar[str] = "sp_gau"
    contained_in: ClassVar[tuple[str, ...]] = ("sp_gau_nugget",)
    label: ClassVar[str] = "spatial Gaussian"
    formula: ClassVar[str] = "sigma^2 exp(-(d_ij / range)^2)"
    parameters: ClassVar[str] = "2: variance, range"
    use: ClassVar[str] = "points in space or time, a smooth process"
    sas: ClassVar[str | None] = "SP(GAU)"
    nlme: ClassVar[str | None] = "corGaus"
    glmmtmb: ClassVar[str | None] = "gau"
    shortest: ClassVar[float] = 0.5
    exponent: ClassVar[int] = 2

    def kernel(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        value = np.exp(-z * z)
        return value, -2.0 * z * value, (4.0 * z * z - 2.0) * value
