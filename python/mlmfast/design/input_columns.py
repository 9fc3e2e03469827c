"""Columns and arrays that a model reads, and the rows that have all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, unmasked
from mlmfast.data.columns.labelled_rows import in_order_of
from mlmfast.data.frame import Frame
from mlmfast.design.residual.scale import ScaleFormula
from mlmfast.errors import DataError
from mlmfast.formula.mixed_formula import MixedFormula
from mlmfast.formula.residual_formula import ResidualFormula

ColumnOrArray = Any  # a column name, or anything NumPy makes an array of


def variables_used(
    parsed: MixedFormula,
    within: ResidualFormula | None,
    scale: ScaleFormula | None,
    arguments: Iterable[ColumnOrArray],
) -> list[str]:
    """Columns of the data that a model reads; ``arguments`` may name some."""
    names = list(parsed.variables) + ([] if within is None else list(within.variables))
    names += [] if scale is None else list(scale.variables)
    return names + [column for column in arguments if isinstance(column, str)]


def input_column(column: ColumnOrArray, role: str, frame: Frame) -> str | FloatArray | None:
    """Return an argument that is a column name or one number a row; the array is checked."""
    if column is None or isinstance(column, str):
        return column
    column = in_order_of(frame.index, column, role)
    try:
        values = np.ascontiguousarray(unmasked(column), dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{role} must be a column name or an array of numbers") from None
    if values.shape != (frame.n_rows,):
        raise DataError(
            f"{role} has shape {values.shape}; one number for each of the {frame.n_rows} rows of "
            "the data is needed"
        )
    return values


def rows_of(
    column: str | FloatArray | None, frame: Frame, used: BoolArray | None
) -> FloatArray | None:
    """Values of an argument at the rows used, of which ``frame`` has no others."""
    if isinstance(column, str):
        return frame.numeric(column)
    return column if column is None or used is None else column[used]


def complete_rows(
    frame: Frame, names: Iterable[str], arrays: Mapping[str, FloatArray | None], na_action: str
) -> BoolArray | None:
    """Rows without a missing value in any variable used; None for all rows."""
    missing: BoolArray | None = None
    masks = [(f"column {name!r}", frame.missing(name)) for name in names]
    masks += [(role, _missing(values)) for role, values in arrays.items()]
    for what, mask in masks:
        if mask is None:
            continue
        if na_action == "raise":
            place = frame.place(int(mask.argmax()))
            where = "" if place is None else f", the first in {place}"
            raise DataError(
                f"{what} has {int(mask.sum())} missing values{where}; remove them, or use "
                "na_action='drop'"
            )
        if mask.all():
            raise DataError(f"{what} has no value that is not missing")
        missing = mask if missing is None else missing | mask
    if missing is None:
        return None
    if missing.all():
        listing = ", ".join(dict.fromkeys([*names, *arrays]))
        raise DataError(
            "no rows are left: every row has a missing value in some variable of the model "
            f"({listing})"
        )
    return ~missing


def _missing(values: FloatArray | None) -> BoolArray | None:
    """Which values are missing; None where none is."""
    return None if values is None or not np.isnan(values).any() else np.isnan(values)


def label_of(column: str | FloatArray | None, role: str) -> str:
    """How messages call an argument: by its column's name, if it has one."""
    return column if isinstance(column, str) else role
