import datetime
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal, assert_equal

from mlmfast.data.columns import pandas_columns
from mlmfast.data.factor import Factor, cross_factors
from mlmfast.data.finite import check_finite
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError

COLUMNS = {
    "x": [1.5, -2.0, 0.25],
    "i": [3, 1, 3],
    "s": ["b", "a", "b"],
    "b": [True, False, True],
    "_x": [0.0, 1.0, 2.0],
}

LIBRARIES = {
    "pandas": lambda columns: pd.DataFrame(columns),
    "polars": lambda columns: pl.DataFrame(columns),
    "lazy polars": lambda columns: pl.DataFrame(columns).lazy(),
    "pyarrow": lambda columns: pa.table(columns),
    "dict": lambda columns: columns,
}


@pytest.fixture(params=LIBRARIES)
def make(request):
    return LIBRARIES[request.param]


def test_every_library_gives_the_same_numbers_and_factors(make):
    frame = Frame.from_native(make(COLUMNS))
    assert frame.columns == ("x", "i", "s", "b", "_x")
    assert frame.n_rows == 3
    assert_array_equal(frame.numeric("x"), COLUMNS["x"])
    assert_array_equal(frame.numeric("i"), [3.0, 1.0, 3.0])
    assert_array_equal(frame.numeric("b"), [1.0, 0.0, 1.0])
    assert frame.numeric("i").dtype == np.float64
    assert frame.factor("s").levels == ("a", "b")
    assert_array_equal(frame.factor("s").codes, [1, 0, 1])
    assert frame.factor("s").codes.dtype == np.int32
    assert frame.factor("i").levels == ("1", "3")
    assert frame.factor("x").levels == ("-2", "0.25", "1.5")
    assert frame.factor("b").levels == ("FALSE", "TRUE")
    kinds = {name: (frame.is_numeric(name), frame.is_categorical(name)) for name in COLUMNS}
    assert kinds["x"] == kinds["i"] == (True, False)
    assert kinds["s"] == kinds["b"] == (False, True)
    assert all(frame.missing(name) is None for name in COLUMNS)


def test_every_library_marks_missing_values(make):
    columns = {"x": [1.0, None, 3.0], "i": [1, 2, None], "s": [None, "a", "b"]}
    frame = Frame.from_native(make(columns | {"b": [True, None, False]}))
    assert_array_equal(frame.numeric("x"), [1.0, np.nan, 3.0])
    assert_array_equal(frame.missing("x"), [False, True, False])
    assert_array_equal(frame.missing("i"), [False, False, True])
    assert_array_equal(frame.missing("s"), [True, False, False])
    assert_array_equal(frame.missing("b"), [False, True, False])
    assert_array_equal(frame.factor("s").codes, [-1, 0, 1])
    assert_array_equal(frame.factor("i").codes, [0, 1, -1])
    assert frame.factor("i").levels == ("1", "2")
    assert_array_equal(frame.factor("b").codes, [1, -1, 0])


def test_taking_rows_cuts_columns_and_drops_levels_that_went(make):
    frame = Frame.from_native(make(COLUMNS))
    frame.factor("s")
    cut = frame.take(np.array([True, False, True]))
    assert cut.n_rows == 2
    assert_array_equal(cut.numeric("x"), [1.5, 0.25])
    assert cut.factor("s").levels == ("b",)
    assert_array_equal(cut.factor("s").codes, [0, 0])
    again = cut.take(np.array([False, True]))
    assert_array_equal(again.numeric("x"), [0.25])
    assert_array_equal(again.numeric("_x"), [2.0])


def test_a_long_float64_column_is_not_copied(make):
    x = np.arange(20_000.0)
    data = make({"x": x})
    once, twice = Frame.from_native(data).numeric("x"), Frame.from_native(data).numeric("x")
    if not isinstance(data, pl.LazyFrame):
        assert np.shares_memory(once, twice)
    assert once.flags.c_contiguous


def test_a_column_of_a_row_major_table_comes_out_contiguous():
    data = pd.DataFrame(np.arange(6.0).reshape(3, 2), columns=["a", "b"])
    assert Frame.from_native(data).numeric("b").flags.c_contiguous


def test_categories_keep_the_order_of_the_frame_and_lose_unused_ones():
    categories = ["hi", "never", "lo"]
    values = ["lo", "hi", None, "lo"]
    frames = [
        pd.DataFrame({"f": pd.Categorical(values, categories=categories)}),
        pl.DataFrame({"f": pl.Series(values, dtype=pl.Enum(categories))}),
        pa.table(
            {"f": pa.DictionaryArray.from_arrays(pa.array([2, 0, None, 2]), pa.array(categories))}
        ),
    ]
    for native in frames:
        factor = Frame.from_native(native).factor("f")
        assert factor.levels == ("hi", "lo")
        assert_array_equal(factor.codes, [1, 0, -1, 1])


