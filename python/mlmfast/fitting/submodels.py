"""Models within a model: without a random effect, and their deviance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlmfast.criterion.deviance import deviance_at
from mlmfast.design.design import Design
from mlmfast.fitting.fit import fit_covariance
from mlmfast.fitting.parms import fit_with_parms
from mlmfast.fitting.parms_request import Parms
from mlmfast.fitting.undetermined.names import n_determined, undetermined_of
from mlmfast.newton import NewtonOptions
from mlmfast.reduction.reduced_model import ReducedModel


def deviance_of(
    model: ReducedModel,
    method: str,
    held: Mapping[str, float],
    options: NewtonOptions | None = None,
) -> float:
    """-2 log-likelihood of the first response at its optimum, parameters in ``held`` held."""
    return deviance_and_count(model, method, held, options)[0]


def deviance_and_count(
    model: ReducedModel,
    method: str,
    held: Mapping[str, float],
    options: NewtonOptions | None = None,
) -> tuple[float, int]:
    """The same, and how many covariance parameters the data determine, sigma^2 not counted."""
    options = options or NewtonOptions()
    if held:
        parms = fit_with_parms(model, method, options, None, Parms(hold=held))
        covariance, scale = parms.covariance, parms.log_sigma2
    else:
        covariance, scale = fit_covariance(model, method, options), None
    deviance = deviance_at(model, covariance.criterion, covariance.theta, scale)
    untold = undetermined_of(model, covariance, tuple(held))
    return float(deviance[0]), n_determined(covariance, untold) - len(held)


def without_effect(design: Design, t: int, effect: int) -> Design:
    """The design without one random effect."""
    term = design.random[t]
    left = [j for j in range(len(term.names)) if j != effect]
    if not left:
        return without_term(design, t)
    smaller = replace(
        term,
        names=tuple(term.names[j] for j in left),
        columns=tuple(term.columns[j] for j in left),
        structure=replace(term.structure, size=len(left)),
    )
    return replace(design, random=(*design.random[:t], smaller, *design.random[t + 1 :]))


def without_term(design: Design, t: int) -> Design:
    """The design without one random-effects term."""
    return replace(design, random=design.random[:t] + design.random[t + 1 :])
