"""Statistics of deletions: a stick for each cluster or observation, the largest named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.display.figure import ACCENT, INK, PALE, axes_or_new, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Sticks with a label of their own along the axis.
_MOST_LABELS = 40


def influence_plot(
    values: pd.Series[float],
    ylabel: str,
    what: str,
    ax: Any = None,
    *,
    n_named: int = 3,
    base: float = 0.0,
) -> Axes:
    """Draw one statistic in the order of the rows.

    Parameters
    ----------
    values
        The statistic by label; missing ones are left out.
    ylabel, what
        What it is, and of what.
    n_named
        How many of the largest get their label.
    base
        The value that says that nothing changes.
    """
    ax = axes_or_new(ax)
    y = values.to_numpy(dtype=np.float64)
    where = np.arange(len(y))
    ax.vlines(where, base, y, color=PALE, lw=1.4)
    ax.axhline(base, color=PALE, lw=0.9)
    ax.plot(where, y, "o", color=INK, markersize=3.5 if len(y) <= 200 else 2)
    size = np.where(np.isfinite(y), np.abs(y - base), -np.inf)
    largest = [int(i) for i in np.argsort(-size, kind="stable")[:n_named] if np.isfinite(size[i])]
    ax.plot(where[largest], y[largest], "o", color=ACCENT, markersize=5)
    for i in largest:
        ax.annotate(
            str(values.index[i]), (float(where[i]), float(y[i])), xytext=(5, 2),
            textcoords="offset points", fontsize=9, color=ACCENT,
        )  # fmt: skip
    if len(y) <= _MOST_LABELS:
        ax.set_xticks(where, [str(label) for label in values.index], rotation=90, fontsize=7)
    ax.margins(x=0.03, y=0.1)
    return plain(ax, what, ylabel, f"{ylabel} without each {what}")
