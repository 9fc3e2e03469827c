"""Read symmetric matrices that users give: labels, numbers, checks in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.data.factor import level_labels
from mlmfast.errors import DataError, ModelError
from mlmfast.running.first_use import OnUse

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse
else:
    pd = OnUse("pandas")

Sparse: TypeAlias = "sparse.csr_array[np.float64, tuple[int, int]]"
Labels: TypeAlias = "tuple[str, ...]"

_NAMED = 5
#: Asymmetry over the largest entry that counts as rounding.
ROUNDING = 1e-8


def labelled_parts(given: Any, what: str) -> tuple[Labels | None, Any]:
    """Labels, if any, and the matrix of a data frame, of (labels, matrix) or of a matrix alone.

    ``what`` says in complaints what is read, such as ``cov['animal']``.
    """
    if _is_frame(given):
        rows, columns = read_labels(given.index), read_labels(given.columns)
        if set(rows) != set(columns) or len(rows) != len(columns):
            raise DataError(
                f"the data frame {what} has other labels on its rows than on its columns "
                f"({some(rows)} and {some(columns)}); both must name the levels (a table of "
                "animals and their parents is read by mlm.pedigree)"
            )
        check_repeated(rows, what)
        place = {label: k for k, label in enumerate(columns)}
        return rows, given.iloc[:, [place[label] for label in rows]]
    if isinstance(given, tuple):
        if len(given) != 2:
            raise DataError(f"{what} is a tuple of {len(given)}; a pair (labels, matrix) is needed")
        labels = read_labels(given[0])
        check_repeated(labels, what)
        return labels, given[1]
    return None, given


def _is_frame(given: Any) -> bool:
    return hasattr(given, "columns") and hasattr(given, "index")


def read_labels(values: Any) -> Labels:
    """Text of labels, as levels of the data have it."""
    if hasattr(values, "to_pylist"):
        # Items of Arrow are scalars of its own.
        values = values.to_pylist()
    array = np.asarray(values) if hasattr(values, "dtype") else _objects(list(values))
    if array.ndim != 1:
        raise DataError(
            f"labels have shape {array.shape}; a label a row of the matrix is needed, and labels "
            "come before it"
        )
    if array.dtype.kind in "fOM" and pd.isna(array).any():
        raise DataError(
            f"label {int(np.flatnonzero(pd.isna(array))[0]) + 1} is missing; every row of a matrix "
            "needs one"
        )
    return level_labels(array)


def _objects(items: list[Any]) -> NDArray[np.generic]:
    out = np.empty(len(items), dtype=object)
    out[:] = items
    return out


def check_repeated(labels: Labels, what: str) -> None:
    """Refuse labels that stand twice."""
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            raise DataError(f"{what} has the label {label!r} twice; levels must differ")
        seen.add(label)


def some(labels: Labels) -> str:
    """The first labels, for complaints."""
    return ", ".join(map(repr, labels[:_NAMED])) + (", ..." if len(labels) > _NAMED else "")


def square_numbers(matrix: Any, what: str) -> Sparse | FloatArray:
    """The numbers of a square matrix, sparse where they were given so."""
    values = _read(matrix, what)
    if values.shape[0] != values.shape[1] or values.shape[0] == 0:
        raise DataError(
            f"{what} has shape {values.shape}; a square matrix, a row and a column a level, "
            "is needed"
        )
    if not np.isfinite(values if isinstance(values, np.ndarray) else values.data).all():
        raise DataError(f"{what} has missing or infinite entries")
    return values


def _read(matrix: Any, what: str) -> Sparse | FloatArray:
    from scipy import sparse

    is_sparse = sparse.issparse(matrix)
    try:
        if is_sparse:
            _check_real(matrix)
            found: Sparse = sparse_array(matrix.astype(np.float64))
            found.sum_duplicates()
            return found
        dense = np.asarray(matrix)
        _check_real(dense)
        dense = np.asarray(dense, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what} is not a matrix of numbers") from None
    if dense.ndim != 2:
        raise DataError(f"{what} has {dense.ndim} dimension(s); a square matrix is needed")
    return dense


def _check_real(matrix: Any) -> None:
    """NumPy would leave out an imaginary part."""
    if matrix.dtype.kind == "c":
        raise TypeError("complex numbers")


def symmetric(values: Sparse | FloatArray, labels: Labels, order: IntArray, what: str) -> Sparse:
    """The matrix without what rounding makes asymmetric, rows and columns in another order.

    Raises
    ------
    ModelError
        Where it is not symmetric.
    """
    if isinstance(values, np.ndarray):
        difference = np.abs(values - values.T)
        worst = divmod(int(np.argmax(difference)), len(values))
        _check_symmetric(values, labels, worst, what)
        return known_entries((values * 0.5 + values.T * 0.5)[np.ix_(order, order)])
    entries = abs(values - values.T).tocoo()
    if entries.nnz:
        at = int(np.argmax(entries.data))
        _check_symmetric(values, labels, (int(entries.row[at]), int(entries.col[at])), what)
    return _ordered((values * 0.5 + values.T.tocsr() * 0.5).tocsr()[order][:, order])


def _check_symmetric(values: Any, labels: Labels, worst: tuple[int, int], what: str) -> None:
    i, j = worst
    largest = max(abs(values.max()), abs(values.min()))
    if abs(values[i, j] - values[j, i]) > ROUNDING * largest:
        raise ModelError(
            f"{what} is not symmetric: the entries of ({labels[i]!r}, {labels[j]!r}) and "
            f"its mirror image are {values[i, j]:g} and {values[j, i]:g}{_if_triangle(values)}"
        )


def _if_triangle(values: Any) -> str:
    """What to do with one half of a symmetric matrix."""
    rows, columns = values.nonzero()
    if (rows >= columns).all() or (rows <= columns).all():
        return "; one half of the matrix is 0: give both"
    return ""


def known_entries(dense: FloatArray) -> Sparse:
    """The entries that are not 0: a fifth of SciPy's time where most are not."""
    known = dense != 0.0
    first = np.append(0, np.cumsum(np.count_nonzero(known, axis=1)))
    columns = np.broadcast_to(np.arange(dense.shape[1], dtype=np.int32), dense.shape)[known]
    return sparse_array((dense[known], columns, first), shape=dense.shape)


def _ordered(values: Sparse) -> Sparse:
    """Columns in order, which the core and slicing by ranges need."""
    found = sparse_array(values)
    found.eliminate_zeros()
    found.sort_indices()
    return found


def sparse_array(*parts: Any, **shape: Any) -> Sparse:
    """A sparse matrix by rows, SciPy imported where one is made."""
    from scipy import sparse

    return sparse.csr_array(*parts, **shape)
