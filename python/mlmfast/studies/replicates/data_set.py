"""One simulated data set, as the user's generator gave it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError, MlmError

_PANDAS = (pd.Series, pd.Categorical)


class DataSet:
    """A frame, or a dict of arrays of one length.

    Parameters
    ----------
    given
        What a generator returned.
    like
        Another data set, whose arrays stand for equal ones of this: what stays the same in all
        replicates is then held, and looked at, once.

    Raises
    ------
    DataError
        For anything else, and where there are no rows.

    Examples
    --------
    >>> DataSet({"y": [1.0, 2.0], "x": [0, 1]}).table()["x"].tolist()
    [0, 1]
    """

    #: The data set whose columns it has, its own ones aside: they are the same as others'.
    base: DataSet | None = None

    def __init__(self, given: Any, like: DataSet | None = None) -> None:
        self._own: dict[str, Any] = {}
        self.columns: dict[str, Any] | None = (
            _columns(given, like) if isinstance(given, Mapping) else None
        )
        given = given.copy() if isinstance(given, pd.DataFrame) else given
        self.given = given if self.columns is None else self.columns
        if self.columns is None and not isinstance(given, pd.DataFrame):
            try:
                rows = Frame.from_native(given).n_rows
            except MlmError:
                raise DataError(
                    f"generate returned {type(given).__name__}; a data frame or a dict of arrays "
                    "is needed"
                ) from None
        else:
            rows = len(next(iter(self.columns.values()))) if self.columns else len(given)
        if rows == 0:
            raise DataError("generate returned no rows")
        width = len(self.columns) if self.columns else len(getattr(given, "columns", ())) or 1
        #: Values in it.
        self.size = rows * width

    def with_columns(self, own: Mapping[str, Any]) -> DataSet:
        """The same with other columns, such as a response for rows that many share."""
        out = object.__new__(DataSet)
        out.base, out._own, out.columns = self, dict(own), None
        out.size = self.size + sum(len(values) for values in own.values())
        return out

    def shared_by(self, response: str) -> DataSet:
        """What holds the columns beside a response: this, or what others have too."""
        return self if self.base is None or set(self._own) - {response} else self.base

    def column(self, name: str) -> Any:
        """A column as it is; None where it is not there, or of a frame of another library."""
        if name in self._own:
            return self._own[name]
        if self.base is not None:
            return self.base.column(name)
        if self.columns is not None:
            return self.columns.get(name)
        given = self.given
        if not isinstance(given, pd.DataFrame) or name not in given.columns:
            return None
        series = given[name]
        return series if isinstance(series, pd.Series) else None

    def table(self) -> Any:
        """What a method sees: a data frame (pandas, where the generator gave a dict)."""
        if self.base is not None:
            return self.base.table().assign(**self._own)
        return self.given if self.columns is None else self._frame

    def source(self) -> Any:
        """The data as a fit reads them: what the generator gave."""
        return self.table() if self.base is not None else self.given

    @cached_property
    def plain(self) -> dict[str, tuple[NDArray[Any], bytes]]:
        """Arrays of numbers and text among its columns, with their bytes.

        Bits are compared, so that NaN is NaN and -0 is not 0; objects are compared as they are.
        """
        return {
            name: (column, column.tobytes())
            for name, column in (self.columns or {}).items()
            if type(column) is np.ndarray and column.dtype.kind in "biufUS"
        }

    @cached_property
    def _frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.columns)


@dataclass(frozen=True)
class SharedRows(Sequence[DataSet]):
    """Data sets that differ in some columns of floats.

    Attributes
    ----------
    rows
        What they share.
    varying
        Those columns by name, (n_sets, n).
    """

    rows: DataSet
    varying: dict[str, FloatArray]

    @classmethod
    def among(cls, data: Sequence[DataSet]) -> SharedRows | None:
        """Of data sets that hold the same arrays but for columns of floats; None for others."""
        first = data[0].columns
        every = [one.columns for one in data]
        if first is None:
            return None
        varying = {}
        for name, column in first.items():
            found = [own.get(name) for own in every if own is not None]
            if len(found) < len(data):
                return None
            if all(other is column for other in found):
                continue
            if not all(_is_floats(other, len(column)) for other in found):
                return None
            varying[name] = np.stack([np.asarray(other) for other in found])
        same_names = all(len(own) == len(first) for own in every if own is not None)
        return cls(data[0], varying) if same_names else None

    def __len__(self) -> int:
        return len(next(iter(self.varying.values())))

    def __getitem__(self, k: Any) -> Any:
        return self.rows.with_columns({name: own[k] for name, own in self.varying.items()})

    def __iter__(self) -> Iterator[DataSet]:
        return (self[k] for k in range(len(self)))

    def some(self, positions: IntArray) -> SharedRows:
        """Those at some positions."""
        if len(positions) == len(self):
            return self
        return SharedRows(self.rows, {name: own[positions] for name, own in self.varying.items()})


def _is_floats(column: Any, n: int) -> bool:
    return type(column) is np.ndarray and column.dtype == np.float64 and len(column) == n


def _columns(given: Mapping[Any, Any], like: DataSet | None) -> dict[str, Any]:
    known = {} if like is None else like.plain
    out: dict[str, Any] = {}
    length: tuple[str, int] | None = None
    for name, values in given.items():
        column = _column(values, known.get(str(name)))
        if column.ndim != 1:
            raise DataError(
                f"generate returned {name!r} of shape {column.shape}; a column has one dimension"
            )
        if length is not None and len(column) != length[1]:
            raise DataError(
                f"generate returned {name!r} with {len(column)} rows, and {length[0]!r} with "
                f"{length[1]}; all columns must have the same"
            )
        length = length or (str(name), len(column))
        plain = isinstance(column, np.ndarray)
        out[str(name)] = column if plain else pd.Series(column).reset_index(drop=True)
    if not out:
        raise DataError("generate returned an empty dict; give at least the response")
    return out


def _column(values: Any, known: tuple[NDArray[Any], bytes] | None) -> Any:
    """A copy, for a generator may fill the same arrays again; or the array known already."""
    if type(values) is np.ndarray:
        if known is not None:
            column, content = known
            alike = values.dtype == column.dtype and values.shape == column.shape
            if alike and values.tobytes() == content:
                return column
        return values.copy()
    return values.copy() if isinstance(values, _PANDAS) else np.array(values)
