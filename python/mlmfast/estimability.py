"""Which linear functions of the fixed effects the data determine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.design import Design
from mlmfast.errors import ModelError

if TYPE_CHECKING:
    from mlmfast.result import LMMResult

#: Largest difference, over the row's largest element, at which a function counts as estimable.
_TOLERANCE = 1e-7


def aliasing(design: Design, kept: tuple[int, ...]) -> FloatArray:
    """Coefficients of the aliased columns of X by those kept, (rank, n_aliased).

    X_aliased = X_kept A exactly, so L beta is estimable where L_aliased = L_kept A.
    """
    chosen = set(kept)
    left = [j for j in range(len(design.x)) if j not in chosen]
    if not left:
        return np.zeros((len(chosen), 0))
    x = design.fixed_matrix
    basis, others = x[:, sorted(chosen)], x[:, left]
    scale = np.sqrt((basis**2).sum(axis=0))
    solution = np.linalg.lstsq(basis / scale, others, rcond=None)[0]
    return np.asarray(solution / scale[:, None])


def estimable(
    L: FloatArray, kept: tuple[int, ...], coefficients: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Rows over the columns kept, and which of them are estimable.

    Parameters
    ----------
    L : shape (m, p), over all columns of X.
    kept : the columns that are not aliased.
    coefficients : what `aliasing` gave.

    Returns
    -------
    shapes (m, rank) and (m,)

    Examples
    --------
    >>> twice = np.array([[2.0]])  # the second column is twice the first
    >>> estimable(np.array([[1.0, 2.0], [1.0, 0.0]]), (0,), twice)[1].tolist()
    [True, False]
    """
    rows = np.ascontiguousarray(L[:, list(kept)])
    left = [j for j in range(L.shape[1]) if j not in set(kept)]
    if not left:
        return rows, np.ones(len(L), dtype=np.bool_)
    implied = rows @ coefficients
    difference = np.abs(L[:, left] - implied).max(axis=1)
    size = np.maximum(np.abs(L).max(axis=1), np.abs(implied).max(axis=1))
    return rows, np.asarray(difference <= _TOLERANCE * np.maximum(size, 1e-300))


def check_estimable(fit: LMMResult, L: FloatArray) -> FloatArray:
    """Rows of a contrast over the columns kept; see `kept_rows` for what is refused."""
    aliased = len(fit._record.kept) < len(fit._record.x_names)
    coefficients = fit._aliasing if aliased else np.zeros((len(fit._record.kept), 0))
    return kept_rows(L, fit._record.x_names, fit._record.kept, coefficients)


def kept_rows(
    L: FloatArray, names: tuple[str, ...], kept: tuple[int, ...], coefficients: FloatArray
) -> FloatArray:
    """Rows of a contrast over the columns kept.

    Raises
    ------
    ModelError
        Where L has the wrong number of columns, holds what is not finite, or a row that is not
        estimable.
    """
    matrix = np.asarray(L, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != len(names):
        raise ModelError(
            f"the contrast has {matrix.shape[-1]} columns, and the model {len(names)} "
            f"coefficients: {', '.join(names)}"
        )
    if not np.isfinite(matrix).all():
        raise ModelError("the contrast holds a value that is not a finite number")
    rows, is_estimable = estimable(matrix, kept, coefficients)
    if not is_estimable.all():
        worst = int(np.flatnonzero(~is_estimable)[0])
        row = matrix[worst]
        shown = ", ".join(f"{row[j]:g} {names[j]}" for j in np.flatnonzero(row))
        aliased = [name for j, name in enumerate(names) if j not in set(kept)]
        raise ModelError(
            f"row {worst + 1} of the contrast ({shown}) is not estimable: X has rank {len(kept)}, "
            f"and the data do not tell {', '.join(aliased)} apart from other coefficients"
        )
    return rows
