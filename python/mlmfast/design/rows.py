"""Rows of a design: by cluster, and columns at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray

_ENTRIES_AT_ONCE = 1 << 21


def columns_at(columns: Sequence[FloatArray | None], rows: IntArray) -> FloatArray:
    """Columns of a design as a matrix for some rows, shape (*rows.shape, len(columns))."""
    out = np.empty((*rows.shape, len(columns)))
    for j, column in enumerate(columns):
        out[..., j] = 1.0 if column is None else column[rows]
    return out


def clusters_by_size(codes: CodeArray, n_levels: int) -> Iterator[IntArray]:
    """Yield the rows of the clusters, clusters of one size together, rows in data order.

    Each array has shape (clusters, size); a size with many clusters comes in several arrays.

    Examples
    --------
    >>> for rows in clusters_by_size(np.array([0, 1, 0, 2], dtype=np.int32), 3):
    ...     print(rows.tolist())
    [[1], [3]]
    [[0, 2]]
    """
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes, minlength=n_levels)
    starts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes).tolist():
        first = starts[sizes == size]
        step = max(1, _ENTRIES_AT_ONCE // max(size * size, 1))
        for at in range(0, len(first), step):
            yield order[first[at : at + step, None] + np.arange(size)]


def sets_within(codes: CodeArray) -> list[tuple[int, IntArray]]:
    """Levels met by the rows of one block, and the places of each level's rows.

    Examples
    --------
    >>> [(level, rows.tolist()) for level, rows in sets_within(np.array([3, 1, 3]))]
    [(1, [1]), (3, [0, 2])]
    """
    return [(int(level), np.flatnonzero(codes == level)) for level in np.unique(codes)]
