"""R of the QR factors of long columns, by chunks of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import FloatArray

_CHUNK = 4096


def triangle_of(
    columns: Sequence[FloatArray], factors: FloatArray, row_factors: FloatArray | None = None
) -> FloatArray:
    """R of the columns times their factors, rows times theirs, shape (n_columns, n_columns).

    Examples
    --------
    >>> np.abs(triangle_of([np.array([3.0, 4.0])], np.array([2.0]))).round(12).tolist()
    [[10.0]]
    """
    n, size = len(columns[0]) if columns else 0, len(columns)
    triangle = np.empty((0, size))
    step = max(_CHUNK, size)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        chunk = np.stack([column[rows] for column in columns], axis=1) * factors
        if row_factors is not None:
            chunk *= row_factors[rows, None]
        triangle = np.asarray(np.linalg.qr(np.vstack([triangle, chunk]), mode="r"))
    missing = max(size - len(triangle), 0)
    return np.vstack([triangle, np.zeros((missing, size))])
