"""Pictures of estimates with intervals: estimated marginal means, contrasts of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.errors import ModelError


def interval_plot(
    panels: Sequence[tuple[str, pd.DataFrame]],
    estimate: str,
    labels: list[str],
    xlabel: str,
    ax: Any = None,
    null: float | None = None,
) -> Any:
    """Draw estimates as points with intervals, one panel for each combination of `by`.

    Parameters
    ----------
    panels
        Title and rows of each panel, with the columns ``lower`` and ``upper``.
    estimate, labels
        The column of the estimates, and those that name the rows.
    xlabel
        What the estimates are.
    ax
        Axes to draw in; only for a single panel.
    null
        Where to draw a line at which nothing differs; None for no line.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ModelError
        Where matplotlib is not there, or axes are given for several panels.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ModelError("plots need matplotlib; install mlmfast[plot]") from None
    if ax is not None and len(panels) > 1:
        raise ModelError(f"ax is one panel and by has {len(panels)}; leave ax out")
    rows = max(len(frame) for _, frame in panels)
    if ax is None:
        figure, axes = plt.subplots(
            len(panels),
            1,
            sharex=True,
            squeeze=False,
            layout="constrained",
            figsize=(6.0, 0.9 + len(panels) * (0.45 + 0.32 * rows)),
        )
        drawn = axes[:, 0]
    else:
        figure, drawn = ax.figure, np.array([ax])
    for (title, frame), panel in zip(panels, drawn, strict=True):
        if null is not None:
            panel.axvline(null, color="0.4", linewidth=1.0, linestyle="--")
        _draw(frame, estimate, labels, panel)
        if title:
            panel.set_title(title, fontsize="medium")
    drawn[-1].set_xlabel(xlabel)
    return figure


def _draw(frame: pd.DataFrame, estimate: str, labels: list[str], panel: Any) -> None:
    # The first level stands at the top.
    height = np.arange(len(frame))[::-1]
    panel.hlines(height, frame["lower"], frame["upper"], color="C0", alpha=0.35, linewidth=6)
    panel.plot(frame[estimate], height, "o", color="C0")
    panel.set_yticks(height, frame[labels].astype(str).agg(", ".join, axis=1))
    panel.set_ylim(-0.7, len(frame) - 0.3)
    panel.set_ylabel(", ".join(labels))
    panel.grid(axis="x", alpha=0.3)
