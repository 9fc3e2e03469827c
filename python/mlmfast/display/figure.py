"""Figures: how matplotlib is asked for, and the one style of all pictures.

Ink, accent and pale differ in lightness, series in dashes and markers too: a picture printed in
grey says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlmfast.errors import MlmError, ModelError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

INK = "#1f3b57"
ACCENT = "#b5432a"
PALE = "#9db4c8"
#: Points of a picture at most; of more every k-th is drawn.
MOST_POINTS = 20_000


class Series(NamedTuple):
    """How one of several series is drawn."""

    colour: str
    dash: str | tuple[int, tuple[int, ...]]
    marker: str


_SERIES = (
    Series(INK, "-", "o"),
    Series(ACCENT, (0, (6, 2)), "s"),
    Series("#6f9bc4", "-", "^"),
    Series("#c08a2d", (0, (2, 1)), "D"),
    Series("#4f8a5b", (0, (7, 2, 1, 2)), "v"),
    Series("#8a6fae", (0, (1, 1)), "P"),
    Series("#7a5c4a", (0, (4, 1, 1, 1, 1, 1)), "X"),
    Series("#555555", "-", "*"),
)


def series(position: int) -> Series:
    """How the series at a position is drawn: colour, dash, marker."""
    return _SERIES[position % len(_SERIES)]


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


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (6.4, 4.8)) -> Axes:
    """The axes given, or those of a new figure."""
    if ax is not None:
        return one_axes(ax)
    axes: Axes = new_figure(size=size)[1]
    return axes


def one_axes(ax: Any) -> Axes:
    """Axes of matplotlib, a single one.

    Raises
    ------
    ModelError
        For anything else.
    """
    found = np.ravel(np.asarray(ax, dtype=object))
    if found.size != 1 or not hasattr(found[0], "set_xlabel"):
        raise ModelError(f"ax is {_kind(ax)}; give one axes of matplotlib, or leave ax out")
    axes: Axes = found[0]
    return axes


def panels(
    n: int,
    ax: Any = None,
    *,
    columns: int = 3,
    width: float = 3.4,
    height: float = 2.9,
    what: str = "",
) -> NDArray[np.object_]:
    """Axes of n panels: those given, or new ones.

    Parameters
    ----------
    n
        Panels needed.
    ax
        One axes, or as many as there are panels; new ones by default.
    columns, width, height
        Panels of a row at most, and inches of each.
    what
        What to do about too many, for the message.

    Raises
    ------
    ModelError
        For axes of another number.
    """
    if ax is not None:
        given = np.ravel(np.asarray(ax, dtype=object))
        if given.size != n or not all(hasattr(one, "set_xlabel") for one in given):
            found = "one panel" if given.size == 1 else f"{given.size} panels"
            hint = f"; {what}" if what else ""
            raise ModelError(f"ax is {found} and the picture has {n}{hint}")
        return given
    across = min(n, columns)
    down = -(-n // across)
    size = (max(width * across, 4.8), max(height * down, 2.6))
    every = np.ravel(np.asarray(new_figure(down, across, size)[1], dtype=object))
    for spare in every[n:]:
        spare.set_visible(False)
    return every[:n]


def _kind(ax: Any) -> str:
    n = int(np.size(np.asarray(ax, dtype=object)))
    return f"{n} axes" if n != 1 else repr(type(ax).__name__)


def plain(ax: Axes, x: str, y: str, title: str = "") -> Axes:
    """Label the axes and take away what carries no information."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title, fontsize=11)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def legend_of(ax: Axes, title: str = "", **where: Any) -> None:
    """The legend as all pictures have it."""
    ax.legend(title=title or None, frameon=False, fontsize=9, **where)


def thinned(n: int, most: int = MOST_POINTS) -> slice:
    """Every k-th of n rows, so that about ``most`` are left."""
    return slice(None, None, max(1, n // most))


def level_ticks(ax: Axes, labels: Sequence[str], long: int = 28) -> None:
    """Levels along the horizontal axis, turned where they would run into each other."""
    ax.set_xticks(range(len(labels)), list(labels))
    if sum(len(label) for label in labels) > long:
        ax.tick_params(axis="x", rotation=20)
    ax.set_xlim(-0.6, len(labels) - 0.4)
