"""Columns of a pandas DataFrame, or of a dict of arrays."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlmfast.arrays import BoolArray, FloatArray, in_line
from mlmfast.data.columns import Kind, unusable
from mlmfast.data.columns.elapsed import Elapsed, elapsed_in_pandas
from mlmfast.data.columns.label_codes import SharedObjects, factor_from_texts, shared_objects
from mlmfast.data.columns.labelled_rows import in_order_of
from mlmfast.data.factor import (
    Factor,
    LevelValues,
    drop_unused_levels,
    factor_from_categories,
    factor_from_floats,
    factor_from_integers,
    factor_from_logicals,
    factor_from_uniques,
)
from mlmfast.errors import DataError

_KIND_OF_OBJECTS: dict[str, Kind] = {
    "string": "category",
    "boolean": "category",
    "floating": "number",
    "integer": "number",
    "mixed-integer-float": "number",
    "decimal": "number",
    "empty": "number",
    "date": "date",
    "datetime": "date",
    "datetime64": "date",
    "timedelta": "date",
    "period": "date",
    "timedelta64": "date",
    "time": "date",
}

_KIND_OF_NUMPY: dict[str, Kind] = {
    "f": "number",
    "i": "number",
    "u": "number",
    "b": "category",
    "M": "date",
    "m": "date",
}


class _Named(NamedTuple):
    """Names of columns as text, and the key of each in its table."""

    names: tuple[str, ...]
    keys: dict[str, Hashable]

    @classmethod
    def by_keys(cls, keys: list[Hashable]) -> _Named:
        names = tuple(map(str, keys))
        return cls(names, dict(zip(names, keys, strict=True)))

    @classmethod
    def of(cls, columns: pd.Index) -> _Named:
        """Names of a frame's columns, once while fits follow each other: an Index never changes."""
        for known, found in _LAST:
            if known() is columns:
                return found
        found = cls.by_keys(list(columns))
        _LAST[:] = [(weakref.ref(columns), found)]
        return found


#: The columns that were looked at last, with their names.
_LAST: list[tuple[weakref.ref[pd.Index], _Named]] = []


#: The array of a column by its position, without the Series that `DataFrame.__getitem__` makes
#: around it, which costs more than the rest of a short column; None in a pandas without it.
_ARRAY_OF: Any = getattr(pd.DataFrame, "_get_column_array", None)
#: Rows up to which a copy of a column takes less time than that Series.
_SHORT = 10_000


