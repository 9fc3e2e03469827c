"""One column by every way it comes: levels, their order, missing values, numbers, and the fit.

A row of the table is a type, who writes it, and who reads it.
"""

import datetime
import io

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlmfast as mlm
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError, SuspectValueWarning

from ..fits import numbers

DECLARED = ["placebo", "low", "high", "never"]
HOURS = [datetime.timedelta(days=2), datetime.timedelta(hours=3), datetime.timedelta(days=10)]
TEXT = ["low", "high", None, "placebo", "low", "high"]

#: Values of a column by type; what they are as numbers, None for levels.
VALUES = {
    "text": (TEXT, None),
    "ordered": (TEXT, None),
    "unordered": (TEXT, None),
    "logical": ([True, False, None, True, False, False], None),
    "int8": ([3, -1, None, 20, 3, -1], "same"),
    "uint8": ([3, 1, None, 200, 3, 1], "same"),
    "uint64": ([2**63 + 2, 2**63 + 1, None, 2**64 - 1, 2**63 + 2, 2**63 + 1], "same"),
    "int64": ([2**60 + 1, 2**60, None, -3, 2**60, 2**60 + 1], "same"),
    "float32": ([1.5, 0.25, None, 10.0, 1.5, 0.25], "same"),
    "float64": ([1.5, 0.1, None, 10.0, 1.5, 0.1], "same"),
    "duration": ([HOURS[0], HOURS[1], None, HOURS[2], HOURS[0], HOURS[1]], None),
}


def by_pandas(dtype):
    values, _ = VALUES[dtype]
    if dtype in {"ordered", "unordered"}:
        kind = pd.CategoricalDtype(DECLARED, ordered=dtype == "ordered")
    elif dtype == "duration":
        kind = "timedelta64[us]"
    else:
        names = {"text": "str", "logical": "boolean", "float32": "float32", "float64": "float64"}
        kind = names.get(dtype, dtype.replace("i", "I").replace("u", "U"))
    return pd.DataFrame({"f": pd.Series(values, dtype=kind)})


def by_polars(dtype):
    values, _ = VALUES[dtype]
    kinds = {"text": pl.String, "ordered": pl.Enum(DECLARED), "unordered": pl.Categorical}
    kinds |= {"logical": pl.Boolean, "duration": pl.Duration("us")}
    kinds |= {"int8": pl.Int8, "uint8": pl.UInt8, "uint64": pl.UInt64, "int64": pl.Int64}
    kinds |= {"float32": pl.Float32, "float64": pl.Float64}
    return pl.DataFrame({"f": pl.Series(values, dtype=kinds[dtype])})


def by_pyarrow(dtype):
    values, _ = VALUES[dtype]
    if dtype in {"ordered", "unordered"}:
        codes = pa.array([None if v is None else DECLARED.index(v) for v in values], pa.uint16())
        column = pa.DictionaryArray.from_arrays(codes, DECLARED, ordered=dtype == "ordered")
        return pa.table({"f": column})
    kinds = {"text": pa.string(), "logical": pa.bool_(), "duration": pa.duration("us")}
    kinds |= {"float32": pa.float32(), "float64": pa.float64()}
    kind = kinds[dtype] if dtype in kinds else getattr(pa, dtype)()
    return pa.table({"f": pa.array(values, kind)})


def parquet(frame):
    buffer = io.BytesIO()
    if isinstance(frame, pd.DataFrame):
        frame.to_parquet(buffer)
    elif isinstance(frame, pl.DataFrame):
        frame.write_parquet(buffer)
    else:
        pq.write_table(frame, buffer)
    return io.BytesIO(buffer.getvalue())


def ipc(frame):
    buffer = io.BytesIO()
    if isinstance(frame, pl.DataFrame):
        frame.write_ipc(buffer)
    else:
        table = pa.Table.from_pandas(frame) if isinstance(frame, pd.DataFrame) else frame
        with pa.ipc.new_file(buffer, table.schema) as file:
            file.write_table(table)
    return io.BytesIO(buffer.getvalue())


WRITERS = {"pandas": by_pandas, "polars": by_polars, "pyarrow": by_pyarrow}

