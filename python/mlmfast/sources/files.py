"""Files read part by part: Parquet, Arrow's own (Feather, IPC) and text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlmfast.data.columns import TEXT_ONLY
from mlmfast.data.files import read_text_in_pieces, text_columns
from mlmfast.data.frame import columns_of
from mlmfast.errors import DataError, MlmError
from mlmfast.running.cached import cached_property
from mlmfast.running.optional import optional_package
from mlmfast.sources.part import Part
from mlmfast.sources.paths import File
from mlmfast.sources.read_ahead import read_ahead
from mlmfast.sources.source import Column, Source, Split, cannot_read

#: Files whose heads are read to count the rows before; more are not worth the time.
_MOST_COUNTED = 2_000


class FileSource(Source):
    """One file or several with the same columns, in the order given.

    Parameters
    ----------
    files
        Of any formats; all are read the same way.
    title
        What was asked for.
    """

    def __init__(self, files: Sequence[File], title: str) -> None:
        self.files = tuple(files)
        self.title = title if len(files) == 1 else f"{title} ({len(files):,} files)"

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Those of the first file, and those of the names of its folders."""
        first = self.files[0]
        own = _columns(first)
        known = {column.name for column in own}
        keys = (Column(name, "folder") for name, _ in first.keys if name not in known)
        return (*own, *keys)

    @cached_property
    def n_rows(self) -> int | None:
        """Rows that the heads of Parquet files tell."""
        if len(self.files) > _MOST_COUNTED or any(f.format != "parquet" for f in self.files):
            return None
        return sum(int(_metadata(file.path).num_rows) for file in self.files)

    @cached_property
    def n_bytes(self) -> int:
        """Bytes on the disk."""
        return sum(_size(file.path) for file in self.files)

    def _parts(self, columns: Sequence[str]) -> Iterator[Part]:
        rows = self.rows_at_once(columns)
        for file in self.files:
            yield from _ahead(file, _parts_of(file, columns, rows))

    def splits(self, columns: Sequence[str] | None = None) -> list[FileSplit]:
        """A file each; a large Parquet file in pieces of its row groups."""
        names = self.chosen(columns)
        rows = self.rows_at_once(names)
        return [
            FileSplit(_identity(file, groups), file, names, rows, groups)
            for file in self.files
            for groups in _pieces(file)
        ]

    def with_missing(self, na_values: Sequence[str]) -> FileSource:
        """The same files, some more fields of texts counting as missing."""
        files = [replace(file, na_values=tuple(na_values)) for file in self.files]
        other = FileSource(files, self.title)
        other.title, other.part_bytes = self.title, self.part_bytes
        return other


@dataclass(frozen=True)
class FileSplit(Split):
    """A file, or some row groups of one, that a worker opens."""

    key: str
    file: File
    columns: tuple[str, ...]
    rows: int
    groups: tuple[int, int] | None

    def parts(self) -> Iterator[Part]:
        """Its rows."""
        yield from _ahead(self.file, _parts_of(self.file, self.columns, self.rows, self.groups))


def _ahead(file: File, parts: Iterator[Part]) -> Iterator[Part]:
    # Reading text sets warnings aside, which a thread would do for all others too.
    return parts if file.format == "text" else read_ahead(parts)


def _identity(file: File, groups: tuple[int, int] | None) -> str:
    stat = os.stat(file.path)
    span = "" if groups is None else f":{groups[0]}-{groups[1]}"
    missing = f":{file.na_values!r}" if file.na_values else ""
    return f"{os.path.abspath(file.path)}{span}:{stat.st_size}:{stat.st_mtime_ns}{missing}"


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError as error:
        raise cannot_read(path, error) from None


def _parts_of(
    file: File, columns: Sequence[str], rows: int, groups: tuple[int, int] | None = None
) -> Iterator[Part]:
    """A file's rows; what goes wrong is told with its name."""
    keys = {name: value for name, value in file.keys if name in columns}
    own = {column.name for column in _columns(file)}
    keys = {name: value for name, value in keys.items() if name not in own}
    first, wanted = 0, [name for name in columns if name not in keys]
    missing = [name for name in wanted if name not in own]
    if missing:
        raise DataError(
            f"{file.path} has no column {', '.join(map(repr, missing))}; its columns are "
            f"{', '.join(sorted(own))}"
        )
    if groups is not None:
        first = _rows_before(file.path, groups[0])
    try:
        for frame in _FRAMES[file.format](file, wanted, rows, groups):
            yield Part(_with_keys(frame, keys), file.path, first)
            first += columns_of(frame).n_rows
    except MlmError:
        raise
    except Exception as error:  # pyarrow's errors share no base of their own
        raise cannot_read(
            f"{file.path} after row {first:,}" if first else file.path, error
        ) from None


def _columns(file: File) -> tuple[Column, ...]:
    try:
        if file.format == "text":
            return tuple(
                Column(name, dtype) for name, dtype in text_columns(file.path, file.na_values)
            )
        schema = _parquet(file.path).schema_arrow if file.format == "parquet" else _ipc_schema(file)
    except MlmError:
        raise
    except Exception as error:
        raise cannot_read(file.path, error) from None
    return tuple(Column(field.name, str(field.type)) for field in schema)


def _with_keys(frame: Any, keys: dict[str, str]) -> Any:
    """A table with the columns that its folder's name gives: numbers where all digits."""
    for name, value in keys.items():
        number = value.isascii() and value.isdigit() and (value == "0" or value[0] != "0")
        constant = int(value) if number else value
        if type(frame).__module__.startswith("pandas"):
            frame = frame.assign(**{name: constant})
        else:
            column = _arrow("pyarrow").repeat(constant, frame.num_rows)
            frame = frame.append_column(name, column)
    return frame


