"""Columns as they were read from a table, without the table: what a pickled fit keeps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.columns import Columns, Kind, unusable
from mlmfast.data.columns.elapsed import Elapsed
from mlmfast.data.factor import Factor, factor_from_floats
from mlmfast.errors import DataError


class ReadColumns:
    """The columns of another table that have been read, as numbers, as factors, as times.

    Parameters
    ----------
    columns
        The table.
    numbers, factors, times
        What was read, by column.

    Examples
    --------
    >>> from mlmfast.data.columns.pandas_columns import PandasColumns
    >>> table = PandasColumns.from_mapping({"x": [2.0, 1.0], "unused": [1, 2]})
    >>> read = ReadColumns(table, {"x": table.numbers("x")}, {})
    >>> read.names, read.kind("x"), read.factor("x").levels
    (('x',), 'number', ('1', '2'))
    """

    def __init__(
        self,
        columns: Columns,
        numbers: Mapping[str, FloatArray],
        factors: Mapping[str, Factor],
        times: Mapping[str, Elapsed] | None = None,
    ) -> None:
        self.names = tuple(name for name in columns.names if name in numbers or name in factors)
        self.n_rows = columns.n_rows
        self._numbers, self._factors, self._times = dict(numbers), dict(factors), dict(times or {})
        self._kinds = {name: columns.kind(name) for name in self.names}
        self._types = {name: columns.dtype_name(name) for name in self.names}

    def kind(self, name: str) -> Kind:
        """Whether the column is a number, a category, a date or something else."""
        return self._kinds[name]

    def dtype_name(self, name: str) -> str:
        """Type of the column, as its library printed it."""
        return self._types[name]

    def numbers(self, name: str) -> FloatArray:
        """Values as float64, NaN where missing."""
        if name in self._numbers:
            return self._numbers[name]
        factor = self._factors[name]
        if factor.values.dtype.kind not in "fiub":
            raise unusable(self, name, "a number")
        return np.append(factor.values.astype(np.float64), np.nan)[factor.codes]

    def factor(self, name: str) -> Factor:
        """Values as a factor."""
        if name in self._factors:
            return self._factors[name]
        if self.kind(name) != "number":
            raise DataError(f"column {name!r} was read as numbers; give its levels as newdata")
        return factor_from_floats(self._numbers[name])

    def elapsed(self, name: str) -> Elapsed:
        """Times of a column of dates."""
        if name not in self._times:
            raise DataError(f"column {name!r} was read as levels; give its times as newdata")
        return self._times[name]
