"""Bounds open on both sides: single variances that may be negative."""

from __future__ import annotations

from collections.abc import Mapping

from mlmfast.criterion.criterion import criterion_of
from mlmfast.criterion.parameters.covariance_parameter import CovarianceParameter
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.errors import ModelError
from mlmfast.fitting.parms.names import NamedParameters
from mlmfast.fitting.parms.request import is_open
from mlmfast.reduction.reduced_model import ReducedModel


def open_terms(
    model: ReducedModel, method: str, bounds: Mapping[str, tuple[float | None, float | None]]
) -> tuple[set[int], dict[str, tuple[float | None, float | None]]]:
    """The terms whose matrix G has no bound, and the bounds that remain.

    Of such a term the other variances keep their bound 0, as PROC MIXED's PARMS has it.

    Raises
    ------
    ModelError
        Where a parameter is no variance of random effects.
    """
    functions = CovarianceFunctions(model, criterion_of(model, method))
    named = NamedParameters(functions)
    named.only_once(bounds)
    free: dict[tuple[int, int], str] = {}
    for name, pair in bounds.items():
        if is_open(pair):
            parameter = functions.parameters[named.find(name)]
            _check(name, parameter)
            free[parameter.places[0]] = name
    terms = {t for t, _ in free}
    left = {name: pair for name, pair in bounds.items() if not is_open(pair)}
    for parameter in functions.parameters:
        if parameter.kind != "sd" or not parameter.places or parameter.places[0][0] not in terms:
            continue
        if parameter.places[0] not in free:
            left.setdefault(parameter.aliases[0][0], (0.0, None))
    return terms, left


def _check(name: str, parameter: CovarianceParameter) -> None:
    """Refuse open bounds of what they do not free."""
    if parameter.kind == "sd" and parameter.places:
        return
    raise ModelError(
        f"bounds of {name!r} are open on both sides and bound nothing; leave them out (the "
        "variance of a random effect may so be negative, a residual variance or a correlation is "
        "what it is)"
    )
