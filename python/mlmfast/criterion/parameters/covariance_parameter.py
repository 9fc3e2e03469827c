"""One covariance parameter of a model, and what needs exact derivatives by it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.errors import ModelError
from mlmfast.reduction.reduced_model import ReducedModel


@dataclass(frozen=True)
class CovarianceParameter:
    """One covariance parameter.

    Attributes
    ----------
    name
        ``sd_x|g``, ``cor_x.y|g``, ``sigma``, or the natural name of a structure's parameter.
    kind
        "sd", "correlation", "covariance" (a function of the others), "entry" (a variance or
        covariance that is a parameter itself, of G without a bound) or "natural".
    aliases
        Other names, each with the power that turns the parameter into what it names: variances.
    lower, upper
        Edges of its range; a natural parameter's range is its structure's affair.
    places
        Random-effects term (position in the design) and effects, of a standard deviation or a
        correlation.
    effects, group
        Names of these effects and of their grouping factor; none of the residual's parameters.
    numbers
        Numbers of a variance's or covariance's effects within their term, from 1, as PROC MIXED
        counts them.
    """

    name: str
    kind: str
    aliases: tuple[tuple[str, float], ...] = ()
    lower: float = -np.inf
    upper: float = np.inf
    places: tuple[tuple[int, int], ...] = ()
    effects: tuple[str, ...] = ()
    group: str = ""
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class NaturalBlock:
    """Natural parameters of one structure: of a random-effects term, or of R in an arm.

    Attributes
    ----------
    structure
        The structure.
    theta
        Its stretch of a point.
    first
        Position of its first parameter among the model's.
    factors : shape (n_theta,) or a number
        What the columns' units make of each parameter.
    """

    structure: CovarianceStructure
    theta: slice
    first: int
    factors: FloatArray | float = 1.0


def check_engine(model: ReducedModel, what: str) -> None:
    """Refuse what needs exact derivatives where the engine estimates them.

    Raises
    ------
    ModelError
    """
    if not model.core.offers("likelihood_derivatives"):
        raise ModelError(
            f"{what} needs exact derivatives of the likelihood, which the iterative engine does "
            "not form; fit with options={'engine': 'crossed'} if memory allows"
        )
