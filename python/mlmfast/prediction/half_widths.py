"""Half the widths of intervals around predictions: quantile times standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.frame import Frame
from mlmfast.degrees_of_freedom import Ddf
from mlmfast.distributions import quantile, two_sided_normal
from mlmfast.prediction.rows import PredictionRows
from mlmfast.prediction.spread import Noise, spread_of
from mlmfast.prediction.targets import RowTargets

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.prediction.given_observed.conditional import Moments
    from mlmfast.prediction.given_observed.observed import Conditioned


def half_width(
    fit: Fitted,
    rows: PredictionRows,
    interval: str,
    level: float,
    newdata: Frame | None,
    ddf: Ddf | None,
    weights: FloatArray | None,
) -> FloatArray:
    """Half the width of each row's interval, t quantile times standard error."""
    if rows.n_rows == 0:
        return np.empty(0)
    if rows.absorbed is not None:
        from mlmfast.prediction.absorbed import half_width_within

        new = _noise_variance(fit, newdata, weights) if interval == "prediction" else 0.0
        return half_width_within(fit, rows, new, level, ddf)
    noise = None
    if interval == "prediction":
        variance = np.broadcast_to(_noise_variance(fit, newdata, weights), rows.n_rows)
        noise = Noise(variance, newdata is None, weights)
    found = spread_of(fit, RowTargets(rows, fit._record), bool(rows.codes), noise, ddf)
    return np.asarray(quantile(found.df, level) * found.se)


def half_width_given(
    fit: Fitted,
    rows: Conditioned,
    found: Moments,
    interval: str,
    level: float,
    ddf: Ddf | None,
) -> FloatArray:
    """Half the width of intervals given the responses observed; by normal quantiles for None."""
    if ddf is None:
        variance = found.mean_variance if interval == "confidence" else found.variance
        return np.asarray(two_sided_normal(level) * np.sqrt(variance))
    from mlmfast.prediction.given_observed.spread import spread_given_observed

    spread = spread_given_observed(fit, rows, found, interval, ddf)
    return np.asarray(quantile(spread.df, level) * spread.se)


def _noise_variance(
    fit: Fitted, newdata: Frame | None, weights: FloatArray | None
) -> FloatArray | float:
    """Variance of a new residual of each row, of the fit or of newdata."""
    record = fit._record
    plain = record.residual is None and record.residual_scale is None
    if plain and not record.weighted:
        return record.sigma2
    if newdata is None:
        from mlmfast.clusters.noise import noise_sd

        return noise_sd(fit._needs_source("a prediction interval").design, record) ** 2
    from mlmfast.prediction.given_observed.noise import noise_variance

    variance = record.sigma2 if plain else noise_variance(record, newdata)
    return variance if weights is None else variance / weights
