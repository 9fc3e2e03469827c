"""All estimates by method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.display.figure import INK, plain
from mlmfast.errors import DataError
from mlmfast.studies.performance.by_condition import Shown, conditions_of, label, of_condition
from mlmfast.studies.pictures.choose import chosen_estimand, chosen_rows, colour, panels, truth_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def by_method_plot(
    result: Shown, estimand: str | None, where: Mapping[str, Any] | None, on: Any = None
) -> NDArray[Any]:
    """See `StudyPlots.by_method`."""
    name = chosen_estimand(result, estimand)
    frame = chosen_rows(result.replicates, result, where)
    frame = frame[(frame["estimand"] == name) & np.isfinite(frame["estimate"])]
    if frame.empty:
        raise DataError(f"no replicate shown has what the picture needs of {name!r}")
    conditions = conditions_of(frame, result.factors)
    columns = len(conditions) if on is not None else min(4, len(conditions))
    axes = panels(-(-len(conditions) // columns), columns, 3.0, 2.6, on)
    for ax, condition in zip(axes.ravel(), conditions, strict=False):
        own = of_condition(frame, condition)
        for m, method in enumerate(result.methods):
            values = own.loc[own["method"] == method, "estimate"].to_numpy(np.float64)
            # The golden ratio's multiples spread points evenly, the same in every drawing.
            offset = (np.arange(len(values)) * 0.6180339887) % 1.0 - 0.5
            ax.plot(m + 0.5 * offset, values, ".", ms=2.5, alpha=0.5, color=colour(m))
            if len(values):
                ax.hlines(values.mean(), m - 0.35, m + 0.35, color=INK, linewidth=1.5)
        truth = truth_of(result, condition, name)
        if np.isfinite(truth):
            ax.axhline(truth, color=INK, linewidth=0.8, linestyle="--")
        ax.set_xticks(range(len(result.methods)), result.methods, fontsize=8)
        plain(ax, "", name, label(condition))
        ax.title.set_fontsize(8)
    for ax in axes.ravel()[len(conditions) :]:
        ax.set_visible(False)
    return axes
