"""Labels of the grouping factors by cell: joined over parts by what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlmfast.arrays import CodeArray
from mlmfast.data.factor import Factor, code_integers, with_logicals
from mlmfast.errors import DataError

#: By column of the data, a value a cell.
Keys: TypeAlias = Mapping[str, NDArray[Any]]

#: Below this, floats hold every integer.
_EXACT = 2**53
_KINDS = {"i": "integers", "u": "integers", "f": "numbers", "b": "logicals", "M": "dates"}


def key_values(factor: Factor) -> NDArray[Any]:
    """The levels of a grouping column as keys: integers, numbers, logicals, dates, or text.

    Examples
    --------
    >>> import numpy as np
    >>> key_values(Factor(np.array([0], dtype=np.int32), ("2",), np.array([2], dtype=np.int8)))
    array([2])
    """
    values = with_logicals(factor.values)
    kind = values.dtype.kind
    if kind in "iu" and (kind == "i" or int(values.max(initial=0)) < 2**63):
        return np.asarray(values, dtype=np.int64)
    if kind in "fb":
        return np.asarray(values)
    if kind == "M":
        return np.asarray(values, dtype="datetime64[ns]")
    return np.array(factor.levels, dtype=object)


def kind_of(values: NDArray[Any]) -> str:
    """What keys are, as messages say it."""
    return _KINDS.get(values.dtype.kind, "text")


def joined(parts: Sequence[NDArray[Any]], name: str) -> NDArray[Any]:
    """Keys of several parts, one after the other.

    Raises
    ------
    DataError
        Where some are text and others numbers, or the like.
    """
    own = [part for part in parts if len(part)]
    kinds = {kind_of(part) for part in own}
    if kinds == {"integers", "numbers"}:
        return np.concatenate(_as_integers(own, name))
    if len(kinds) > 1:
        raise DataError(
            f"the grouping column {name!r} holds {' in one part and '.join(sorted(kinds))} in "
            "another; make them the same type"
        )
    return np.concatenate(own) if own else np.empty(0, dtype=object)


def _as_integers(parts: Sequence[NDArray[Any]], name: str) -> list[NDArray[Any]]:
    """Whole numbers, some held as floats (beside missing values), as integers where that is exact.

    Raises
    ------
    DataError
        Where integers would be rounded beside numbers that are none.
    """
    floats = np.concatenate([part for part in parts if part.dtype.kind == "f"])
    if bool(((np.trunc(floats) == floats) & (np.abs(floats) < _EXACT)).all()):
        return [part.astype(np.int64) for part in parts]
    integers = np.concatenate([part for part in parts if part.dtype.kind == "i"])
    if bool((np.abs(integers) >= _EXACT).any()):
        raise DataError(
            f"the grouping column {name!r} holds integers of 16 digits or more in one part and "
            "floats in another, which do not tell such integers apart; make them the same type"
        )
    return list(parts)


def code_keys(values: NDArray[Any]) -> tuple[CodeArray, int]:
    """A code for each key, equal keys alike, and the number of codes."""
    if not len(values):
        return np.empty(0, dtype=np.int32), 0
    if values.dtype.kind == "i":
        distinct, codes = code_integers(values)
        return codes, len(distinct)
    found, uniques = pd.factorize(values)
    return found.astype(np.int32), len(uniques)


def code_cells(keys: Sequence[NDArray[Any]], n: int) -> tuple[CodeArray, NDArray[np.intp]]:
    """A code for each combination of keys, and where each code stands first.

    Examples
    --------
    >>> codes, first = code_cells([np.array([7, 7, 5]), np.array([1, 2, 1])], 3)
    >>> codes.tolist(), first.tolist()
    ([1, 2, 0], [2, 0, 1])
    """
    if not keys:
        return np.zeros(n, dtype=np.int32), np.zeros(min(n, 1), dtype=np.intp)
    combined: CodeArray | None = None
    for values in keys:
        codes, n_codes = code_keys(values)
        if combined is None:
            combined = codes
            continue
        # Coded again before each factor, so that the products stay small.
        products = np.asarray(combined, dtype=np.int64) * n_codes + codes
        combined = np.asarray(code_integers(products)[1], dtype=np.int32)
    assert combined is not None, "there are keys"
    n_cells = int(combined.max(initial=-1)) + 1
    first = np.empty(n_cells, dtype=np.intp)
    first[combined[::-1]] = np.arange(n)[::-1]
    return combined, first
