"""Few weighted rows for each cell, with the sums of squares and products of all its rows.

A cell is a combination of levels of all grouping factors. Rows of cells that several parts share
are put together and condensed again: what stands for rows is rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mlmfast._core as _core
from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.data.factor import count_codes
from mlmfast.data.statistics import in_memory
from mlmfast.mergeable.condensed.keys import Keys, code_cells, joined


@dataclass(frozen=True, eq=False)
class CondensedRows:
    """Rows by cell.

    Attributes
    ----------
    keys
        By grouping column of the data, its value in each cell.
    sizes : shape (n_cells,), int64
        Rows of each cell.
    counts : shape (n_cells,), int64
        Observations that were read of each cell.
    values : shape (n_rows, n_columns)
        Less ``origin``.
    weights : shape (n_rows,)
    origin : shape (n_columns,)
        What was subtracted from each column.
    """

    keys: Keys
    sizes: NDArray[np.int64]
    counts: NDArray[np.int64]
    values: FloatArray
    weights: FloatArray
    origin: FloatArray

    @property
    def n_cells(self) -> int:
        """Cells."""
        return len(self.sizes)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, and of the texts among the keys."""
        arrays = [self.sizes, self.counts, self.values, self.weights, self.origin]
        return sum(array.nbytes for array in arrays) + sum(map(_key_bytes, self.keys.values()))

    def by_row(self, key: str) -> NDArray[Any]:
        """Values of a grouping column by row."""
        return np.repeat(self.keys[key], self.sizes)


def _key_bytes(values: NDArray[Any]) -> int:
    if values.dtype != object:
        return values.nbytes
    return values.nbytes + sum(map(len, map(str, values.tolist())))


def condense(
    keys: dict[str, tuple[CodeArray, NDArray[Any]]],
    columns: Sequence[FloatArray | None],
    origin: FloatArray,
    weights: FloatArray | None,
    table: tuple[CodeArray, FloatArray] | None = None,
) -> CondensedRows:
    """Rows as they are read.

    Parameters
    ----------
    keys
        By grouping column, codes of the rows and the value that each code stands for.
    columns : each of shape (n,), or None where the table has it; the last is the response
    origin : shape (n_columns,), what is subtracted from them
    weights : shape (n,) or None
    table : shapes (n,) and (n_combinations, n_columns)
        The combination of levels of each row, and columns that go by it alone, less the origin.
    """
    response = columns[-1]
    assert response is not None, "the response is read"
    n = len(response)
    cells, of_cell, counts = _cells(keys, n)
    read = [
        _by_table(table, j) if column is None else (in_memory(column), float(shift), 1.0)
        for j, (column, shift) in enumerate(zip(columns, origin, strict=True))
    ]
    sizes, values, own = _core.compress_rows(cells, len(counts), read, weights)
    return CondensedRows(of_cell, sizes, counts, values, own, origin)


def _by_table(table: tuple[CodeArray, FloatArray] | None, j: int) -> tuple[CodeArray, FloatArray]:
    assert table is not None, "a column that is not read goes by the combination of levels"
    return table[0], np.ascontiguousarray(table[1][:, j])


def _cells(
    keys: dict[str, tuple[CodeArray, NDArray[Any]]], n: int
) -> tuple[CodeArray, dict[str, NDArray[Any]], NDArray[np.int64]]:
    """A code for each combination of keys, the keys of each code, and its rows."""
    if len(keys) == 1:
        (name, (codes, values)) = next(iter(keys.items()))
        counts = count_codes(codes, len(values))
        if counts.all():
            return codes, {name: values}, counts
    cells, first = code_cells([codes for codes, _ in keys.values()], n)
    of_cell = {name: values[codes[first]] for name, (codes, values) in keys.items()}
    return cells, of_cell, count_codes(cells, len(first))


def merge_rows(parts: Sequence[CondensedRows]) -> CondensedRows:
    """The rows of all parts, cells of equal keys put together."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if ascend(parts):
        return _one_after_the_other(parts)
    return _put_together(parts)


def _put_together(parts: Sequence[CondensedRows]) -> CondensedRows:
    """The rows of parts that may share any cells."""
    first = parts[0]
    keys = {name: joined([p.keys[name] for p in parts], name) for name in first.keys}
    n = sum(part.n_cells for part in parts)
    cells, place = code_cells(list(keys.values()), n)
    sizes = np.concatenate([part.sizes for part in parts])
    read = np.concatenate([part.counts for part in parts])
    counts = np.bincount(cells, weights=read, minlength=len(place)).astype(np.int64)
    of_row = np.repeat(cells, sizes)
    pieces = [(_about(part, first.origin), part.weights) for part in parts]
    m = first.values.shape[1]
    sizes, values, weights = _core.merge_rows(of_row, len(place), m, pieces)
    of_cell = {name: own[place] for name, own in keys.items()}
    return CondensedRows(of_cell, sizes, counts, values, weights, first.origin)


def ascend(parts: Sequence[CondensedRows]) -> bool:
    """Whether cells go by one integer that ascends in each part and from part to part.

    Files sorted by cluster are so: a part then shares at most one cell with the next.
    """
    if any(len(part.keys) != 1 or not part.n_cells for part in parts):
        return False
    keys = [next(iter(part.keys.values())) for part in parts]
    return (
        all(own.dtype == np.int64 and bool((own[1:] > own[:-1]).all()) for own in keys)
        and all(a[-1] <= b[0] for a, b in pairwise(keys))
        and all(np.array_equal(part.origin, parts[0].origin) for part in parts)
    )


def _one_after_the_other(parts: Sequence[CondensedRows]) -> CondensedRows:
    """The rows of parts whose cells ascend; only those of cells that are shared are looked at."""
    groups: list[list[CondensedRows]] = []
    for part in parts:
        if not groups or _last(groups[-1][-1]) != _last(_some(part, 0, 1)):
            groups.append([part])
            continue
        before = groups[-1][-1]
        if before.n_cells > 1:
            groups[-1] = [_some(before, 0, before.n_cells - 1)]
            groups.append([_some(before, before.n_cells - 1, before.n_cells)])
        groups[-1].append(_some(part, 0, 1))
        if part.n_cells > 1:
            groups.append([_some(part, 1, part.n_cells)])
    pieces = [own[0] if len(own) == 1 else _put_together(own) for own in groups]
    return CondensedRows(
        {name: np.concatenate([own.keys[name] for own in pieces]) for name in parts[0].keys},
        np.concatenate([own.sizes for own in pieces]),
        np.concatenate([own.counts for own in pieces]),
        np.concatenate([own.values for own in pieces]),
        np.concatenate([own.weights for own in pieces]),
        parts[0].origin,
    )


def _last(rows: CondensedRows) -> int:
    """The key of the last cell, of cells that go by one integer."""
    return int(next(iter(rows.keys.values()))[-1])


def _some(rows: CondensedRows, first: int, last: int) -> CondensedRows:
    """Cells that follow each other, in the same memory."""
    start = int(rows.sizes[:first].sum())
    end = start + int(rows.sizes[first:last].sum())
    return CondensedRows(
        {name: own[first:last] for name, own in rows.keys.items()},
        rows.sizes[first:last],
        rows.counts[first:last],
        rows.values[start:end],
        rows.weights[start:end],
        rows.origin,
    )


def _about(part: CondensedRows, origin: FloatArray) -> FloatArray:
    """The values less another constant."""
    shift = part.origin - origin
    return np.ascontiguousarray(part.values + shift if shift.any() else part.values)
