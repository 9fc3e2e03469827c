"""What a user gives as data, to the source that reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlmfast.errors import DataError
from mlmfast.sources.arrow_source import DatasetSource, StreamSource
from mlmfast.sources.engines import DaskSource, DuckDBSource, PolarsSource, check_pair
from mlmfast.sources.files import FileSource
from mlmfast.sources.frames import FramesSource
from mlmfast.sources.paths import files_of
from mlmfast.sources.source import Source, library_of

_DUCKDB = {"duckdb", "_duckdb"}
#: Frames that are in memory, which `mlmfast.data.frame.Frame` reads as they are.
_FRAMES = {("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "Table")}


def is_source(data: object) -> bool:
    """Whether data are read part by part, instead of being a frame or a dict of columns.

    Examples
    --------
    >>> is_source(iter([{"y": [1.0]}])), is_source({"y": [1.0]})
    (True, False)
    """
    return _opened(data) is not None


def open_source(
    data: object, *, part_bytes: int | None = None, na_values: Sequence[str] | None = None
) -> Source:
    """Open what holds the data; rows are read by `Source.parts`.

    Parameters
    ----------
    data
        A path, a pattern such as ``"data/*.parquet"``, a folder, or a list of paths (Parquet,
        Feather and Arrow IPC, CSV and other text); a DuckDB relation, or ``(connection, "table")``;
        a polars LazyFrame; a pyarrow Dataset, Scanner, RecordBatchReader or anything with
        ``__arrow_c_stream__``; a Dask DataFrame; an iterator, a generator or a list of frames, or a
        function without arguments that returns an iterator; a frame or dict of arrays.
    part_bytes
        About how many bytes a part may hold; 32 MB by default.
    na_values
        Fields of text files that are missing values, beside empty ones and NA: ``["."]``.

    Raises
    ------
    DataError
        For what cannot be read.

    Examples
    --------
    >>> source = open_source([{"x": [1.0, 2.0]}, {"x": [3.0]}])
    >>> [(part.name, part.first_row) for part in source.parts()]
    [('frame 1', 0), ('frame 2', 0)]
    """
    if isinstance(data, Source):
        source = data
    else:
        source = _opened(data) or FramesSource([data], "the data", repeatable=True)
    if na_values is not None:
        source = _with_missing(source, na_values)
    if part_bytes is not None:
        source.part_bytes = part_bytes
    return source


def _with_missing(source: Source, na_values: Sequence[str]) -> Source:
    if isinstance(na_values, str) or not all(isinstance(value, str) for value in na_values):
        raise DataError(f"na_values is {na_values!r}; give a list of texts, such as ['.', 'null']")
    if not isinstance(source, FileSource) or any(own.format != "text" for own in source.files):
        raise DataError(
            f"na_values says which fields of text files are missing, and {source.title} is no text "
            "file; its own missing values are known, leave na_values out"
        )
    return source.with_missing(na_values)


def _opened(data: Any) -> Source | None:
    """The source that data are; None for a frame, or what nobody knows."""
    if isinstance(data, Source):
        return data
    if isinstance(data, Mapping) or (library_of(data), type(data).__name__) in _FRAMES:
        return None
    if isinstance(data, str | os.PathLike):
        return FileSource(files_of(data), os.fspath(data))
    if isinstance(data, tuple | list):
        return _of_several(data)
    return _of_engine(data) or _of_stream(data)


def _of_several(data: tuple[Any, ...] | list[Any]) -> Source | None:
    """Several files, several frames, or a connection with a table."""
    if isinstance(data, tuple) and data and type(data[0]).__name__ == "DuckDBPyConnection":
        return DuckDBSource.of_table(*check_pair(data))
    if all(isinstance(one, str | os.PathLike) for one in data):
        return FileSource(files_of(data), "the files")
    if all(_is_frame(one) for one in data):
        return FramesSource(data, "the list", repeatable=True)
    kinds = ", ".join(sorted({type(one).__name__ for one in data}))
    raise DataError(
        f"a list of data holds paths or frames only, or is (connection, 'table'); found {kinds}"
    )


def _is_frame(value: object) -> bool:
    return isinstance(value, Mapping) or (library_of(value), type(value).__name__) in _FRAMES


def _of_engine(data: Any) -> Source | None:
    library, kind = library_of(data), type(data).__name__
    if library in _DUCKDB and kind == "DuckDBPyRelation":
        return DuckDBSource(data)
    if library in _DUCKDB and kind == "DuckDBPyConnection":
        raise DataError("a DuckDB connection holds many tables; give (connection, 'table')")
    if library == "polars" and kind == "LazyFrame":
        return PolarsSource(data)
    if library.startswith("dask") and hasattr(data, "to_delayed") and hasattr(data, "dtypes"):
        return DaskSource(data)
    if library == "pyarrow" and hasattr(data, "get_fragments"):
        return DatasetSource(data)
    if library == "pyarrow" and kind == "Scanner":
        return StreamSource(data.to_reader())
    return None


def _of_stream(data: Any) -> Source | None:
    library = library_of(data)
    if library == "pyarrow" and type(data).__name__ == "RecordBatch":
        return FramesSource([_table_of(data)], "the record batch", repeatable=True)
    if library == "pyarrow" and type(data).__name__ == "RecordBatchReader":
        return StreamSource(data)
    if isinstance(data, Iterator):
        return FramesSource(data, f"the {type(data).__name__}", repeatable=False)
    if _read_by_narwhals(data):
        return None
    if hasattr(data, "__arrow_c_stream__"):
        return StreamSource(data)
    if callable(data) and not isinstance(data, type):
        return FramesSource(_Called(data), "what the function gives", repeatable=True)
    return None


class _Called:
    """An iterable that asks a function for its iterator each time."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __iter__(self) -> Iterator[Any]:
        return iter(self._function())


def _read_by_narwhals(data: object) -> bool:
    import narwhals as nw

    try:
        nw.from_native(data)  # type: ignore[call-overload]
    except TypeError:
        return False
    return True


def _table_of(batch: Any) -> Any:
    from importlib import import_module

    return import_module("pyarrow").Table.from_batches([batch])
