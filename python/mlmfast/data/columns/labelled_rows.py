"""Pandas objects beside the data: brought into the order of its rows by their labels."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mlmfast.errors import DataError


def in_order_of(index: pd.Index | None, values: Any, role: str) -> Any:
    """Values in the order of the rows' labels.

    A Series or DataFrame with the same labels in another order is put into the rows' order;
    anything without labels, or beside rows without them, goes by position.

    Parameters
    ----------
    index
        Labels of the rows; None where they have none.
    values
        Anything; objects without an index are returned as they are.
    role
        What it is, for the complaint.

    Raises
    ------
    DataError
        Where the labels are others than the rows', or repeat in another order.

    Examples
    --------
    >>> rows = pd.Index(["a", "b"])
    >>> in_order_of(rows, pd.Series([2.0, 1.0], index=["b", "a"]), "weights").tolist()
    [1.0, 2.0]
    """
    if index is None or not isinstance(values, pd.Series | pd.DataFrame):
        return values
    own = values.index
    if len(own) != len(index) or own.equals(index):
        return values  # unequal lengths are a complaint of their own
    if own.is_unique and index.is_unique and own.isin(index).all():
        return values.reindex(index)
    missing = index[~index.isin(own)]
    found = f"no row {missing[0]!r}" if len(missing) else "labels that repeat in another order"
    raise DataError(
        f"{role} and the data have different row labels ({role}: {found}), so it is not known "
        f"which value belongs to which row; give {role} the index of the data, or as an array "
        "(.to_numpy()) in the order of the rows"
    )
