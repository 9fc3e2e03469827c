"""Data sets one after the other in one table, a column saying which set each row is of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlmfast.simulation.rows.rebuild import repeated
from mlmfast.studies.replicates.data_set import DataSet, SharedRows


class OneTable(NamedTuple):
    """Columns of the rows of all data sets, and the name of the one with their positions."""

    columns: dict[str, Any]
    by: str


def in_one_table(data: Sequence[DataSet], names: Iterable[str]) -> OneTable | None:
    """The columns of these names; None where what is in them may differ in kind from set to set.

    Examples
    --------
    >>> sets = [DataSet({"y": [1.0, 2.0]}), DataSet({"y": [5.0]})]
    >>> in_one_table(sets, ["y"])
    OneTable(columns={'y': array([1., 2., 5.]), 'set': array([0, 0, 1])}, by='set')
    """
    wanted = dict.fromkeys(names)
    columns: dict[str, Any] = {}
    for name in wanted:
        column = _joined(data, name)
        if column is None:
            return None
        columns[name] = column
    if not columns:
        return None
    by = "set"
    while by in columns:
        by += "_"
    # Any column has the rows of its set.
    first = next(iter(columns))
    sizes = [len(one.column(first)) for one in data]
    return OneTable({**columns, by: np.repeat(np.arange(len(data)), sizes)}, by)


def _joined(data: Sequence[DataSet], name: str) -> Any:
    if isinstance(data, SharedRows):
        if name in data.varying:
            return data.varying[name].ravel()
        column = data.rows.column(name)
        return None if column is None else repeated(column, len(data))
    parts = [one.column(name) for one in data]
    kinds = {_kind(part) for part in parts}
    if len(kinds) > 1 or None in kinds:
        return None
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return pd.concat(parts, ignore_index=True)


def _kind(column: Any) -> Any:
    """What two columns share that may be joined; None for those that are looked at alone."""
    dtype = getattr(column, "dtype", None)
    if dtype is None or dtype == np.dtype(object):
        return None
    if isinstance(dtype, np.dtype) and dtype.kind == "U":
        return type(column), "text"
    return type(column), repr(dtype) if isinstance(dtype, np.dtype) else dtype