class PandasColumns:
    """Columns of a pandas DataFrame, or of a mapping of names to arrays."""

    def __init__(self, data: pd.DataFrame | dict[str, pd.Series]) -> None:
        self._data = data
        self._columns = None if isinstance(data, dict) else data.columns
        named = _Named.by_keys(list(data)) if isinstance(data, dict) else _Named.of(data.columns)
        self.names, self._key_of = named.names, named.keys
        self._kinds: dict[str, Kind] = {}
        self._read: dict[str, pd.Series] = {}
        self._arrays: dict[str, Any] = {}
        self._shared: dict[str, SharedObjects | None] = {}
        self.n_rows = len(next(iter(data.values()), ())) if isinstance(data, dict) else len(data)

    @classmethod
    def from_mapping(cls, data: Mapping[str, object]) -> PandasColumns:
        """Take one-dimensional arrays or lists of equal length; arrays are not copied.

        Series are put into the order of the first one's labels.
        """
        index = index_of(data)
        columns = {
            str(name): _as_series(str(name), in_order_of(index, values, f"column {str(name)!r}"))
            for name, values in data.items()
        }
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name}: {length}" for name, length in lengths.items())
            raise DataError(f"the columns have unequal lengths ({found}); give them one length")
        return cls(columns)

    def _series(self, name: str) -> pd.Series:
        # Taking a column out of a frame costs as much as reading a short one.
        series = self._read.get(name)
        if series is None:
            # Keys of a DataFrame need not be strings.
            series = self._read[name] = self._data[self._key_of[name]]  # type: ignore[index]
        return series

    def _values(self, name: str) -> Any:
        """The column as an array of numpy's or of pandas'."""
        values = self._arrays.get(name)
        if values is None:
            if self._is_short():
                # A Series would keep pandas from writing into the column's memory in place (copy on
                # write), so that data changed after a fit leave it alone; an array does not.
                values = _ARRAY_OF(self._data, self.names.index(name)).copy()
            else:
                series = self._series(name)
                is_numpy = isinstance(series.dtype, np.dtype)
                values = series.to_numpy() if is_numpy else series.array
            self._arrays[name] = values
        return values

    def _is_short(self) -> bool:
        """Whether columns are copied; not where some that came or went have moved the others."""
        data = self._data
        plain = _ARRAY_OF is not None and type(data) is pd.DataFrame and self.n_rows <= _SHORT
        return plain and data.columns is self._columns  # type: ignore[union-attr]

    def dtype_name(self, name: str) -> str:
        """Type of the column, as pandas prints it."""
        return str(self._values(name).dtype)

    def kind(self, name: str) -> Kind:
        """Whether the column is a number, a category, a date or something else."""
        kind = self._kinds.get(name)
        if kind is None:
            dtype = self._values(name).dtype
            kind = _KIND_OF_NUMPY.get(dtype.kind) if isinstance(dtype, np.dtype) else None
            kind = self._kinds[name] = kind or self._kind_by_pandas(name, dtype)
        return kind

    def _kind_by_pandas(self, name: str, dtype: Any) -> Kind:
        """`kind` of what is no plain array of numbers."""
        if isinstance(dtype, pd.StringDtype):
            return "category"
        series = self._series(name)
        if isinstance(dtype, np.dtype) and dtype.kind == "O":
            shared = self._shared_objects(name)
            series = series if shared is None else pd.Series(shared.objects, dtype=object)
        return _kind_of_series(series, dtype)

    def numbers(self, name: str) -> FloatArray:
        """Values as float64, NaN where missing; a long frame's own memory if it holds float64."""
        values = self._values(name)
        dtype = values.dtype
        if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
            return in_line(values)
        series = self._series(name)
        if self.kind(name) != "number" and not pd.api.types.is_bool_dtype(dtype):
            raise unusable(self, name, "a number")
        if isinstance(dtype, np.dtype):
            return _numbers_of_objects(series)
        return in_line(series.to_numpy(dtype=np.float64, na_value=np.nan))

    def integers(self, name: str) -> NDArray[np.integer] | None:
        """Values as they lie in memory; None unless every row has an integer."""
        values = self._values(name)
        dtype = values.dtype
        return values if isinstance(dtype, np.dtype) and dtype.kind in "iu" else None

    def factor(self, name: str) -> Factor:
        """Values as a factor; categories keep their order, anything else is sorted."""
        values = self._values(name)
        dtype = values.dtype
        if self.kind(name) == "other":
            raise unusable(self, name, "a factor")
        if isinstance(dtype, pd.StringDtype) and dtype.storage == "pyarrow":
            found = factor_from_texts(values.__arrow_array__())
            if found is not None:
                return found
        if isinstance(dtype, np.dtype) and dtype.kind in "iu":
            return factor_from_integers(values)
        if isinstance(dtype, np.dtype) and dtype.kind == "f":
            return factor_from_floats(self.numbers(name))
        if isinstance(dtype, np.dtype) and dtype.kind == "b":
            return drop_unused_levels(factor_from_logicals(values))
        series = self._series(name)
        if isinstance(dtype, pd.CategoricalDtype):
            return factor_from_categories(series.cat.codes.to_numpy(), _as_array(dtype.categories))
        if _is_dictionary(dtype):
            from mlmfast.data.columns.arrow_dictionaries import dictionary_factor

            return dictionary_factor(_as_chunks(series))
        shared = self._shared_objects(name)
        if shared is not None:
            return factor_from_uniques(*shared.factorize())
        codes, distinct = pd.factorize(series)
        return factor_from_uniques(codes, _as_array(distinct))

    def _shared_objects(self, name: str) -> SharedObjects | None:
        values = self._values(name)
        dtype = values.dtype
        if not isinstance(dtype, np.dtype) or dtype.kind != "O":
            return None
        if name not in self._shared:
            self._shared[name] = shared_objects(values)
        return self._shared[name]

    def elapsed(self, name: str) -> Elapsed:
        """Times of a column of dates, times, spans or periods."""
        return elapsed_in_pandas(self._series(name))


