"""Structures whose coordinates theta are their natural parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.base import CovarianceStructure
from mlmfast.errors import ModelError


@dataclass(frozen=True)
class NaturalCoordinates(CovarianceStructure):
    """A structure whose theta needs no map: any finite theta is a point of it.

    Examples
    --------
    >>> from mlmfast.covariance.structures.compound_symmetry import CompoundSymmetry
    >>> CompoundSymmetry(2).opened().natural(np.array([[-3.0, 1.0]])).tolist()
    [[-3.0, 1.0]]
    """

    def natural(self, theta: FloatArray) -> FloatArray:
        return theta.copy()

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        return np.repeat(np.eye(self.n_theta)[None], len(theta), axis=0)

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        return np.zeros((len(theta), *(self.n_theta,) * 3))

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self._check_natural(values)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise self.outside(values[~finite][0])
        return values.copy()

    def outside(self, values: FloatArray) -> ModelError:
        """The complaint about natural parameters at which there is no point."""
        return self._outside(values)
