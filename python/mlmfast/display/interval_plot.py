"""Pictures of estimated marginal means and of their contrasts, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.errors import ModelError

if TYPE_CHECKING:
    from mlmfast.inference.emmeans.means import EMMeans
    from mlmfast.inference.emmeans.tables import Contrasts


def plot_means(means: EMMeans | Contrasts, ax: Any = None) -> Any:
    """Draw estimates as points with intervals, one panel for each combination of `by`.

    Contrasts have a line at 0, where nothing differs.

    Parameters
    ----------
    means
        The means, or contrasts of them.
    ax
        Axes to draw in; only where there is no `by`.

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
    groups = means._functions.groups()
    if ax is not None and len(groups) > 1:
        raise ModelError(f"ax is one panel and by has {len(groups)}; leave ax out")
    rows = max(len(k) for _, k in groups)
    if ax is None:
        figure, axes = plt.subplots(
            len(groups),
            1,
            sharex=True,
            squeeze=False,
            layout="constrained",
            figsize=(6.0, 0.9 + len(groups) * (0.45 + 0.32 * rows)),
        )
        panels = axes[:, 0]
    else:
        figure, panels = ax.figure, np.array([ax])
    for (key, k), panel in zip(groups, panels, strict=True):
        title = ", ".join(f"{n} = {label}" for n, label in zip(means.by, key, strict=True))
        _draw(means, k, panel, title)
    what = "estimated marginal mean" if _column(means) == "emmean" else "contrast"
    panels[-1].set_xlabel(f"{what}, {100 * means.level:g}% interval")
    return figure


def _column(means: EMMeans | Contrasts) -> str:
    return "emmean" if "emmean" in means.frame.columns else "estimate"


def _draw(means: EMMeans | Contrasts, rows: Any, panel: Any, title: str) -> None:
    frame = means.frame.iloc[rows]
    own = means._functions.own_labels
    # The first level stands at the top.
    height = np.arange(len(frame))[::-1]
    panel.hlines(height, frame["lower"], frame["upper"], color="C0", alpha=0.35, linewidth=6)
    column = _column(means)
    if column == "estimate":
        panel.axvline(0.0, color="0.4", linewidth=1.0, linestyle="--")
    panel.plot(frame[column], height, "o", color="C0")
    panel.set_yticks(height, frame[own].astype(str).agg(", ".join, axis=1))
    panel.set_ylim(-0.7, len(frame) - 0.3)
    panel.set_ylabel(", ".join(own))
    panel.grid(axis="x", alpha=0.3)
    if title:
        panel.set_title(title, fontsize="medium")
