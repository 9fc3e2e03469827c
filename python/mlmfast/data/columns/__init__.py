"""Columns of a data frame as numbers or as factors, one module per data frame library.

Each library is asked in its own way, because a general way copies every column and costs more
per column than fitting a small model does.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray
from mlmfast.data.columns.elapsed import Elapsed
from mlmfast.data.factor import Factor, are_texts
from mlmfast.errors import DataError

Kind: TypeAlias = Literal["number", "category", "date", "other"]

#: Beside a field of Arrow whose dictionary only saves room: its values are plain text.
TEXT_ONLY = b"mlmfast:text"

_ADVICE = {
    "category": "convert it to numbers, or use it as a factor",
    "date": "convert it to a number first, for example days since the first date",
    "other": "convert it to numbers or to text first",
    "number": "convert it first",
}


class Columns(Protocol):
    """What the rest of the package asks of a table."""

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, in order, repeated where the table repeats them."""

    @property
    def n_rows(self) -> int:
        """Number of rows."""

    def kind(self, name: str) -> Kind:
        """Whether the column is a number, a category, a date or something else."""

    def dtype_name(self, name: str) -> str:
        """Type of the column, as its library prints it."""

    def numbers(self, name: str) -> FloatArray:
        """Values as float64, NaN where missing; the table's own memory where possible."""

    def factor(self, name: str) -> Factor:
        """Values as a factor."""

    def elapsed(self, name: str) -> Elapsed:
        """Times of a column of dates."""


def integers_of(columns: Columns, name: str) -> NDArray[np.integer] | None:
    """A column of integers with a value in every row, as it lies in memory; None for any other.

    Libraries whose tables say so have a method for it.
    """
    own = getattr(columns, "integers", None)
    values: NDArray[np.integer] | None = None if own is None else own(name)
    return values


def unusable(columns: Columns, name: str, role: str) -> DataError:
    """Error for a column that cannot be used as `role` ("a number", "a factor")."""
    advice = _ADVICE[columns.kind(name)]
    return DataError(
        f"column {name!r} has type {columns.dtype_name(name)} and "
        f"cannot be used as {role}; {advice}"
    )


def check_distinct(name: str, factor: Factor) -> Factor:
    """Refuse a factor two of whose levels have the same text, such as 1 and "1"."""
    # Texts that differ are levels that read differently.
    if are_texts(factor.values) or len(set(factor.levels)) == factor.n_levels:
        return factor
    twice = next(level for level, count in Counter(factor.levels).items() if count > 1)
    values = [v for v, t in zip(factor.values.tolist(), factor.levels, strict=True) if t == twice]
    raise DataError(
        f"column {name!r} has {len(values)} levels that read {twice!r} "
        f"({', '.join(map(repr, values))}); make them one, or tell them apart by their text"
    )
