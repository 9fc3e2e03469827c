"""Labels of rows as codes, without a Python object a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import mlmfast._core as _core
from mlmfast.arrays import CodeArray
from mlmfast.data.factor import Factor, LevelValues, translate_codes

#: Labels above which Arrow hands them over, and not the core beside the codes.
_MANY_LABELS = 200
#: Rows from which objects are told apart by their addresses first.
_MANY_ROWS = 10_000
#: Share of the rows with an object of their own above which addresses tell little.
_SHARED = 0.25


def factor_from_texts(column: Any) -> Factor | None:
    """The factor of a pyarrow ChunkedArray of texts; None where it holds another type.

    Examples
    --------
    >>> import pyarrow as pa
    >>> factor = factor_from_texts(pa.chunked_array([["b", None], ["a", "b"]]))
    >>> factor.codes.tolist(), factor.levels
    ([1, -1, 0, 1], ('a', 'b'))
    """
    width = _WIDTHS.get(str(column.type))
    if width is None:
        return None
    # Combining always copies, even a single chunk.
    texts = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    present, ends, data = texts.buffers()
    n, first = len(texts), texts.offset
    if n == 0:
        return Factor(np.empty(0, dtype=np.int32), (), np.empty(0, dtype=object))
    # What was sent may lie at any address, and the core reads whole numbers at theirs.
    offsets = np.require(np.frombuffer(ends, dtype=width), np.int64, ["ALIGNED"])
    whole = np.frombuffer(b"" if data is None else data, dtype=np.uint8)
    bits = None if texts.null_count == 0 else np.frombuffer(present, dtype=np.uint8)
    codes, rows, labels = _core.code_texts(offsets, whole, bits, first, n, _MANY_LABELS)
    if labels is None:
        labels = texts.take(rows).to_pylist()
    values = np.empty(len(labels), dtype=object)
    values[:] = labels
    return Factor(codes, tuple(labels), values)


_WIDTHS = {"string": np.int32, "large_string": np.int64}


@dataclass(frozen=True)
class SharedObjects:
    """Objects that stand in many rows each.

    Attributes
    ----------
    codes : shape (n,)
        Which object each row holds.
    objects
        The objects, in the order in which they appear; equal ones may be there twice.
    """

    codes: CodeArray
    objects: NDArray[np.object_]

    def factorize(self) -> tuple[CodeArray, LevelValues]:
        """Codes of the distinct values, -1 where missing, and these values: `pandas.factorize`."""
        own, distinct = pd.factorize(self.objects)
        return translate_codes(self.codes, own.astype(np.int32)), np.asarray(distinct)


def shared_objects(values: NDArray[np.object_]) -> SharedObjects | None:
    """The objects of a long column by where they lie in memory; None where most have one row.

    Objects in random order are far from each other in memory: each is looked at once.

    Examples
    --------
    >>> labels = np.array(["b", "a"], dtype=object)[np.arange(20_000) % 2]
    >>> shared_objects(labels).objects.tolist()
    ['b', 'a']
    """
    if len(values) < _MANY_ROWS or np.intp(0).itemsize != 8:
        return None
    values = np.ascontiguousarray(values)
    addresses = np.asarray(_Addresses(values))
    found = _core.code_numbers(addresses, int(_SHARED * len(values)))
    if found is None:
        return None
    codes, rows = found
    return SharedObjects(codes, values[rows])


class _Addresses:
    """The memory of an array of objects as whole numbers, which NumPy makes no view of."""

    def __init__(self, values: NDArray[np.object_]) -> None:
        self._values = values
        self.__array_interface__ = {**values.__array_interface__, "typestr": "<i8", "descr": []}