def test_a_polars_categorical_has_the_order_polars_sorts_it_in():
    # Categories are shared by the process, so their codes may run against this column's order.
    pl.Series(["zz", "y"], dtype=pl.Categorical)
    column = pl.Series(["y", "x", None, "y"], dtype=pl.Categorical)
    factor = Frame.from_native(pl.DataFrame({"f": column})).factor("f")
    assert factor.levels == tuple(column.drop_nulls().unique().sort().cast(pl.String))
    labels = ["missing" if code < 0 else factor.levels[code] for code in factor.codes]
    assert labels == ["y", "x", "missing", "y"]


@pytest.mark.parametrize(
    "dtype", ["Int64", "Float64", "float32", "int8", "uint64", "int64[pyarrow]", "double[pyarrow]"]
)
def test_every_pandas_number_becomes_float64(dtype):
    frame = Frame.from_native(pd.DataFrame({"x": pd.Series([1, 2, 1], dtype=dtype)}))
    assert_array_equal(frame.numeric("x"), [1.0, 2.0, 1.0])
    assert frame.factor("x").levels == ("1", "2")
    assert frame.is_numeric("x")


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "int64[pyarrow]"])
def test_a_missing_value_of_a_nullable_number_is_nan(dtype):
    frame = Frame.from_native(pd.DataFrame({"x": pd.Series([1, None, 3], dtype=dtype)}))
    assert_array_equal(frame.numeric("x"), [1.0, np.nan, 3.0])
    assert_array_equal(frame.factor("x").codes, [0, -1, 1])


@pytest.mark.parametrize(
    "dtype", ["object", "str", "string", "string[python]", "string[pyarrow]", "category"]
)
def test_every_pandas_text_becomes_a_factor(dtype):
    frame = Frame.from_native(pd.DataFrame({"s": pd.Series(["b", None, "a"], dtype=dtype)}))
    assert frame.is_categorical("s")
    assert frame.factor("s").levels == ("a", "b")
    assert_array_equal(frame.factor("s").codes, [1, -1, 0])


def test_a_nullable_logical_and_an_interval_become_factors():
    logical = pd.Series([True, None, False], dtype="boolean")
    frame = Frame.from_native(pd.DataFrame({"b": logical, "c": pd.cut([0.5, 2.5, 1.5], 3)}))
    assert frame.factor("b").levels == ("FALSE", "TRUE")
    assert_array_equal(frame.factor("b").codes, [1, -1, 0])
    assert_array_equal(frame.numeric("b"), [1.0, np.nan, 0.0])
    assert frame.factor("c").levels[1] == "(1.167, 1.833]"
    assert_array_equal(frame.factor("c").codes, [0, 2, 1])


def test_objects_that_are_numbers_are_numbers():
    values = pd.Series([1, 2.5, None, np.float32(3)], dtype=object)
    frame = Frame.from_native(pd.DataFrame({"x": values}))
    assert frame.is_numeric("x")
    assert_array_equal(frame.numeric("x"), [1.0, 2.5, np.nan, 3.0])
    decimals = Frame.from_native({"x": pd.Series([Decimal("1.5"), None], dtype=object)})
    assert_array_equal(decimals.numeric("x"), [1.5, np.nan])


def test_polars_decimals_and_narrow_integers_are_numbers():
    data = pl.DataFrame({"d": pl.Series(["1.5", "2"]).cast(pl.Decimal(10, 2))})
    data = data.with_columns(u=pl.Series([255, 0], dtype=pl.UInt8))
    frame = Frame.from_native(data)
    assert_array_equal(frame.numeric("d"), [1.5, 2.0])
    assert frame.factor("d").levels == ("1.5", "2")
    assert frame.factor("u").levels == ("0", "255")
    assert_array_equal(frame.factor("u").values, [0, 255])


def test_levels_of_numbers_sort_by_value_and_text_by_code_point():
    frame = Frame.from_native({"n": [10.0, 9.0, 0.5], "s": ["é", "Z", "a"], "t": ["10", "9", "1"]})
    assert frame.factor("n").levels == ("0.5", "9", "10")
    assert frame.factor("s").levels == ("Z", "a", "é")
    assert frame.factor("t").levels == ("1", "10", "9")


