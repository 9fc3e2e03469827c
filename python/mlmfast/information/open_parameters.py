"""Which parameters, by the names of `CovarianceFunctions`, the data leave open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.parameters.covariance_parameter import CovarianceParameter
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.errors import ModelError
from mlmfast.information.undetermined import undetermined_parameters
from mlmfast.reduction.reduced_model import ReducedModel


def open_parameters(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, held: Sequence[str]
) -> frozenset[str]:
    """Standard deviations, correlations and natural parameters that the data do not determine.

    Parameters
    ----------
    theta : shape (1, n_theta), the fit's.
    held
        Parameters that the fit holds.
    """
    if criterion.flat is None:
        return frozenset()
    found = undetermined_parameters(model, criterion, theta, held=held)
    if found is None:
        return frozenset()
    every = CovarianceFunctions(model, criterion).parameters
    moved = {p.name for p in every if names_of(p) & set(found.names)}
    places = {p.places[0] for p in every if p.name in moved and p.kind == "sd" and p.places}
    # A correlation is a function of its covariance and of both variances.
    moved |= {
        p.name.replace("cov_", "cor_", 1)
        for p in every
        if p.kind == "covariance" and p.name in moved
    }
    moved |= {p.name for p in every if p.kind == "correlation" and places & set(p.places)}
    return frozenset(moved)


def names_of(parameter: CovarianceParameter) -> set[str]:
    """All names of a parameter."""
    return {parameter.name, *(alias for alias, _ in parameter.aliases)}


def refuse_open(names: Iterable[str], found: frozenset[str], what: str) -> None:
    """Refuse what asks for parameters that the data do not determine.

    Raises
    ------
    ModelError
    """
    asked = [name for name in names if name in found]
    if asked:
        listed = ", ".join(map(repr, asked))
        raise ModelError(
            f"the data do not determine {listed}, so there is no {what}; certificate.boundary says "
            "what they determine instead"
        )