# -- formats -----------------------------------------------------------------------------------


def _arrow(module: str) -> Any:
    return optional_package(module, "parquet", "reading Parquet and Arrow files")


def _parquet(path: str) -> Any:
    return _arrow("pyarrow.parquet").ParquetFile(path)


def _metadata(path: str) -> Any:
    try:
        return _parquet(path).metadata
    except MlmError:
        raise
    except Exception as error:
        raise cannot_read(path, error) from None


def _rows_before(path: str, group: int) -> int:
    metadata = _metadata(path)
    return sum(metadata.row_group(k).num_rows for k in range(group))


#: Rows of a piece of a Parquet file that one worker reads.
_SPLIT_ROWS = 4_000_000


def _pieces(file: File) -> list[tuple[int, int] | None]:
    """Runs of row groups of a file, each a piece of work."""
    if file.format != "parquet":
        return [None]
    metadata = _metadata(file.path)
    if metadata.num_rows <= _SPLIT_ROWS:
        return [None]
    out, first, rows = [], 0, 0
    for k in range(metadata.num_row_groups):
        rows += metadata.row_group(k).num_rows
        if rows >= _SPLIT_ROWS or k == metadata.num_row_groups - 1:
            out.append((first, k + 1))
            first, rows = k + 1, 0
    return list(out)


def _parquet_frames(
    own: File, columns: Sequence[str], rows: int, groups: tuple[int, int] | None
) -> Iterator[Any]:
    pa, names, path = _arrow("pyarrow"), list(columns), own.path
    texts = _repeated_texts(path, names)
    with _arrow("pyarrow.parquet").ParquetFile(path, read_dictionary=texts) as file:
        for some in _together(file.metadata, rows, groups):
            if sum(file.metadata.row_group(k).num_rows for k in some) <= rows:
                yield _as_texts(file.read_row_groups(some, columns=names), texts)
                continue
            for batch in file.iter_batches(batch_size=rows, row_groups=some, columns=names):
                yield _as_texts(pa.Table.from_batches([batch]), texts)


def _together(metadata: Any, rows: int, groups: tuple[int, int] | None) -> Iterator[list[int]]:
    """Row groups that are read at once: rows of one lie together, those of two are copied."""
    own: list[int] = []
    n = 0
    for k in range(*((0, metadata.num_row_groups) if groups is None else groups)):
        more = metadata.row_group(k).num_rows
        if own and n + more > rows:
            yield own
            own, n = [], 0
        own.append(k)
        n += more
    if own:
        yield own


#: Bytes a value below which a column of text has few texts: its pages hold their numbers.
_FEW_TEXTS = 2.0


def _repeated_texts(path: str, columns: Sequence[str]) -> list[str]:
    """Columns of text that a Parquet file holds as a list of texts and their numbers."""
    pa, file = _arrow("pyarrow"), _parquet(path)
    if file.metadata.num_row_groups == 0:
        return []
    schema, group = file.schema_arrow, file.metadata.row_group(0)
    chunks = [group.column(k) for k in range(group.num_columns)]
    size = {own.path_in_schema: own.total_uncompressed_size for own in chunks}
    return [
        field.name
        for field in schema
        if field.name in columns
        and pa.types.is_string(field.type)
        and size.get(field.name, np.inf) < _FEW_TEXTS * group.num_rows
    ]


def _as_texts(table: Any, names: Sequence[str]) -> Any:
    """Columns of text as they were read, marked: their dictionaries are in no order."""
    pa = _arrow("pyarrow")
    for name in names:
        k = table.schema.get_field_index(name)
        field = pa.field(name, table.schema.field(k).type, metadata={TEXT_ONLY: b""})
        table = table.set_column(k, field, table.column(k))
    return table


def _ipc_schema(file: File) -> Any:
    pa = _arrow("pyarrow")
    with pa.memory_map(file.path) as memory:
        return _ipc_reader(pa, memory, None)[0].schema


def _ipc_reader(pa: Any, memory: Any, columns: Sequence[str] | None) -> tuple[Any, bool]:
    """A reader of an Arrow file, which knows its batches, or of a stream."""
    ipc = _arrow("pyarrow.ipc")
    try:
        reader = ipc.open_file(memory)
    except pa.ArrowInvalid:
        memory.seek(0)
        return ipc.open_stream(memory), False
    if columns is None:
        return reader, True
    fields = [reader.schema.get_field_index(name) for name in columns]
    memory.seek(0)
    return ipc.open_file(memory, options=ipc.IpcReadOptions(included_fields=fields)), True


def _ipc_frames(file: File, columns: Sequence[str], rows: int, _groups: object) -> Iterator[Any]:
    pa = _arrow("pyarrow")
    with pa.memory_map(file.path) as memory:
        reader, is_file = _ipc_reader(pa, memory, columns)
        count = reader.num_record_batches if is_file else 0
        batches = (reader.get_batch(k) for k in range(count)) if is_file else iter(reader)
        for batch in batches:
            table = pa.Table.from_batches([batch]).select(list(columns))
            for first in range(0, table.num_rows, rows):
                yield table.slice(first, rows)


def _text_frames(file: File, columns: Sequence[str], rows: int, _groups: object) -> Iterator[Any]:
    yield from read_text_in_pieces(file.path, columns, rows, file.na_values)


_FRAMES = {"parquet": _parquet_frames, "arrow": _ipc_frames, "text": _text_frames}
