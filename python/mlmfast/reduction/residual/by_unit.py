"""Residual covariances of which units have matrices of their own, by their points or times."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.covariance.chains import AlongSeries
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.covariance.units import natural_in_units
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.reduction.residual.directions import ArmDirections
from mlmfast.reduction.residual.form import ArmEstimates
from mlmfast.reduction.residual.form_parameters import common_diagonal, kinds_among
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class OwnMatrices(ArmDirections):
    """A residual covariance of which each unit has a matrix of its own, by its points or times.

    Attributes
    ----------
    distances : shape (n_units, size, size), or one more axis for coordinates
        Distances (of series, in time) within each unit, in the core's order of units; 0 where a
        unit has fewer rows.
    places
        Where the units stand among those of all arms; None where they are all.
    """

    distances: FloatArray = field(repr=False)
    places: IntArray | None = field(default=None, repr=False, kw_only=True)

    @property
    def size(self) -> int:
        """Rows of the largest unit."""
        return int(self.distances.shape[1])

    @staticmethod
    def joined(parts: Sequence[OwnMatrices], stacks: list[FloatArray]) -> FloatArray:
        """A unit's derivatives by another arm's parameters are 0; see `ArmDirections.joined`."""
        derivatives = stacks[0].shape[1] > 1
        kinds = kinds_among([part.n_theta for part in parts])
        n_units = sum(stack.shape[2] for stack in stacks)
        n_kinds = 1 + int(kinds[-1][-1]) if derivatives else 1
        out = np.zeros((len(stacks[0]), n_kinds, n_units, *stacks[0].shape[3:]))
        for part, which, stack in zip(parts, kinds, stacks, strict=True):
            assert part.places is not None, "there are several arms"
            out[:, which[: stack.shape[1], None], part.places] = stack
        return out

    @abstractmethod
    def own_start(self, core: _core.Engine, fit: int, variance: float) -> FloatArray:
        """By the distances within units."""

    def common_variance(self, theta: FloatArray, matrices: FloatArray) -> FloatArray:
        """From the matrix of the first unit; see `ResidualForm.common_variance`."""
        return common_diagonal(matrices[:, 0, 0 if self.places is None else self.places[0]])

    def estimates(self, theta: FloatArray, unit: float) -> list[ArmEstimates]:
        """Without matrices: there are no visits; see `ResidualForm.estimates`."""
        natural = natural_in_units(self.structure, theta, unit)[0]
        return [ArmEstimates(self.names, natural, np.empty((0, 0)))]


@dataclass(frozen=True)
class UnitCovariances(OwnMatrices):
    """A structure at the distances, or gaps in time, within each unit.

    Its own points, or times, are a few of them.
    """

    @property
    def _kernel(self) -> Spatial | AlongSeries:
        assert isinstance(self.structure, (Spatial, AlongSeries)), "it has distances"
        return self.structure

    @cached_property
    def _distinct(self) -> tuple[FloatArray, IntArray]:
        """Distances that differ, and which of them each is; coordinates stay as they are."""
        if self.distances.ndim > 3:
            flat = self.distances.reshape(-1, *self.distances.shape[3:])
            return flat, np.arange(len(flat)).reshape(self.distances.shape[:3])
        values, codes = np.unique(self.distances, return_inverse=True)
        return values, codes.reshape(self.distances.shape)

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """See `Directions`; one matrix for each unit."""
        values, codes = self._distinct
        value, first, second = self._kernel.at_distances(theta, values)
        parts = [value[:, None]]
        if derivatives:
            parts += [first.mT, second.mT]
        return np.ascontiguousarray(np.concatenate(parts, axis=1)[:, :, codes])

    def own_start(self, core: _core.Engine, fit: int, variance: float) -> FloatArray:
        """See `start_at` of the structure."""
        return np.asarray(with_variance(self._kernel.start_at(self.distances), variance)[0])


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

    Rows at one place are `ONE_PLACE` apart; 0 is a row's own, and where a unit has fewer rows.

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
    same = np.broadcast_to(np.eye(size, dtype=np.bool_), (n_units, size, size))
    distances = structure.separations_of_rows(placed[:, :, None, :], placed[:, None, :, :], same)
    return np.asarray(np.nan_to_num(distances, nan=0.0))


def within_unit_positions(residual: ResidualDesign) -> CodeArray:
    """Rank of each row in time among those of its unit, shape (n,), for long series."""
    assert residual.series is not None, "only called for series"
    order = np.lexsort((residual.series.times, residual.units))
    sizes = np.bincount(residual.units, minlength=residual.n_units)
    out = np.empty(len(order), dtype=np.int32)
    out[order] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return out


def gaps_within_units(residual: ResidualDesign) -> FloatArray:
    """Gaps in time between the rows of each unit, (n_units, size, size); 0 where it has fewer."""
    assert residual.series is not None, "only called for series"
    positions = within_unit_positions(residual)
    times = np.full((residual.n_units, int(positions.max()) + 1), np.nan)
    times[residual.units, positions] = residual.series.times
    return np.asarray(np.nan_to_num(np.abs(times[:, :, None] - times[:, None, :]), nan=0.0))