#: How the frame arrives, and the library whose frame it is then.
READERS = {
    "itself": lambda frame: frame,
    "a dict of columns": lambda frame: {"f": frame["f"]},
    "pandas, parquet": lambda frame: pd.read_parquet(parquet(frame)),
    "pandas, parquet, nullable": lambda frame: pd.read_parquet(
        parquet(frame), dtype_backend="numpy_nullable"
    ),
    "pandas, parquet, pyarrow": lambda frame: pd.read_parquet(
        parquet(frame), dtype_backend="pyarrow"
    ),
    "polars, parquet": lambda frame: pl.read_parquet(parquet(frame)),
    "pyarrow, parquet": lambda frame: pq.read_table(parquet(frame)),
    "polars, ipc": lambda frame: pl.read_ipc(ipc(frame)),
    "pyarrow, ipc": lambda frame: pa.ipc.open_file(ipc(frame)).read_all(),
}


def order_of_levels(dtype, writer, native):
    """Levels in the order that the frame declares, else sorted."""
    present = {value for value in VALUES[dtype][0] if value is not None}
    if dtype in {"ordered", "unordered"}:
        if declares(dtype, writer, native):
            return tuple(level for level in DECLARED if level in present)
        if writer == "polars" and isinstance(native, pd.DataFrame):
            # polars hands over levels in the order of appearance, and pandas makes that their order
            return tuple(dict.fromkeys(v for v in TEXT if v is not None))
    if dtype in {"text", "ordered", "unordered"}:
        return tuple(sorted(present))
    if dtype == "logical":
        return ("FALSE", "TRUE")
    if dtype == "duration":
        return ("0 days 03:00:00", "2 days", "10 days")
    return tuple(f"{value:g}" if dtype.startswith("f") else str(value) for value in sorted(present))


def declares(dtype, writer, native):
    """Whether the order of the levels survived: polars has one in an Enum of its own alone."""
    if writer == "polars":
        return dtype == "ordered"
    return not isinstance(native, pl.DataFrame)


TABLE = [
    (dtype, writer, reader)
    for dtype in VALUES
    for writer in WRITERS
    for reader in READERS
    # pandas has no floating point in which integers of 60 bits beside None survive.
    if not (reader == "pandas, parquet" and dtype in {"int64", "uint64"})
    # polars refuses the -1 that pandas leaves where a category is missing.
    if not (reader == "polars, ipc" and writer == "pandas" and dtype in {"ordered", "unordered"})
]


@pytest.mark.parametrize(("dtype", "writer", "reader"), TABLE)
def test_a_column_says_the_same_however_it_comes(dtype, writer, reader):
    values, as_numbers = VALUES[dtype]
    native = READERS[reader](WRITERS[writer](dtype))
    frame = Frame.from_native(native)
    factor = frame.factor("f")
    assert factor.levels == order_of_levels(dtype, writer, native)
    assert_array_equal(frame.missing("f"), [value is None for value in values])
    assert_array_equal(factor.codes < 0, [value is None for value in values])
    for code, value in zip(factor.codes.tolist(), values, strict=True):
        same = [other == value for other in values]
        assert_array_equal(factor.codes == code, same)
    if as_numbers is None:
        assert not frame.is_numeric("f")
    else:
        expected = np.array([np.nan if value is None else value for value in values], dtype=float)
        assert_array_equal(frame.numeric("f"), expected)


@pytest.mark.parametrize("name", ["Int128", "UInt128"])
def test_integers_of_128_bits(name):
    if not hasattr(pl, name):
        pytest.skip(f"this polars has no {name}")
    small = pl.DataFrame({"f": pl.Series([3, 1, None, 3]).cast(getattr(pl, name))})
    frame = Frame.from_native(small)
    assert frame.factor("f").levels == ("1", "3")
    assert_array_equal(frame.factor("f").codes, [1, 0, -1, 1])
    assert_array_equal(frame.numeric("f"), [3.0, 1.0, np.nan, 3.0])
    huge = pl.DataFrame({"f": pl.Series([10**25 + 1, 10**25, None], dtype=getattr(pl, name))})
    factor = Frame.from_native(huge).factor("f")
    assert factor.levels == (str(10**25), str(10**25 + 1))
    assert_array_equal(factor.codes, [1, 0, -1])


