"""Every kind of source gives the rows of the table it was made of."""

import gzip
import threading

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import mlmfast as mlm
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError
from mlmfast.sources.open_source import is_source, open_source

FORMULA = "y ~ x * f + (x | g)"


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(3)
    g = np.repeat([f"g{k:02d}" for k in range(30)], 20)
    x = rng.normal(size=600)
    f = rng.choice(["low", "mid", "high"], size=600)
    y = x + (f == "mid") + np.repeat(rng.normal(size=30), 20) + rng.normal(size=600)
    n = np.arange(600) % 7
    return pd.DataFrame({"y": y, "unused": 0.5, "x": x, "f": f, "g": g, "n": n})


@pytest.fixture(scope="module")
def fitted(table):
    return mlm.lmm(FORMULA, table)


@pytest.fixture(scope="module")
def folder(table, tmp_path_factory):
    """The table as files: whole, and cut into three."""
    path = tmp_path_factory.mktemp("files")
    (path / "parts").mkdir()
    for k, cut in enumerate(cuts(table)):
        cut.to_parquet(path / "parts" / f"part-{k}.parquet", row_group_size=100)
        cut.to_csv(path / f"part-{k}.csv", index=False)
    pyarrow.feather.write_feather(table, path / "whole.feather", chunksize=70)
    with pa.ipc.new_stream(path / "whole.arrows", arrow(table).schema) as stream:
        stream.write_table(arrow(table), max_chunksize=90)
    with gzip.open(path / "whole.tsv.gz", "wt") as packed:
        table.to_csv(packed, index=False, sep="\t")
    return path


def cuts(table):
    return [table[:250], table[250:251], table[251:]]


def arrow(table):
    return pa.Table.from_pandas(table, preserve_index=False)


class Stream:
    """What another library hands over by the Arrow interface."""

    def __init__(self, table):
        self._table = arrow(table)

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


