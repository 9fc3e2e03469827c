"""Matrices as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.display.figure import ACCENT, INK, axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Rows up to which entries are written into their cells, and rows and columns named.
_WRITTEN, _NAMED = 12, 40
#: Characters of a cell's number.
_DIGITS = 3


def heat_map(
    matrix: pd.DataFrame,
    title: str,
    ax: Any = None,
    *,
    largest: float | None = None,
    xlabel: str = "",
    ylabel: str = "",
) -> Axes:
    """Draw a matrix: white is 0, ink positive, the accent negative; small ones with their numbers.

    Parameters
    ----------
    matrix
        Its row and column labels are those of the picture.
    title
        What it is.
    largest
        The absolute value that is drawn darkest; that of the matrix by default.
    """
    values = matrix.to_numpy(dtype=np.float64)
    drawn = axes_or_new(ax, _size(values.shape))
    finite = values[np.isfinite(values)]
    top = float(np.abs(finite).max(initial=0.0)) if largest is None else largest
    top = top or 1.0
    image = drawn.imshow(values, cmap=_colours(), vmin=-top, vmax=top, aspect="auto")
    if values.shape[0] == values.shape[1]:
        drawn.set_aspect("equal")
    if max(values.shape) <= _WRITTEN:
        _write(drawn, values, top)
    elif drawn.figure is not None:
        lower = -top if finite.min(initial=0.0) < 0 else 0.0
        bar = drawn.figure.colorbar(image, ax=drawn, shrink=0.8)
        bar.ax.set_ylim(lower, top)
    _name(drawn, matrix)
    for side in ("top", "right", "left", "bottom"):
        drawn.spines[side].set_visible(False)
    drawn.tick_params(length=0)
    drawn.set(xlabel=xlabel, ylabel=ylabel)
    drawn.set_title(title, fontsize=11)
    return drawn


def _size(shape: tuple[int, ...]) -> tuple[float, float]:
    rows, columns = shape
    return (min(2.0 + 0.5 * columns, 6.4), min(1.6 + 0.45 * rows, 5.6))


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("mlmfast", [ACCENT, "#ffffff", INK])


def _write(ax: Axes, values: np.ndarray[Any, Any], top: float) -> None:
    size = 9 if max(values.shape) <= 6 else 7
    known = values[np.isfinite(values)]
    whole = bool((known == np.round(known)).all()) and np.abs(known).max(initial=0.0) < 1e5
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            text = f"{value:.0f}" if whole else _number(float(value))
            colour = "white" if abs(value) > 0.55 * top else "#222222"
            ax.text(j, i, text, ha="center", va="center", fontsize=size, color=colour)


def _number(value: float) -> str:
    """Three digits, a true minus, and no more zeros than are known."""
    if value == 0.0:
        return "0"
    places = max(0, _DIGITS - 1 - int(np.floor(np.log10(abs(value)))))
    text = f"{value:.{min(places, 2)}f}" if 1e-2 <= abs(value) < 1e5 else f"{value:.1e}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if value < 0 else text


def _name(ax: Axes, matrix: pd.DataFrame) -> None:
    if len(matrix.columns) <= _NAMED:
        long = max((len(str(label)) for label in matrix.columns), default=0) > 4
        size = 9 if len(matrix.columns) <= _WRITTEN else 6
        ax.set_xticks(range(len(matrix.columns)), [_label(c) for c in matrix.columns],
                      rotation=90 if long else 0, fontsize=size)  # fmt: skip
    else:
        ax.set_xticks([])
    if len(matrix.index) <= _NAMED:
        size = 9 if len(matrix.index) <= _WRITTEN else 6
        ax.set_yticks(range(len(matrix.index)), [_label(r) for r in matrix.index], fontsize=size)
    else:
        ax.set_yticks([])


def _label(label: object) -> str:
    return " ".join(map(str, label)) if isinstance(label, tuple) else str(label)
