"""Residual covariances handed to the core with their derivatives by the structure's parameters.

Cheaper than derivatives by every entry where parameters are few, and the only way where units have
matrices of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.spatial.base import Spatial


@dataclass(frozen=True)
class Directions(ABC):
    """A residual covariance as matrices and their derivatives by theta.

    Steps need no chain rule: the core's derivatives are by theta already.
    """

    structure: CovarianceStructure

    @property
    @abstractmethod
    def size(self) -> int:
        """Order of the matrices."""

    @abstractmethod
    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """Covariances, (a, matrices, units or 1, size, size).

        Matrices are the covariance and, with ``derivatives``, those by each parameter and by each
        pair of parameters.
        """

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

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives are by theta already."""
        identity = np.broadcast_to(np.eye(self.n_theta), (len(theta), self.n_theta, self.n_theta))
        return identity, np.zeros((len(theta), self.n_theta, self.n_theta))

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """The point ``step`` away from ``theta``."""
        return np.asarray(theta + step)


@dataclass(frozen=True)
class OwnMatrices(Directions):
    """A residual covariance of which each unit has a matrix of its own, by its points or times."""

    @abstractmethod
    def start(self, variance: float) -> FloatArray:
        """theta of a variance and of correlations by the distances within units, (1, n_theta)."""


@dataclass(frozen=True)
class SharedDirections(Directions):
    """One template that all units share, of a structure with few parameters."""

    @property
    def size(self) -> int:
        """Visits."""
        return self.structure.size

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """See `Directions`; one matrix serves all units."""
        if not derivatives:
            return np.ascontiguousarray(self.structure.matrix(theta)[:, None, None])
        rows, columns = np.array(self.structure.entries, dtype=np.intp).T
        value, first, second = self.structure.entry_derivatives(theta)
        flat = np.concatenate([value[:, None], first.mT, second.mT], axis=1)
        whole = np.zeros((*flat.shape[:2], self.size, self.size))
        whole[:, :, rows, columns] = flat
        whole[:, :, columns, rows] = flat
        return np.ascontiguousarray(whole[:, :, None])


@dataclass(frozen=True)
class UnitCovariances(OwnMatrices):
    """A spatial structure over the distances within each unit, where points are too many to share.

    Attributes
    ----------
    structure
        The structure, over a few of the points.
    distances : shape (n_units, size, size), or one more axis for coordinates
        Distances within each unit, in the core's order of units; 0 where a unit has fewer rows.
    """

    structure: Spatial
    distances: FloatArray

    @property
    def size(self) -> int:
        """Rows of the largest unit."""
        return int(self.distances.shape[1])

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """See `Directions`; one matrix for each unit."""
        shape = self.distances.shape[:3]
        flat = self.distances.reshape(shape[0] * shape[1] * shape[2], *self.distances.shape[3:])
        value, first, second = self.structure.at_distances(theta, flat)
        parts = [value[:, None]]
        if derivatives:
            parts += [first.mT, second.mT]
        whole = np.concatenate(parts, axis=1)
        return np.ascontiguousarray(whole.reshape(len(theta), -1, *shape))

    def start(self, variance: float) -> FloatArray:
        """A correlation that fades over a third of the typical distance."""
        return with_variance(self.structure.start_at(self.distances), variance)


@dataclass(frozen=True)
class ArmCovariances(OwnMatrices):
    """Units of several arms: one structure, with parameters of its own in each arm.

    theta is that of the arms, one after the other; a unit's derivatives by another arm's are 0.

    Attributes
    ----------
    arms
        The units of each arm.
    places
        Where these stand among all units, in the core's order.
    """

    arms: tuple[OwnMatrices, ...]
    places: tuple[IntArray, ...]

    @property
    def size(self) -> int:
        """Rows of the largest unit."""
        return self.arms[0].size

    @property
    def n_theta(self) -> int:
        """Parameters of all arms."""
        return len(self.arms) * self.structure.n_theta

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """See `Directions`; one matrix for each unit."""
        t, n = self.n_theta, self.structure.n_theta
        n_units = sum(map(len, self.places))
        kinds = 1 + t + t * (t + 1) // 2 if derivatives else 1
        out = np.zeros((len(theta), kinds, n_units, self.size, self.size))
        i, j = np.tril_indices(n)
        for arm, (part, places) in enumerate(zip(self.arms, self.places, strict=True)):
            first = arm * n
            own = part.stacked(theta[:, first : first + n], derivatives)
            pairs = 1 + t + (first + i) * (first + i + 1) // 2 + first + j
            which = np.concatenate([[0], 1 + first + np.arange(n), pairs])[: own.shape[1]]
            out[:, which[:, None], places] = own
        return out

    def start(self, variance: float) -> FloatArray:
        """Arm by arm."""
        return np.concatenate([arm.start(variance) for arm in self.arms], axis=1)


def by_arm(
    whole: Callable[[FloatArray], OwnMatrices], gaps: FloatArray, arms: CodeArray, n_arms: int
) -> OwnMatrices:
    """The covariances of all units, with parameters of their own in each of several arms.

    Parameters
    ----------
    whole
        From distances of units (n_units, size, size) to their covariances.
    gaps
        Those of all units, in the core's order.
    arms : shape (n_units,), arm of each unit.
    """
    everyone = whole(gaps)
    if n_arms == 1:
        return everyone
    places = tuple(np.flatnonzero(arms == arm) for arm in range(n_arms))
    parts = tuple(whole(gaps[own]) for own in places)
    return ArmCovariances(everyone.structure, parts, places)


def with_variance(theta: FloatArray, variance: float) -> FloatArray:
    """theta, which begins with the log standard deviation, at a variance times that it had."""
    out = theta.copy()
    out[:, 0] += 0.5 * np.log(variance)
    return out


def distances_within(
    structure: type[Spatial],
    points: FloatArray,
    units: CodeArray,
    positions: CodeArray,
    n_units: int,
    size: int,
) -> FloatArray:
    """Distances between the rows of each unit, (n_units, size, size), units by code.

    Examples
    --------
    >>> from mlmfast.covariance import STRUCTURES
    >>> exponential, points = STRUCTURES["sp_exp"], np.array([[0.0], [3.0]])
    >>> distances_within(exponential, points, *np.int32([[0, 0], [0, 1]]), 1, 2)
    array([[[0., 3.],
            [3., 0.]]])
    """
    placed = np.full((n_units, size, points.shape[1]), np.nan)
    placed[units, positions] = points
    distances = structure.separations(placed[:, :, None, :], placed[:, None, :, :])
    return np.asarray(np.nan_to_num(distances, nan=0.0))
