"""Residual covariances that differ from unit to unit: spatial ones over coordinates of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.covariance.spatial import Spatial


@dataclass(frozen=True)
class UnitCovariances:
    """A spatial structure over the distances within each unit, where points are too many to share.

    The core then takes each unit's matrix with its derivatives by the structure's own parameters,
    so that steps need no chain rule.

    Attributes
    ----------
    structure
        The structure, over a few of the points.
    distances : shape (n_units, size, size)
        Distances within each unit, in the core's order of units; 0 where a unit has fewer rows.
    """

    structure: Spatial
    distances: FloatArray

    @property
    def size(self) -> int:
        """Rows of the largest unit."""
        return int(self.distances.shape[1])

    @property
    def n_theta(self) -> int:
        """Number of parameters."""
        return self.structure.n_theta

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        """One for each parameter: the core counts them."""
        return ((0, 0),) * self.n_theta

    @property
    def mixes(self) -> bool:
        """The residual has no columns of Z to mix."""
        return False

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """Covariances of all units, (a, matrices, n_units, size, size).

        Matrices are the covariance and, with ``derivatives``, those by each parameter and by each
        pair of parameters.
        """
        shape = self.distances.shape
        value, first, second = self.structure.at_distances(theta, self.distances.ravel())
        parts = [value[:, None]]
        if derivatives:
            parts += [first.mT, second.mT]
        whole = np.concatenate(parts, axis=1)
        return np.ascontiguousarray(whole.reshape(len(theta), -1, *shape))

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives are by theta already."""
        identity = np.broadcast_to(np.eye(self.n_theta), (len(theta), self.n_theta, self.n_theta))
        return identity, np.zeros((len(theta), self.n_theta, self.n_theta))

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """The point ``step`` away from ``theta``."""
        return np.asarray(theta + step)

    def start(self) -> FloatArray:
        """Variance 1 and a correlation that fades over a third of the typical distance."""
        points = self.structure.coordinates
        gaps = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
        within = self.distances[self.distances > 0]
        typical = float(np.median(within)) if within.size else float(np.median(gaps[gaps > 0]))
        return self.structure.theta(np.exp(-3.0 * gaps / typical)[None])


def distances_within(
    points: FloatArray, units: CodeArray, positions: CodeArray, n_units: int, size: int
) -> FloatArray:
    """Distances between the rows of each unit, (n_units, size, size), units by code.

    Examples
    --------
    >>> distances_within(np.array([[0.0], [3.0]]), *np.int32([[0, 0], [0, 1]]), 1, 2)
    array([[[0., 3.],
            [3., 0.]]])
    """
    placed = np.full((n_units, size, points.shape[1]), np.nan)
    placed[units, positions] = points
    gaps = placed[:, :, None, :] - placed[:, None, :, :]
    distances = np.sqrt((gaps * gaps).sum(axis=3))
    return np.asarray(np.nan_to_num(distances, nan=0.0))
