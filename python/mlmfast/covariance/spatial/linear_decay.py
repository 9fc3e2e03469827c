"""Spatial linear covariance: correlations that fall in a line to 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.errors import DataError


@dataclass(frozen=True, eq=False)
class SpatialLinear(Spatial):
    """R[i, j] = sigma^2 (1 - rho d_ij), and 0 where rho d_ij >= 1; rho > 0.

    Positive definite along a line. theta = (log sigma, -log rho); derivatives jump where 1 / rho
    passes a distance (see `mlmfast.fitting.corners`), and rho is not defined above 1 over the
    smallest one.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=SP(LIN); nlme's
    corLin has the range 1 / rho.

    Examples
    --------
    >>> sp_lin = SpatialLinear(3, np.array([0.0, 1.0, 3.0]))
    >>> sp_lin.matrix(sp_lin.from_natural(np.array([[1.0, 0.4]])))[0].round(12).tolist()
    [[1.0, 0.6, 0.0], [0.6, 1.0, 0.2], [0.0, 0.2, 1.0]]
    """

    keyword: ClassVar[str] = "sp_lin"
    space: ClassVar[str] = "sp_lin"
    contained_in: ClassVar[tuple[str, ...]] = ("sp_lin_nugget",)
    label: ClassVar[str] = "spatial linear"
    formula: ClassVar[str] = "sigma^2 (1 - rho d_ij) 1(rho d_ij < 1)"
    parameters: ClassVar[str] = "2: variance, rho"
    use: ClassVar[str] = "times, independent beyond a distance"
    sas: ClassVar[str | None] = "SP(LIN)"
    nlme: ClassVar[str | None] = "corLin"
    is_rough: ClassVar[bool] = True
    #: A range below the smallest distance has no effect, hence no derivative.
    shortest: ClassVar[float] = 1.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coordinates.shape[1] > 1:
            raise DataError(
                f"{self.keyword!r} is a covariance along one coordinate; found "
                f"{self.coordinates.shape[1]}. In the plane take sp_sph, which ends at a distance "
                "too"
            )

    def kernel(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        inside = z < 1.0
        return np.where(inside, 1.0 - z, 0.0), np.where(inside, -1.0, 0.0), np.zeros_like(z)

    @staticmethod
    def reach(separation: float) -> float:
        """The distance of points of a separation, as in the kernel."""
        return separation

    def join_natural(self, variances: Jet, r: Jet) -> Jet:
        rho = 1.0 / r.value
        return concatenate([variances, r.through(rho, -(rho**2), 2.0 * rho**3)])

    def split_natural(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        with np.errstate(divide="ignore"):
            return values[:, :1], 1.0 / values[:, 1:]
