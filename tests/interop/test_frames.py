"""Every result that is a table is a data frame to whatever takes one."""

import copy
import io
import pickle
from html import escape

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mlmfast as mlm


@pytest.fixture(scope="module")
def tables():
    data = mlm.load_sleepstudy()
    data["week"] = [f"w{1 + day // 4}" for day in data["Days"]]
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", data)
    other = mlm.lmm("Reaction ~ Days + (1 | Subject)", data)
    by_week = mlm.lmm("Reaction ~ week + (1 | Subject)", data)
    means = by_week.emmeans("week")
    influence = fit.influence()
    return {
        "anova": by_week.anova(),
        "emmeans": means,
        "contrasts": means.contrast("pairwise"),
        "joint": mlm.joint_tests(by_week),
        "contrast": fit.contrast(["Days = 10", "(Intercept)"]),
        "estimate": fit.estimate({"at ten": {"(Intercept)": 1, "Days": 10}}),
        "covtest": fit.covtest(),
        "varcorr": fit.varcorr,
        "ranef": fit.ranef,
        "influence": influence,
        "one step": influence.one_step(),
        "bootstrap": other.bootstrap(5, seed=1),
        "profile": other.profile("Days"),
        "robust": fit.robust("CR2"),
        "comparison": mlm.compare(other, fit),
        "ranova": fit.ranova(),
        "variance": fit.test_variance("sd_Days|Subject"),
        "icc": other.icc(),
        "r2": other.r2(),
    }


NAMES = (
    "anova", "emmeans", "contrasts", "joint", "contrast", "estimate", "covtest", "varcorr",
    "ranef", "influence", "one step", "bootstrap", "profile", "robust", "comparison", "ranova",
    "variance", "icc", "r2",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_pandas_reads_it(tables, name):
    table = tables[name]
    frame = table.to_frame()
    assert type(frame) is pd.DataFrame
    pd.testing.assert_frame_equal(pd.DataFrame(table), frame)
    pd.testing.assert_frame_equal(table.frame, frame)
    pd.testing.assert_frame_equal(table.round(2), frame.round(2))
    assert type(table.round(2)) is pd.DataFrame
    assert table.to_csv() == frame.to_csv()
    into = io.StringIO()
    table.to_csv(into, index=False)
    assert into.getvalue() == frame.to_csv(index=False)


@pytest.mark.parametrize("name", NAMES)
def test_arrow_reads_it_with_its_labels(tables, name):
    table = tables[name]
    read = pa.RecordBatchReader.from_stream(table).read_all()
    assert read.equals(pa.Table.from_pandas(table.to_frame()))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "varcorr"])
def test_polars_reads_it(tables, name):
    read = pl.DataFrame(tables[name])
    frame = tables[name].to_frame()
    assert read.height == len(frame)
    assert set(frame.columns) <= set(read.columns)
    for column in frame.select_dtypes("number"):
        np.testing.assert_array_equal(read[column].cast(pl.Float64).to_numpy(), frame[column])


def test_covariances_in_polars(tables):
    """polars goes by items(), which are those of the mapping: it refuses, and reads the frame."""
    with pytest.raises(ValueError, match="duplicate column names"):
        pl.DataFrame(tables["varcorr"])
    read = pl.DataFrame(tables["varcorr"].to_frame())
    assert read["group"].to_list() == ["Subject", "Subject", "Subject", "Residual"]


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_pickles_are_of_its_kind(tables, name):
    table = tables[name]
    for again in (copy.copy(table), copy.deepcopy(table), pickle.loads(pickle.dumps(table))):
        assert type(again) is type(table)
        assert repr(again) == repr(table)


@pytest.mark.parametrize("name", NAMES)
def test_great_tables_shows_it(tables, name):
    great_tables = pytest.importorskip("great_tables", reason="great_tables is not installed")
    table = tables[name].to_gt()
    assert isinstance(table, great_tables.GT)
    html = table.as_raw_html()
    labels = [str(label) for label in tables[name].to_frame().index]
    assert escape(labels[0]) in html or labels[0] == "0"


