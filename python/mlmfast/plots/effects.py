"""Plots of the fixed effects: the mean response by one or two variables, the others averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.display.figure import PALE, Series, legend_of, level_ticks, panels, plain, series
from mlmfast.errors import ModelError
from mlmfast.formula.functions import variables_of
from mlmfast.inference.emmeans.reference_grid import ReferenceGrid, reference_grid, unknown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from mlmfast.fitted.fitted import Fitted

_POINTS = 60


@dataclass(frozen=True)
class _Panel:
    """Variables of one panel: along the axis, and by colour."""

    x: str
    by: str | None


def effects_plot(
    fit: Fitted,
    variables: str | Sequence[str] | None,
    at: Mapping[str, Any] | None,
    level: float,
    ax: Axes | None,
) -> NDArray[np.object_]:
    """See `Plots.effects`."""
    grid = reference_grid(fit, at)
    asked = _panels_of_terms(fit, grid) if variables is None else [_panel(variables, grid)]
    axes = panels(len(asked), ax, width=3.8, height=3.2, what="name the variables of one")
    for panel, own in zip(asked, axes, strict=True):
        _draw(fit, grid, panel, dict(at or {}), level, own)
    return axes


def _panels_of_terms(fit: Fitted, grid: ReferenceGrid) -> list[_Panel]:
    """A panel for each term that no other contains."""
    labels = [label for label in fit._record.terms_of_x[0] if label != "(Intercept)"]
    sets = [tuple(n for n in variables_of(label) if n in grid.names) for label in labels]
    largest = [s for s in sets if s and not any(set(s) < set(other) for other in sets)]
    # Of two factors the one with more levels runs along the axis.
    pairs = [sorted(s[:2], key=lambda n: -grid.variables[grid.position(n)].size) for s in largest]
    panels = list(dict.fromkeys(_panel(names, grid) for names in pairs))
    if not panels:
        raise ModelError("the fixed part has no variables, so there are no effects to plot")
    return panels


def _panel(variables: str | Sequence[str], grid: ReferenceGrid) -> _Panel:
    names = variables.split(":") if isinstance(variables, str) else list(variables)
    names = [str(name).strip() for name in names]
    for name in names:
        if name not in grid.names:
            raise unknown_name(name, grid.names, "a variable of the fixed part")
    if not 1 <= len(names) <= 2 or len(set(names)) < len(names):
        raise ModelError(
            f"found {names}; name one variable, or two (the second by colour), and set others "
            "by at={'name': value}"
        )
    # A covariate runs along the axis whichever comes first.
    names.sort(key=lambda name: grid.variables[grid.position(name)].is_factor)
    return _Panel(names[0], names[1] if len(names) > 1 else None)


def _draw(
    fit: Fitted,
    grid: ReferenceGrid,
    panel: _Panel,
    at: dict[str, Any],
    level: float,
    ax: Axes,
) -> None:
    values = _values(fit, grid, panel.x, at, _POINTS)
    if panel.by is not None and not grid.variables[grid.position(panel.by)].is_factor:
        at[panel.by] = _values(fit, grid, panel.by, at, 3)
    if values is not None:
        at[panel.x] = values
    names = [panel.x] if panel.by is None else [panel.x, panel.by]
    means = fit.emmeans(names, at=at, level=level).frame
    groups = [("", means)] if panel.by is None else list(means.groupby(panel.by, sort=False))
    for k, (label, rows) in enumerate(groups):
        if values is not None:
            _band(ax, values, rows, series(k), str(label))
        else:
            _bars(ax, rows, series(k), str(label), 0.16 * (k - (len(groups) - 1) / 2))
    if values is None:
        level_ticks(ax, [str(name) for name in dict.fromkeys(means[panel.x])])
    if panel.by is not None:
        legend_of(ax, panel.by)
    what = panel.x if panel.by is None else f"{panel.x} by {panel.by}"
    label = f"mean of {fit._record.response}, {100 * level:g} % interval"
    plain(ax, panel.x, label, f"Marginal means of {what}")


def _band(ax: Axes, x: FloatArray, rows: pd.DataFrame, how: Series, label: str) -> None:
    lower, upper = rows["lower"].to_numpy(), rows["upper"].to_numpy()
    ax.fill_between(x, lower, upper, color=how.colour, alpha=0.18, lw=0)
    ax.plot(x, rows["emmean"].to_numpy(), color=how.colour, linestyle=how.dash, label=label)


def _bars(ax: Axes, rows: pd.DataFrame, how: Series, label: str, shift: float) -> None:
    x = np.arange(len(rows)) + shift
    centre = rows["emmean"].to_numpy()
    ax.vlines(x, rows["lower"], rows["upper"], color=how.colour, lw=1.6)
    ax.plot(x, centre, "-", color=PALE, lw=0.9, zorder=0)
    ax.plot(x, centre, how.marker, color=how.colour, markersize=5, label=label)


def _values(
    fit: Fitted, grid: ReferenceGrid, name: str, at: Mapping[str, Any], n: int
) -> FloatArray | None:
    """Values of a covariate: those asked for, else n over its range; None for a factor."""
    variable = grid.variables[grid.position(name)]
    if variable.is_factor:
        return None
    if name in at and variable.size > 1:
        return np.asarray(variable.values)
    frame = fit._needs_source("a plot over a covariate").frame
    assert frame is not None, "a model with a formula has a frame"
    seen = frame.frame.numeric(name)
    distinct = np.unique(seen)
    return distinct if len(distinct) <= n else np.linspace(distinct[0], distinct[-1], n)
