"""Pictures of estimates with intervals: estimated marginal means, contrasts of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.display.figure import ACCENT, INK, PALE, new_figure, panels, plain


def interval_plot(
    families: Sequence[tuple[str, pd.DataFrame]],
    estimate: str,
    labels: list[str],
    xlabel: str,
    ax: Any = None,
    null: float | None = None,
) -> Any:
    """Draw estimates as points with intervals, one panel for each combination of `by`.

    Parameters
    ----------
    families
        Title and rows of each panel, with the columns ``lower`` and ``upper``.
    estimate, labels
        The column of the estimates, and those that name the rows.
    xlabel
        What the estimates are.
    ax
        Axes to draw in, one a panel.
    null
        Where to draw a line at which nothing differs; None for no line.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ModelError
        Where axes are given for another number of panels.
    """
    n = len(families)
    if ax is None:
        rows = max(len(frame) for _, frame in families)
        size = (6.4, 0.9 + n * (0.45 + 0.32 * rows))
        drawn = np.ravel(np.asarray(new_figure(n, 1, size)[1], dtype=object))
        for panel in drawn[:-1]:
            panel.sharex(drawn[-1])
            panel.tick_params(labelbottom=False)
    else:
        drawn = panels(n, ax, what="leave ax out")
    for (title, frame), panel in zip(families, drawn, strict=True):
        if null is not None:
            panel.axvline(null, color=ACCENT, lw=0.9)
        _draw(frame, estimate, labels, panel)
        ylabel = "" if labels == ["contrast"] else ", ".join(labels)
        plain(panel, xlabel if panel is drawn[-1] else "", ylabel, title)
    return drawn[0].figure


def _draw(frame: pd.DataFrame, estimate: str, labels: list[str], panel: Any) -> None:
    # The first level stands at the top.
    height = np.arange(len(frame))[::-1]
    panel.hlines(height, frame["lower"], frame["upper"], color=PALE, lw=3)
    panel.plot(frame[estimate], height, "o", color=INK, markersize=5)
    panel.set_yticks(height, frame[labels].astype(str).agg(", ".join, axis=1))
    panel.set_ylim(-0.7, len(frame) - 0.3)