def test_covariances_stay_a_mapping(tables):
    varcorr, ranef = tables["varcorr"], tables["ranef"]
    for found in (varcorr, ranef):
        assert list(found) == list(found.keys()) == ["Subject"]
        assert len(found) == 1
        assert "Subject" in found
        assert "vcov" not in found
        assert found.get("nobody") is None
        ((name, part),) = found.items()
        pd.testing.assert_frame_equal(part, found[name])
        pd.testing.assert_frame_equal(next(iter(found.values())), part)
        with pytest.raises(KeyError, match="grouping factors: Subject"):
            found["nobody"]
    assert varcorr["vcov"].tolist() == varcorr.to_frame()["vcov"].tolist()
    long = ranef.to_frame().set_index(["level", "term"])["estimate"].unstack()
    wide = ranef["Subject"]
    np.testing.assert_array_equal(long.loc[wide.index, wide.columns], wide)


METHODS = {
    "agg": (lambda t: t.select_dtypes("number").agg(["mean", "max"])),
    "apply": (lambda t: t.apply(lambda column: column.iloc[0])),
    "assign": (lambda t: t.assign(k=1)),
    "count": (lambda t: t.count()),
    "describe": (lambda t: t.describe()),
    "drop": (lambda t: t.drop(columns="group")),
    "drop_duplicates": (lambda t: t.drop_duplicates("group")),
    "dropna": (lambda t: t.dropna()),
    "duplicated": (lambda t: t.duplicated("group")),
    "eq": (lambda t: t.eq("Subject")),
    "explode": (lambda t: t.explode("group")),
    "filter": (lambda t: t.filter(like="r")),
    "groupby": (lambda t: t.groupby("group").size()),
    "head": (lambda t: t.head(2)),
    "isna": (lambda t: t.isna()),
    "iterrows": (lambda t: pd.DataFrame([row for _, row in t.iterrows()])),
    "itertuples": (lambda t: pd.DataFrame(list(t.itertuples()))),
    "join": (lambda t: t.join(pd.DataFrame({"k": [5]}))),
    "melt": (lambda t: t.melt(id_vars="group")),
    "memory_usage": (lambda t: t.memory_usage()),
    "merge": (lambda t: t.merge(pd.DataFrame({"group": ["Subject"], "k": [1]}), on="group")),
    "nunique": (lambda t: t.nunique()),
    "pipe": (lambda t: t.pipe(lambda frame: frame.iloc[:1])),
    "pivot_table": (lambda t: t.pivot_table(index="group", aggfunc="count")),
    "query": (lambda t: t.query("group == 'Subject'")),
    "rename": (lambda t: t.rename(columns=str.upper)),
    "reset_index": (lambda t: t.reset_index()),
    "sample": (lambda t: t.sample(2, random_state=1)),
    "select_dtypes": (lambda t: t.select_dtypes("number")),
    "set_index": (lambda t: t.set_index(["group", t.columns[1]])),
    "sort_values": (lambda t: t.sort_values(t.columns[-1])),
    "stack": (lambda t: t.stack()),
    "tail": (lambda t: t.tail(1)),
    "to_dict": (lambda t: pd.DataFrame(t.to_dict("records"))),
    "to_html": (lambda t: pd.Series(t.to_html())),
    "to_json": (lambda t: pd.Series(t.to_json())),
    "to_numpy": (lambda t: pd.DataFrame(t.to_numpy())),
    "to_records": (lambda t: pd.DataFrame(t.to_records())),
    "to_string": (lambda t: pd.Series(t.to_string())),
    "transpose": (lambda t: t.transpose()),
    "value_counts": (lambda t: t.value_counts("group")),
    "where": (lambda t: t.where(t.notna(), "none")),
    "T": (lambda t: t.T),
    "array": (lambda t: pd.DataFrame(np.asarray(t))),
    "columns": (lambda t: t[["group"]]),
    "rows": (lambda t: t[(t["group"] == "Subject").to_numpy()]),
    "iloc": (lambda t: t.iloc[1:3]),
    "loc": (lambda t: t.loc[[0, 1], "group"]),
    "concat": (lambda t: pd.concat([t, t])),
    "melt of pandas": (lambda t: pd.melt(t, id_vars="group")),
    "merge of pandas": (lambda t: pd.merge(t, t, on="group")),
}


