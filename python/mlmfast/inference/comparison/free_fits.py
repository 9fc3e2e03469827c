"""Fits without held parameters, and the optimum of a design that lacks random effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitting.fit import fit_covariance
from mlmfast.information.undetermined import n_determined, undetermined_of
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.reduce import reduce_design

if TYPE_CHECKING:
    from mlmfast.fitted.origin.source import FitSource


def check_free(source: FitSource) -> None:
    """Refuse fits that hold covariance parameters: models without an effect would estimate them.

    Raises
    ------
    ModelError
    """
    if source.parms is not None and source.parms.held:
        raise ModelError("the fit holds covariance parameters; test a variance in a free fit")


def optimum(design: Design, method: str) -> tuple[float, int]:
    """-2 log-likelihood at the optimum, and how many parameters of theta the data determine."""
    model = reduce_design(design)
    covariance = fit_covariance(model, method, NewtonOptions())
    estimates = estimates_of(model, covariance.criterion, covariance.theta)
    determined = n_determined(covariance, undetermined_of(model, covariance))
    return float(estimates.deviance[0]), determined
