"""Information of one fit, whichever form its residual covariance has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.parameters.natural import (
    covariance_parameters,
)
from mlmfast.information.edges import still_parameters
from mlmfast.information.held import holding
from mlmfast.information.information import Information, core_derivatives
from mlmfast.information.series import SeriesInformation
from mlmfast.information.told_parameters import told_parameters
from mlmfast.reduction.reduced_model import ReducedModel

if TYPE_CHECKING:
    from mlmfast.fitting.parms.held_parameters import HeldParameters


def information_of(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    singular: tuple[bool, ...],
    fit: int = 0,
    held: HeldParameters | None = None,
) -> Information:
    """Information of one fit at ``theta``, shape (1, n_theta).

    Parameters
    ----------
    model, criterion
        What was fitted.
    theta : shape (1, n_theta)
    singular
        Whether G is singular, for each random-effects term in the criterion's order.
    fit
        Which response.
    held
        Covariance parameters that the fit holds.

    Raises
    ------
    ModelError
        For parameters held beside the residual covariance of a series too long for matrices.
    """
    degrees = model.degrees(criterion.reml)
    scale, g = 1.0, None
    if model.profiled:
        g = criterion.covariances(theta)
        core = core_derivatives(model, criterion, g, criterion.entries, fit)
        scale = float(core[-1]) / degrees
        if held is not None and held.log_sigma2 is not None:
            scale = float(np.exp(held.log_sigma2[0]))
    parameters = covariance_parameters(model, criterion, theta, singular, scale, fit, g)
    if not model.profiled:
        core = core_derivatives(model, criterion, parameters.linear, criterion.entries, fit)
    if model.blocks and model.blocks[-1].along_rows:
        series = SeriesInformation(
            model, criterion, parameters, core, scale, fit, theta, tuple(singular), information_of
        )
        if held is not None:
            return holding(series.with_covariances(), held)
        about: Information = series
    else:
        about = Information(model, criterion, parameters, core, scale, fit, theta)
        if held is not None:
            return holding(about, held)
    still = still_parameters(about)
    about = about if still is None else replace(about, parameters=still)
    told = told_parameters(about.parameters, criterion.flat)
    return about if told is about.parameters else replace(about, parameters=told)
