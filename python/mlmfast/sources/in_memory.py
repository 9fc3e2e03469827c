"""A source whose columns are read into memory: those of a model at once, others when asked for."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.data.columns import Columns, Kind, unusable
from mlmfast.data.columns.elapsed import Elapsed
from mlmfast.data.columns.joined_factors import joined_factor
from mlmfast.data.factor import Factor, factor_from_floats
from mlmfast.data.frame import Frame, columns_of, unknown_column
from mlmfast.errors import DataError
from mlmfast.running.memory import check_memory
from mlmfast.sources.part import Part
from mlmfast.sources.progress import told_of
from mlmfast.sources.source import Source, library_of

#: Bytes that a value takes at most until a model is fitted: as read, as a number, in the design.
_BYTES = 32


def read_into_memory(source: Source, names: Sequence[str]) -> Frame:
    """A frame of a source; the columns named are read now, in one pass.

    Raises
    ------
    DataError
        For a column that is not there, and as `Source.parts` does.
    MemoryError
        Where they would not fit.
    """
    names = source.chosen(names)
    if source.n_rows is not None:
        _check_room(source, source.n_rows, len(names))
    columns = SourceColumns(source, names)
    return Frame.of_columns(columns, columns.namespace)


class TooLargeError(MemoryError):
    """The rows of a source would not fit into memory."""


def _check_room(source: Source, n_rows: int, n_columns: int, n_read: int = 0) -> None:
    try:
        check_memory(
            float((_BYTES * n_rows - 8 * n_read) * n_columns),
            f"a model of {n_rows:,} rows of {n_columns} columns of {source.title} in memory",
            "reduce them part by part, mlmfast.reduce(formula, source).fit(), which keeps no rows",
        )
    except MemoryError as error:
        raise TooLargeError(str(error)) from None


class SourceColumns:
    """Columns of a source; see `mlmfast.data.columns.Columns`.

    A column that was not read at first is read on its first use, where the source can be read
    again. The columns that are known are then read too and compared: a source whose rows come in
    another order the second time is refused instead of mixing rows up.

    Examples
    --------
    >>> from mlmfast.sources.open_source import open_source
    >>> frames = [{"x": [2.0], "g": ["b"]}, {"x": [1.0], "g": ["a"]}]
    >>> columns = SourceColumns(open_source(frames), ["x"])
    >>> columns.numbers("x").tolist(), columns.factor("g").levels
    ([2.0, 1.0], ('a', 'b'))
    """

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        self._source = source
        self._read: dict[str, Columns] = {}
        self.namespace: ModuleType = pd
        self._places: list[tuple[int, Part]] = []
        self._dtypes = {column.name: column.dtype for column in source.columns}
        found = self._pass(list(names))
        self._read.update(found)
        self.n_rows = next(iter(found.values())).n_rows if found else 0
        self.names = tuple(self._dtypes) if source.repeatable else tuple(self._read)

    def _pass(self, names: list[str]) -> dict[str, Columns]:
        """Columns read in one pass over the rows."""
        pieces: dict[str, list[Any]] = {name: [] for name in names}
        places, n = [], 0
        with told_of("reading", self._source) as seen:
            for part in seen(self._source.parts(names)):
                places.append((n, part._replace(frame=None)))
                n += columns_of(part.frame).n_rows
                _check_room(self._source, n, len(names), n)
                for name in names:
                    pieces[name].append(_one_column(part.frame, name))
        self._places = places
        first = next(iter(pieces.values()), [])
        if first and library_of(first[0]) in ("polars", "pyarrow"):
            self.namespace = import_module(library_of(first[0]))
        return {name: _joined(name, own) for name, own in pieces.items()}

    def _column(self, name: str) -> Columns:
        if name not in self._read:
            if name not in self.names:
                raise DataError(unknown_column(name, self.names))
            known = dict(self._read)
            found = self._pass([name, *known])
            for other, column in known.items():
                if not _is_same(other, column, found[other]):
                    raise DataError(
                        f"column {name!r} was not read with the model, and {self._source.title} "
                        "gave other rows, or in another order, when it was read again; sort the "
                        "rows, or use the column in the call that reads them"
                    )
            self._read[name] = found[name]
        return self._read[name]

    def place(self, position: int) -> str:
        """Where a row comes from."""
        starts = [first for first, _ in self._places]
        first, part = self._places[bisect.bisect_right(starts, position) - 1]
        return part.place(position - first)

    def kind(self, name: str) -> Kind:
        """Whether the column is a number, a category, a date or something else."""
        return self._column(name).kind(name)

    def dtype_name(self, name: str) -> str:
        """Type of the column, as its library prints it."""
        return self._column(name).dtype_name(name)

    def numbers(self, name: str) -> FloatArray:
        """Values as float64, NaN where missing."""
        return self._column(name).numbers(name)

    def factor(self, name: str) -> Factor:
        """Values as a factor."""
        return self._column(name).factor(name)

    def elapsed(self, name: str) -> Elapsed:
        """Times of a column of dates."""
        return self._column(name).elapsed(name)

    def __deepcopy__(self, memo: dict[int, Any]) -> SourceColumns:
        # What was read is never written to, and a stream has no copy.
        return self


def _one_column(frame: Any, name: str) -> Any:
    """One column as a frame of the same library, so that others need not stay in memory."""
    library = library_of(frame)
    if library in ("polars", "pyarrow"):
        return frame.select([name])
    if library == "pandas":
        places = [k for k, key in enumerate(frame.columns) if str(key) == name]
        return frame.iloc[:, places]
    if isinstance(frame, dict):
        return {key: values for key, values in frame.items() if str(key) == name}
    return frame


def _is_same(name: str, known: Columns, again: Columns) -> bool:
    if known.n_rows != again.n_rows or known.kind(name) != again.kind(name):
        return False
    if known.kind(name) == "number":
        return np.array_equal(known.numbers(name), again.numbers(name), equal_nan=True)
    ours, theirs = known.factor(name), again.factor(name)
    return ours.levels == theirs.levels and np.array_equal(ours.codes, theirs.codes)


def _joined(name: str, frames: Sequence[Any]) -> Columns:
    """A column of all parts as one table."""
    if not frames:
        return _Pieces(name, [])
    tables = [columns_of(frame) for frame in frames]
    types = {(library_of(f), t.dtype_name(name)) for f, t in zip(frames, tables, strict=True)}
    if len(frames) == 1:
        return tables[0]
    library, dtype = next(iter(types))
    has_levels = dtype.lower().startswith(("dictionary", "categor", "enum", "object"))
    if len(types) == 1 and library == "pyarrow":
        # Also where dictionaries only save room: each table has its own.
        has_levels = any(str(frame.schema.types[0]).startswith("dictionary") for frame in frames)
    if len(types) == 1 and library in _CONCATENATE and not has_levels:
        return columns_of(_CONCATENATE[library](frames))
    return _Pieces(name, tables)


def _concatenate_pandas(frames: Sequence[Any]) -> Any:
    return pd.concat(frames, ignore_index=True)


def _concatenate_polars(frames: Sequence[Any]) -> Any:
    return import_module("polars").concat(frames)


def _concatenate_arrow(frames: Sequence[Any]) -> Any:
    return import_module("pyarrow").concat_tables([f.replace_schema_metadata() for f in frames])


_CONCATENATE = {
    "pandas": _concatenate_pandas,
    "polars": _concatenate_polars,
    "pyarrow": _concatenate_arrow,
}


def _is_exact(numbers: FloatArray) -> bool:
    """Whether integers among some numbers are held as they are."""
    return bool((np.abs(numbers[np.isfinite(numbers)]) < 2**53).all())


class _Pieces:
    """One column of several tables of any libraries and types, all of one kind."""

    def __init__(self, name: str, tables: Sequence[Columns]) -> None:
        self.names, self._tables = (name,), tables
        self.n_rows = sum(table.n_rows for table in tables)

    def kind(self, name: str) -> Kind:
        """That of the parts that have a value, which are of one kind."""
        kinds = [table.kind(name) for table in self._tables]
        return next((kind for kind in kinds if kind != "number"), "number")

    def dtype_name(self, name: str) -> str:
        """Types of the column, as their libraries print them."""
        return " and ".join(dict.fromkeys(table.dtype_name(name) for table in self._tables))

    def numbers(self, name: str) -> FloatArray:
        """Values as float64, NaN where missing."""
        return np.concatenate([table.numbers(name) for table in self._tables])

    def factor(self, name: str) -> Factor:
        """Values as a factor, levels united."""
        if self.kind(name) == "number" and not all(map(self._is_whole, self._tables)):
            numbers = self.numbers(name)
            if not any(map(self._is_whole, self._tables)) or _is_exact(numbers):
                return factor_from_floats(numbers)
        return joined_factor([table.factor(name) for table in self._tables])

    def _is_whole(self, table: Columns) -> bool:
        # Beyond 2^53 integers are told apart as integers, or by their text, only.
        return "int" in table.dtype_name(self.names[0]).lower()

    def elapsed(self, name: str) -> Elapsed:
        """Times of a column of dates, in one unit."""
        parts = [table.elapsed(name) for table in self._tables if table.kind(name) == "date"]
        units = {(part.unit, part.of_periods) for part in parts}
        if len(units) > 1 or len(parts) < len(self._tables):
            raise unusable(self, name, "times, as parts count them in other units")
        return Elapsed(np.concatenate([part.ticks for part in parts]), *units.pop())
