"""A picture of a curve with its bands."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mlmfast.display.figure import ACCENT, INK, PALE, axes_or_new, plain


def curve_picture(frame: pd.DataFrame, label: str, ax: Any = None) -> Any:
    """Draw a table of `Smooth.curve`; the axes."""
    ax = axes_or_new(ax)
    name = str(frame.columns[0])
    x = frame[name].to_numpy()
    ax.fill_between(x, frame["lower"], frame["upper"], color=PALE, alpha=0.6, linewidth=0)
    ax.plot(x, frame["estimate"], color=INK)
    for edge in ("lower_simultaneous", "upper_simultaneous"):
        ax.plot(x, frame[edge], color=ACCENT, linewidth=0.8, linestyle="--")
    return plain(ax, name, label)
