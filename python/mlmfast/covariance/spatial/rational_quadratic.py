"""Spatial rational quadratic covariance: correlations that fade as an inverse square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlmfast.arrays import FloatArray
from mlmfast.covariance.spatial.base import Spatial


@dataclass(frozen=True, eq=False)
class SpatialRationalQuadratic(Spatial):
    """R[i, j] = sigma^2 / (1 + (d_ij / range)^2), theta = (log sigma, log range).

    A mixture of Gaussian correlations of all ranges, positive definite in any dimension.

    References: Pinheiro and Bates (2000), Mixed-Effects Models in S and S-PLUS, section 5.3.2
    (nlme's corRatio).

    Examples
    --------
    >>> import numpy as np
    >>> sp_ratio = SpatialRationalQuadratic(2, np.array([0.0, 3.0]))
    >>> sp_ratio.matrix(sp_ratio.from_natural(np.array([[2.0, 3.0]])))[0].round(12).tolist()
    [[2.0, 1.0], [1.0, 2.0]]
    """

    keyword: ClassVar[str] = "sp_ratio"
    space: ClassVar[str] = "sp_ratio"
    contained_in: ClassVar[tuple[str, ...]] = ("sp_ratio_nugget",)
    label: ClassVar[str] = "spatial rational quadratic"
    formula: ClassVar[str] = "sigma^2 / (1 + (d_ij / range)^2)"
    parameters: ClassVar[str] = "2: variance, range"
    use: ClassVar[str] = "points in space, smooth nearby and correlated far away"
    nlme: ClassVar[str | None] = "corRatio"

    def kernel(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        value = 1.0 / (1.0 + z * z)
        return value, -2.0 * z * value**2, (6.0 * z * z - 2.0) * value**3
