"""The user's data: columns by name, as numbers or as factors.

The only place, with `mlmfast.data.columns`, that sees a data frame.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.data.columns import Columns, check_distinct, integers_of
from mlmfast.data.columns.elapsed import Elapsed
from mlmfast.data.columns.pandas_columns import PandasColumns, index_of
from mlmfast.data.columns.read_columns import ReadColumns
from mlmfast.data.factor import Factor
from mlmfast.data.statistics import KnownStatistics
from mlmfast.errors import DataError
from mlmfast.handed_out import read_only

__all__ = ["Factor", "Frame"]

_LONGEST_LISTING = 20


class Frame:
    """Columns of the user's data by name, and the rows of them that are in use.

    Made by `Frame.from_native`. What is read from a column is kept, so that a column that stands
    in several terms is converted once.

    Examples
    --------
    >>> frame = Frame.from_native({"x": [1.0, 2.5], "g": ["b", "a"]})
    >>> frame.numeric("x")
    array([1. , 2.5])
    >>> frame.factor("g").levels
    ('a', 'b')
    """

    def __init__(self, source: _Source, rows: BoolArray | None = None) -> None:
        self._source = source
        self._rows = rows
        self._numeric: dict[str, FloatArray] = {}
        self._factor: dict[str, Factor] = {}
        #: Of columns of numbers, as they are handed out.
        self.statistics = KnownStatistics()
        self.n_rows = source.columns.n_rows if rows is None else int(np.count_nonzero(rows))

    @classmethod
    def from_native(cls, data: object) -> Frame:
        """Read a pandas, polars or pyarrow frame, any other that narwhals reads, or a dict.

        Parameters
        ----------
        data : data frame, or mapping of names to arrays or lists
            A lazy frame is collected.

        Returns
        -------
        Frame

        Examples
        --------
        >>> import pandas as pd
        >>> Frame.from_native(pd.DataFrame({"a": [1, 2]})).columns
        ('a',)
        """
        if isinstance(data, Frame):
            return data
        return cls._of(_read(data))

    @classmethod
    def of_columns(cls, columns: Columns, namespace: ModuleType) -> Frame:
        """A frame of columns read elsewhere; new frames are made by the library given."""
        return cls._of(_Source(columns, namespace, None))

    @classmethod
    def _of(cls, source: _Source) -> Frame:
        names = source.columns.names
        if len(source.known) < len(names):
            repeated = sorted(name for name, count in Counter(names).items() if count > 1)
            raise DataError(f"the data have several columns named {repeated[0]!r}; rename them")
        if not names or source.columns.n_rows == 0:
            size = f"{source.columns.n_rows} rows and {len(names)} columns"
            raise DataError(f"the data are empty: {size}; a model needs observations")
        return cls(source)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self._source.columns.names

    def has(self, name: str) -> bool:
        """Whether there is a column of this name."""
        return name in self._source.known

    def is_numeric(self, name: str) -> bool:
        """Whether the column holds numbers (logicals are categorical)."""
        self._require(name)
        return self._source.columns.kind(name) == "number"

    def is_categorical(self, name: str) -> bool:
        """Whether the column holds text, categories or logicals."""
        self._require(name)
        return self._source.columns.kind(name) == "category"

    def numeric(self, name: str) -> FloatArray:
        """Return the values as contiguous float64, NaN where missing.

        The array is the data frame's own memory where that holds float64: do not write to it.
        """
        if name not in self._numeric:
            full = self._source.numeric(self._require(name))
            self._numeric[name] = full if self._rows is None else read_only(full[self._rows])
        return self._numeric[name]

    def factor(self, name: str) -> Factor:
        """Return the values as a factor.

        Levels stand in the order of the frame's categories where it has them, else sorted:
        numbers by value, text by code point. Categories that no row has are dropped.
        """
        if name not in self._factor:
            full = self._source.factor(self._require(name))
            self._factor[name] = full if self._rows is None else full.take(self._rows)
        return self._factor[name]

    def integers(self, name: str) -> NDArray[np.integer] | None:
        """Return the values where the column is known to hold an integer in every row, else None.

        Examples
        --------
        >>> frame = Frame.from_native({"g": [3, 1], "x": [0.5, 1.0]})
        >>> frame.integers("g"), frame.integers("x")
        (array([3, 1]), None)
        """
        full = self._source.integers(self._require(name))
        return full if full is None or self._rows is None else full[self._rows]

    def is_whole(self, name: str) -> bool:
        """Whether the column is known to hold an integer in every row, by its type alone."""
        return self._source.integers(self._require(name)) is not None

    def logical(self, name: str) -> FloatArray | None:
        """Return a column of logicals as 0, 1 and NaN where missing; None for any other column.

        Examples
        --------
        >>> Frame.from_native({"b": [True, None, False]}).logical("b")
        array([ 1., nan,  0.])
        """
        if not self.is_categorical(name):
            return None
        factor = self.factor(name)
        known = [isinstance(value, bool | np.bool_) for value in factor.values.tolist()]
        if not known or not all(known):
            return None
        # The last entry is the one that code -1, a missing value, reaches.
        worth = np.array([*(float(bool(value)) for value in factor.values.tolist()), np.nan])
        return np.asarray(worth[factor.codes])

    def is_date(self, name: str) -> bool:
        """Whether the column holds dates, times, spans of time or periods."""
        self._require(name)
        return self._source.columns.kind(name) == "date"

    def elapsed(self, name: str) -> Elapsed:
        """Return the time of each row of a column of dates, in whole units."""
        whole = self._source.elapsed(self._require(name))
        return whole if self._rows is None else replace(whole, ticks=whole.ticks[self._rows])

    def missing(self, name: str) -> BoolArray | None:
        """Rows where the column has no value, or None where there are none."""
        self._require(name)
        if self._source.columns.kind(name) != "number":
            factor = self.factor(name)
            return factor.codes < 0 if factor.has_missing() else None
        if name not in self._numeric and self.is_whole(name):
            return None
        values = self.numeric(name)
        # The mean is NaN if any value is.
        if not values.size or math.isfinite(self.statistics.one(values).mean):
            return None
        missing = np.isnan(values)
        return missing if missing.any() else None

    def place(self, position: int) -> str | None:
        """Where a row comes from, of a frame that was read from several places; else None."""
        place = getattr(self._source.columns, "place", None)
        if place is None:
            return None
        return str(place(position if self._rows is None else np.flatnonzero(self._rows)[position]))

    def take(self, rows: BoolArray) -> Frame:
        """Keep the rows marked true; columns are cut when they are read."""
        if self._rows is not None:
            chosen = np.zeros_like(self._rows)
            chosen[np.flatnonzero(self._rows)[rows]] = True
            rows = chosen
        return Frame(self._source, np.asarray(rows, dtype=bool))

    def with_factors(self, factors: Mapping[str, Factor]) -> Frame:
        """The same rows, some columns read as these factors."""
        frame = Frame(self._source, self._rows)
        frame._numeric, frame.statistics = self._numeric, self.statistics
        frame._factor = {**self._factor, **factors}
        return frame

    @property
    def table(self) -> Columns:
        """All columns, as they are read."""
        return self._source.columns

    def with_columns(self, columns: Columns, index: pd.Index | None) -> Frame:
        """Another table of the same library, by itself."""
        return Frame(_Source(columns, self._source.namespace, index))

    @property
    def whole(self) -> Frame:
        """All rows of the user's data, those not in use too."""
        return self if self._rows is None else Frame(self._source)

    @property
    def rows_used(self) -> BoolArray | None:
        """Which rows of the user's frame these are; None for all of them."""
        return self._rows

    @property
    def index(self) -> pd.Index | None:
        """Index of the rows, where the user's frame is a pandas one or a dict of Series."""
        index = self._source.index
        return index if index is None or self._rows is None else index[self._rows]

    @property
    def native_namespace(self) -> ModuleType:
        """Library of the user's frame; pandas for a dict."""
        return self._source.namespace

    def to_native_frame(self, columns: Mapping[str, object]) -> Any:
        """Make a data frame of the user's own library.

        Examples
        --------
        >>> frame = Frame.from_native({"x": [1.0, 2.0]})
        >>> type(frame.to_native_frame({"fitted": [0.5, 0.25]}))
        <class 'pandas...DataFrame'>
        """
        library = self.native_namespace
        make = library.table if library.__name__ == "pyarrow" else library.DataFrame
        return make(dict(columns))

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle keeps; the rest is read again from the source."""
        state = {"_source": self._source, "_rows": self._rows, "n_rows": self.n_rows}
        return state | {"_numeric": {}, "_factor": {}, "statistics": KnownStatistics()}

    def _require(self, name: str) -> str:
        if name not in self._source.known:
            raise DataError(unknown_column(name, self.columns) + self.what_is_lacking)
        return name

    @property
    def what_is_lacking(self) -> str:
        """What to say besides where a column is not there."""
        if isinstance(self._source.columns, ReadColumns):
            return " (a pickled fit keeps the columns that were read before)"
        return ""


class _Source:
    """The whole table, with what was read from it; all frames cut from it share one."""

    def __init__(self, columns: Columns, namespace: ModuleType, index: pd.Index | None) -> None:
        self.columns = columns
        self.known = frozenset(columns.names)
        self.namespace = namespace
        self.index = index
        self._numeric: dict[str, FloatArray] = {}
        self._factor: dict[str, Factor] = {}
        self._elapsed: dict[str, Elapsed] = {}
        self._integers: dict[str, NDArray[np.integer] | None] = {}

    def integers(self, name: str) -> NDArray[np.integer] | None:
        if name not in self._integers:
            self._integers[name] = integers_of(self.columns, name)
        return self._integers[name]

    def numeric(self, name: str) -> FloatArray:
        if name not in self._numeric:
            values = self.columns.numbers(name)
            # Frames that came over a network lie where they came, at odd addresses too.
            self._numeric[name] = read_only(values if values.flags.aligned else values.copy())
        return self._numeric[name]

    def factor(self, name: str) -> Factor:
        if name not in self._factor:
            factor = self.columns.factor(name)
            of_categories = self.columns.kind(name) == "category"
            self._factor[name] = check_distinct(name, factor) if of_categories else factor
        return self._factor[name]

    def elapsed(self, name: str) -> Elapsed:
        if name not in self._elapsed:
            self._elapsed[name] = self.columns.elapsed(name)
        return self._elapsed[name]

    def __getstate__(self) -> dict[str, Any]:
        """The columns that were read: a pickle holds no frame of another library."""
        columns = ReadColumns(self.columns, self._numeric, self._factor, self._elapsed)
        state = {"columns": columns, "known": frozenset(columns.names), "index": self.index}
        return state | {
            "namespace": self.namespace.__name__,
            "_numeric": {},
            "_factor": {},
            "_elapsed": {},
            "_integers": {},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Earlier versions kept fewer.
        self.__dict__.update({"_integers": {}, **state})
        self.namespace = importlib.import_module(state["namespace"])

    def __deepcopy__(self, memo: dict[int, Any]) -> _Source:
        return _Source(copy.deepcopy(self.columns, memo), self.namespace, self.index)


def columns_of(data: object) -> Columns:
    """The columns of a data frame of any library that is read, empty ones too."""
    return _read(data).columns


def _read(data: object) -> _Source:
    if isinstance(data, pd.DataFrame):
        return _Source(PandasColumns(data), pd, data.index)
    if isinstance(data, Mapping):
        return _Source(PandasColumns.from_mapping(data), pd, index_of(data))
    import narwhals as nw

    if nw.dependencies.is_polars_lazyframe(data):
        data = data.collect()
    if nw.dependencies.is_polars_dataframe(data):
        import polars as pl

        from mlmfast.data.columns.polars_columns import PolarsColumns

        return _Source(PolarsColumns(data), pl, None)
    if nw.dependencies.is_pyarrow_table(data):
        import pyarrow as pa  # type: ignore[import-untyped]

        from mlmfast.data.columns.arrow_columns import ArrowColumns

        return _Source(ArrowColumns(data), pa, None)
    return _read_through_narwhals(data)


def _read_through_narwhals(data: object) -> _Source:
    import narwhals as nw

    try:
        frame = nw.from_native(data)  # type: ignore[call-overload]
    except TypeError as error:
        raise DataError(
            f"data of type {type(data).__name__} cannot be read; give a pandas, polars or pyarrow "
            "data frame, or a dict of columns"
        ) from error
    eager = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
    namespace = nw.get_native_namespace(eager)
    return _Source(PandasColumns(eager.to_pandas()), namespace, None)


def unknown_column(name: str, columns: tuple[str, ...]) -> str:
    """What to say of a column that is not there.

    Examples
    --------
    >>> unknown_column("Day", ("Days", "Reaction"))
    "there is no column 'Day' in the data; did you mean 'Days'? the columns are Days, Reaction"
    """
    close = difflib.get_close_matches(name, columns, n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ";"
    listing = ", ".join(columns[:_LONGEST_LISTING])
    more = len(columns) - _LONGEST_LISTING
    rest = f" and {more} more" if more > 0 else ""
    return f"there is no column {name!r} in the data{hint} the columns are {listing}{rest}"
