"""Structures in parameters other than those of the structure that they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.base import CovarianceStructure, symmetric
from mlmfast.errors import ModelError


@dataclass(frozen=True)
class OtherParameters(CovarianceStructure):
    """A structure in other parameters; names and natural parameters are those of ``structure``."""

    structure: CovarianceStructure

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return self.structure.entries

    @property
    def n_theta(self) -> int:
        return self.structure.n_theta

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return self.structure.parameter_names

    def on_entries(self, values: FloatArray) -> FloatArray:
        """Symmetric matrices with these values at `entries`, (n_fits, n_entries) given."""
        rows, columns = np.array(self.entries, dtype=np.intp).T
        return symmetric(values, self.size, rows, columns)

    def outside(self, values: FloatArray) -> ModelError:
        """The complaint about natural parameters at which there is no point."""
        return self.structure._outside(values)

    def checked(self, theta: FloatArray, values: FloatArray) -> FloatArray:
        """theta, or a complaint about the natural parameters that gave what is not finite."""
        inside = np.isfinite(theta).all(axis=1)
        if not inside.all():
            raise self.outside(values[~inside][0])
        return theta
