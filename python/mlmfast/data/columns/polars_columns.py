"""Columns of a polars DataFrame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray, in_line
from mlmfast.data.columns import Kind, unusable
from mlmfast.data.columns.elapsed import Elapsed, elapsed_in_polars
from mlmfast.data.factor import (
    Factor,
    code_integers,
    drop_unused_levels,
    factor_from_categories,
    factor_from_floats,
    factor_from_integers,
    factor_from_logicals,
    factor_from_spans,
    factor_from_uniques,
    spread_factor,
)

#: Integers of 128 bits, which not every polars has.
_WIDE = tuple(getattr(pl, name) for name in ("Int128", "UInt128") if hasattr(pl, name))


class PolarsColumns:
    """Columns of a polars DataFrame."""

    def __init__(self, data: pl.DataFrame) -> None:
        self._data = data
        self.names = tuple(data.columns)
        self.n_rows = data.height

    def dtype_name(self, name: str) -> str:
        """Type of the column, as polars prints it."""
        return str(self._data.schema[name])

    def kind(self, name: str) -> Kind:
        """Whether the column is a number, a category, a date or something else."""
        dtype = self._data.schema[name]
        if dtype.is_numeric() or dtype == pl.Null:
            return "number"
        # Of the base: a Categorical with named Categories equals no other.
        if dtype.base_type() in (pl.String, pl.Boolean, pl.Categorical, pl.Enum):
            return "category"
        return "date" if dtype.is_temporal() else "other"

    def numbers(self, name: str) -> FloatArray:
        """Values as float64, NaN where missing; the frame's own memory if it holds float64."""
        column = self._data.get_column(name)
        if self.kind(name) != "number" and column.dtype != pl.Boolean:
            raise unusable(self, name, "a number")
        if column.dtype != pl.Float64:
            column = column.cast(pl.Float64)
        return in_line(column.to_numpy())

    def integers(self, name: str) -> NDArray[np.integer] | None:
        """Values as they lie in memory; None unless every row has an integer."""
        column = self._data.get_column(name)
        if not column.dtype.is_integer() or column.dtype in _WIDE or column.null_count():
            return None
        return np.asarray(column.to_numpy())

    def factor(self, name: str) -> Factor:
        """Values as a factor; an Enum keeps its order, anything else polars sorts."""
        column = self._data.get_column(name)
        if self.kind(name) == "other":
            raise unusable(self, name, "a factor")
        if column.dtype.base_type() is pl.Duration:
            return factor_from_spans(_spans(column))
        if column.dtype.is_temporal():
            column = column.cast(pl.String)
        if column.dtype == pl.Enum:
            return _factor_of_enum(column)
        if column.dtype.is_float() or column.dtype.is_decimal() or column.dtype == pl.Null:
            return factor_from_floats(self.numbers(name))
        if column.null_count() == 0:
            return _factor_of_present(column)
        missing = column.is_null().to_numpy()
        return spread_factor(_factor_of_present(column.drop_nulls()), missing)

    def elapsed(self, name: str) -> Elapsed:
        """Times of a column of dates, times or spans."""
        return elapsed_in_polars(self._data.get_column(name))


def _spans(column: pl.Series) -> NDArray[np.timedelta64]:
    """A Duration column as NumPy has it, NaT where missing.

    By its counts: the first releases of polars 1 fail at `to_numpy` where some are missing.
    """
    assert isinstance(column.dtype, pl.Duration)
    counts = column.to_physical()
    unit = f"m8[{column.dtype.time_unit or 'us'}]"
    spans = counts.fill_null(0).to_numpy().astype(np.int64).view(unit)
    spans[counts.is_null().to_numpy()] = np.timedelta64("NaT")
    return np.asarray(spans)


def _factor_of_enum(column: pl.Series) -> Factor:
    codes = column.to_physical().cast(pl.Int32).fill_null(-1).to_numpy()
    assert isinstance(column.dtype, pl.Enum)
    return factor_from_categories(codes, np.array(column.dtype.categories.to_list(), dtype=object))


def _factor_of_present(column: pl.Series) -> Factor:
    if column.dtype == pl.Boolean:
        return drop_unused_levels(factor_from_logicals(column.to_numpy()))
    if column.dtype.is_integer():
        column = _within_64_bits(column)
        if column.dtype.base_type() in _WIDE:
            codes, distinct = pd.factorize(np.array(column.to_list(), dtype=object))
            return factor_from_uniques(codes, np.asarray(distinct))
        return factor_from_integers(column.to_numpy())
    return _factor_of_strings(column)


def _factor_of_strings(column: pl.Series) -> Factor:
    """Code strings by polars' own category codes, whose order says nothing."""
    physical = _as_categorical(column).to_physical().to_numpy()
    distinct, codes = code_integers(physical)
    row_of_level = np.empty(distinct.size, dtype=np.int64)
    row_of_level[codes] = np.arange(codes.size)
    levels = column.gather(row_of_level)
    order = levels.arg_sort()
    rank = np.empty(distinct.size, dtype=np.int32)
    rank[order.to_numpy()] = np.arange(distinct.size, dtype=np.int32)
    labels = levels.gather(order).cast(pl.String).to_list()
    return Factor(rank[codes], tuple(labels), np.array(labels, dtype=object))


def _within_64_bits(column: pl.Series) -> pl.Series:
    """Integers of 128 bits as 64, where all of them fit; NumPy has none of 128."""
    if column.dtype.base_type() not in _WIDE:
        return column
    narrow = column.cast(pl.Int64, strict=False)
    return column if narrow.null_count() else narrow


def _as_categorical(column: pl.Series) -> pl.Series:
    if column.dtype.base_type() is pl.Categorical:
        return column
    # Categories of its own: those of the default Categorical live, and grow, with the process.
    own = pl.Categorical(pl.Categories.random()) if hasattr(pl, "Categories") else pl.Categorical
    return column.cast(own)
