"""Columns of dates, times, spans and periods as whole numbers of a unit of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Ticks = NDArray[np.int64]
#: Day from which other dates are counted.
_FIRST_DAY = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Elapsed:
    """Time of each row.

    Attributes
    ----------
    ticks : shape (n,), int64
        Units of time since some beginning; anything where missing.
    unit
        "D", "s", "ms", "us" or "ns", or the frequency of periods.
    of_periods
        Whether they are periods, which count as such: months are of one length.
    """

    ticks: Ticks
    unit: str
    of_periods: bool = False

    def span(self, n: int) -> str:
        """So many units in words.

        Examples
        --------
        >>> Elapsed(np.zeros(1, dtype=np.int64), "s").span(86400)
        '1 days 00:00:00'
        """
        if self.of_periods:
            return f"{n} period(s) of {self.unit}"
        return str(pd.Timedelta(n, unit=self.unit))  # type: ignore[arg-type]


def elapsed_in_pandas(series: pd.Series) -> Elapsed:
    """Of a pandas column: NumPy's types, periods, Arrow's, or Python's objects.

    Examples
    --------
    >>> days = pd.Series(pd.to_datetime(["2024-03-01", "2024-03-08"]))
    >>> elapsed_in_pandas(days.astype("datetime64[s]")).ticks.tolist()
    [1709251200, 1709856000]
    """
    dtype: Any = series.dtype
    if isinstance(dtype, pd.PeriodDtype):
        return Elapsed(pd.PeriodIndex(series).asi8, str(dtype.freq.freqstr), True)
    if isinstance(dtype, pd.ArrowDtype):
        import pyarrow as pa  # type: ignore[import-untyped]

        column = pa.array(series)
        return elapsed_in_arrow(
            column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
        )
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        return _of_objects(series)
    if dtype.kind == "m":
        index = pd.TimedeltaIndex(series)
        return Elapsed(index.asi8, index.unit)
    stamps = pd.DatetimeIndex(series)
    return Elapsed(stamps.asi8, stamps.unit)


def _of_objects(series: pd.Series) -> Elapsed:
    present = series.dropna()
    first = present.iloc[0] if len(present) else pd.NaT
    if isinstance(first, pd.Period):
        return elapsed_in_pandas(pd.Series(pd.PeriodIndex(series, freq=first.freqstr)))
    if isinstance(first, time):
        values, unit = [_microseconds(value) for value in present], "us"
    elif isinstance(first, date) and not isinstance(first, datetime):
        values, unit = [value.toordinal() - _FIRST_DAY for value in present], "D"
    else:
        is_date = isinstance(first, datetime | np.datetime64)
        found = pd.to_datetime(present, utc=True) if is_date else pd.to_timedelta(present)
        own = elapsed_in_pandas(found)
        values, unit = own.ticks.tolist(), own.unit
    ticks = np.zeros(len(series), dtype=np.int64)
    ticks[series.notna().to_numpy()] = values
    return Elapsed(ticks, unit)


def _microseconds(value: time) -> int:
    minutes = value.hour * 60 + value.minute
    return (minutes * 60 + value.second) * 1_000_000 + value.microsecond


def elapsed_in_polars(column: Any) -> Elapsed:
    """Of a polars column."""
    import polars as pl

    unit = getattr(column.dtype, "time_unit", None)
    if unit is None:
        unit = "D" if column.dtype == pl.Date else "ns"
    ticks = column.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
    return Elapsed(np.asarray(ticks, dtype=np.int64), unit)


def elapsed_in_arrow(column: Any) -> Elapsed:
    """Of a pyarrow column, a ChunkedArray."""
    import pyarrow as pa

    dtype = column.type
    unit = getattr(dtype, "unit", None)
    if unit is None:
        unit = "D" if pa.types.is_date32(dtype) else "ms"
    narrow = pa.types.is_date32(dtype) or pa.types.is_time32(dtype)
    whole = column.cast(pa.int32()) if narrow else column
    ticks = whole.cast(pa.int64()).fill_null(0).to_numpy()
    return Elapsed(np.asarray(ticks, dtype=np.int64), unit)
