"""Many responses as they come: read, named, and sorted by the rows in which they have a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray, IntArray, unmasked
from mlmfast.data.columns.labelled_rows import in_order_of
from mlmfast.data.statistics import StackedColumns
from mlmfast.design.design import Design
from mlmfast.errors import DataError

#: Numbers of responses that are copied at a time.
_COPIED = 1_000_000
#: Those of responses with missing values that are looked at at a time.
_LOOKED_AT = 5_000_000


@dataclass(frozen=True)
class Pattern:
    """Responses that have a value in the same rows.

    Attributes
    ----------
    columns : positions of the responses.
    rows : shape (n_obs,), the rows with a value; None for all of them.
    """

    columns: IntArray
    rows: BoolArray | None


@dataclass(frozen=True)
class Responses:
    """Responses for the rows that a model uses.

    Attributes
    ----------
    values : shape (n_obs, n_fits), NaN where missing
    names
        Names of the columns, "0", "1", ... where they have none.
    problems
        By position, why a response cannot be fitted whatever the model.
    complete
        Whether it is known that no value is missing.
    rows
        What `response_columns` makes of all of them, where that is known.
    """

    values: FloatArray
    names: tuple[str, ...]
    problems: dict[int, str]
    complete: bool = False
    rows: StackedColumns | None = None

    def patterns(self) -> list[Pattern]:
        """The responses that can be fitted by where they have a value, in order of appearance.

        Examples
        --------
        >>> values = np.array([[1.0, np.nan, 3.0], [2.0, 5.0, 4.0]])
        >>> [p.columns.tolist() for p in Responses(values, ("a", "b", "c"), {}).patterns()]
        [[0, 2], [1]]
        """
        if self.complete:
            return [Pattern(np.arange(len(self.names)), None)]
        missing = np.zeros(self.values.shape, dtype=np.bool_)
        np.isnan(self.values, out=missing)
        incomplete = np.asarray(missing.any(axis=0))
        groups: dict[bytes, list[int]] = {}
        keys = np.packbits(missing, axis=0).T
        for column in range(len(self.names)):
            if column not in self.problems:
                key = keys[column].tobytes() if incomplete[column] else b""
                groups.setdefault(key, []).append(column)
        return [
            Pattern(np.array(columns), np.logical_not(missing[:, columns[0]]) if key else None)
            for key, columns in groups.items()
        ]


def read_responses(
    Y: Any, design: Design, used: BoolArray | None, index: pd.Index | None = None
) -> Responses:
    """Responses of `LMM.fit_many`, checked.

    Parameters
    ----------
    Y : shape (n_obs, n_fits), or with the rows that the model leaves out too
        Values that are missing or masked are NaN.
    design
        The design.
    used : shape (all rows,), the rows that the model uses; None where it uses all.
    index
        Labels of all rows, by which pandas objects are put into order.

    Raises
    ------
    DataError
        Where Y is not numeric, or has another number of rows.
    """
    if np.iscomplexobj(Y):
        raise DataError("Y is complex; a Gaussian model needs real numbers")
    matrix = _numbers(_in_order(Y, used, index))
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if used is not None and matrix.ndim == 2 and matrix.shape[0] == used.size:
        matrix = matrix[used]
    if matrix.ndim != 2 or matrix.shape[0] != design.n_obs or matrix.shape[1] == 0:
        raise DataError(
            f"Y has shape {matrix.shape}; ({design.n_obs}, n_fits) is needed, a row for each row "
            "the model uses"
            + ("" if used is None else f", or {used.size} rows, one for each given")
        )
    rows = None
    if _are_beside(matrix):
        # They are copied in any case, and what the core says of each tells which are suspect.
        rows = response_columns(matrix, design)
        suspect = np.flatnonzero(~np.isfinite(rows.raw[:, 0]))
    else:
        suspect = _suspect(matrix)
    names, complete = _names(Y, matrix.shape[1]), suspect.size == 0
    problems = _problems(matrix, names, suspect)
    return Responses(matrix, names, problems, complete, rows if complete else None)


def _are_beside(matrix: FloatArray) -> bool:
    """Whether responses of one row stand side by side in memory, as the core reads them."""
    flags = matrix.flags
    return flags.c_contiguous and flags.aligned and matrix.dtype.isnative


def response_columns(matrix: FloatArray, design: Design) -> StackedColumns:
    """Responses as they are reduced: copies of them, the design's offset subtracted."""
    if _are_beside(matrix):
        return StackedColumns.copy_of(matrix, design.offset)
    return StackedColumns.of(response_rows(matrix, design))


def response_rows(matrix: FloatArray, design: Design) -> FloatArray:
    """Responses as rows, the design's offset subtracted, (n_fits, n_obs).

    They are a copy, in which those of one row of the design stand side by side.
    """
    n, n_fits = matrix.shape
    out = np.empty((n, n_fits))
    # Some at a time: Ctrl-C is heard in between.
    step = max(16, _COPIED // max(n_fits, 1))
    for first in range(0, n, step):
        rows = slice(first, first + step)
        out[rows] = matrix[rows]
        if design.offset is not None:
            out[rows] -= design.offset[rows, None]
    return out.T


def _in_order(Y: Any, used: BoolArray | None, index: pd.Index | None) -> Any:
    if index is None or not isinstance(Y, pd.Series | pd.DataFrame):
        return Y
    return in_order_of(index if used is None or len(Y) == used.size else index[used], Y, "Y")


def _numbers(Y: Any) -> FloatArray:
    try:
        if isinstance(Y, pd.Series | pd.DataFrame):
            # Nullable columns hold NA, which NumPy does not take for a number.
            return np.asarray(Y.to_numpy(dtype=np.float64, na_value=np.nan))
        return np.asarray(unmasked(Y), dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("Y must be an array of numbers, one response a column") from None


def _names(Y: Any, n: int) -> tuple[str, ...]:
    if isinstance(Y, pd.Series):
        return (str(Y.name),) if Y.name is not None else ("0",)
    # A pyarrow table's `columns` are the columns themselves.
    names = getattr(Y, "column_names", getattr(Y, "columns", None))
    return tuple(map(str, range(n) if names is None or len(names) != n else names))


def _suspect(matrix: FloatArray) -> IntArray:
    """Positions of the responses that may have values which are missing or infinite."""
    # A finite sum says that every value is: far cheaper than looking at each.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.flatnonzero(~np.isfinite(matrix.sum(axis=0)))


def _problems(matrix: FloatArray, names: tuple[str, ...], suspect: IntArray) -> dict[int, str]:
    out: dict[int, str] = {}
    if suspect.size == 0:
        return out
    step = max(1, _LOOKED_AT // len(matrix))
    for first in range(0, suspect.size, step):
        columns = suspect[first : first + step]
        values = matrix[:, columns]
        infinite: BoolArray = np.asarray(np.isinf(values))
        empty: BoolArray = np.asarray(np.isnan(values).all(axis=0))
        for k in np.flatnonzero(empty | infinite.any(axis=0)).tolist():
            name = names[columns[k]]
            said = f"response {name!r} has no value that is not missing"
            if not empty[k]:
                row, count = int(np.argmax(infinite[:, k])), int(infinite[:, k].sum())
                said = f"response {name!r} has {count} infinite value(s), first in row {row}"
            out[int(columns[k])] = said
    return out
