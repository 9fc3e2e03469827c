"""Correlations of a covariance matrix, and its root."""

from __future__ import annotations

import math

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import ModelError
from mlmfast.running.interruptible import interruptible

#: Eigenvalue of a correlation matrix below 0 that is rounding.
_ROUNDING = 1e-6


def roots(variances: FloatArray) -> FloatArray:
    """Standard deviations; NaN where a variance is negative (NOBOUND), of the same shape.

    Examples
    --------
    >>> roots(np.array([4.0, -4.0])).tolist()
    [2.0, nan]
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(variances))


def correlations(covariance: FloatArray) -> FloatArray:
    """Correlation matrix; NaN where a variance is 0 or negative, shape (q, q).

    Examples
    --------
    >>> correlations(np.array([[4.0, 1.0], [1.0, 1.0]])).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        sd = np.sqrt(covariance.diagonal())
        correlation = covariance / (sd[:, None] * sd)
    # Rounding may leave 1 by an ulp or two.
    out = np.minimum(np.maximum(correlation, -1.0), 1.0)
    out[np.diag_indices(len(sd))] = np.where(sd > 0, 1.0, np.nan)
    return np.asarray(out)


def lower_correlations(covariance: FloatArray) -> list[list[float]]:
    """What `correlations` has below its diagonal, row by row, for a text: plain numbers.

    Examples
    --------
    >>> lower_correlations(np.array([[4.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    [[], [0.5], [nan, nan]]
    """
    return lower_correlations_of(covariance.tolist())


def lower_correlations_of(rows: list[list[float]]) -> list[list[float]]:
    """`lower_correlations` of plain numbers."""
    sd = [math.sqrt(row[i]) if row[i] > 0.0 else math.nan for i, row in enumerate(rows)]
    return [[_within_one(row[j], sd[i] * sd[j]) for j in range(i)] for i, row in enumerate(rows)]


def _within_one(covariance: float, scale: float) -> float:
    """Their ratio as a correlation; NaN without a scale."""
    if not scale > 0.0 or math.isnan(covariance):
        return math.nan
    return min(max(covariance / scale, -1.0), 1.0)


def covariance_root(covariance: FloatArray) -> FloatArray:
    """B with B B' = G, for G positive semi-definite, shape (q, q).

    The symmetric root of the correlation matrix, rows scaled by the standard deviations: no sign
    of an eigenvector is left to chance.

    Raises
    ------
    ModelError
        Where G has negative eigenvalues, as ``bounded=False`` allows.

    Examples
    --------
    >>> covariance_root(np.array([[4.0, 0.0], [0.0, 0.0]])).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    sd = roots(np.diag(covariance))
    unit = np.where(sd > 0, sd, 1.0)
    values, vectors = interruptible(np.linalg.eigh, covariance / np.outer(unit, unit))
    if np.isnan(sd).any() or values.min(initial=0.0) < -_ROUNDING:
        raise ModelError(
            "this needs random effects that can be drawn, and the fit has negative variances "
            "(bounded=False); fit with bounded=True, or with the covariance as the residual's, "
            "residual='cs(visit | group)'"
        )
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return np.asarray(sd[:, None] * root)
