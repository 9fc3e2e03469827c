"""How a multivariate normal is shown: as text, as ellipses, as a density curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from mlmfast.arrays import FloatArray
from mlmfast.display.figure import INK
from mlmfast.distributions import chi2_quantile
from mlmfast.errors import DataError, MlmError
from mlmfast.mvn.density import Density
from mlmfast.mvn.input import probability, real_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LISTED = 20
MAX_CORRELATIONS = 8
DASHES = (0, (5, 4))
# Equal scales show right angles between principal axes, but squash very unequal spreads.
MAX_SD_RATIO = 4.0


def describe(x: Density) -> str:
    """Text table: one row per component with mean, SD and, for small k, correlations."""
    k = len(x)
    head = f"MVN with {k} component{'s' if k > 1 else ''}"
    head += f", singular (rank {x.rank})" if x.rank < k else ""
    cells = [
        [name, f"{mean:.4g}", f"{sd:.3g}"]
        for name, mean, sd in zip(x.names, x.mean, x.std(), strict=True)
    ][:MAX_LISTED]
    width = max(len(row[0]) for row in cells)
    mean_width = max(5, *(len(row[1]) for row in cells))
    sd_width = max(3, *(len(row[2]) for row in cells))
    lines = [f"{'':{width}} {'mean':>{mean_width}} {'SD':>{sd_width}}"]
    lines += [f"{n:{width}} {m:>{mean_width}} {s:>{sd_width}}" for n, m, s in cells]
    if 1 < k <= MAX_CORRELATIONS:
        lines[0] += "  correlation"
        for i, row in enumerate(x.correlation()):
            lines[i + 1] += "".join(f"  {r:5.2f}" for r in row[:i])
    if k > MAX_LISTED:
        lines.append(f"... and {k - MAX_LISTED} more")
    return "\n".join([head, *(line.rstrip() for line in lines)])


def principal_axes(cov: FloatArray) -> FloatArray:
    """Half axes of the ellipse x' cov^-1 x = 1 as columns, longest first."""
    values, vectors = np.linalg.eigh(cov)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))[:, ::-1]


def ellipse(pair: Density, level: float, n_points: int = 201) -> FloatArray:
    """Contour that holds probability `level`, shape (n_points, 2), of a two-component MVN."""
    if len(pair) != 2:
        raise DataError(f"dims lists {len(pair)} components; an ellipse needs two")
    if isinstance(n_points, bool) or not isinstance(n_points, (int, np.integer)) or n_points < 2:
        raise DataError(f"n_points is {n_points!r}; it must be an integer >= 2")
    if pair.rank == 0:
        raise DataError(f"{pair.names[0]!r} and {pair.names[1]!r} are constant: no ellipse")
    angle = np.linspace(0, 2 * np.pi, n_points)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    # Without the second axis of a singular pair: its eigenvalue is rounding.
    half_axes = principal_axes(pair.cov)[:, : pair.rank]
    return pair.mean + radius(level, pair.rank) * circle[:, : pair.rank] @ half_axes.T


def radius(level: float, rank: int) -> float:
    """Mahalanobis radius of the ellipsoid that holds probability `level`."""
    return float(np.sqrt(chi2_quantile(probability("level", level), rank)))


def draw(
    shown: Density, levels: float | Sequence[float], ax: Axes | None, dots: FloatArray | None
) -> Axes:
    """Draw one or two components into `ax`, or into a new figure."""
    ordered = _levels(levels)
    if len(shown) > 2:
        raise DataError(f"dims lists {len(shown)} components; a plot shows one or two")
    if shown.rank == 0:
        raise DataError(f"{' and '.join(map(repr, shown.names))}: constant, with no density")
    target = _new_axes() if ax is None else ax
    picture = _draw_curve if len(shown) == 1 else _draw_ellipses
    picture(shown, ordered, target, dots)
    target.spines[["top", "right"]].set_visible(False)
    target.set_xlabel(shown.names[0])
    target.set_title(f"Density of {' and '.join(shown.names)}", fontsize=11)
    _legend_above(target)
    if len(shown) == 1:
        target.set_ylim(bottom=0)
    return target


