"""Correlations of a covariance matrix."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray


def correlations(covariance: FloatArray) -> FloatArray:
    """Correlation matrix; NaN where a variance is 0, shape (q, q).

    Examples
    --------
    >>> correlations(np.array([[4.0, 1.0], [1.0, 1.0]])).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    sd = np.sqrt(np.diag(covariance))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = covariance / np.outer(sd, sd)
    # Rounding may leave 1 by an ulp or two.
    clipped = np.clip(correlation, -1.0, 1.0)
    np.fill_diagonal(clipped, np.where(sd > 0, 1.0, np.nan))
    return np.asarray(clipped)
