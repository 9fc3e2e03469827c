"""The covariances within theta, of random effects and of the residuals of an arm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.scaled_covariance import without_scale
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.arms import residual_arms
from mlmfast.criterion.criterion import Criterion

#: Levels or points up to which a matrix is soon formed.
_MOST_LEVELS, _MOST_POINTS = 64, 300


@dataclass(frozen=True)
class Stretch:
    """A covariance within theta: of a random-effects term, or of the residuals of an arm.

    Attributes
    ----------
    structure
        The structure.
    theta
        Its stretch of theta.
    """

    structure: CovarianceStructure
    theta: slice

    @property
    def is_small(self) -> bool:
        """Whether its matrix is soon formed."""
        most = _MOST_POINTS if is_spatial(self.structure) else _MOST_LEVELS
        return self.structure.size <= most

    def matrix(self, theta: FloatArray) -> FloatArray:
        """The covariance at theta (n_theta,), shape (K, K)."""
        return np.asarray(self.structure.matrix(theta[None, self.theta])[0])

    def put(self, theta: FloatArray, matrix: FloatArray) -> FloatArray:
        """theta with a member near another covariance."""
        out = theta.copy()
        if np.isfinite(matrix).all():
            out[self.theta] = self.structure.theta(matrix[None])[0]
        return out


def residual_stretches(criterion: Criterion) -> list[Stretch]:
    """The residual covariances, by arm."""
    return [
        Stretch(own, slice(s.start + at.start, s.start + at.stop))
        for structure, s, _ in residual_arms(criterion)
        for own, at in without_scale(structure)
    ]


def effect_stretches(criterion: Criterion) -> list[Stretch]:
    """The covariances of random effects."""
    parts = zip(criterion.terms, criterion.theta_slices, strict=True)
    return [Stretch(term.shared, s) for term, s in parts if not term.is_residual]


def is_spatial(structure: CovarianceStructure) -> bool:
    """Whether a covariance goes by the distance between points."""
    return isinstance(structure, Spatial)
