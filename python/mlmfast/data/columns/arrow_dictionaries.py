"""Dictionary columns of Arrow, whoever wrote them: a pyarrow Table's, or in a pandas frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]

from mlmfast.arrays import CodeArray
from mlmfast.data.columns import TEXT_ONLY
from mlmfast.data.factor import (
    Factor,
    LevelValues,
    drop_unused_levels,
    factor_from_categories,
    factor_from_uniques,
    translate_codes,
)

# What stands beside dictionaries in no order that anybody chose: polars' of a Categorical, ours.
_WITHOUT_ORDER = (b"_PL_CATEGORICAL", TEXT_ONLY)


def dictionary_factor(column: pa.ChunkedArray, ordered: bool = True) -> Factor:
    """A dictionary column as a factor.

    Indices may be unsigned, each chunk may have a dictionary of its own, a dictionary may hold
    nulls and hold a value twice: what a row says is its value.

    Parameters
    ----------
    column
        Of a dictionary type.
    ordered
        Whether levels keep the dictionary's order; else they are sorted.

    Examples
    --------
    >>> indices = pa.array([0, 1, 2, None, 3], pa.uint8())
    >>> twice = pa.DictionaryArray.from_arrays(indices, pa.array(["b", "a", "b", None]))
    >>> factor = dictionary_factor(pa.chunked_array([twice]))
    >>> factor.levels, factor.codes.tolist()
    (('b', 'a'), [0, 1, 0, -1, -1])
    """
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    if not chunks:
        return factor_from_uniques(np.array([], dtype=np.int32), np.array([], dtype=object))
    dictionaries = [_values(chunk.dictionary) for chunk in chunks]
    # Equal values are one level, where they first stand; null is no level.
    level_of, distinct = pd.factorize(np.concatenate(dictionaries))
    ends = np.cumsum([len(values) for values in dictionaries])[:-1]
    levels = np.split(level_of.astype(np.int32), ends)
    pieces = [_codes(own, to) for own, to in zip(chunks, levels, strict=True)]
    codes = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    if ordered:
        return factor_from_categories(codes, np.asarray(distinct))
    # A dictionary may be that of more rows.
    return drop_unused_levels(factor_from_uniques(codes, np.asarray(distinct)))


def _codes(chunk: pa.DictionaryArray, level_of: CodeArray) -> CodeArray:
    indices = chunk.indices
    if indices.null_count:
        indices = indices.cast(pa.int64()).fill_null(-1)
    return translate_codes(indices.to_numpy(zero_copy_only=False), level_of)


def has_own_order(field: pa.Field) -> bool:
    """Whether a dictionary's order was somebody's choice, as far as the field says.

    Examples
    --------
    >>> has_own_order(pa.field("f", pa.dictionary(pa.uint32(), pa.string())))
    True
    """
    return not any(key.startswith(_WITHOUT_ORDER) for key in field.metadata or ())


def _values(dictionary: pa.Array) -> LevelValues:
    """A dictionary's values, None or NaN or NaT where null."""
    holds_nulls = pa.types.is_integer(dictionary.type) and dictionary.null_count
    if holds_nulls or str(dictionary.type) == "string_view":
        # Floating point would not tell large integers apart; views not every pyarrow converts.
        return np.array(dictionary.to_pylist(), dtype=object)
    return np.asarray(dictionary.to_pandas())
