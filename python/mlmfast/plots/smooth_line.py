"""The smooth line through a cloud of points: local straight lines (Cleveland 1979)."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray

#: Share of the rows that a local line goes by, and points of the line.
_SPAN, _POINTS = 0.75, 60
#: Rows are first averaged in this many stretches where they are more.
_STRETCHES = 2_000


def smooth_line(x: FloatArray, y: FloatArray, span: float = _SPAN) -> tuple[FloatArray, FloatArray]:
    """Local straight lines by tricube weights over the nearest share ``span`` of the rows.

    Where x has few distinct values, the means at them.

    Examples
    --------
    >>> x = np.linspace(0.0, 9.0, 30)
    >>> line, height = smooth_line(x, 2.0 * x + 1.0)
    >>> bool(np.allclose(height, 2.0 * line + 1.0))
    True
    """
    distinct, codes = np.unique(x, return_inverse=True)
    weights = np.bincount(codes).astype(np.float64)
    means = np.bincount(codes, y) / weights
    if len(distinct) <= 5:
        return distinct, means
    if len(distinct) > _STRETCHES:
        distinct, means, weights = _averaged(distinct, means, weights)
    line = np.linspace(distinct[0], distinct[-1], min(_POINTS, 4 * len(distinct)))
    return line, np.array([_local(at, distinct, means, weights, span) for at in line])


def _averaged(
    x: FloatArray, y: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Means of stretches of about equal numbers of distinct values."""
    starts = np.linspace(0, len(x), _STRETCHES, endpoint=False).astype(np.intp)
    total = np.add.reduceat(weights, starts)
    return (
        np.add.reduceat(x * weights, starts) / total,
        np.add.reduceat(y * weights, starts) / total,
        total,
    )


def _local(at: float, x: FloatArray, y: FloatArray, weights: FloatArray, span: float) -> float:
    """The local line's height at a point."""
    distance = np.abs(x - at)
    order = np.argsort(distance, kind="stable")
    within = np.searchsorted(np.cumsum(weights[order]), span * weights.sum())
    # Three distinct values at least, so that a line is determined.
    reach = distance[order[min(max(int(within), 2), len(x) - 1)]] * (1.0 + 1e-9)
    w = weights * np.clip(1.0 - (distance / reach) ** 3, 0.0, None) ** 3
    centre, level = np.average(x, weights=w), np.average(y, weights=w)
    spread = float(np.sum(w * (x - centre) ** 2))
    slope = float(np.sum(w * (x - centre) * (y - level))) / spread if spread > 0 else 0.0
    return float(level + slope * (at - centre))
