"""Covariances of series by the gaps within each subject, as matrices with their derivatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.cached import cached_property
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.chains import MarkovChain, QuasiSeparable
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.spatial.base import Spatial
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
