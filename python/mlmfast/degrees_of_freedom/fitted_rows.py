"""A fit with its rows: what degrees of freedom are computed from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.design.design import Design
from mlmfast.design.model_frame import ModelFrame
from mlmfast.fitting.undetermined.record import UndeterminedRecord
from mlmfast.information.information import Information
from mlmfast.information.of_fit import information_of
from mlmfast.information.undetermined import undetermined_parameters
from mlmfast.information.undetermined_effects import moves_of_effects
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.running.cached import cached_property

if TYPE_CHECKING:
    from mlmfast.fitted.origin.moments import MomentEstimates
    from mlmfast.fitting.parms.held_parameters import HeldParameters


@dataclass(frozen=True)
class FittedRows:
    """A fit with its rows: what methods compute degrees of freedom from.

    Attributes
    ----------
    model, criterion : the reduced design and what was minimised.
    theta : shape (1, n_theta)
    singular
        Whether G is singular, for each random-effects term in the criterion's order.
    beta, vcov : shapes (rank,), (rank, rank), of the columns kept.
    frame
        How the design was read; None where the model was made from arrays.
    fit
        Which response of the reduction.
    held
        Covariance parameters that the fit holds.
    moments
        What a fit by moments knows of its covariance parameters.
    """

    model: ReducedModel
    criterion: Criterion
    theta: FloatArray
    singular: tuple[bool, ...]
    beta: FloatArray
    vcov: FloatArray
    frame: ModelFrame | None
    fit: int = 0
    held: HeldParameters | None = None
    moments: MomentEstimates | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what is computed from the rest."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def design(self) -> Design:
        """The design."""
        return self.model.design

    @property
    def reml(self) -> bool:
        """Whether the fit is by REML."""
        return self.criterion.reml

    @cached_property
    def information(self) -> Information:
        """Information of the covariance parameters, those on the boundary held there."""
        about = information_of(
            self.model, self.criterion, self.theta, self.singular, self.fit, self.held
        )
        return about if self.moments is None else self.moments.told(about)

    @cached_property
    def undetermined(self) -> UndeterminedRecord | None:
        """Covariance parameters that the data do not determine; None where they determine all."""
        if self.criterion.flat is None:
            return None
        values = self.information.parameters.values
        held = () if self.held is None else self.held.names
        return undetermined_parameters(
            self.model, self.criterion, self.theta, values, held, self.fit
        )

    @cached_property
    def moves(self) -> FloatArray | None:
        """How the covariance of the fixed effects moves with what is not determined, if at all."""
        found = self.undetermined
        if found is None:
            return None
        held = () if self.held is None else self.held.names
        absorbed = found.absorbed
        moves = moves_of_effects(self.model, self.criterion, self.theta, absorbed, held, self.fit)
        return moves if len(moves) else None

    @cached_property
    def information_of_all(self) -> Information:
        """Information of all elements of G, singular or not."""
        if not any(self.singular):
            return self.information
        free = (False,) * len(self.singular)
        return information_of(self.model, self.criterion, self.theta, free, self.fit, self.held)
