"""A covariance over visits that all units share, with derivatives by its entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlmfast.arrays import FloatArray
from mlmfast.covariance.natural_chart import entries_by_natural
from mlmfast.reduction.parameter_block import residual_block
from mlmfast.reduction.residual.form import ResidualForm
from mlmfast.reduction.residual.form_parameters import FormParameters, common_diagonal


@dataclass(frozen=True)
class Template(ResidualForm):
    """A covariance over visits that all units share, or those of an arm."""

    by_theta: ClassVar[bool] = False
    is_shared: ClassVar[bool] = True

    @property
    def size(self) -> int:
        """Visits."""
        return self.structure.size

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        """Free entries of the covariance."""
        return self.structure.entries

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The structure's."""
        return self.structure.chart(theta, weight)

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """The point at local coordinates ``step`` around ``theta``."""
        return self.structure.move(theta, step)

    def common_variance(self, theta: FloatArray, matrices: FloatArray) -> FloatArray:
        """From the diagonals of all arms' templates; see `ResidualForm.common_variance`."""
        return common_diagonal(matrices)

    def parameters(self, theta: FloatArray, unit: float, given: FloatArray) -> FormParameters:
        """The core's coordinates are the entries; see `ResidualForm.parameters`."""
        by_free = entries_by_natural(self.structure, theta)
        block = residual_block(self.structure, self.prefix, theta, unit, *by_free)
        return FormParameters((block,), given, given)
