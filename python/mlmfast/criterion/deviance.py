"""-2 log-likelihood in the user's units, from what a core says of generalised least squares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.reduction.reduced_model import ReducedModel


def deviance_at(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    log_sigma2: FloatArray | None = None,
) -> FloatArray:
    """-2 log-likelihood of every response at its ``theta``, shape (n_fits,).

    ``log_sigma2``, shape (n_fits,), replaces the best sigma^2, in the criterion's units.
    """
    fits = np.arange(len(theta))
    scalars = criterion.solve(theta, fits)[2]
    return deviance_of_sums(model, criterion.reml, scalars, log_sigma2, fits)


def deviance_of_sums(
    model: ReducedModel,
    reml: bool,
    scalars: FloatArray,
    log_sigma2: FloatArray | None,
    fits: IntArray,
) -> FloatArray:
    """The same from the core's sums, shape (a,).

    Parameters
    ----------
    scalars : shape (a, 3)
        Residual sum of squares, log|W| and log|X'W^-1 X|.
    log_sigma2 : shape (a,)
        Replaces the best sigma^2; see `deviance_at`.
    fits : shape (a,)
        The response of each row.
    """
    rss, logdet, logdet_xx = scalars.T
    degrees = model.degrees(reml)
    if log_sigma2 is not None:
        relative = np.exp(log_sigma2)
        deviance = logdet + degrees * np.log(2.0 * np.pi * relative) + rss / relative
    elif model.profiled:
        deviance = logdet + degrees * (1.0 + np.log(2.0 * np.pi * rss / degrees))
    else:
        deviance = logdet + degrees * np.log(2.0 * np.pi) + rss
    deviance = deviance + (logdet_xx if reml else 0.0)
    return np.asarray(deviance + model.logdet_constant("REML" if reml else "ML")[fits])


def deviance_of_one(
    model: ReducedModel, reml: bool, sums: Sequence[float], scales: Sequence[float]
) -> float:
    """`deviance_of_sums` of the only response where sigma^2 is profiled out, to the bit.

    Parameters
    ----------
    sums
        Residual sum of squares, log|W| and log|X'W^-1 X|.
    scales
        Scale of the response in the core, and the pivots of X there, all positive.
    """
    rss, logdet, logdet_xx = sums
    degrees, log = model.degrees(reml), np.log
    deviance = logdet + degrees * (1.0 + log(2.0 * np.pi * rss / degrees))
    constant = 2.0 * degrees * (log(scales[0]) - log(model.y_scaling[0].scale))
    if not reml:
        return float(deviance + 0.0 + constant)
    of_columns = log([column.scale for column in model.x_scaling]).sum()
    return float(deviance + logdet_xx + (constant - 2.0 * (of_columns - log(scales[1:]).sum())))
