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
