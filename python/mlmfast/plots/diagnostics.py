"""Plots of residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.display.figure import ACCENT, INK, PALE, axes_or_new, plain
from mlmfast.distributions import normal_quantile
from mlmfast.errors import DataError, ModelError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlmfast.fitted.fitted import Fitted

_MOST_POINTS = 20_000
_LARGEST_SUBJECT = 2_000


def residual_plot(fit: Fitted, kind: str, ax: Axes | None) -> Axes:
    """See `Plots.residuals`."""
    values = np.asarray(fit.resid(kind), dtype=np.float64)
    fitted = np.asarray(fit.fittedvalues, dtype=np.float64)
    ax = axes_or_new(ax)
    shown = _thinned(len(values))
    ax.plot(fitted[shown], values[shown], "o", color=INK, markersize=3, alpha=0.5)
    ax.axhline(0.0, color=PALE, lw=1)
    ax.plot(*running_means(fitted, values), color=ACCENT, lw=1.6)
    return plain(ax, "fitted value", f"{kind} residual")


def qq_plot(fit: Fitted, kind: str, ax: Axes | None) -> Axes:
    """See `Plots.qq`."""
    from scipy import special

    values = np.sort(fit.resid(kind).to_numpy())
    if kind != "scaled":
        values = (values - values.mean()) / values.std()
    n = len(values)
    rank = np.arange(1, n + 1)
    quantiles = normal_quantile((rank - 0.5) / n)
    # Order statistics of uniforms are beta distributed.
    band = normal_quantile(np.asarray(special.betaincinv(rank, n + 1 - rank, [[0.025], [0.975]])))
    ax = axes_or_new(ax)
    ax.fill_between(quantiles, band[0], band[1], color=PALE, alpha=0.4, lw=0)
    ends = quantiles[[0, -1]]
    ax.plot(ends, ends, color=ACCENT, lw=1)
    shown = _thinned(n)
    ax.plot(quantiles[shown], values[shown], "o", color=INK, markersize=3)
    return plain(ax, "normal quantile", f"{kind} residual")


def variogram_plot(fit: Fitted, time: str, kind: str, n_bins: int, ax: Axes | None) -> Axes:
    """See `Plots.variogram`."""
    distance, half_square = _pairs(fit, time, kind)
    centres, means, counts = _binned(distance, half_square, n_bins)
    ax = axes_or_new(ax)
    ax.plot(centres, means, "-", color=PALE, lw=1.2)
    ax.scatter(centres, means, s=12 + 60 * counts / counts.max(), color=INK, zorder=3)
    ax.axhline(1.0, color=ACCENT, lw=0.9)
    ax.set_ylim(0.0, max(1.3, 1.1 * float(means.max())))
    return plain(ax, f"distance in {time}", f"semivariogram of {kind} residuals")


def running_means(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means of y over stretches of ordered x, about twenty of them.

    Examples
    --------
    >>> running_means(np.array([2.0, 1.0]), np.array([3.0, 5.0]))
    (array([1., 2.]), array([5., 3.]))
    """
    order = np.argsort(x, kind="stable")
    parts = np.array_split(order, min(20, len(order)))
    return np.array([x[p].mean() for p in parts]), np.array([y[p].mean() for p in parts])


def _pairs(fit: Fitted, time: str, kind: str) -> tuple[FloatArray, FloatArray]:
    """Distances, and half squared differences, of all pairs of rows within a cluster."""
    source = fit._needs_source("a variogram")
    if source.frame is None or not source.frame.frame.has(time):
        raise DataError(f"there is no column {time!r} in the data of the fit")
    if not source.frame.frame.is_numeric(time):
        raise DataError(f"a variogram needs distances, and column {time!r} holds no numbers")
    if not fit._record.groups:
        raise ModelError("a variogram compares rows of one cluster; the model has no clusters")
    when, values = source.frame.frame.numeric(time), fit.resid(kind).to_numpy()
    codes = source.design.factors[fit._record.levels[0]].codes
    order = np.argsort(codes, kind="stable")
    distances, halves = [np.empty(0)], [np.empty(0)]
    for rows in np.split(order, np.cumsum(np.bincount(codes))[:-1]):
        a, b = np.triu_indices(min(len(rows), _LARGEST_SUBJECT), 1)
        distances.append(np.abs(when[rows[a]] - when[rows[b]]))
        halves.append(0.5 * (values[rows[a]] - values[rows[b]]) ** 2)
    distance, half = np.concatenate(distances), np.concatenate(halves)
    if not distance.size:
        raise ModelError("no cluster has two rows to compare")
    return distance, half


def _binned(x: FloatArray, y: FloatArray, n_bins: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    distinct = np.unique(x)
    if len(distinct) <= n_bins:
        code = np.searchsorted(distinct, x)
    else:
        edges = np.quantile(x, np.linspace(0, 1, n_bins + 1)[1:-1])
        code = np.searchsorted(edges, x)
    counts = np.bincount(code).astype(np.float64)
    kept = counts > 0
    means = np.bincount(code, y)[kept] / counts[kept]
    return np.bincount(code, x)[kept] / counts[kept], means, counts[kept]


def _thinned(n: int) -> slice:
    return slice(None, None, max(1, n // _MOST_POINTS))
