"""Bias-corrected and accelerated limits of a bootstrap (Efron 1987, JASA 82:171)."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.distributions import normal_cdf, normal_quantile


def bca(values: FloatArray, estimate: float, acceleration: float, tails: FloatArray) -> FloatArray:
    """Limits from replicates at the tails' levels, bias-corrected and accelerated."""
    n = len(values)
    below = float(np.mean(values < estimate) + 0.5 * np.mean(values == estimate))
    z0 = normal_quantile(np.clip(below, 0.5 / n, 1.0 - 0.5 / n))
    z = z0 + normal_quantile(tails)
    return np.asarray(np.quantile(values, normal_cdf(z0 + z / (1.0 - acceleration * z))))


def skewed_scores(values: FloatArray, scores: FloatArray) -> float:
    """Acceleration by the linear part of the statistic in the scores."""
    centred = scores - scores.mean(axis=0)
    weights, *_ = np.linalg.lstsq(centred, values - values.mean(), rcond=None)
    linear = centred @ weights
    spread = float(np.sqrt(np.mean(linear**2)))
    return float(np.mean((linear / spread) ** 3)) / 6.0 if spread > 0 else 0.0


def skewed_jackknife(left: FloatArray) -> float:
    """Acceleration by the estimates without each cluster."""
    left = left[np.isfinite(left)]
    influence = left.mean() - left if left.size else left
    total = float((influence**2).sum())
    return float((influence**3).sum()) / (6.0 * total**1.5) if total > 0 else 0.0
