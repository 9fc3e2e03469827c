"""The lollipop plot: one measure by condition and method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.display.figure import PALE, axes_or_new, plain, series
from mlmfast.errors import DataError
from mlmfast.studies.performance.by_condition import Shown, conditions_of, label, of_condition
from mlmfast.studies.performance.measures import MEASURES
from mlmfast.studies.performance.table import read_measures
from mlmfast.studies.pictures.choose import chosen_estimand, chosen_rows, colour, legend

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def lollipop_plot(
    result: Shown,
    measure: str,
    estimand: str | None,
    where: Mapping[str, Any] | None,
    on: Axes | None = None,
) -> Axes:
    """See `StudyPlots.lollipop`."""
    [name] = read_measures([measure])
    frame = measured_rows(result, name, chosen_estimand(result, estimand), where)
    conditions = conditions_of(frame, result.factors)
    shown = [method for method in result.methods if (frame["method"] == method).any()]
    height = 1.2 + 0.22 * len(conditions) * (len(shown) + 1)
    ax = axes_or_new(on, (6.4, max(3.0, height)))
    step = 1.0 / (len(shown) + 1)
    ideal = MEASURES[name].ideal
    base = float(ideal) if ideal else None
    if base is not None:
        ax.axvline(base, color=PALE, linewidth=1.0, zorder=0)
    for m, method in enumerate(shown):
        rows = frame[frame["method"] == method]
        values = [_value(of_condition(rows, condition)) for condition in conditions]
        value, lower, upper = np.array(values).T
        y = np.arange(len(conditions)) + (m + 0.5) * step
        if base is not None:
            ax.hlines(y, base, value, color=colour(m), linewidth=1.0, alpha=0.5)
        bars = np.nan_to_num([value - lower, upper - value])
        ax.errorbar(value, y, xerr=bars, fmt=series(m).marker, ms=4, color=colour(m), capsize=2,
                    label=method)  # fmt: skip
    ax.set_yticks(np.arange(len(conditions)) + 0.5 - 0.5 * step, [label(c) for c in conditions])
    ax.invert_yaxis()
    legend(np.array([ax], dtype=object), on)
    return plain(ax, name.replace("_", " "), "", f"{frame['estimand'].iloc[0]}")


def measured_rows(
    result: Shown, measure: str, estimand: str, where: Mapping[str, Any] | None
) -> pd.DataFrame:
    """Rows of the performance table of one measure and estimand."""
    frame = chosen_rows(result.performance([measure], interval=True), result, where)
    frame = frame[(frame["estimand"] == estimand) & frame["value"].notna()]
    if frame.empty:
        raise DataError(f"no method has the measure {measure!r} of {estimand!r}")
    return frame


def _value(rows: pd.DataFrame) -> tuple[float, ...]:
    columns = ("value", "lower", "upper")
    return tuple(np.nan if rows.empty else float(rows[name].iloc[0]) for name in columns)
