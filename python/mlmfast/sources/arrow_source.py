"""Arrow's tables that need not be in memory: datasets, readers, streams of other libraries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mlmfast.errors import MlmError
from mlmfast.running.cached import cached_property
from mlmfast.running.optional import optional_package
from mlmfast.sources.part import Part
from mlmfast.sources.source import Column, Source, cannot_read


class DatasetSource(Source):
    """A `pyarrow.dataset.Dataset`, a fragment (a file) after the other."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.title = f"the pyarrow {type(dataset).__name__}"

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Those of its schema."""
        return columns_of_schema(self._dataset.schema)

    @cached_property
    def n_rows(self) -> int | None:
        """Rows, which the heads of Parquet files tell; None where files would be read for it."""
        kind = getattr(getattr(self._dataset, "format", None), "default_extname", None)
        return int(self._dataset.count_rows()) if kind == "parquet" else None

    def _parts(self, columns: Sequence[str]) -> Iterator[Part]:
        pa = optional_package("pyarrow", "parquet", "reading a dataset")
        options = {"columns": list(columns), "batch_size": self.rows_at_once(columns)}
        for fragment in self._fragments(pa):
            name = getattr(fragment, "path", None) or self.title
            schema = {} if fragment is self._dataset else {"schema": self._dataset.schema}
            yield from parts_of_batches(fragment.to_batches(**schema, **options), name, columns)

    def _fragments(self, pa: Any) -> list[Any]:
        try:
            return list(self._dataset.get_fragments())
        except (ValueError, NotImplementedError, pa.ArrowInvalid):
            # A filtered or projected dataset has none.
            return [self._dataset]


class StreamSource(Source):
    """A stream of record batches, which passes once.

    Parameters
    ----------
    stream
        A `pyarrow.RecordBatchReader`, or anything with ``__arrow_c_stream__``.
    """

    repeatable = False

    def __init__(self, stream: Any) -> None:
        self.title = f"the Arrow stream of {type(stream).__module__}.{type(stream).__qualname__}"
        pa = optional_package("pyarrow", "parquet", "reading an Arrow stream")
        try:
            is_reader = isinstance(stream, pa.RecordBatchReader)
            self._reader = stream if is_reader else pa.RecordBatchReader.from_stream(stream)
        except Exception as error:
            raise cannot_read(self.title, error) from None

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Those of its schema."""
        return columns_of_schema(self._reader.schema)

    def _parts(self, columns: Sequence[str]) -> Iterator[Part]:
        return parts_of_batches(iter(self._reader), self.title, columns, self.rows_at_once(columns))


def parts_of_batches(
    batches: Iterator[Any], name: str, columns: Sequence[str], rows: int | None = None
) -> Iterator[Part]:
    """Record batches as parts, their rows counted; what goes wrong is told with the name."""
    pa = optional_package("pyarrow", "parquet", "reading Arrow batches")
    first = 0
    while True:
        try:
            batch = next(batches, None)
        except MlmError:
            raise
        except Exception as error:  # whatever made the batches has errors of its own
            where = f"{name} after row {first:,}" if first else name
            raise cannot_read(where, error) from None
        if batch is None:
            return
        table = pa.Table.from_batches([batch]).select(list(columns))
        step = rows or max(table.num_rows, 1)
        for start in range(0, table.num_rows, step):
            yield Part(table.slice(start, step), name, first + start)
        first += table.num_rows


def columns_of_schema(schema: Any) -> tuple[Column, ...]:
    """Names and types of an Arrow schema."""
    return tuple(Column(field.name, str(field.type)) for field in schema)
