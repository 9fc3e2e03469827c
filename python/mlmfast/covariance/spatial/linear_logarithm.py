"""Spatial linear covariance of the logarithm of distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.spatial.linear_decay import SpatialLinear
from mlmfast.errors import DataError

#: Shortening of a range that is none of a covariance, and the smallest eigenvalue of one that is.
_SHORTER, _REGULAR = 0.8, 1e-3


@dataclass(frozen=True, eq=False)
class SpatialLinearLogarithm(SpatialLinear):
    """R[i, j] = sigma^2 (1 - rho log d_ij), and 0 where rho log d_ij >= 1; rho > 0, all d_ij > 1.

    It depends on the unit of the coordinates, which makes all distances larger than 1, and is not
    positive definite for all rho: where it is not, the criterion is infinite.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=SP(LINL).

    Examples
    --------
    >>> sp_linl = SpatialLinearLogarithm(3, np.array([0.0, 2.0, 5.0]))
    >>> sp_linl.matrix(sp_linl.from_natural(np.array([[1.0, 0.5]])))[0].round(4).tolist()
    [[1.0, 0.6534, 0.1953], [0.6534, 1.0, 0.4507], [0.1953, 0.4507, 1.0]]
    """

    keyword: ClassVar[str] = "sp_linl"
    space: ClassVar[str] = "sp_linl"
    contained_in: ClassVar[tuple[str, ...]] = ("sp_linl_nugget",)
    label: ClassVar[str] = "spatial linear in the logarithm of distance"
    formula: ClassVar[str] = "sigma^2 (1 - rho log d_ij) 1(rho log d_ij < 1)"
    use: ClassVar[str] = "as sp_lin, with correlations that fall ever more slowly"
    sas: ClassVar[str | None] = "SP(LINL)"
    nlme: ClassVar[str | None] = None
    everywhere: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        points = np.sort(self.coordinates[:, 0])
        nearest = float(np.diff(points).min())
        if nearest <= 1.0:
            raise DataError(
                f"'sp_linl' goes by the logarithm of distances, which must be larger than 1; two "
                f"points are {nearest:g} apart. Give the coordinates in a smaller unit"
            )

    @staticmethod
    def separations(first: FloatArray, second: FloatArray) -> FloatArray:
        """Logarithms of the distances, 0 for a point and itself."""
        gap = np.abs(first - second).sum(axis=-1)
        return np.asarray(np.log(np.where(gap > 0, gap, 1.0)))

    def nearest_range(self, correlation: FloatArray) -> FloatArray:
        """See `Spatial.nearest_range`; shorter where that is no range of a covariance."""
        out = super().nearest_range(correlation)
        if self.contains_residual:
            # With enough of a nugget all are.
            return out
        apart = self.separations(self.coordinates[:, None], self.coordinates[None])
        # Below the smallest distance nothing is correlated.
        while not (good := np.array([_is_covariance(apart / r) for r in out])).all():
            out[~good] *= _SHORTER
        return out

    @staticmethod
    def reach(separation: float) -> float:
        """The distance of which a separation is the logarithm."""
        return float(np.exp(separation))


def _is_covariance(z: FloatArray) -> bool:
    """Whether correlations at distances z (K, K), in ranges, are those of a regular covariance."""
    correlation = np.maximum(1.0 - z, 0.0) - _REGULAR * np.eye(len(z))
    try:
        np.linalg.cholesky(correlation)
    except np.linalg.LinAlgError:
        return False
    return True
