"""Few weighted rows for each cell, with the sums of squares and products of all its rows.

A cell is a combination of levels of all grouping factors. Rows of cells that several parts share
are put together and condensed again: what stands for rows is rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mlmfast._core as _core
from mlmfast.arrays import CodeArray, FloatArray
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
    columns: Sequence[FloatArray],
    origin: FloatArray,
    weights: FloatArray | None,
) -> CondensedRows:
    """Rows as they are read.

    Parameters
    ----------
    keys
        By grouping column, codes of the rows and the value that each code stands for.
    columns : each of shape (n,)
    origin : shape (n_columns,), what is subtracted from them
    weights : shape (n,) or None
    """
    n = len(columns[0])
    cells, of_cell, counts = _cells(keys, n)
    read = [
        ((np.ascontiguousarray(column), 0, 1), float(shift), 1.0)
        for column, shift in zip(columns, origin, strict=True)
    ]
    sizes, values, own = _core.compress_rows(cells, len(counts), read, weights)
    return CondensedRows(of_cell, sizes, counts, values, own, origin)


def _cells(
    keys: dict[str, tuple[CodeArray, NDArray[Any]]], n: int
) -> tuple[CodeArray, dict[str, NDArray[Any]], NDArray[np.int64]]:
    """A code for each combination of keys, the keys of each code, and its rows."""
    if len(keys) == 1:
        (name, (codes, values)) = next(iter(keys.items()))
        counts = _counts(codes, len(values))
        if counts.all():
            return codes, {name: values}, counts
    cells, first = code_cells([codes for codes, _ in keys.values()], n)
    of_cell = {name: values[codes[first]] for name, (codes, values) in keys.items()}
    return cells, of_cell, np.bincount(cells, minlength=len(first)).astype(np.int64, copy=False)


def _counts(codes: CodeArray, n_codes: int) -> NDArray[np.int64]:
    """Rows of each code; of codes in order by where the next begins."""
    first = np.append(0, np.flatnonzero(codes[1:] != codes[:-1]) + 1)
    if len(first) == n_codes and bool((codes[first] == np.arange(n_codes)).all()):
        return np.diff(first, append=len(codes)).astype(np.int64, copy=False)
    return np.bincount(codes, minlength=n_codes).astype(np.int64, copy=False)


def merge_rows(parts: Sequence[CondensedRows]) -> CondensedRows:
    """The rows of all parts, cells of equal keys put together."""
    first = parts[0]
    if len(parts) == 1:
        return first
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


def _about(part: CondensedRows, origin: FloatArray) -> FloatArray:
    """The values less another constant."""
    shift = part.origin - origin
    return np.ascontiguousarray(part.values + shift if shift.any() else part.values)
