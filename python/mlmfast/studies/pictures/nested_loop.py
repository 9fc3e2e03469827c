"""The nested loop plot: one measure over all conditions in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.display.figure import INK, PALE, axes_or_new, plain, series
from mlmfast.studies.performance.by_condition import Shown, conditions_of, of_condition
from mlmfast.studies.performance.measures import MEASURES
from mlmfast.studies.performance.table import read_measures
from mlmfast.studies.pictures.choose import chosen_estimand, colour, legend
from mlmfast.studies.pictures.lollipop import measured_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Borders of conditions that have a tick each.
_MOST_TICKS = 20


def nested_loop_plot(
    result: Shown,
    measure: str,
    estimand: str | None,
    where: Mapping[str, Any] | None,
    on: Axes | None = None,
) -> Axes:
    """See `StudyPlots.nested_loop`."""
    [name] = read_measures([measure])
    frame = measured_rows(result, name, chosen_estimand(result, estimand), where)
    conditions = conditions_of(frame, result.factors)
    ax = axes_or_new(on, (max(6.4, 0.25 * len(conditions)), 4.8))
    edges = np.arange(len(conditions) + 1)
    for m, method in enumerate(result.methods):
        values = _values(frame[frame["method"] == method], conditions)
        if np.isfinite(values).any():
            ax.stairs(values, edges, baseline=None, color=colour(m), label=method,
                      linewidth=1.5, linestyle=series(m).dash)  # fmt: skip
    if MEASURES[name].ideal:
        ax.axhline(float(MEASURES[name].ideal), color=PALE, linewidth=1.0, zorder=0)
    _factors(ax, conditions, edges)
    if len(edges) <= _MOST_TICKS:
        ax.set_xticks(edges)
    legend(np.array([ax], dtype=object), on)
    title = str(frame["estimand"].iloc[0])
    return plain(ax, f"{len(conditions)} conditions in order", name.replace("_", " "), title)


def _values(rows: pd.DataFrame, conditions: list[dict[str, Any]]) -> Any:
    found = [of_condition(rows, condition)["value"] for condition in conditions]
    return np.array([float(own.iloc[0]) if len(own) else np.nan for own in found])


def _factors(ax: Axes, conditions: list[dict[str, Any]], edges: Any) -> None:
    """Below the lines a step line a factor: its value in each condition."""
    low, high = ax.get_ylim()
    unit = 0.07 * (high - low)
    for k, factor in enumerate(conditions[0]):
        levels = list(dict.fromkeys(condition[factor] for condition in conditions))
        base = low - (k + 1) * 1.6 * unit
        scale = max(1, len(levels) - 1)
        steps = [base + unit * levels.index(c[factor]) / scale for c in conditions]
        ax.stairs(steps, edges, baseline=None, color=INK, linewidth=0.8)
        text = f"{factor}: {', '.join(map(str, levels))}"
        ax.text(0.0, base + 1.05 * unit, text, fontsize=7, color=INK)
    ax.set_ylim(low - (len(conditions[0]) + 0.3) * 1.6 * unit, high)
