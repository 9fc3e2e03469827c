"""Values that are no numbers, told of by the name of what holds them."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.errors import DataError


def _sum_of_squares(values: FloatArray) -> float:
    # Squares of 1e200 overflow; that is no fault of the data.
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.dot(values, values))


def row_of_table(position: int, used: BoolArray | None) -> int:
    """The row of the user's table, counted from 0, that is one of those used.

    Examples
    --------
    >>> row_of_table(1, np.array([True, False, True])), row_of_table(1, None)
    (2, 1)
    """
    return int(position if used is None else np.flatnonzero(used)[position])


def check_finite(name: str, values: FloatArray, used: BoolArray | None = None) -> None:
    """Refuse infinite values; missing ones (NaN) are not looked at.

    ``used`` says which rows of the user's table the values are of; None for all.

    Examples
    --------
    >>> check_finite("x", np.array([1.0, np.nan]))
    """
    # A finite sum of squares says that every value is: far cheaper than looking at each.
    if np.isfinite(_sum_of_squares(values)):
        return
    infinite = np.isinf(values)
    if infinite.any():
        row = row_of_table(int(np.argmax(infinite)), used)
        count = int(np.count_nonzero(infinite))
        raise DataError(
            f"{name!r} has {count} infinite value{'s' if count > 1 else ''} (first in row {row}); "
            "remove those rows or mark the values as missing"
        )


def check_weights(
    values: FloatArray | None, name: str = "weights", used: BoolArray | None = None
) -> FloatArray | None:
    """Refuse weights that are missing, infinite, zero or negative."""
    if values is None:
        return None
    if np.isnan(values).any():
        raise DataError(f"{name} has missing values; give every row a positive weight")
    check_finite(name, values, used)
    if values.min() <= 0:
        raise DataError(
            f"weights must be positive, the smallest of {name} is {values.min():g}; drop rows that "
            "should not count"
        )
    return values
