"""What can be read once, kept in a temporary file so that it can be read again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlmfast.data.frame import columns_of
from mlmfast.errors import DataError
from mlmfast.running.optional import optional_package
from mlmfast.sources.part import Part
from mlmfast.sources.progress import told_of
from mlmfast.sources.source import Column, Source, library_of


@contextmanager
def repeatable(
    source: Source, columns: Sequence[str], parts: Iterator[Part] | None = None
) -> Iterator[Source]:
    """The source itself, or some of its columns in a temporary file while a ``with`` block runs.

    The file lies in the folder for temporary files (the environment's TMPDIR), compressed, and is
    gone on any way out of the block, Ctrl-C too.

    Parameters
    ----------
    parts
        Those of the source, where some of them have been read already.

    Raises
    ------
    DataError
        Where the disk is full, and as `Source.parts` does.

    Examples
    --------
    >>> from mlmfast.sources.open_source import open_source
    >>> source = open_source(iter([{"x": [1.0]}, {"x": [2.0, 3.0]}]))
    >>> with repeatable(source, ["x"]) as spooled:
    ...     [[part.frame.num_rows for part in spooled.parts()] for _ in range(2)]
    [[1, 2], [1, 2]]
    """
    if source.repeatable:
        yield source
        return
    folder = tempfile.mkdtemp(prefix="mlmfast-")
    try:
        names = source.chosen(columns)
        whole = source.parts(names) if parts is None else parts
        yield _spooled(source, names, whole, Path(folder) / "rows.arrows")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _spooled(
    source: Source, columns: Sequence[str], parts: Iterator[Part], path: Path
) -> SpooledSource:
    spooled = SpooledSource(source, columns)
    with told_of("keeping the rows of", source) as seen:
        for part in seen(parts):
            spooled.add(part, path)
    spooled.close()
    return spooled


class SpooledSource(Source):
    """Parts in files of Arrow's stream format, a new one where the types of columns change."""

    def __init__(self, source: Source, columns: Sequence[str]) -> None:
        self.title, self.part_bytes = source.title, source.part_bytes
        known = {column.name: column for column in source.columns}
        self._columns = tuple(known[name] for name in columns)
        self._files: list[tuple[Path, list[Part]]] = []
        self._schema: Any = None
        self._writer: Any = None
        self._rows = 0

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those that were kept."""
        return self._columns

    @property
    def n_rows(self) -> int:
        """Rows that were kept."""
        return self._rows

    @property
    def n_bytes(self) -> int:
        """Bytes on the disk."""
        return sum(os.path.getsize(path) for path, _ in self._files)

    def add(self, part: Part, path: Path) -> None:
        """Keep a part.

        Raises
        ------
        DataError
            Where the disk is full.
        """
        try:
            self._add(part, path)
        except OSError as error:
            raise DataError(
                f"the rows of {self.title} pass once and are kept in {path.parent}, which failed: "
                f"{error.strerror or error}; set TMPDIR to a folder with room, or give something "
                "that can be read twice, such as files"
            ) from None

    def _add(self, part: Part, path: Path) -> None:
        pa = optional_package("pyarrow", "parquet", "reading twice what passes once")
        table = arrow_table(part.frame).combine_chunks()
        if self._schema is None or not table.schema.equals(self._schema, check_metadata=True):
            self.close()
            own = path.with_name(f"{path.stem}-{len(self._files)}{path.suffix}")
            self._files.append((own, []))
            options = pa.ipc.IpcWriteOptions(compression="lz4" if _has_lz4(pa) else None)
            self._writer = pa.ipc.new_stream(str(own), table.schema, options=options)
            self._schema = table.schema
        for batch in table.to_batches():
            self._writer.write_batch(batch)
        batches = len(table.to_batches())
        self._files[-1][1].append(part._replace(frame=batches))
        self._rows += table.num_rows

    def close(self) -> None:
        """All parts are kept."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _parts(self, columns: Sequence[str]) -> Iterator[Part]:
        pa = optional_package("pyarrow", "parquet", "reading twice what passes once")
        for path, parts in self._files:
            with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
                for part in parts:
                    batches = [reader.read_next_batch() for _ in range(part.frame)]
                    table = pa.Table.from_batches(batches, reader.schema)
                    yield part._replace(frame=table.select(list(columns)))


def arrow_table(frame: Any) -> Any:
    """A frame of any library as a pyarrow Table, categories and their order with it."""
    pa = optional_package("pyarrow", "parquet", "handing rows on")
    library = library_of(frame)
    if library == "pyarrow":
        return frame
    if library == "polars":
        return frame.to_arrow()
    if library == "pandas":
        named = frame.rename(columns=str)
        return pa.Table.from_pandas(named, preserve_index=False).replace_schema_metadata()
    table = columns_of(frame)
    return pa.table({name: list(frame[name]) for name in table.names})


def _has_lz4(pa: Any) -> bool:
    return bool(pa.Codec.is_available("lz4"))
