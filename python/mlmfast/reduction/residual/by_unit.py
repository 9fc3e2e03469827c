"""Covariances of series by the gaps within each subject, as matrices with their derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.cached import cached_property
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.chains import MarkovChain
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.quasi_separable import QuasiSeparable
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.reduction.residual.directions import OwnMatrices, with_variance


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