SOURCES = {
    "pattern": lambda t, p: str(p / "parts" / "*.parquet"),
    "folder": lambda t, p: p / "parts",
    "list of paths": lambda t, p: [p / f"part-{k}.csv" for k in range(3)],
    "packed text": lambda t, p: p / "whole.tsv.gz",
    "feather": lambda t, p: p / "whole.feather",
    "stream in a file": lambda t, p: p / "whole.arrows",
    "LazyFrame": lambda t, p: pl.from_pandas(t).lazy(),
    "LazyFrame of files": lambda t, p: pl.scan_parquet(p / "parts" / "*.parquet"),
    "Dataset": lambda t, p: ds.dataset(p / "parts"),
    "filtered Dataset": lambda t, p: ds.dataset(p / "parts").filter(ds.field("n") >= 0),
    "Scanner": lambda t, p: ds.dataset(p / "parts").scanner(),
    "reader": lambda t, p: arrow(t).to_reader(80),
    "Arrow stream": lambda t, p: Stream(t),
    "generator": lambda t, p: (cut for cut in cuts(t)),
    "list of frames": lambda t, p: cuts(t),
    "function": lambda t, p: lambda: iter(cuts(t)),
    "dicts": lambda t, p: iter([dict(cut.items()) for cut in cuts(t)]),
    "frames of three libraries": lambda t, p: iter(
        [cuts(t)[0], pl.from_pandas(cuts(t)[1]), arrow(cuts(t)[2])]
    ),
    "pandas in pieces": lambda t, p: pd.read_csv(p / "part-0.csv", chunksize=100),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_gives_the_same_rows_and_the_same_fit(kind, table, folder, fitted):
    given = SOURCES[kind](table, folder)
    assert is_source(given)
    if kind == "pandas in pieces":
        fitted = mlm.lmm(FORMULA, cuts(table)[0])
    fit = mlm.lmm(FORMULA, given)
    assert fit.nobs == fitted.nobs
    # Rows in the same order: the same bits.
    assert fit.llf == fitted.llf
    assert fit.params.equals(fitted.params)
    assert fit.bse.equals(fitted.bse)
    np.testing.assert_array_equal(fit.resid(), fitted.resid())


def test_duckdb(table, folder, fitted):
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.execute(f"create table rows as select * from '{folder}/parts/*.parquet'")
    relation, query = connection.sql("select * from rows"), "select * from rows"
    for source in (relation, (connection, "rows"), (connection, query), connection.table("rows")):
        fit = mlm.lmm(FORMULA, source)
        assert fit.llf == fitted.llf
        assert fit.params.equals(fitted.params)
    assert open_source((connection, "rows")).n_rows == 600
    assert open_source((connection, query)).n_rows is None
    with pytest.raises(DataError, match=r"holds many tables; give \(connection, 'table'\)"):
        mlm.lmm(FORMULA, connection)
    with pytest.raises(DataError, match=r"cannot read DuckDB's nothing: .*nothing"):
        mlm.lmm(FORMULA, (connection, "nothing"))
    with pytest.raises(DataError, match="comes with one table"):
        mlm.lmm(FORMULA, (connection, "rows", "more"))
    odd = connection.sql("""select y as "the "" y", x as "a.b" from rows""")
    assert [len(p.frame) for p in open_source(odd).parts(['the " y', "a.b"])] == [600]
    connection.close()
    with pytest.raises(DataError, match="cannot read the DuckDB relation"):
        mlm.lmm(FORMULA, relation)


def test_dask_partitions(table, fitted):
    dask = pytest.importorskip("dask.dataframe")
    frame = dask.from_pandas(table, npartitions=4)
    assert mlm.lmm(FORMULA, frame).llf == fitted.llf
    source = open_source(frame)
    assert [part.name for part in source.parts(["y"])] == [f"partition {k}" for k in range(4)]
    splits = source.splits(["y", "x"])
    rows = [part.frame for split in splits for part in split.parts()]
    pd.testing.assert_frame_equal(pd.concat(rows), table[["y", "x"]])


# -- parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pattern", "feather", "LazyFrame", "Dataset", "list of frames"])
def test_columns_are_pruned_and_parts_bounded(kind, table, folder):
    source = open_source(SOURCES[kind](table, folder), part_bytes=1)
    source.rows_at_once = lambda columns: 64
    parts = list(source.parts(["n", "y"]))
    frames = [Frame.from_native(part.frame) for part in parts]
    assert {frame.columns for frame in frames} == {("n", "y")}
    assert max(frame.n_rows for frame in frames) <= 250 // 2
    values = np.concatenate([frame.numeric("y") for frame in frames])
    np.testing.assert_array_equal(values, table["y"])
    by_name = {}
    for part, frame in zip(parts, frames, strict=True):
        assert part.first_row == by_name.get(part.name, 0)
        by_name[part.name] = part.first_row + frame.n_rows


def test_rows_and_bytes_are_told_where_something_tells_them(table, folder):
    source = open_source(folder / "parts")
    assert source.n_rows == 600
    assert source.n_bytes == sum(p.stat().st_size for p in (folder / "parts").iterdir())
    assert open_source(cuts(table)).n_rows == 600
    assert open_source(ds.dataset(folder / "parts")).n_rows == 600
    assert open_source(arrow(table).to_reader()).n_rows is None
    assert [column.name for column in source.columns][:3] == ["y", "unused", "x"]
    assert source.columns[0].dtype == "double"


def test_a_stream_is_read_once(table):
    source = open_source(arrow(table).to_reader())
    assert not source.repeatable
    assert sum(part.frame.num_rows for part in source.parts()) == 600
    with pytest.raises(DataError, match="can be read only once"):
        source.parts()


def test_reading_ahead_ends_with_its_reader(folder):
    before = set(threading.enumerate())
    parts = open_source(folder / "parts").parts(["y"])
    next(parts)
    parts.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(2.0)
    assert set(threading.enumerate()) <= before


def test_names_of_folders_are_columns(table, tmp_path):
    for k, cut in enumerate(cuts(table)):
        place = tmp_path / f"site={k + 8}" / "sort=a%20b"
        place.mkdir(parents=True)
        cut.to_parquet(place / "rows.parquet")
    for given in (tmp_path, f"{tmp_path}/*/*/*.parquet"):
        frame = Frame.from_native(
            pa.concat_tables([p.frame for p in open_source(given).parts(["site", "y", "sort"])])
        )
        # Sorted as text, site=10 comes before site=8.
        assert frame.factor("site").levels == ("8", "9", "10")
        assert frame.factor("sort").levels == ("a b",)
        assert frame.numeric("site")[:2].tolist() == [10.0, 10.0]


# -- columns read later ------------------------------------------------------------------------


def frame_of(formula, data):
    return mlm.LMM(formula, data)._frame.frame


def test_a_column_outside_the_model_is_read_when_it_is_asked_for(table, folder):
    frame = frame_of("y ~ x + (1 | g)", folder / "parts")
    assert frame.columns == tuple(table.columns)
    np.testing.assert_array_equal(frame.numeric("n"), table["n"])
    assert frame.factor("f").levels == ("high", "low", "mid")


def test_rows_in_another_order_are_refused(table):
    turns = iter([table, table, table[::-1], table])
    frame = frame_of("y ~ x + (1 | g)", lambda: iter([next(turns)]))
    assert frame.has("n")
    with pytest.raises(DataError, match="in another order, when it was read again"):
        frame.numeric("n")
    np.testing.assert_array_equal(frame.numeric("n"), table["n"])


def test_of_a_stream_there_is_nothing_more(table):
    frame = frame_of("y ~ x + (1 | g)", arrow(table).to_reader())
    assert frame.columns == ("y", "x", "g")


# -- factors in several parts ------------------------------------------------------------------


def joined(*columns):
    return mlm_factor([{"f": column, "y": np.zeros(len(column))} for column in columns])


def mlm_factor(frames):
    from mlmfast.sources.in_memory import read_into_memory

    return read_into_memory(open_source(frames), ["f"]).factor("f")


def texts(factor):
    return [factor.levels[k] if k >= 0 else None for k in factor.codes.tolist()]


def test_levels_of_parts_are_united_by_their_text():
    factor = joined(["b", "a"], ["c", None], ["a"])
    assert (factor.levels, texts(factor)) == (("a", "b", "c"), ["b", "a", "c", None, "a"])
    factor = joined([10, 9], [2.0, np.nan], [9])
    assert (factor.levels, texts(factor)) == (("2", "9", "10"), ["10", "9", "2", None, "9"])
    large = 2**60
    assert joined([large + 1], [large]).levels == (str(large), str(large + 1))


def test_declared_orders_are_joined():
    sizes = (
        pd.Categorical(["low"], ["low", "high"]),
        pd.Categorical(["mid"], ["low", "mid", "high"]),
    )
    factor = joined(*sizes, pd.Categorical(["high"], ["mid", "high"]))
    assert (factor.levels, texts(factor)) == (("low", "mid", "high"), ["low", "mid", "high"])
    # Orders that contradict each other are nobody's.
    turned = joined(pd.Categorical(["b", "a"], ["b", "a"]), pd.Categorical(["a"], ["a", "b"]))
    assert (turned.levels, texts(turned)) == (("a", "b"), ["b", "a", "a"])
    plain = joined(pd.Categorical(["b", "a"], ["b", "a"]), ["a"])
    assert plain.levels == ("a", "b")


def test_a_part_without_a_value_has_any_kind(table):
    parts = [table[:50].assign(f=np.nan), table[50:], table[:10].assign(f=None)]
    formula = "y ~ x * f + (1 | g)"
    fit, whole = mlm.lmm(formula, parts), mlm.lmm(formula, table[50:])
    assert fit.llf == whole.llf


# -- refusals ----------------------------------------------------------------------------------


def refused(data, message, formula=FORMULA):
    with pytest.raises(DataError, match=message):
        mlm.lmm(formula, data)


def test_text_in_a_later_file_is_named_with_its_row(table, folder, tmp_path):
    odd = table[:40].assign(x=table["x"][:40].map(str))
    odd.loc[17, "x"] = "n/a"
    odd.to_csv(tmp_path / "part-37.csv", index=False)
    files = [folder / "part-0.csv", tmp_path / "part-37.csv"]
    refused(files, r"'x' holds numbers in .*part-0.csv and 'n/a' in row 17 of .*part-37.csv, "
                   r"counted from 0")  # fmt: skip


def test_a_missing_value_is_named_with_its_file_and_row(table, folder, tmp_path):
    odd = table[:40].copy()
    odd.loc[[17, 30], "x"] = np.nan
    odd.to_parquet(tmp_path / "part-37.parquet")
    files = [folder / "part-0.csv", tmp_path / "part-37.parquet"]
    with pytest.raises(DataError, match=r"2 missing values, the first in row 17 of .*part-37"):
        mlm.lmm(FORMULA, files, na_action="raise")
    assert mlm.lmm("y ~ x + (1 | g)", files).nobs == 250 + 38


def test_parts_with_other_columns_are_named(table, folder):
    table[:9].drop(columns="x").to_parquet(folder / "short.parquet")
    refused([folder / "parts" / "part-0.parquet", folder / "short.parquet"],
            r"short.parquet has no column 'x'")  # fmt: skip
    refused(iter([table, table.drop(columns=["x", "f"])]), "frame 2 has no column 'x', 'f'")
    refused(iter([table, table.assign(x=pd.Timestamp("2024-01-01"))]), "'x' holds numbers .* dates")
    refused(iter([table, pd.concat([table, table[["x"]]], axis=1)]), "several columns named 'x'")


def test_files_that_cannot_be_read_are_named(folder, tmp_path):
    whole = (folder / "parts" / "part-0.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    refused([folder / "parts" / "part-0.parquet", tmp_path / "cut.parquet"],
            "cannot read .*cut.parquet: ")  # fmt: skip
    (tmp_path / "cut.feather").write_bytes((folder / "whole.feather").read_bytes()[:900])
    refused(tmp_path / "cut.feather", "cannot read .*cut.feather: ")
    (tmp_path / "cut.csv.gz").write_bytes((folder / "whole.tsv.gz").read_bytes()[:900])
    refused(tmp_path / "cut.csv.gz", "cannot read .*cut.csv.gz: ")
    refused(tmp_path / "none.parquet", "cannot read .*none.parquet: there is no such file")


def test_paths_that_name_nothing_to_read(tmp_path):
    refused(str(tmp_path / "*.parquet"), "no file matches")
    refused(tmp_path, "no file to read in the folder")
    refused("data.xlsx", "cannot tell what kind of file data.xlsx is; .* must end in .parquet")
    refused("base.duckdb", "give .connection, table.: .duckdb.connect")
    refused("s3://bucket/rows.parquet", "not on this machine; give a pyarrow dataset")
    refused([], "list of data is empty")


def test_what_is_no_source_is_refused(table):
    refused(iter([]), "gave no frame")
    refused(iter([table[:0]]), "the data are empty")
    refused([table, "rows.csv"], "paths or frames only, .* found DataFrame, str")
    refused(7, "data of type int cannot be read")
    refused(iter([table, 7]), "data of type int cannot be read")
    refused(SOURCES["LazyFrame"](table, None), "no column 'z'.*columns are y, unused", "y ~ z")


def test_errors_of_the_engine_are_told(table):
    def broken():
        yield table[:300]
        raise OSError("the line is down")

    with pytest.raises(OSError, match="the line is down"):
        mlm.lmm(FORMULA, broken())

    def batches():
        yield from arrow(table[:300]).to_batches()
        raise RuntimeError("the line is down")

    reader = pa.RecordBatchReader.from_batches(arrow(table).schema, batches())
    refused(reader, "cannot read the Arrow stream of .*RecordBatchReader after row 300: the line")
    lazy = pl.LazyFrame({"y": ["1", "z"]}).select(y=pl.col("y").cast(pl.Float64), x=1.0)
    refused(lazy, "cannot read the polars LazyFrame: ", "y ~ x")


def test_missing_packages_are_named_by_their_extras(folder, monkeypatch):
    import mlmfast.sources.files as files

    def missing(module, extra, user):
        raise DataError(f'{user} needs {module}; run: pip install "mlmfast[{extra}]"')

    monkeypatch.setattr(files, "optional_package", missing)
    refused(folder / "parts", r"pip install .mlmfast\[parquet\]")


def test_parquet_of_an_empty_table_adds_nothing(table, folder, tmp_path, fitted):
    pq.write_table(arrow(table[:0]), tmp_path / "empty.parquet")
    files = [tmp_path / "empty.parquet", *sorted((folder / "parts").glob("*.parquet"))]
    assert mlm.lmm(FORMULA, files).llf == fitted.llf
    refused(tmp_path / "empty.parquet", "the data are empty")