@pytest.mark.parametrize("name", ["varcorr", "ranef"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_methods_of_pandas_are_those_of_the_rows(tables, name, method):
    table = tables[name]
    found, expected = METHODS[method](table), METHODS[method](table.to_frame())
    assert type(found) is type(expected)
    assert found.equals(expected)


#: Those of the mapping or by chance, and what would draw or need a desktop.
APART = {
    "keys",
    "values",
    "items",
    "get",
    "copy",
    "sample",
    "to_clipboard",
    "hist",
    "boxplot",
    "plot",
}


def outcome(table, method):
    try:
        return getattr(table, method)()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("name", ["varcorr", "ranef"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_no_method_of_pandas_goes_by_the_length_of_the_mapping(tables, name):
    """All that can be called without arguments: the same, or the same complaint."""
    public = {method for method in dir(pd.DataFrame) if not method.startswith("_")}
    for method in sorted(public - APART):
        if callable(getattr(pd.DataFrame, method)):
            found, expected = (outcome(t, method) for t in (tables[name], tables[name].to_frame()))
            if isinstance(expected, str):
                assert found == expected, method
            elif hasattr(expected, "equals"):
                assert type(found) is type(expected), method
                assert found.equals(expected), method


@pytest.mark.parametrize("name", ["varcorr", "ranef"])
def test_what_is_told_of_rows(tables, name):
    table, into, plain = tables[name], io.StringIO(), io.StringIO()
    table.info(buf=into)
    table.to_frame().info(buf=plain)
    assert into.getvalue() == plain.getvalue()
    with pytest.raises(TypeError, match=r"take to_frame\(\) first"):
        table.reset_index(inplace=True)
    parts = dict(table)
    assert list(parts) == ["Subject"]
    pd.testing.assert_frame_equal(parts["Subject"], table["Subject"])
    again = table.copy()
    again["k"] = range(len(again.to_frame()))
    assert again.to_frame()["k"].tolist() == list(range(len(table.to_frame())))
    assert "k" not in table.to_frame()


def test_covariances_start_another_fit(tables):
    data = mlm.load_sleepstudy()
    model = mlm.LMM("Reaction ~ Days + (Days | Subject)", data)
    again = model.fit(start=tables["varcorr"])
    assert again.llf == pytest.approx(model.fit().llf, abs=1e-8)
    design = mlm.design(
        "y ~ Days + (Days | Subject)",
        levels={"Subject": 5, "Days": range(3)},
        varcorr=tables["varcorr"],
        sigma=1,
    )
    assert design.simulate(1, seed=1).shape[0] == 15


def test_effects_of_several_factors():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.integers(5, size=80), "b": rng.integers(4, size=80)})
    frame["y"] = rng.normal(size=80) + frame["a"] + 2.0 * frame["b"]
    fit = mlm.lmm("y ~ 1 + (1 | a) + (1 | b)", frame)
    long = pd.DataFrame(fit.ranef)
    assert long["group"].value_counts().to_dict() == {"a": 5, "b": 4}
    nested = mlm.lmm("y ~ 1 + (1 | a/b)", frame).ranef
    assert nested["b:a"].index[0] == ":".join(reversed(nested["a:b"].index[0].split(":")))


def test_a_group_named_as_a_column():
    """`["group"]` is then the covariance matrix; the column is in the frame."""
    data = mlm.load_sleepstudy()
    model = mlm.LMM.from_arrays(data["Reaction"], np.ones((180, 1)), groups=data["Subject"].array)
    varcorr = model.fit().varcorr
    assert varcorr["group"].shape == (1, 1)
    assert pd.DataFrame(varcorr)["group"].tolist() == ["group", "Residual"]


def test_without_great_tables_the_extra_is_named(tables, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "great_tables", None)
    with pytest.raises(mlm.MlmError, match=r'pip install "mlmfast\[tables\]"'):
        tables["anova"].to_gt()