def index_of(data: Mapping[str, object]) -> pd.Index | None:
    """Labels of the first Series, None where there is none."""
    return next((values.index for values in data.values() if isinstance(values, pd.Series)), None)


def _as_series(name: str, values: object) -> pd.Series:
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True)
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise DataError(f"column {name!r} is a single value; give one value per row")
    if getattr(values, "ndim", 1) != 1:
        shape = getattr(values, "shape", ())
        raise DataError(f"column {name!r} has shape {shape}; a column has one dimension")
    if (kept := _of_its_own_kind(values)) is not None:
        return kept
    series = pd.Series(values, copy=False)
    if isinstance(values, list | tuple) and series.dtype == np.float64:
        beyond_exact = (series.abs() >= 2.0**53).any()
        if beyond_exact and any(isinstance(value, int) for value in values):
            # Integers beside None: as floating point, neighbours would become one.
            return pd.Series(values, dtype=object)
    return series


def _of_its_own_kind(values: object) -> pd.Series | None:
    """A polars, pyarrow or masked column of levels or integers; None for any other.

    pandas would forget the order of the levels, and make integers beside missing values floating
    point, in which large ones become one.
    """
    if isinstance(values, np.ma.MaskedArray):
        return _integers(values.data, np.ma.getmaskarray(values))
    # Where polars was not imported nothing is of its kind.
    pl = sys.modules.get("polars")
    if pl is not None and isinstance(values, pl.Series):
        base = values.dtype.base_type()
        if base in (pl.Categorical, pl.Enum):
            return values.to_pandas() if base is pl.Enum else pd.Series(values.cast(pl.String))
        if not values.dtype.is_integer() or values.null_count() == 0:
            return None
        if base.__name__ in {"Int128", "UInt128"}:
            return pd.Series(values.to_list(), dtype=object)
        return _integers(values.fill_null(0).to_numpy(), values.is_null().to_numpy())
    if type(values).__module__.partition(".")[0] != "pyarrow":
        return None
    kind = getattr(values, "type", None)
    if str(kind).startswith(("dictionary", "int", "uint")):
        return pd.Series(values, dtype=pd.ArrowDtype(kind))
    return None


def _integers(values: NDArray[Any], missing: BoolArray) -> pd.Series | None:
    if values.dtype.kind not in "iu":
        return None
    return pd.Series(pd.arrays.IntegerArray(values, missing)) if missing.any() else None


def _is_dictionary(dtype: object) -> bool:
    """Whether a column is an Arrow dictionary."""
    return isinstance(dtype, pd.ArrowDtype) and str(dtype.pyarrow_dtype).startswith("dictionary")


def _as_chunks(series: pd.Series) -> Any:
    """An Arrow column of a pandas frame as pyarrow's ChunkedArray, not copied."""
    import pyarrow as pa  # type: ignore[import-untyped]

    column = pa.array(series)
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])


def _kind_of_series(series: pd.Series, dtype: Any) -> Kind:
    if isinstance(dtype, pd.StringDtype):
        return "category"
    if isinstance(dtype, np.dtype):
        if dtype.kind == "O":
            return _KIND_OF_OBJECTS.get(pd.api.types.infer_dtype(series, skipna=True), "other")
        return _KIND_OF_NUMPY.get(dtype.kind, "other")
    if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(dtype):
        return "category"
    if isinstance(dtype, pd.ArrowDtype):
        from mlmfast.data.columns.arrow_columns import kind_of_arrow

        return kind_of_arrow(dtype.pyarrow_dtype)
    if pd.api.types.is_string_dtype(dtype):
        return "category"
    if pd.api.types.is_numeric_dtype(dtype):
        return "other" if pd.api.types.is_complex_dtype(dtype) else "number"
    if pd.api.types.is_datetime64_any_dtype(dtype) or isinstance(dtype, pd.PeriodDtype):
        return "date"
    return "other"


def _numbers_of_objects(series: pd.Series) -> FloatArray:
    missing = series.isna().to_numpy()
    numbers = np.full(missing.size, np.nan)
    numbers[~missing] = series.to_numpy()[~missing].astype(np.float64)
    return numbers


def _as_array(values: pd.Index | LevelValues) -> LevelValues:
    array = np.asarray(values)
    return array.astype(object) if array.dtype.kind in "UT" else array
