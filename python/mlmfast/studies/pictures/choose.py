"""What a picture shows: an estimand, and some of the conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.display.figure import new_figure, series
from mlmfast.errors import DataError
from mlmfast.studies.performance.by_condition import Shown
from mlmfast.studies.plan.identity import cell

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Panels of one picture.
_MOST = 48


def colour(position: int) -> str:
    """Colour of a method by its position."""
    return series(position).colour


def chosen_estimand(result: Shown, estimand: str | None) -> str:
    """The estimand of a picture.

    Raises
    ------
    DataError
        Where the study has none of that name.
    """
    if estimand is None:
        return result.estimands[0]
    if estimand not in result.estimands:
        raise DataError(
            f"estimand is {estimand!r}; the study has {', '.join(map(repr, result.estimands))}"
        )
    return estimand


def chosen_rows(
    frame: pd.DataFrame, result: Shown, where: Mapping[str, Any] | None
) -> pd.DataFrame:
    """Rows of some conditions.

    Raises
    ------
    DataError
        For what is no factor, and where no row is left.
    """
    for name, value in (where or {}).items():
        if name not in result.factors:
            raise DataError(
                f"where: {name!r} is no factor; the study has {', '.join(result.factors)}"
            )
        frame = frame[frame[name] == value]
    if frame.empty:
        raise DataError(f"where={dict(where or {})}: no finished condition is left")
    return frame


def truth_of(result: Shown, condition: Mapping[str, Any], estimand: str) -> float:
    """True value of an estimand in a condition; NaN where unknown."""
    for own, truths in zip(result.plan["conditions"], result.plan["truths"], strict=True):
        if all(_same(cell(own[name]), condition[name]) for name in own):
            value = truths[estimand]
            return np.nan if value is None else float(value)
    return np.nan


def _same(one: Any, other: Any) -> bool:
    """Whether a value of the plan is that of a table, where a missing one is NaN."""
    missing = other is None or other != other
    return missing if one is None else bool(one == other or str(one) == other)


def panels(
    rows: int, columns: int, width: float = 2.6, height: float = 2.4, ax: Any = None
) -> NDArray[Any]:
    """Axes of a picture of several panels, (rows, columns); ``ax`` are those to draw on.

    Raises
    ------
    DataError
        Where they are too many to be seen, or ``ax`` are others in number.
    """
    if ax is not None:
        given = np.ravel(np.asarray(ax, dtype=object))
        if given.size != rows * columns:
            raise DataError(
                f"ax has {given.size} panels and the picture {rows} x {columns}; choose conditions "
                "by where=, or leave ax out"
            )
        return given.reshape(rows, columns)
    if rows * columns > _MOST:
        raise DataError(
            f"the picture would have {rows} x {columns} panels; choose some conditions by where="
        )
    axes = new_figure(rows, columns, (max(4.0, width * columns), max(3.0, height * rows)))[1]
    out: NDArray[Any] = np.array(axes, dtype=object).reshape(rows, columns)
    return out


def legend(axes: NDArray[Any], given: Any) -> None:
    """Name the methods: beside a figure of our own, in the first of panels that were ``given``."""
    first = axes.ravel()[0]
    if given is not None:
        first.legend(fontsize=8, frameon=False)
        return
    handles, names = first.get_legend_handles_labels()
    first.get_figure().legend(handles, names, fontsize=8, frameon=False, loc="outside right upper")
