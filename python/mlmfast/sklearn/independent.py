"""Least squares, for rows that no groups tie together."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray


def least_squares(
    X: FloatArray, y: FloatArray, sample_weight: FloatArray | None, reml: bool
) -> tuple[float, FloatArray, float]:
    """Intercept, coefficients and residual variance; the shortest coefficients where several fit.

    Examples
    --------
    >>> intercept, coef, scale = least_squares(
    ...     np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 2.0, 4.0]), None, reml=True
    ... )
    >>> round(intercept, 3), coef, round(scale, 3)
    (0.833, array([1.5]), 0.167)
    """
    w = np.ones(len(y)) if sample_weight is None else sample_weight
    used = w > 0
    X, y, w = X[used], y[used], w[used]
    middle_x, middle_y = np.average(X, axis=0, weights=w), np.average(y, weights=w)
    root = np.sqrt(w)
    centred = (X - middle_x) * root[:, None]
    coef, _, rank, _ = np.linalg.lstsq(centred, (y - middle_y) * root, rcond=None)
    rss = float((w * (y - middle_y - (X - middle_x) @ coef) ** 2).sum())
    degrees = float(w.sum()) - (int(rank) + 1 if reml else 0)
    scale = rss / degrees if degrees > 0 else float("nan")
    return float(middle_y - middle_x @ coef), np.asarray(coef), scale