@pytest.mark.parametrize("low", [-5, 0, 10**15, -(2**62)])
def test_integers_far_apart_or_far_from_zero_are_coded_alike(low):
    for step in (1, 10**9):
        values = np.array([3, 1, 3, 2]) * step + low
        factor = Frame.from_native({"i": values}).factor("i")
        assert_array_equal(factor.codes, [2, 0, 2, 1])
        assert_array_equal(factor.values, np.array([1, 2, 3]) * step + low)


def test_a_date_can_be_a_factor_but_not_a_number(make):
    days = [datetime.date(2024, 3, 1), datetime.date(2024, 1, 1), datetime.date(2024, 3, 1)]
    frame = Frame.from_native(make({"d": days}))
    assert frame.factor("d").levels == ("2024-01-01", "2024-03-01")
    assert not frame.is_numeric("d")
    assert not frame.is_categorical("d")
    with pytest.raises(DataError, match=r"'d' has type .* days since the first date"):
        frame.numeric("d")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", "b"], "cannot be used as a number"),
        ([1j, 2.0], "complex"),
        ([object(), 1.0], "object"),
        ([1.0, "a"], "object"),
        (pd.Series(pd.to_datetime(["2020-01-01", None])), "days since"),
        (pd.Series(pd.to_timedelta([1, 2])), "timedelta"),
        (pd.Series(pd.period_range("2020", periods=2, freq="M")), "period"),
    ],
)
def test_what_is_no_number_is_refused_by_name(values, message):
    frame = Frame.from_native({"col": values})
    with pytest.raises(DataError, match=message) as caught:
        frame.numeric("col")
    assert "'col'" in str(caught.value)


def test_what_is_no_factor_is_refused():
    for native in ({"c": [1j, 2.0]}, pl.DataFrame({"c": [[1], [2]]}), pa.table({"c": [[1], [2]]})):
        with pytest.raises(DataError, match=r"'c' has type .* cannot be used as a factor"):
            Frame.from_native(native).factor("c")


def test_an_unknown_column_is_refused_with_the_close_ones():
    frame = Frame.from_native({"Reaction": [1.0], "Days": [2.0]})
    assert not frame.has("days")
    with pytest.raises(DataError, match=r"no column 'Reactoin'.*did you mean 'Reaction'.*Days"):
        frame.numeric("Reactoin")
    for ask in (frame.factor, frame.missing, frame.is_numeric, frame.is_categorical):
        with pytest.raises(DataError, match="no column"):
            ask("zzz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "several columns named 'a'"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "several columns named '1'"),
        (pd.DataFrame({"a": []}), "empty: 0 rows and 1 columns"),
        (pd.DataFrame(index=[0, 1]), "empty: 2 rows and 0 columns"),
        (pl.DataFrame(), "empty"),
        ({}, "empty"),
        ({"a": [1, 2], "b": [1]}, "unequal lengths .a: 2, b: 1"),
        ({"a": np.ones((2, 2))}, r"'a' has shape \(2, 2\)"),
        ({"a": "text"}, "single value"),
        ({"a": 1.0}, "single value"),
        (3, "data of type int cannot be read"),
        ("data.csv", "data of type str cannot be read"),
    ],
)
def test_data_that_are_no_table_are_refused(data, message):
    with pytest.raises(DataError, match=message):
        Frame.from_native(data)


def test_the_pandas_index_is_kept_and_cut():
    data = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=["p", "q", "r"])
    frame = Frame.from_native(data)
    assert list(frame.index) == ["p", "q", "r"]
    assert list(frame.take(np.array([True, False, True])).index) == ["p", "r"]
    assert Frame.from_native(pl.DataFrame({"x": [1.0]})).index is None


def test_results_come_back_in_the_library_of_the_data(make):
    data = make(COLUMNS)
    result = Frame.from_native(data).to_native_frame({"fit": np.array([1.0, 2.0]), "g": ["a", "b"]})
    expected = {pl.DataFrame: pl.DataFrame, pl.LazyFrame: pl.DataFrame, pa.Table: pa.Table}
    assert isinstance(result, expected.get(type(data), pd.DataFrame))


def test_names_that_are_not_strings_are_known_by_their_text():
    assert_array_equal(Frame.from_native(pd.DataFrame({0: [1.0, 2.0]})).numeric("0"), [1.0, 2.0])


def test_check_finite_names_the_row_of_an_infinite_value():
    check_finite("x", np.array([1.0, np.nan, 1e308]))
    with pytest.raises(DataError, match=r"'x' has 2 infinite values \(first in row 1\)"):
        check_finite("x", np.array([0.0, np.inf, -np.inf]))