def dictionary(indices, values, index_type=None):
    return pa.DictionaryArray.from_arrays(pa.array(indices, index_type or pa.int8()), values)


NULLS_AND_REPEATS = {
    "a null in the dictionary": dictionary([1, 0, 3, None], pa.array(["a", "b", "c", None])),
    "a value twice": dictionary([1, 0, None, 2], pa.array(["a", "b", "b"]), pa.uint32()),
    "integers with a null": dictionary([1, 0, 2], pa.array([2**60, 2**60 + 1, None])),
    "chunks with dictionaries of their own": pa.chunked_array(
        [dictionary([1, 0], pa.array(["a", "b", "a"])), dictionary([1, 0, 2], ["b", None, "a"])]
    ),
}


@pytest.mark.parametrize("column", NULLS_AND_REPEATS.values(), ids=NULLS_AND_REPEATS)
@pytest.mark.parametrize("library", ["pyarrow", "pandas"])
def test_what_a_row_says_is_its_value(column, library):
    values = column.to_pylist()
    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    native = pa.table({"f": column})
    if library == "pandas":
        native = pd.DataFrame({"f": pd.Series(column, dtype=pd.ArrowDtype(column.type))})
    factor = Frame.from_native(native).factor("f")
    assert len(set(factor.levels)) == factor.n_levels == len(set(values) - {None})
    found = [None if code < 0 else factor.levels[code] for code in factor.codes.tolist()]
    assert found == [None if value is None else str(value) for value in values]


def test_levels_that_read_alike_are_refused():
    twice = pd.Categorical([1, "1", 1], categories=[1, "1"])
    with pytest.raises(DataError, match=r"'f' has 2 levels that read '1' \(1, '1'\)"):
        Frame.from_native(pd.DataFrame({"f": twice})).factor("f")


def test_runs_of_equal_values_are_written_out():
    runs = pa.RunEndEncodedArray.from_arrays([2, 3], pa.array([1.5, None]))
    assert_array_equal(Frame.from_native(pa.table({"f": runs})).numeric("f"), [1.5, 1.5, np.nan])


@pytest.mark.parametrize("kind", ["time", "duration"])
def test_times_are_dates_whoever_holds_them(kind):
    dtype = pl.Time if kind == "time" else pl.Duration("us")
    values = [datetime.time(3), datetime.time(1)] if kind == "time" else HOURS[:2]
    data = pl.DataFrame({"f": pl.Series(values, dtype=dtype)})
    arrow = data.to_pandas(use_pyarrow_extension_array=True)
    for native in (data, data.to_arrow(), data.to_pandas(), arrow):
        frame = Frame.from_native(native)
        assert_array_equal(frame.factor("f").codes, [1, 0])
        with pytest.raises(DataError, match="days since the first date"):
            frame.numeric("f")


def trial():
    rng = np.random.default_rng(3)
    site = np.repeat([f"s{k}" for k in range(12)], 5)
    arm = np.array(["placebo", "low", "high"])[np.arange(60) % 3]
    effect = rng.normal(size=12)
    y = rng.normal(size=60) + np.repeat(effect, 5) + (arm == "low")
    return pl.DataFrame({"y": y, "arm": arm, "site": site})


