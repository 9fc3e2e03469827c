"""Tables of engines: DuckDB's relations, polars' lazy frames, Dask's data frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlmfast.errors import DataError, MlmError
from mlmfast.running.cached import cached_property
from mlmfast.running.optional import optional_package
from mlmfast.sources.arrow_source import parts_of_batches
from mlmfast.sources.frames import pieces_of
from mlmfast.sources.part import Part
from mlmfast.sources.source import Column, Source, Split, cannot_read

#: How DuckDB's versions call a relation's stream of record batches.
_READERS = ("to_arrow_reader", "fetch_arrow_reader", "fetch_record_batch")


class DuckDBSource(Source):
    """A DuckDB relation: the query runs when rows are read, anew each time.

    Parameters
    ----------
    relation
        As `duckdb.sql` gives it.
    title
        What it is.
    counted
        Whether its rows are counted before: cheap of a table, of a query perhaps all of its work.
    """

    def __init__(
        self, relation: Any, title: str = "the DuckDB relation", counted: bool = False
    ) -> None:
        self._relation, self.title, self._counted = relation, title, counted

    @classmethod
    def of_table(cls, connection: Any, table: str) -> DuckDBSource:
        """A table or view by name, or the rows of a query."""
        words = table.split()
        is_query = len(words) > 1 and words[0].lower() in {"select", "from", "with"}
        title = "the DuckDB query" if is_query else f"DuckDB's {table}"
        try:
            relation = connection.sql(table) if is_query else connection.table(table)
            return cls(relation, title, not is_query)
        except Exception as error:
            raise cannot_read(title, error) from None

    @cached_property
    def n_rows(self) -> int | None:
        """Rows of a table; None of a query."""
        if not self._counted:
            return None
        try:
            return int(self._relation.aggregate("count(*) as n").fetchall()[0][0])
        except Exception as error:
            raise cannot_read(self.title, error) from None

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Those of the relation."""
        try:
            pairs = zip(self._relation.columns, self._relation.types, strict=True)
            return tuple(Column(name, str(dtype)) for name, dtype in pairs)
        except Exception as error:  # DuckDB's, of a connection that is closed
            raise cannot_read(self.title, error) from None

    def _parts(self, columns: Sequence[str]) -> Iterator[Part]:
        optional_package("pyarrow", "duckdb", "reading from DuckDB")
        quoted = ['"{}"'.format(name.replace('"', '""')) for name in columns]
        try:
            chosen = self._relation.project(", ".join(quoted))
            method = next(name for name in _READERS if hasattr(chosen, name))
            reader = getattr(chosen, method)(self.rows_at_once(columns))
        except Exception as error:
            raise cannot_read(self.title, error) from None
        try:
            yield from parts_of_batches(iter(reader), self.title, columns)
        finally:
            # A connection holds one open result.
            reader.close()


class PolarsSource(Source):
    """A polars LazyFrame, collected a batch at a time by the streaming engine."""

    title = "the polars LazyFrame"

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Those that the query gives."""
        try:
            schema = self._frame.collect_schema()
        except Exception as error:
            raise cannot_read(self.title, error) from None
        return tuple(Column(name, str(dtype)) for name, dtype in schema.items())

    def _parts(self, columns: Sequence[str]) -> Iterator[Part]:
        first = 0
        for frame in self._batches(columns):
            yield Part(frame, self.title, first)
            first += frame.height

    def _batches(self, columns: Sequence[str]) -> Iterator[Any]:
        rows, chosen = self.rows_at_once(columns), self._frame.select(list(columns))
        try:
            if hasattr(chosen, "collect_batches"):
                yield from chosen.collect_batches(chunk_size=rows, maintain_order=True)
            else:
                yield from chosen.collect().iter_slices(rows)
        except MlmError:
            raise
        except Exception as error:  # polars' errors share no base in all its versions
            raise cannot_read(self.title, error) from None


class DaskSource(Source):
    """A Dask DataFrame, a partition after the other."""

    reads_elsewhere = True

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.title = f"the Dask DataFrame of {frame.npartitions:,} partitions"

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Those that its metadata names."""
        return tuple(Column(str(name), str(dtype)) for name, dtype in self._frame.dtypes.items())

    def _parts(self, columns: Sequence[str]) -> Iterator[Part]:
        rows = self.rows_at_once(columns)
        for k, delayed in enumerate(self._delayed(columns)):
            try:
                frame = delayed.compute()
            except Exception as error:  # whatever the partition's task raises
                raise cannot_read(f"partition {k} of {self.title}", error) from None
            yield from partition_parts(frame, columns, rows, k)

    def _delayed(self, columns: Sequence[str]) -> list[Any]:
        places = {str(key): key for key in self._frame.columns}
        return list(self._frame[[places[name] for name in columns]].to_delayed())

    def splits(self, columns: Sequence[str] | None = None) -> list[DaskSplit]:
        """Its partitions."""
        names = self.chosen(columns)
        rows, token = self.rows_at_once(names), getattr(self._frame, "_name", "frame")
        return [
            DaskSplit(f"dask:{token}:{k}", delayed, names, rows, k)
            for k, delayed in enumerate(self._delayed(names))
        ]


@dataclass(frozen=True)
class DaskSplit(Split):
    """A partition that is computed where it is wanted.

    Attributes
    ----------
    delayed
        Dask's task, or the frame itself once Dask has put it in its place.
    """

    key: str
    delayed: Any
    columns: tuple[str, ...]
    rows: int
    position: int

    def parts(self) -> Iterator[Part]:
        """Its rows."""
        frame = self.delayed
        if hasattr(frame, "dask"):
            frame = frame.compute()
        yield from partition_parts(frame, self.columns, self.rows, self.position)


def partition_parts(frame: Any, columns: Sequence[str], rows: int, position: int) -> Iterator[Part]:
    """A partition's frame in parts."""
    first = 0
    for piece in pieces_of(frame, columns, rows):
        yield Part(piece, f"partition {position}", first)
        first += len(piece)


def check_pair(pair: tuple[Any, ...]) -> tuple[Any, str]:
    """``(connection, table)``, refused where it is something else."""
    if len(pair) != 2 or not isinstance(pair[1], str) or not pair[1].strip():
        raise DataError(
            f"a DuckDB connection comes with one table, (connection, 'table'); found {pair!r}"
        )
    return pair[0], pair[1]
