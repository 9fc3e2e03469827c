"""Power curves with Monte Carlo intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.display.figure import PALE, plain, series
from mlmfast.errors import DataError
from mlmfast.studies.performance.by_condition import Shown, conditions_of, label, of_condition
from mlmfast.studies.pictures.choose import chosen_estimand, colour, legend, panels
from mlmfast.studies.pictures.lollipop import measured_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def power_plot(
    result: Shown,
    x: str | None,
    estimand: str | None,
    where: Mapping[str, Any] | None,
    on: Any = None,
) -> NDArray[Any]:
    """See `StudyPlots.power`."""
    frame = measured_rows(result, "power", chosen_estimand(result, estimand), where)
    along = _along(result, frame, x)
    others = [name for name in result.factors if name != along]
    groups = conditions_of(frame, others) if others else [{}]
    columns = len(groups) if on is not None else min(3, len(groups))
    axes = panels(-(-len(groups) // columns), columns, 3.4, 3.0, on)
    for ax, group in zip(axes.ravel(), groups, strict=False):
        _panel(ax, of_condition(frame, group), along, result.methods)
        plain(ax, along, "power", label(group))
        ax.title.set_fontsize(9)
    legend(axes, on)
    for ax in axes.ravel()[len(groups) :]:
        ax.set_visible(False)
    return axes


def _along(result: Shown, frame: pd.DataFrame, x: str | None) -> str:
    numeric = [name for name in result.factors if frame[name].dtype.kind in "if"]
    if x is None:
        several = [name for name in numeric if frame[name].nunique() > 1]
        return next(iter([*several, *numeric, *result.factors]))
    if x not in result.factors:
        raise DataError(f"x is {x!r}; the factors are {', '.join(result.factors)}")
    return x


def _panel(ax: Axes, rows: pd.DataFrame, along: str, methods: list[str]) -> None:
    for level in (0.05, 0.8):
        ax.axhline(level, color=PALE, linewidth=0.8, linestyle=":")
    places = _places(ax, rows[along])
    gaps = np.diff(np.unique(list(places.values())))
    # Beside each other, so that methods with the same power are all seen.
    step = min(0.012 * gaps.sum(), 0.3 * gaps.min() / len(methods)) if len(gaps) else 0.0
    for m, method in enumerate(methods):
        own = rows[rows["method"] == method]
        own = own.assign(place=own[along].map(places)).sort_values("place")
        if len(own):
            where = own["place"].to_numpy(np.float64) + step * (m - 0.5 * (len(methods) - 1))
            value, low, high = (own[k].to_numpy(np.float64) for k in ("value", "lower", "upper"))
            ax.errorbar(where, value, yerr=[value - low, high - value], marker=series(m).marker,
                        ms=4, capsize=2, linestyle=series(m).dash, color=colour(m),
                        label=method)  # fmt: skip
    ax.set_ylim(0.0, 1.02)


def _places(ax: Axes, column: pd.Series[Any]) -> dict[Any, float]:
    """Where the values of a factor stand: numbers by themselves, others in turn."""
    values = list(dict.fromkeys(column))
    if column.dtype.kind in "if":
        return {value: float(value) for value in values}
    ax.set_xticks(range(len(values)), [str(value) for value in values])
    return {value: float(k) for k, value in enumerate(values)}
