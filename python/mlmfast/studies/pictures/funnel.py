"""The funnel of estimates: each against its standard error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.display.figure import INK, plain
from mlmfast.errors import DataError
from mlmfast.studies.performance.by_condition import Shown, conditions_of, label, of_condition
from mlmfast.studies.pictures.choose import chosen_estimand, chosen_rows, colour, panels, truth_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_Z = 1.959964


def funnel_plot(
    result: Shown, estimand: str | None, where: Mapping[str, Any] | None, on: Any = None
) -> NDArray[Any]:
    """See `StudyPlots.funnel`."""
    name = chosen_estimand(result, estimand)
    frame = chosen_rows(result.replicates, result, where)
    frame = frame[(frame["estimand"] == name) & np.isfinite(frame["std_error"])]
    if frame.empty:
        raise DataError(f"no replicate shown has what the picture needs of {name!r}")
    conditions = conditions_of(frame, result.factors)
    axes = panels(len(conditions), len(result.methods), ax=on)
    for row, condition in zip(axes, conditions, strict=False):
        own = of_condition(frame, condition)
        truth = truth_of(result, condition, name)
        for m, (ax, method) in enumerate(zip(row, result.methods, strict=True)):
            points = own[own["method"] == method]
            ax.plot(points["estimate"], points["std_error"], ".", ms=3, alpha=0.5, color=colour(m))
            _lines(ax, truth)
            plain(ax, name, "standard error", f"{method}\n{label(condition)}")
            ax.title.set_fontsize(8)
    return axes


def _lines(ax: Axes, truth: float) -> None:
    """The truth, and where |estimate - truth| is 1.96 standard errors."""
    if not np.isfinite(truth):
        return
    low, high = ax.get_ylim()
    left, right = ax.get_xlim()
    ax.axvline(truth, color=INK, linewidth=0.8)
    for side in (-1.0, 1.0):
        edge = [truth + side * _Z * low, truth + side * _Z * high]
        ax.plot(edge, [low, high], color=INK, linewidth=0.6, linestyle="--")
    ax.set_ylim(low, high)
    ax.set_xlim(left, right)
