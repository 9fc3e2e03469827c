"""A residual covariance along series whose rows are elsewhere: the parts are sent theta."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.errors import ModelError
from mlmfast.reduction.residual.directions import Directions
from mlmfast.reduction.residual.form import Arm, ArmEstimates, CoreChain, CoreSeries
from mlmfast.reduction.residual.form_parameters import FormParameters


@dataclass(frozen=True)
class ByTheta(Directions):
    """A form along series, of which the parts have the rows: the core is given theta.

    Attributes
    ----------
    own
        The form, over a few rows: its parameters, what they are called and where they end.
    """

    own: Directions

    @property
    def size(self) -> int:
        """No matrix over visits is formed."""
        return 0

    @property
    def n_theta(self) -> int:
        """Number of parameters."""
        return self.own.n_theta

    @property
    def core_rows(self) -> tuple[CoreSeries, CoreChain | None] | None:
        """See `ResidualForm.core_rows`; of the few rows."""
        return self.own.core_rows

    @property
    def arms(self) -> tuple[Arm, ...]:
        """See `ResidualForm.arms`."""
        return self.own.arms

    def stacked(self, theta: FloatArray, derivatives: bool) -> FloatArray:
        """Theta, (a, n_theta), of which each part makes what its core is given."""
        return np.array(theta)

    def own_start(self, core: _core.Engine, fit: int, variance: float) -> FloatArray | None:
        """As the rows of the first part that tells it would have it.

        Raises
        ------
        ModelError
            Where no part does.
        """
        found: FloatArray | None = core.own_start(variance)  # type: ignore[attr-defined]
        if found is None:
            return None
        for arm in self.arms:
            if np.isnan(found[arm.theta]).any():
                where = f" of {arm.prefix.removesuffix(': ')}" if arm.prefix else ""
                raise ModelError(
                    f"no subject{where} has more than one row, so no correlation of "
                    f"{self.structure.label} residuals can be estimated; leave residual= out, or "
                    "check the subject"
                )
        return found

    def common_variance(self, theta: FloatArray, matrices: FloatArray) -> FloatArray:
        """See `ResidualForm.common_variance`."""
        return self.own.common_variance(theta, matrices)

    def estimates(self, theta: FloatArray, unit: float) -> list[ArmEstimates]:
        """See `ResidualForm.estimates`."""
        return self.own.estimates(theta, unit)

    def may_be_singular(self) -> list[tuple[CovarianceStructure, slice]]:
        """See `ResidualForm.may_be_singular`."""
        return self.own.may_be_singular()

    def parameters(self, theta: FloatArray, unit: float, given: FloatArray) -> FormParameters:
        """The core's coordinates are theta, as they are along series."""
        theta = np.array(theta)
        return replace(self.own.parameters(theta, unit, given), linear=theta, bent=theta)
