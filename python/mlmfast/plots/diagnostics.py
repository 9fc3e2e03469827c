"""Plots of residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.display.figure import ACCENT, INK, PALE, axes_or_new, plain, thinned
from mlmfast.distributions import normal_quantile
from mlmfast.errors import DataError, ModelError
from mlmfast.plots.smooth_line import smooth_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlmfast.fitted.fitted import Fitted

_LARGEST_SUBJECT = 2_000


def residual_plot(fit: Fitted, kind: str, ax: Axes | None) -> Axes:
    """See `Plots.residuals`."""
    values = np.asarray(fit.resid(kind), dtype=np.float64)
    fitted = np.asarray(fit.fittedvalues, dtype=np.float64)
    ax = axes_or_new(ax)
    shown = thinned(len(values))
    ax.plot(fitted[shown], values[shown], "o", color=INK, markersize=3, alpha=0.5)
    ax.axhline(0.0, color=PALE, lw=1)
    ax.plot(*smooth_line(fitted, values), color=ACCENT, lw=1.6)
    response = fit._record.response
    return plain(ax, f"fitted {response}", _label(fit, kind), "Residuals by fitted value")


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
    shown = thinned(n)
    ax.plot(quantiles[shown], values[shown], "o", color=INK, markersize=3)
    standardised = _label(fit, "scaled").replace("scaled", _named(kind), 1)
    return plain(ax, "normal quantile", standardised, "Residuals by normal quantiles, 95 % band")


def variogram_plot(fit: Fitted, time: str, kind: str, n_bins: int, ax: Axes | None) -> Axes:
    """See `Plots.variogram`."""
    if isinstance(n_bins, bool) or not isinstance(n_bins, int | np.integer) or n_bins < 1:
        raise ModelError(f"n_bins is {n_bins!r}; give an integer >= 1")
    distance, half_square = _pairs(fit, time, kind)
    centres, means, counts = _binned(distance, half_square, n_bins)
    ax = axes_or_new(ax)
    ax.plot(centres, means, "-", color=PALE, lw=1.2)
    ax.scatter(centres, means, s=12 + 60 * counts / counts.max(), color=INK, zorder=3)
    if _is_raw(kind):
        unit = f" ({fit._record.response} squared)"
        ax.set_ylim(0.0, 1.1 * float(means.max()))
    else:
        unit = ""
        ax.axhline(1.0, color=ACCENT, lw=0.9)
        ax.set_ylim(0.0, max(1.3, 1.1 * float(means.max())))
    title = f"Half the mean squared difference of {_named(kind)} residuals"
    return plain(ax, f"distance in {time}", f"semivariogram{unit}", title)


def _label(fit: Fitted, kind: str) -> str:
    """A residual with its unit: that of the response, or standard deviations."""
    unit = fit._record.response if _is_raw(kind) else "standard deviations"
    return f"{_named(kind)} residual ({unit})"


def _named(kind: str) -> str:
    return "Pearson" if kind == "pearson" else kind


def _is_raw(kind: str) -> bool:
    """Whether residuals are in the units of the response."""
    return kind in ("raw", "conditional", "marginal", "response")


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