WAYS = {
    "Categorical": lambda d: d.with_columns(pl.col("arm", "site").cast(pl.Categorical)),
    "Categories": lambda d: d.with_columns(
        pl.col("arm").cast(pl.Categorical(pl.Categories("arms")))
        if hasattr(pl, "Categories")
        else pl.col("arm").cast(pl.Categorical)
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("reader", ["itself", "pyarrow, parquet", "pyarrow, ipc"])
def test_fits_and_predictions_take_dictionaries_with_unsigned_indices(way, reader):
    plain = trial()
    data = READERS[reader](way(plain))
    fit, expected = (mlm.lmm("y ~ arm + (1 | site)", d) for d in (data, plain))
    assert list(fit.params.index) == list(expected.params.index)
    assert_array_equal(numbers(fit), numbers(expected))
    new = READERS[reader](way(plain[::-1]))
    assert_allclose(np.asarray(fit.predict(new)), np.asarray(expected.predict())[::-1], rtol=1e-12)


def test_a_null_in_a_dictionary_drops_its_row():
    arms = ["placebo", "low", "high", None]
    data = trial()
    codes = [3 if k == 7 else arms.index(arm) for k, arm in enumerate(data["arm"])]
    table = data.drop("arm").to_arrow().append_column("arm", dictionary(codes, arms))
    fit = mlm.lmm("y ~ arm + (1 | site)", table)
    kept = data.filter(pl.int_range(60) != 7).with_columns(pl.col("arm").cast(pl.Enum(arms[:3])))
    assert_array_equal(numbers(fit), numbers(mlm.lmm("y ~ arm + (1 | site)", kept)))
    assert (fit.nobs, fit.n_dropped) == (59, 1)


def test_zeros_of_a_transport_file_are_named():
    data = trial().to_pandas()
    data["dose"] = np.where(data["arm"] == "placebo", 16.0**-65, 2.0)
    with pytest.warns(SuspectValueWarning, match=r"'dose'.*read_sas.*16\^-65") as caught:
        mlm.lmm("y ~ dose + (1 | site)", data)
    assert caught[0].filename == __file__
    data["dose"] = data["dose"].mask(data["dose"].abs() < 1e-60, 0)
    mlm.lmm("y ~ dose + (1 | site)", data)
    data["small"] = 1e-70 * np.random.default_rng(1).normal(size=60)
    mlm.lmm("y ~ small + (1 | site)", data)


def test_large_integers_beside_none_stay_apart():
    ids = [2**60, 2**60 + 1, None]
    columns = [
        ids,
        np.ma.array([2**60, 2**60 + 1, 0], mask=[False, False, True]),
        pl.Series(ids),
        pa.array(ids),
    ]
    for column in columns:
        factor = Frame.from_native({"f": column}).factor("f")
        assert factor.levels == (str(2**60), str(2**60 + 1))
        assert_array_equal(factor.codes, [0, 1, -1])


@pytest.mark.parametrize("low", [2**63, 2**63 + 5, 2**64 - 4])
def test_integers_beyond_int64(low):
    values = np.array([low + 3, low, low + 3, low + 1], dtype=np.uint64)
    factor = Frame.from_native({"f": values}).factor("f")
    assert factor.levels == (str(low), str(low + 1), str(low + 3))
    assert_array_equal(factor.codes, [2, 0, 2, 1])
    assert_array_equal(factor.values, np.array([low, low + 1, low + 3], dtype=np.uint64))


def test_an_offset_without_a_value_is_named():
    data = trial().to_pandas()
    with pytest.raises(DataError, match="offset has no value that is not missing"):
        mlm.lmm("y ~ arm + (1 | site)", data, offset=np.full(60, np.nan))
    with pytest.raises(DataError, match="column 'z' has no value"):
        mlm.lmm("y ~ arm + (1 | site)", data.assign(z=np.nan), offset="z")
    offset = np.where(np.arange(60) == 3, np.nan, 1.0)
    with pytest.raises(DataError, match="offset has 1 missing values"):
        mlm.lmm("y ~ arm + (1 | site)", data, offset=offset, na_action="raise")


def test_what_is_masked_is_missing():
    data = trial().to_pandas()
    hole = np.arange(60) == 9
    offset = np.ma.array(np.where(hole, 1e6, 1.0), mask=hole)
    fit = mlm.lmm("y ~ arm + (1 | site)", data, offset=offset)
    expected = mlm.lmm("y ~ arm + (1 | site)", data[~hole], offset=np.ones(59))
    assert_array_equal(numbers(fit), numbers(expected))
    with pytest.raises(DataError, match="weights has missing values"):
        mlm.lmm("y ~ arm + (1 | site)", data, weights=offset)
    y = np.ma.array(data["y"], mask=hole)
    with pytest.raises(DataError, match="y has missing values"):
        mlm.LMM.from_arrays(y, np.ones((60, 1)), groups=data["site"])
    site = np.ma.array(data["site"].to_numpy().astype("U"), mask=hole)
    with pytest.raises(DataError, match="'group' has missing labels"):
        mlm.LMM.from_arrays(data["y"], np.ones((60, 1)), groups=site)
