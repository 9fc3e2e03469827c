"""Pictures of the p-values of pairs of means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import ModelError

#: p-values that have a tick, and the smallest that is told from 0.
_TICKS = (0.001, 0.01, 0.05, 0.1, 0.5, 1.0)
_LEAST = 1e-4

Panel = tuple[str, Sequence[str], FloatArray, FloatArray]


def pair_plot(panels: Sequence[Panel], label: str, adjust: str, ax: Any = None) -> Any:
    """Draw a line between two means at the p-value of their difference.

    Parameters
    ----------
    panels
        Title, names and values of the means, and p of their pairs in the order (0, 1), (0, 2), ...
    label
        What the means are of.
    adjust
        Adjustment of the p-values.
    ax
        Axes to draw in; only for a single panel.

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
        raise ModelError(f"ax is one panel and there are {len(panels)} families; leave ax out")
    if ax is None:
        rows = max(len(names) for _, names, _, _ in panels)
        size = (6.0, 0.9 + len(panels) * (0.5 + 0.4 * rows))
        figure, axes = plt.subplots(
            len(panels), 1, sharex=True, squeeze=False, layout="constrained", figsize=size
        )
        drawn = axes[:, 0]
    else:
        figure, drawn = ax.figure, np.array([ax])
    for (title, names, values, p), panel in zip(panels, drawn, strict=True):
        _draw(names, values, p, panel)
        panel.set_ylabel(label)
        if title:
            panel.set_title(title, fontsize="medium")
    how = "" if adjust == "none" else f", adjusted: {adjust}"
    drawn[-1].set_xlabel(f"p value of the difference{how}")
    return figure


def _draw(names: Sequence[str], values: FloatArray, p: FloatArray, panel: Any) -> None:
    k = len(names)
    height = np.empty(k)
    height[np.argsort(values, kind="stable")] = np.arange(k)
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    for colour, ((i, j), own) in enumerate(zip(pairs, p.tolist(), strict=True)):
        if np.isfinite(own):
            x = max(own, _LEAST)
            panel.plot([x, x], [height[i], height[j]], "-o", color=f"C{colour % 10}", ms=4)
    panel.axvline(0.05, color="0.4", linewidth=1.0, linestyle="--")
    panel.set_xscale("log")
    panel.set_xlim(_LEAST / 1.3, 1.3)
    panel.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    shown = [f"{name}  {value:.4g}" for name, value in zip(names, values, strict=True)]
    panel.set_yticks(height, shown)
    panel.set_ylim(-0.7, k - 0.3)
    panel.grid(axis="x", alpha=0.3)
