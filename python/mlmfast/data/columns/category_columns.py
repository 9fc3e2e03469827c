"""Columns of categories made anew, as the library of the user's frame writes them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.data.factor import Factor


def category_column(values: Any, like: Factor, library: ModuleType) -> Any:
    """Values of categories as a column that reads as `like` does: levels in the same order.

    Parameters
    ----------
    values : object array
        Levels as the user's data hold them, None where missing.
    like
        The column that they come from.
    library
        Of the frame that is made.

    Examples
    --------
    >>> like = Factor(np.array([0, 1]), ("p", "a"), np.array(["p", "a"], dtype=object), ("p", "a"))
    >>> category_column(np.array(["a", None], dtype=object), like, pd).categories.tolist()
    ['p', 'a']
    """
    items = values.tolist()
    if all(isinstance(value, bool | np.bool_) for value in items):
        return np.array(items, dtype=np.bool_)
    levels = like.values.tolist() if like.declared is not None else None
    if library.__name__ == "polars":
        return _polars(items, levels)
    if levels is None:
        return values
    if library.__name__ == "pyarrow":
        pa = sys.modules["pyarrow"]
        position = {value: k for k, value in enumerate(levels)}
        codes = pa.array([position.get(value) for value in items], pa.int32())
        return pa.DictionaryArray.from_arrays(codes, pa.array(levels))
    return pd.Categorical(items, categories=levels) if library is pd else values


def _polars(items: list[Any], levels: list[Any] | None) -> Any:
    # An array of objects would be a column of objects, which is neither text nor logical.
    pl: Any = sys.modules["polars"]
    return pl.Series(items, dtype=None if levels is None else pl.Enum(levels))