def _legend_above(ax: Axes) -> None:
    # Ellipses can fill every corner, so the legend gets its own strip on top.
    bottom, top = ax.dataLim.intervaly
    # Limits that are set, not automatic, would be cut to make the scales equal.
    ax.update_datalim([(ax.dataLim.x0, top + 0.22 * (top - bottom))])
    ax.autoscale_view()
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1],
        labels[::-1],
        title="probability inside",
        loc="upper center",
        ncols=min(len(labels), 4),
        frameon=False,
        columnspacing=1.4,
    )


def _levels(levels: ArrayLike) -> list[float]:
    array = np.atleast_1d(real_array("levels", levels))
    if array.ndim != 1 or array.size == 0:
        raise DataError("levels must be one probability or a sequence of them")
    return sorted({probability("level", level) for level in array})


def _new_axes() -> Axes:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise MlmError(
            'plot needs matplotlib, which is not installed; run: pip install "mlmfast[plot]"'
        ) from error
    return pyplot.subplots(figsize=(6.4, 4.8), layout="constrained")[1]


def _shaded(levels: list[float]) -> list[tuple[float, str]]:
    """Levels with their blues, the outermost (lightest) first so that inner ones stay visible."""
    dark, light = np.array([105, 160, 210]), np.array([226, 237, 247])
    steps = np.linspace(1, 0, len(levels)) if len(levels) > 1 else np.array([0.5])
    shades = [np.round(dark + (light - dark) * step).astype(int) for step in steps]
    return [
        (level, "#{:02x}{:02x}{:02x}".format(*shade))
        for level, shade in zip(reversed(levels), shades, strict=True)
    ]


def _draw_ellipses(pair: Density, levels: list[float], ax: Axes, dots: FloatArray | None) -> None:
    for order, (level, shade) in enumerate(_shaded(levels)):
        x, y = ellipse(pair, level).T
        label, zorder = f"{100 * level:.4g}%", 1 + 0.01 * order
        if pair.rank == 2:
            ax.fill(x, y, facecolor=shade, edgecolor=INK, lw=1.0, zorder=zorder, label=label)
        else:
            ax.plot(x, y, color=shade, lw=3 + 3 * order, zorder=zorder, label=label)
    for axis in radius(levels[-1], pair.rank) * principal_axes(pair.cov).T[: pair.rank]:
        ends = np.array([pair.mean - axis, pair.mean + axis])
        ax.plot(*ends.T, color=INK, lw=0.9, linestyle=DASHES, zorder=2)
    if dots is not None:
        ax.scatter(dots[:, 0], dots[:, 1], s=10, color="#222222", alpha=0.7, lw=0, zorder=3)
    ax.plot(*pair.mean, marker="o", markersize=6, color="white", markeredgecolor=INK, zorder=4)
    sd = pair.std()
    ax.margins(0.08)
    if sd.min() * MAX_SD_RATIO >= sd.max():
        ax.set_aspect("equal", adjustable="datalim")
    ax.set_ylabel(pair.names[1])


def _draw_curve(x: Density, levels: list[float], ax: Axes, dots: FloatArray | None) -> None:
    mean, sd = float(x.mean[0]), float(x.std()[0])
    for order, (level, shade) in enumerate(_shaded(levels)):
        inside = mean + sd * np.linspace(-1, 1, 201) * radius(level, 1)
        label, zorder = f"{100 * level:.4g}%", 1 + 0.01 * order
        ax.fill_between(
            inside, x.pdf(inside[:, None]), color=shade, lw=0, zorder=zorder, label=label
        )
    reach = max(4.0, 1.1 * radius(levels[-1], 1))
    grid = mean + sd * np.linspace(-reach, reach, 401)
    ax.plot(grid, x.pdf(grid[:, None]), color=INK, lw=1.6, zorder=2)
    ax.vlines(mean, 0, float(x.pdf(mean)), color=INK, lw=0.9, linestyle=DASHES, zorder=2)
    if dots is not None:
        ax.plot(dots[:, 0], np.zeros(len(dots)), "|", color="#222222", markersize=8, zorder=3)
    ax.set_ylabel("density")
