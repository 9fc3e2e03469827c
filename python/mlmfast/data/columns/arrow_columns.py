"""Columns of a pyarrow Table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray, in_line
from mlmfast.data.columns import TEXT_ONLY, Kind, unusable
from mlmfast.data.columns.arrow_dictionaries import dictionary_factor, has_own_order
from mlmfast.data.columns.elapsed import Elapsed, elapsed_in_arrow
from mlmfast.data.columns.label_codes import factor_from_texts
from mlmfast.data.factor import (
    Factor,
    factor_from_floats,
    factor_from_integers,
    factor_from_spans,
    factor_from_uniques,
)


class ArrowColumns:
    """Columns of a pyarrow Table."""

    def __init__(self, data: pa.Table) -> None:
        self._data = _decoded(data)
        self.names = tuple(data.column_names)
        self.n_rows: int = data.num_rows

    def dtype_name(self, name: str) -> str:
        """Type of the column, as pyarrow prints it."""
        field = self._data.schema.field(name)
        is_text = TEXT_ONLY in (field.metadata or {})
        return str(field.type.value_type if is_text else field.type)

    def kind(self, name: str) -> Kind:
        """Whether the column is a number, a category, a date or something else."""
        return kind_of_arrow(self._data.column(name).type)

    def numbers(self, name: str) -> FloatArray:
        """Values as float64, NaN where missing; the table's own memory if it holds float64."""
        column = self._data.column(name)
        if self.kind(name) != "number" and not pa.types.is_boolean(column.type):
            raise unusable(self, name, "a number")
        if pa.types.is_boolean(column.type):
            # Arrow casts no logical to float64 directly.
            column = column.cast(pa.int8())
        if column.type != pa.float64():
            column = column.cast(pa.float64(), safe=False)
        values = _in_one_piece(column).to_numpy(zero_copy_only=False)
        return in_line(values)

    def integers(self, name: str) -> NDArray[np.integer] | None:
        """Values as they lie in memory; None unless every row has an integer."""
        column = self._data.column(name)
        if not pa.types.is_integer(column.type) or column.null_count:
            return None
        return np.asarray(_in_one_piece(column).to_numpy(zero_copy_only=False))

    def factor(self, name: str) -> Factor:
        """Values as a factor; a dictionary keeps its order, anything else is sorted."""
        column = self._data.column(name)
        if self.kind(name) == "other":
            raise unusable(self, name, "a factor")
        dtype = column.type
        if pa.types.is_floating(dtype) or pa.types.is_decimal(dtype) or pa.types.is_null(dtype):
            return factor_from_floats(self.numbers(name))
        if pa.types.is_integer(dtype) and column.null_count == 0:
            return factor_from_integers(_in_one_piece(column).to_numpy(zero_copy_only=False))
        if pa.types.is_dictionary(dtype):
            return dictionary_factor(column, has_own_order(self._data.schema.field(name)))
        if pa.types.is_duration(dtype):
            return factor_from_spans(column.to_numpy())
        if pa.types.is_temporal(dtype) or str(dtype) == "string_view":
            column = column.cast(pa.large_string())
        texts = factor_from_texts(column)
        if texts is not None:
            return texts
        pieces = _in_one_piece(column.dictionary_encode().unify_dictionaries())
        codes = pieces.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return factor_from_uniques(codes, pieces.dictionary.to_numpy(zero_copy_only=False))

    def elapsed(self, name: str) -> Elapsed:
        """Times of a column of dates, times or spans."""
        return elapsed_in_arrow(self._data.column(name))


def _decoded(data: pa.Table) -> pa.Table:
    """The table with runs of equal values written out."""
    for k, field in enumerate(data.schema):
        if pa.types.is_run_end_encoded(field.type):
            pieces = [pc.run_end_decode(chunk) for chunk in data.column(k).chunks]
            values = pa.chunked_array(pieces, type=field.type.value_type)
            data = data.set_column(k, field.name, values)
    return data


def kind_of_arrow(dtype: pa.DataType) -> Kind:
    """Whether an Arrow type is that of a number, a category, a date or something else.

    Examples
    --------
    >>> kind_of_arrow(pa.dictionary(pa.uint8(), pa.string())), kind_of_arrow(pa.time64("ns"))
    ('category', 'date')
    """
    types = pa.types
    if types.is_dictionary(dtype) or types.is_boolean(dtype) or _is_text(dtype):
        return "category"
    if types.is_floating(dtype) or types.is_integer(dtype) or types.is_decimal(dtype):
        return "number"
    if types.is_null(dtype):
        return "number"
    return "date" if types.is_temporal(dtype) else "other"


def _is_text(dtype: pa.DataType) -> bool:
    return str(dtype) in {"string", "large_string", "string_view"}


def _in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    # Combining always copies, even a single chunk.
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
