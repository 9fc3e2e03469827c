"""The zip plot: intervals of all replicates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.display.figure import ACCENT, INK, PALE, plain
from mlmfast.errors import DataError
from mlmfast.power_analysis.binomial import exact_interval
from mlmfast.studies.performance.by_condition import Shown, conditions_of, label, of_condition
from mlmfast.studies.pictures.choose import chosen_estimand, chosen_rows, panels, truth_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def zip_plot(
    result: Shown, estimand: str | None, where: Mapping[str, Any] | None, on: Any = None
) -> NDArray[Any]:
    """See `StudyPlots.zip`."""
    name = chosen_estimand(result, estimand)
    frame = chosen_rows(result.replicates, result, where)
    frame = frame[(frame["estimand"] == name) & frame["converged"] & frame["std_error"].notna()]
    if frame.empty:
        raise DataError(f"no replicate shown has what the picture needs of {name!r}")
    conditions = conditions_of(frame, result.factors)
    axes = panels(len(conditions), len(result.methods), ax=on)
    for row, condition in zip(axes, conditions, strict=True):
        own = of_condition(frame, condition)
        for ax, method in zip(row, result.methods, strict=True):
            _panel(ax, own[own["method"] == method], truth_of(result, condition, name))
            plain(ax, name, "centile of |z|", f"{method}\n{label(condition)}")
            ax.title.set_fontsize(8)
    return axes


def _panel(ax: Axes, rows: pd.DataFrame, truth: float) -> None:
    parts = (rows[column].to_numpy(np.float64) for column in ("estimate", "std_error"))
    estimate, se = parts
    lower, upper = (rows[column].to_numpy(np.float64) for column in ("lower", "upper"))
    known = np.isfinite(lower) & np.isfinite(upper) & (se > 0)
    if not known.any() or not np.isfinite(truth):
        ax.text(0.5, 0.5, "no intervals", ha="center", transform=ax.transAxes)
        return
    z = np.abs(estimate - truth)[known] / se[known]
    order = np.argsort(z, kind="stable")
    lower, upper = lower[known][order], upper[known][order]
    height = 100.0 * (np.arange(len(order)) + 0.5) / len(order)
    covers = (lower <= truth) & (truth <= upper)
    for mask, colour in ((covers, PALE), (~covers, ACCENT)):
        ax.hlines(height[mask], lower[mask], upper[mask], color=colour, linewidth=0.5)
    ax.axvline(truth, color=INK, linewidth=0.8)
    share = float(covers.mean())
    for edge in exact_interval(int(covers.sum()), len(covers)):
        ax.axhline(100.0 * edge, color=INK, linewidth=0.6, linestyle="--")
    ax.set_ylim(0, 100)
    ax.text(0.02, 0.02, f"{100 * share:.1f} %", fontsize=8, transform=ax.transAxes)
