"""Correlation that depends on the distance between points."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.scaled_correlation import MARGIN, ScaledCorrelation
from mlmfast.errors import DataError
from mlmfast.handed_out import frozen
from mlmfast.running.cached import cached_property

#: Distance of two rows at one place, so small that they differ by a nugget alone.
ONE_PLACE = 1e-300


@dataclass(frozen=True, eq=False)
class Spatial(ScaledCorrelation):
    """R[i, j] = sigma^2 f(d_ij / range), d the Euclidean distance; isotropic.

    theta = (log sigma, log range). Points must differ: at distance 0 the correlation is 1 and R is
    singular.

    Parameters
    ----------
    coordinates : shape (K, d) or (K,)
        One row a point.
    """

    coordinates: FloatArray

    needs: ClassVar[Literal["levels", "coordinates"]] = "coordinates"
    minimum_size: ClassVar[int] = 2
    sequential: ClassVar[bool] = True
    exchangeable: ClassVar[bool] = True
    from_one_series: ClassVar[bool] = True
    #: Name of the range where PROC MIXED has no structure of that name.
    range_name: ClassVar[str] = "range"
    #: Smallest range to start from, over the smallest distance.
    shortest: ClassVar[float] = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        points = np.array(self.coordinates, dtype=np.float64)
        points = points[:, None] if points.ndim == 1 else points
        if points.ndim != 2 or len(points) != self.size or not np.isfinite(points).all():
            raise DataError(
                f"{self.keyword!r} needs finite coordinates of {self.size} points, one row a "
                f"point; found an array of shape {points.shape}"
            )
        if len(np.unique(points, axis=0)) < self.size:
            raise DataError(f"{self.keyword!r} needs points that differ; two are the same")
        object.__setattr__(self, "coordinates", frozen(points))

    @abstractmethod
    def kernel(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Correlation at distances z > 0 in ranges, with its derivatives by z."""

    @cached_property
    def distances(self) -> FloatArray:
        """Distance of each entry's points."""
        return self.separations(
            self.coordinates[self.rows], self.coordinates[self.rows - self.lags]
        )

    @staticmethod
    def separations(first: FloatArray, second: FloatArray) -> FloatArray:
        """Distances of points (..., d): one number each, or one for each coordinate."""
        gap = first - second
        return np.asarray(np.sqrt((gap * gap).sum(axis=-1)))

    @classmethod
    def separations_of_rows(
        cls, first: FloatArray, second: FloatArray, same: BoolArray
    ) -> FloatArray:
        """Distances between rows: 0 for a row and itself (``same``) alone."""
        out = cls.separations(first, second)
        along = out.reshape(*same.shape, -1)
        met = (along == 0).all(axis=-1) & ~same
        along[..., 0] = np.where(met, ONE_PLACE, along[..., 0])
        return along.reshape(out.shape)

    def at_distances(
        self, theta: FloatArray, distances: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Covariance at any distances, with derivatives by theta.

        Parameters
        ----------
        theta : shape (n_fits, n_theta)
        distances : shape (m,), or (m, d) where each coordinate has its own

        Returns
        -------
        Values (n_fits, m), first derivatives (n_fits, m, n_theta) and second derivatives by the
        pairs (0, 0), (1, 0), (1, 1), ... of parameters, (n_fits, m, n_pairs).
        """
        elsewhere = copy(self)
        elsewhere.__dict__.update(
            distances=distances,
            lags=(distances.reshape(len(distances), -1) > 0).any(axis=1).astype(np.intp),
            exponents=np.full((len(distances), 1), 2.0),
        )
        return elsewhere.entry_derivatives(theta)

    def start_at(self, distances: FloatArray) -> FloatArray:
        """theta of variance 1 and a correlation that fades over a third of the typical distance.

        Parameters
        ----------
        distances : any shape; those of 0, and of rows at one place, do not count
        """
        points = self.coordinates
        gaps = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
        within = distances[distances > ONE_PLACE]
        typical = float(np.median(within)) if within.size else float(np.median(gaps[gaps > 0]))
        return self.theta(np.exp(-3.0 * gaps / typical)[None])

    @property
    def correlation_names(self) -> tuple[str, ...]:
        return (self.range_name if self.sas is None else self.sas,)

    def correlation_parameters(self, eta: Jet) -> Jet:
        return eta.exp()

    def correlations(self, r: Jet) -> Jet:
        z = self.distances / r.value
        f, slope, bend = self._kernel(z)
        # By the range: dz = -z / r, d2z = 2 z / r^2.
        return r.through(f, -slope * z / r.value, (bend * z + 2 * slope) * z / r.value**2)

    #: Power of the root of 1 / range in which the correlations are smooth at an infinite range.
    rate_power: ClassVar[int] = 2
    widest_angle: ClassVar[float] = 3.0

    def closed_parameters(self, angles: Jet) -> Jet:
        # range = d / a^k, d the smallest distance
        a, k = np.abs(angles.value), self.rate_power
        value = self.smallest_distance / a**k
        return angles.through(value, -k * value / angles.value, k * (k + 1) * value / a**2)

    def closed_correlations(self, angles: Jet) -> Jet:
        a, k = angles.value, self.rate_power
        relative = self.distances / self.smallest_distance
        f, slope, bend = self._kernel(relative * np.abs(a) ** k)
        first = relative * k * np.sign(a) ** k * a ** (k - 1)
        second = relative * k * (k - 1)
        return angles.through(f, slope * first, bend * first**2 + slope * second)

    def angles(self, r: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore"):
            return np.asarray((self.smallest_distance / r) ** (1.0 / self.rate_power))

    def nearest_end(self, angles: FloatArray) -> FloatArray:
        return np.zeros_like(angles)

    @cached_property
    def smallest_distance(self) -> float:
        """Distance of the two points closest to each other."""
        return float(self.distances[self.lags > 0].min())

    def unconstrained(self, r: FloatArray) -> FloatArray:
        return np.log(r)

    def nearest(self, correlation: FloatArray) -> FloatArray:
        return self.nearest_range(correlation)

    def nearest_range(self, correlation: FloatArray) -> FloatArray:
        """The range that matches the mean correlation of the pairs, close ones counting most."""
        pairs = self.lags > 0
        d = self.distances[pairs]
        weight = (d.min() / d) ** 2
        rows = self.rows[pairs]
        observed = correlation[:, rows, rows - self.lags[pairs]] @ weight
        low = np.full((len(correlation), 1), np.log(self.shortest * d.min()))
        high = np.full((len(correlation), 1), np.log(d.max() / MARGIN))
        for _ in range(45):
            middle = 0.5 * (low + high)
            short = (self.kernel(d / np.exp(middle))[0] @ weight < observed)[:, None]
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        return np.asarray(np.exp(0.5 * (low + high)))

    def _kernel(self, z: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """`kernel`, with 1, 0, 0 on the diagonal."""
        pairs = self.lags > 0
        out = np.ones_like(z), np.zeros_like(z), np.zeros_like(z)
        for whole, part in zip(out, self.kernel(z[:, pairs]), strict=True):
            whole[:, pairs] = part
        return out
