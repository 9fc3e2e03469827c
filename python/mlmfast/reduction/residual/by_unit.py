"""Residual covariances of which units have matrices of their own, by their points or times."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.chains import MarkovChain, QuasiSeparable
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.reduction.parameter_block import ParameterBlock, block_diagonal, residual_block
from mlmfast.reduction.residual.directions import Directions
from mlmfast.reduction.residual.form_parameters import (
    MomentCore,
    record_of_arms,
)
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class OwnMatrices(Directions):
    """A residual covariance of which each unit has a matrix of its own, by its points or times."""

    @abstractmethod
    def start(self, variance: float) -> FloatArray:
        """theta of a variance and of correlations by the distances within units, (1, n_theta)."""

    def own_start(self, core: MomentCore, fit: int, variance: float) -> FloatArray | None:
        """By the distances within units."""
        return np.asarray(self.start(variance)[0])

    def record(self, residual: ResidualDesign, theta: FloatArray, unit: float) -> ResidualRecord:
        """The estimates without matrices: there are no visits; see `Directions.record`."""
        return record_of_arms(residual, self._arms(theta), unit, with_matrices=False)


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
class LagCovariances(OwnMatrices):
    """sigma^2 times the correlations of a series' structure at the gaps within each unit.

    Attributes
    ----------
    structure
        The structure, over a few of the times.
    gaps : shape (n_units, size, size)
        Gaps within each unit, in the core's order of units; 0 where a unit has fewer rows.
    """

    structure: CovarianceStructure
    gaps: FloatArray

    @property
    def size(self) -> int:
        """Rows of the largest unit."""
        return int(self.gaps.shape[1])

    @cached_property
    def _distinct(self) -> tuple[FloatArray, IntArray]:
        values, codes = np.unique(self.gaps, return_inverse=True)
        return values, codes.reshape(self.gaps.shape)

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """See `Directions`; one matrix for each unit."""
        gaps, codes = self._distinct
        scale = np.exp(2.0 * theta[:, :1])
        c = self._correlations(theta[:, 1:], gaps)
        parts = [scale * c.value]
        if derivatives:
            slopes = [scale * c.first[..., i] for i in range(c.first.shape[-1])]
            second = [4.0 * parts[0]]
            for i, slope in enumerate(slopes):
                second.append(2.0 * slope)
                second += [scale * c.second[..., i, j] for j in range(i + 1)]
            parts = [parts[0], 2.0 * parts[0], *slopes, *second]
        return np.ascontiguousarray(np.stack(parts, axis=1)[:, :, codes])

    def _correlations(self, eta: FloatArray, gaps: FloatArray) -> Jet:
        """Correlations with derivatives by eta; 1 at gap 0."""
        apart = np.where(gaps > 0, gaps, 1.0)
        if isinstance(self.structure, MarkovChain):
            c = self.structure.step_correlations(eta, apart).f
        else:
            assert isinstance(self.structure, QuasiSeparable), "what runs along series is either"
            c = self.structure.generators(Jet.variables(eta), apart)[0]
        away = gaps > 0
        return Jet(
            np.where(away, c.value, 1.0),
            np.where(away[:, None], c.first, 0.0),
            np.where(away[:, None, None], c.second, 0.0),
        )

    def start(self, variance: float) -> FloatArray:
        """A correlation that halves from step to step, or fades with the gaps."""
        if isinstance(self.structure, Spatial):
            return with_variance(self.structure.start_at(self.gaps), variance)
        steps = np.arange(self.structure.size)
        halves = 0.5 ** np.abs(steps[:, None] - steps)[None].astype(np.float64)
        return with_variance(self.structure.theta(halves), variance)


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

    def common_variance(self, theta: FloatArray, matrices: FloatArray) -> FloatArray:
        """From theta of each arm, which begins with its log standard deviation."""
        log_sd = theta[:, :: self.structure.n_theta]
        common = np.ptp(log_sd, axis=1) == 0.0
        return np.where(common, np.exp(2.0 * log_sd[:, 0]), np.nan)

    def _blocks(
        self, arms: tuple[str, ...], theta: FloatArray, unit: float
    ) -> tuple[ParameterBlock, ...]:
        """One block for all arms, whose units have matrices of their own."""
        n = self.structure.n_theta
        parts = [
            residual_block(self.structure, f"{arm}: ", own, unit, np.eye(n), None)
            for own, arm in zip(np.split(theta, len(arms), axis=1), arms, strict=True)
        ]
        block = ParameterBlock(
            tuple(name for part in parts for name in part.names),
            tuple(kind for part in parts for kind in part.kinds),
            np.concatenate([part.values for part in parts]),
            np.eye(theta.shape[1]),
            None,
            block_diagonal([part.by_free for part in parts]),
            (False,) * theta.shape[1],
        )
        return (block,)


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
