"""Spatial spherical covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.errors import DataError


@dataclass(frozen=True, eq=False)
class SpatialSpherical(Spatial):
    """R[i, j] = sigma^2 (1 - 3/2 z + 1/2 z^3), z = d_ij / range, and 0 where z >= 1.

    Positive definite in one to three dimensions. theta = (log sigma, log range); second derivatives
    jump where the range passes a distance, and the range is not defined below the smallest one.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=SP(SPH).

    Examples
    --------
    >>> sp_sph = SpatialSpherical(2, np.array([0.0, 1.0]))
    >>> sp_sph.matrix(sp_sph.from_natural(np.array([[1.0, 2.0]])))[0].round(12).tolist()
    [[1.0, 0.3125], [0.3125, 1.0]]
    """

    keyword: ClassVar[str] = "sp_sph"
    space: ClassVar[str] = "sp_sph"
    contained_in: ClassVar[tuple[str, ...]] = ("sp_sph_nugget",)
    label: ClassVar[str] = "spatial spherical"
    formula: ClassVar[str] = (
        "sigma^2 (1 - 3 d_ij / (2 range) + d_ij^3 / (2 range^3)) 1(d_ij < range)"
    )
    parameters: ClassVar[str] = "2: variance, range"
    use: ClassVar[str] = "points in space, independent beyond a distance"
    sas: ClassVar[str | None] = "SP(SPH)"
    nlme: ClassVar[str | None] = "corSpher"
    is_rough: ClassVar[bool] = True
    #: A range below the smallest distance has no effect, hence no derivative.
    shortest: ClassVar[float] = 1.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.coordinates.shape[1] > 3:
            raise DataError(
                "'sp_sph' is a covariance in at most 3 dimensions; found "
                f"{self.coordinates.shape[1]} coordinates"
            )

    def kernel(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        w = np.minimum(z, 1.0)
        return 1.0 - 1.5 * w + 0.5 * w**3, 1.5 * (w * w - 1.0), np.where(z < 1.0, 3.0 * w, 0.0)
