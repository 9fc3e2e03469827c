"""Replicates of a bootstrap as histograms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlmfast.display.figure import ACCENT, INK, PALE, panels, plain


def bootstrap_plot(
    replicates: pd.DataFrame,
    estimates: pd.Series[float],
    limits: pd.DataFrame,
    interval: str,
    ax: Any = None,
) -> Any:
    """One panel a parameter: its replicates, its estimate (line) and its interval (dashed).

    Parameters
    ----------
    replicates
        A column a parameter; missing values are left out.
    estimates
        By parameter.
    limits
        ``lower`` and ``upper`` by parameter.
    interval
        What the limits are, for the titles.
    ax
        Axes, one a parameter.
    """
    drawn = panels(len(estimates), ax, what="choose parameters by which=")
    for name, panel in zip(estimates.index, drawn, strict=True):
        values = replicates[name].to_numpy(dtype=np.float64)
        values = values[np.isfinite(values)]
        if values.size:
            bins = int(np.clip(2.0 * values.size ** (1.0 / 3.0), 5, 40))
            panel.hist(values, bins=bins, color=PALE, edgecolor="white", lw=0.4)
        panel.axvline(float(estimates[name]), color=INK, lw=1.6)
        for limit in limits.loc[name]:
            if np.isfinite(limit):
                panel.axvline(limit, color=ACCENT, lw=1.2, linestyle="--")
        plain(panel, str(name), "samples", interval)
        panel.title.set_fontsize(9)
    return drawn
