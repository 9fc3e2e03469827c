"""Known matrices over visits, as a user gives them: arrays in their order, or labelled frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.factor import level_labels
from mlmfast.errors import DataError, ModelError


def known_matrices(given: Any, labels: tuple[str, ...], text: str) -> FloatArray:
    """Matrices over the visits ``labels``, shape (q, K, K).

    Raises
    ------
    ModelError
        Where there are none, or an array has another order than the visits.
    DataError
        Where a frame lacks a visit, or names one twice.

    Examples
    --------
    >>> known_matrices([np.eye(2)], ("a", "b"), "lin(visit | id)").shape
    (1, 2, 2)
    """
    if given is None:
        raise ModelError(
            f"residual={text!r} needs its known matrices: lin=[A1, A2, ...], one row and column a "
            "visit"
        )
    matrices = list(given)
    if not matrices:
        raise ModelError(f"residual={text!r}: lin= holds no matrix")
    return np.array([_ordered(matrix, labels, k) for k, matrix in enumerate(matrices, 1)])


def _ordered(matrix: Any, labels: tuple[str, ...], k: int) -> FloatArray:
    if hasattr(matrix, "columns") and hasattr(matrix, "index"):
        return _from_frame(matrix, labels, k)
    try:
        values = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise ModelError(f"lin: matrix {k} holds something that is not a number") from None
    if values.shape != (len(labels), len(labels)):
        raise ModelError(
            f"lin: matrix {k} has shape {values.shape}; the data have {len(labels)} visits "
            f"({', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}). A data frame with the "
            "visits as labels may hold more"
        )
    return values


def _from_frame(matrix: Any, labels: tuple[str, ...], k: int) -> FloatArray:
    rows, columns = (_labels(axis) for axis in (matrix.index, matrix.columns))
    for names in (rows, columns):
        if len(set(names)) < len(names):
            raise DataError(f"lin: matrix {k} has a visit twice among its labels")
        missing = [label for label in labels if label not in names]
        if missing:
            raise DataError(
                f"lin: matrix {k} has no row or column for visit {missing[0]!r}; its labels are "
                f"{', '.join(names[:8])}"
            )
    at = np.ix_([rows.index(x) for x in labels], [columns.index(x) for x in labels])
    try:
        return np.asarray(matrix.to_numpy(dtype=np.float64)[at])
    except (TypeError, ValueError):
        raise ModelError(f"lin: matrix {k} holds something that is not a number") from None


def _labels(axis: Any) -> list[str]:
    values = np.empty(len(axis), dtype=object)
    values[:] = list(axis)
    return list(level_labels(values))
