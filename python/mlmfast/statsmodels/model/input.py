"""Arrays as a model is given them: checked, rows with missing values left out, groups coded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray, unmasked
from mlmfast.errors import DataError
from mlmfast.statsmodels.errors import MissingDataError


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of the rows.

    Attributes
    ----------
    labels
        The groups, sorted.
    codes : shape (n,), position of each row's group.
    """

    labels: list[Any]
    codes: CodeArray

    @property
    def rows(self) -> list[IntArray]:
        """Rows of each group."""
        order = np.argsort(self.codes, kind="stable")
        sizes = np.bincount(self.codes, minlength=len(self.labels))
        return np.split(order, np.cumsum(sizes)[:-1])


def groups_of(values: Any, n: int) -> Groups:
    """Code the groups.

    Raises
    ------
    DataError
        Where there is not one label a row.
    MissingDataError
        Where one is missing.
    """
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or len(array) != n:
        raise DataError(f"groups has shape {array.shape}; one label for each of {n} rows is needed")
    try:
        codes, labels = pd.factorize(array, sort=True)
    except TypeError as error:
        raise DataError(f"the labels of groups cannot be sorted: {error}") from None
    if codes.min(initial=0) < 0:
        raise MissingDataError(
            f"groups has {np.count_nonzero(codes < 0)} missing labels; missing='drop' leaves those "
            "rows out"
        )
    return Groups(list(labels), codes.astype(np.int32))


def numbers(name: str, values: Any, ndim: int) -> FloatArray:
    """An array of numbers of one or two dimensions.

    Raises
    ------
    DataError
    """
    try:
        array = np.asarray(unmasked(values))
        if np.iscomplexobj(array):
            raise TypeError
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be an array of numbers") from None
    if ndim == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if ndim == 2 and array.ndim == 1:
        array = array[:, None]
    if array.ndim != ndim or not array.size:
        raise DataError(f"{name} has shape {array.shape}; {ndim} dimension(s) are needed")
    return array


def check_missing(missing: Any, formula: bool) -> str:
    """Read ``missing``.

    Raises
    ------
    ValueError
    """
    if missing not in ("none", "drop", "raise"):
        raise DataError(f"missing is {missing!r}; use 'none', 'drop' or 'raise'")
    return str(missing)


def complete(arrays: dict[str, Any], missing: str) -> BoolArray | None:
    """Rows without a missing value in any of the arrays; None for all.

    Raises
    ------
    MissingDataError
        Where values are missing, unless ``missing`` is "drop"; for infinite values always.
    """
    bad: Any = False
    for name, values in arrays.items():
        if values is None:
            continue
        own = pd.isna(np.asarray(values))
        own = np.asarray(own.any(axis=1) if own.ndim == 2 else own)
        if np.ndim(bad) and len(own) != len(bad):
            raise DataError(f"{name} has {len(own)} rows; {len(bad)} are needed")
        if missing != "drop" and own.any():
            raise MissingDataError(
                f"{name} has {np.count_nonzero(own)} rows with missing values; missing='drop' "
                "leaves them out"
            )
        bad = bad | own
    return None if not np.any(bad) else ~np.asarray(bad)


def check_infinite(name: str, values: FloatArray | None) -> None:
    """Refuse infinite values.

    Raises
    ------
    MissingDataError
    """
    if values is not None and not np.isfinite(values).all():
        raise MissingDataError(f"{name} has infinite values; leave those rows out")


def taken(values: Any, rows: BoolArray | None) -> Any:
    """Some rows of an array, a list or a pandas object."""
    if rows is None or values is None:
        return values
    if isinstance(values, pd.Series | pd.DataFrame):
        return values[rows]
    return np.asarray(values)[rows]


def check_order(name: str, values: Any, index: pd.Index | None) -> None:
    """Refuse a pandas object whose row labels are those of the data in another order.

    statsmodels takes such an object by position, which gives rows the groups of others: it
    compares the labels of endog and exog alone. Labels of other rows (one of the two was
    renumbered) say nothing, and positions are all there is.

    Raises
    ------
    DataError
    """
    if index is None or not isinstance(values, pd.Series | pd.DataFrame):
        return
    own = values.index
    if len(own) != len(index) or own.equals(index):
        return
    if own.is_unique and index.is_unique and own.isin(index).all():
        raise DataError(
            f"{name} has the row labels of the data in another order, by position rows would get "
            f"the {name} of others; give {name}.loc[data.index], or {name}.to_numpy() if its rows "
            "already stand as those of the data"
        )
