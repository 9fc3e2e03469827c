"""Figures: how matplotlib is asked for, and the colours of all plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlmfast.errors import MlmError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f3b57"
ACCENT = "#b5432a"
PALE = "#9db4c8"


def new_figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.4, 4.8)) -> Any:
    """Figure and axes (an array where there are several).

    Raises
    ------
    MlmError
        Where matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError:
        raise MlmError(
            'plot needs matplotlib, which is not installed; run: pip install "mlmfast[plot]"'
        ) from None
    figure: Figure
    figure, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained")
    return figure, axes


def axes_or_new(ax: Axes | None) -> Axes:
    """The axes given, or those of a new figure."""
    if ax is not None:
        return ax
    axes: Axes = new_figure()[1]
    return axes


def plain(ax: Axes, x: str, y: str, title: str = "") -> Axes:
    """Label the axes and take away what carries no information."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title, fontsize=11)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax
