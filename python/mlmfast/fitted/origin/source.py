"""What a fit was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.design.design import Design
from mlmfast.design.model_frame import ModelFrame
from mlmfast.fitted.origin.moments import MomentEstimates
from mlmfast.fitted.origin.provenance import Provenance
from mlmfast.fitting.parms.held_parameters import HeldParameters
from mlmfast.reduction.reduced_model import ReducedModel

if TYPE_CHECKING:
    from mlmfast.fitting.parms.fit import ParmsFit
    from mlmfast.fitting.parms.request import Parms


@dataclass(frozen=True)
class FitSource:
    """What a fit was made from; a loaded fit has none.

    Attributes
    ----------
    model
        The reduced design.
    criterion, theta : theta of shape (1, n_theta)
    frame
        How the design was read; None where the model was made from arrays.
    parms
        What came of starting values by name, values held, bounds or a grid.
    provenance
        How the fit came about; None where it was made from another one.
    moments
        What a fit by moments knows of its covariance parameters; None for one by likelihood.
    asked
        Values held and bounds as they were given, reached or not; None where there were none.
    """

    model: ReducedModel
    criterion: Criterion
    theta: FloatArray
    frame: ModelFrame | None
    parms: ParmsFit | None = None
    provenance: Provenance | None = None
    moments: MomentEstimates | None = None
    asked: Parms | None = None

    @property
    def held(self) -> HeldParameters | None:
        """Covariance parameters that the fit holds; None where it holds none."""
        if self.moments is not None:
            return HeldParameters((), self.moments.log_sigma2)
        if self.parms is None or not self.parms.held:
            return None
        return HeldParameters(tuple(self.parms.held), self.parms.log_sigma2)

    @property
    def held_values(self) -> dict[str, float]:
        """Values of the covariance parameters that the fit holds, by name."""
        return {} if self.parms is None else self.parms.held

    @property
    def design(self) -> Design:
        """The design."""
        return self.model.design
