"""Labels coded over Arrow's buffers and by address: the levels and codes that sorting gives."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal

from mlmfast.data.columns.label_codes import factor_from_texts, shared_objects
from mlmfast.data.factor import code_integers
from mlmfast.data.frame import Frame

#: Empty, as long as a word and longer, alike but for a byte, bytes of 0, letters of several bytes.
WORDS = [
    "",
    "a",
    "a\0",
    "a\0\0",
    "b",
    "abcdefgh",
    "abcdefgi",
    "abcdefgh1",
    "abcdefgh2",
    "Abcdefgh1",
]
WORDS += ["x" * 40 + "1", "x" * 40 + "2", "1" + "x" * 40, "größe", "身長", "\N{GRINNING FACE}", "ﬀ"]


def labels(n, seed=1):
    return np.array(WORDS, dtype=object)[np.random.default_rng(seed).integers(0, len(WORDS), n)]


def assert_is_factor_of(factor, values):
    """Levels sorted by code points; a code for every value that is not missing."""
    levels = sorted({value for value in values if value is not None})
    assert factor.levels == tuple(levels)
    place = {level: k for k, level in enumerate(levels)}
    assert factor.codes.tolist() == [place.get(value, -1) for value in values]


@pytest.mark.parametrize("dtype", [pa.string(), pa.large_string()])
def test_texts_of_every_length_and_alphabet(dtype):
    values = labels(500).tolist()
    values[::7] = [None] * len(values[::7])
    whole = pa.array(values, type=dtype)
    for first, last in [(0, 500), (3, 499), (8, 16), (13, 14), (7, 8)]:
        column = pa.chunked_array([whole.slice(first, last - first)])
        assert_is_factor_of(factor_from_texts(column), values[first:last])
    pieces = pa.chunked_array([whole.slice(0, 11), whole.slice(11, 0), whole.slice(11)])
    assert_is_factor_of(factor_from_texts(pieces), values)


def test_no_rows_and_no_texts():
    empty = factor_from_texts(pa.chunked_array([], type=pa.string()))
    assert empty.levels == ()
    assert empty.codes.size == 0
    missing = factor_from_texts(pa.chunked_array([[None, None]], type=pa.string()))
    assert missing.levels == ()
    assert missing.codes.tolist() == [-1, -1]
    assert factor_from_texts(pa.chunked_array([[1, 2]])) is None


def test_many_levels():
    words = [f"household {k * 7919 % 20011}" for k in range(20000)] * 2
    assert_is_factor_of(factor_from_texts(pa.chunked_array([words])), words)


def test_objects_in_many_rows_are_told_apart_by_value():
    # Equal texts that are two objects, and every kind of missing value.
    twice = [bytes([97 + k]).decode() + "!" for k in range(5)] + [f"{c}!" for c in "abcde"]
    objects = np.array([*twice, None, np.nan, float("nan"), pd.NA], dtype=object)
    values = objects[np.random.default_rng(2).integers(0, len(objects), 30_000)]
    assert shared_objects(values) is not None
    factor = Frame.from_native(pd.DataFrame({"g": pd.Series(values, dtype=object)})).factor("g")
    assert_is_factor_of(factor, [v if isinstance(v, str) else None for v in values])
    few = Frame.from_native(pd.DataFrame({"g": pd.Series(values[:2000], dtype=object)}))
    assert_array_equal(few.factor("g").codes, factor.codes[:2000])


def test_objects_of_their_own_are_coded_as_before():
    values = np.array([f"row {k % 15_000}" for k in range(30_000)], dtype=object)
    assert shared_objects(values) is None
    column = pd.Series(values, dtype=object)
    assert_is_factor_of(Frame.from_native(pd.DataFrame({"g": column})).factor("g"), values.tolist())


def test_rows_of_strided_objects():
    table = np.empty((12_000, 2), dtype=object)
    table[:, 0], table[:, 1] = labels(12_000), "other"
    codes, values = shared_objects(table[:, 0]).factorize()
    assert values[codes].tolist() == table[:, 0].tolist()


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint16", "uint64"])
@pytest.mark.parametrize(
    "values",
    [[3], [1, 1, 1, 4, 4, 9], [4, 4, 4, 1, 1, 1], [1, 1, 5, 5, 1, 1], [0, 1, 2, 3], [9, 0, 9, 0]],
)
def test_integers_in_runs_are_coded_as_any_others(values, dtype):
    """Files sorted by cluster: each value is one run, in order; else it is looked up."""
    distinct, codes = code_integers(np.array(values, dtype=dtype))
    expected, own = np.unique(values, return_inverse=True)
    assert distinct.dtype == dtype
    assert distinct.tolist() == expected.tolist()
    assert codes.tolist() == own.tolist()
    assert codes.dtype == np.int32