def test_crossed_factors_have_the_combinations_that_occur():
    frame = Frame.from_native({"a": ["y", "x", "x", None], "b": [1, 2, 1, 1]})
    crossed = cross_factors([frame.factor("a"), frame.factor("b")])
    assert crossed.levels == ("x:1", "x:2", "y:1")
    assert_array_equal(crossed.codes, [2, 1, 0, -1])
    assert cross_factors([crossed, frame.factor("b")]).levels == ("x:1:1", "x:2:2", "y:1:1")


def test_crossing_too_many_levels_for_a_table_gives_the_same():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 40_000, 50_000), rng.integers(0, 40_000, 50_000)
    frame = Frame.from_native({"a": a, "b": b})
    crossed = cross_factors([frame.factor("a"), frame.factor("b")])
    pairs, inverse = np.unique(np.stack([a, b]), axis=1, return_inverse=True)
    assert_array_equal(crossed.codes, inverse)
    assert crossed.levels[0] == f"{pairs[0, 0]}:{pairs[1, 0]}"


def test_recoding_reports_the_levels_that_are_not_known():
    factor = Factor(np.array([0, 1, -1], dtype=np.int32), ("a", "b"), np.array(["a", "b"]))
    codes, unknown = factor.recode(("b", "c"))
    assert_array_equal(codes, [-1, 0, -1])
    assert unknown == ("a",)


def test_reading_pandas_imports_neither_polars_nor_formulaic():
    code = (
        "import sys, mlmfast.formula.mixed_formula\n"
        "from mlmfast.data.frame import Frame\n"
        "from mlmfast.design.columns.build_matrix import build_model_matrix\n"
        "build_model_matrix('x', Frame.from_native({'x': [1.0]}))\n"
        "print(sorted({'polars', 'formulaic'} & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_columns_are_the_same_by_their_arrays_and_by_their_series(monkeypatch):
    """What pandas gives of a column without its Series, and by the way that every version has."""
    text = ["b", "a", None, "b"]
    data = pd.DataFrame(
        {
            "float": [1.5, np.nan, 2.0, 0.0],
            "integer": [3, -1, 2**60 + 1, 3],
            "small": np.array([1, 2, 3, 4], dtype=np.int8),
            "logical": [True, False, True, True],
            "nullable": pd.array([1, None, 3, 4], dtype="Int64"),
            "text": pd.array(text, dtype="str"),
            "objects": pd.Series(text, dtype=object),
            "numbers": pd.Series([1, 2.5, None, 4], dtype=object),
            "levels": pd.Categorical(text, ["b", "never", "a"]),
            "day": pd.to_datetime(["2020-01-01", "2020-01-03", None, "2020-01-01"]),
            "sparse": pd.arrays.SparseArray([0.0, 0.0, 1.0, 0.0]),
        }
    )

    def read():
        frame, out = Frame.from_native(data), {}
        for name in data:
            kind = frame._source.columns.kind(name)
            factor = frame.factor(name)
            numbers = frame.numeric(name) if kind == "number" else None
            out[name] = (kind, factor.levels, factor.codes, numbers, frame.integers(name))
        return out

    assert pandas_columns._ARRAY_OF is not None
    fast = read()
    monkeypatch.setattr(pandas_columns, "_ARRAY_OF", None)
    assert_equal(fast, read())


@pytest.mark.parametrize("n_rows", [30, 20_000])
def test_a_frame_that_is_changed_later_leaves_alone_what_was_read(n_rows):
    if n_rows > 10_000 and int(pd.__version__.split(".")[0]) < 3:
        pytest.skip("a long column is shared where pandas does not copy on write")
    data = pd.DataFrame({"x": np.arange(float(n_rows)), "k": np.arange(n_rows), "z": 1.0})
    frame = Frame.from_native(data)
    x, k = frame.numeric("x"), frame.integers("k")
    data.loc[:5, "x"], data.iloc[:5, 1] = 99.0, 99
    assert_array_equal(x[:9], np.arange(9.0))
    assert_array_equal(k[:9], np.arange(9))


def test_columns_that_are_added_or_removed_later_do_not_move_the_others():
    columns = {name: np.arange(4.0) + 10.0 * k for k, name in enumerate("abcd")}
    added, removed, gone = (Frame.from_native(pd.DataFrame(columns)) for _ in range(3))
    added._source.columns._data.insert(0, "new", 0.0)
    del removed._source.columns._data["a"], gone._source.columns._data["c"]
    for frame in (added, removed):
        assert_array_equal(frame.numeric("c"), columns["c"])
    with pytest.raises(KeyError):
        gone.numeric("c")
