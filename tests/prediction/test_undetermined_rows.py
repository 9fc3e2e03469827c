"""Predictions of rows whose mean the data do not determine: NaN by name, whatever the coding."""

import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

import mlmfast as mlm
from mlmfast.errors import AliasedWarning, ModelError, NonEstimableWarning

pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.errors.AliasedWarning")

NEW = pd.DataFrame(
    {"a": ["u", "v", "v", "u"], "b": ["x", "z", "y", "z"], "g": list("1234")},
    index=["p", "q", "r", "s"],
)


def cells():
    """Two factors without the cell (v, z)."""
    random = np.random.default_rng(4)
    pairs = [(a, b) for a in "uv" for b in "xyz" if (a, b) != ("v", "z")] * 8
    data = pd.DataFrame(pairs, columns=["a", "b"])
    group = np.arange(len(data)) % 8
    return data.assign(
        g=(group + 1).astype(str),
        t=np.arange(len(data)) // 8,
        y=random.normal(size=len(data)) + 3 * random.normal(size=8)[group],
    )


def test_a_cell_without_rows_is_nan_with_one_warning_that_names_it():
    data = cells()
    fit = mlm.lmm("y ~ a * b", data)
    with pytest.warns(NonEstimableWarning, match=r"1 of 4 rows.*row 1 \(a = v, b = z\)") as caught:
        found = fit.predict(NEW)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    # The model is saturated: the other predictions are the cells' means.
    means = data.groupby(["a", "b"])["y"].mean()
    expected = [means["u", "x"], np.nan, means["v", "y"], means["u", "z"]]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert list(found.index) == list(NEW.index)


@pytest.mark.parametrize("ranef", [False, True])
@pytest.mark.parametrize("interval", [None, "confidence", "prediction"])
def test_the_coding_plays_no_part_in_what_is_predicted(interval, ranef):
    tables, values = [], []
    for coding in ("contr.treatment", "contr.sum", "contr.helmert"):
        fit = mlm.lmm("y ~ a * b + (1 | g)", cells(), contrasts={"a": coding, "b": coding})
        with pytest.warns(NonEstimableWarning):
            tables.append(pd.DataFrame(fit.predict(NEW, ranef=ranef, interval=interval)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            old = fit.predict(NEW, ranef=ranef, interval=interval, nonestimable="value")
        values.append(pd.DataFrame(old))
    for table, value in zip(tables, values, strict=True):
        assert table.iloc[1].isna().all()
        assert value.notna().all().all()
        np.testing.assert_allclose(table, tables[0], rtol=1e-6)
        np.testing.assert_allclose(table.drop("q"), value.drop("q"), rtol=1e-14)
    # What the coding makes of the cell is its own affair.
    assert abs(values[0].iloc[1, 0] - values[1].iloc[1, 0]) > 1e-3


def test_the_means_and_the_plots_leave_out_the_same_cell():
    fit = mlm.lmm("y ~ a * b + (1 | g)", cells())
    means = fit.emmeans("a:b")
    frame = means.frame.set_index(["a", "b"])
    assert frame["emmean"].isna().tolist() == [label == ("v", "z") for label in frame.index]
    assert "nonEst" in str(means)
    with pytest.warns(NonEstimableWarning):
        found = fit.predict(NEW, ranef=False)
    np.testing.assert_allclose(found["p"], frame["emmean"]["u", "x"], rtol=1e-10)
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    axes = fit.plot.effects(["a", "b"])
    assert len(np.ravel(axes)) >= 1
    means.plot()


def test_a_loaded_fit_knows_which_rows():
    fit = mlm.lmm("y ~ a * b + (1 | g)", cells())
    loaded = mlm.load(fit.to_json())
    with pytest.warns(NonEstimableWarning, match=r"a = v, b = z"):
        found = loaded.predict(NEW)
    with pytest.warns(NonEstimableWarning):
        np.testing.assert_array_equal(found, fit.predict(NEW))
    frame = loaded.emmeans("a:b").frame
    np.testing.assert_array_equal(frame["emmean"], fit.emmeans("a:b").frame["emmean"])
    plain = mlm.lmm("y ~ a + b + (1 | g)", cells())
    np.testing.assert_array_equal(mlm.load(plain.to_json()).predict(NEW), plain.predict(NEW))


@pytest.mark.parametrize("make", [pl.DataFrame, lambda d: pl.DataFrame(d).to_arrow(), dict])
def test_containers_and_rows_with_missing_values(make):
    fit = mlm.lmm("y ~ a * b + (1 | g)", cells())
    new = {"a": ["u", None, "v"], "b": ["x", "z", "z"], "g": ["1", "1", "1"]}
    with pytest.warns(NonEstimableWarning, match=r"1 of 3 rows.*: row 2 \(a = v, b = z\)"):
        found = np.array(
            fit.predict(make(new)).tolist() if make is dict else fit.predict(make(new))
        )
    assert np.isnan(found).tolist() == [False, True, True]


def test_many_rows_are_counted_and_a_few_named():
    fit = mlm.lmm("y ~ a * b", cells())
    many = pd.DataFrame({"a": ["v"] * 30, "b": ["z"] * 30})
    with pytest.warns(NonEstimableWarning, match=r"30 of 30 rows.*row 4 \(.*\), \.\.\.;"):
        assert fit.predict(many).isna().all()


def test_a_covariate_that_is_a_function_of_a_factor():
    data = cells().assign(dose=lambda d: d["b"].map({"x": 0.0, "y": 1.0, "z": 2.5}))
    fit = mlm.lmm("y ~ dose + b + (1 | g)", data)
    new = pd.DataFrame({"dose": [0.0, 1.0, 2.0], "b": ["x", "y", "z"]})
    with pytest.warns(NonEstimableWarning, match=r"row 2 \(dose = 2, b = z\)"):
        found = fit.predict(new, ranef=False)
    plain = mlm.lmm("y ~ b + (1 | g)", data).predict(new, ranef=False)
    np.testing.assert_allclose(found[:2], plain[:2], rtol=1e-8)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_units_of_a_covariate_play_no_part(unit):
    """Slopes by cell: the empty cell's column of zeros has no unit of its own."""
    data = cells().assign(dose=lambda d: unit * (1.0 + d["t"]))
    fit = mlm.lmm("y ~ a:b:dose", data)
    new = NEW.assign(dose=unit * np.array([1.0, 2.0, 3.0, 4.0]))
    with pytest.warns(NonEstimableWarning, match="row 1"):
        found = fit.predict(new)
    assert found.isna().tolist() == [False, True, False, False]
    far = pd.DataFrame({"a": ["u"], "b": ["x"], "dose": [1e6 * unit]})
    assert np.isfinite(fit.predict(far)).all()
    with pytest.raises(ModelError, match="not estimable"):
        fit.contrast(
            np.array([1.0, *(unit * (name == "av:bz:dose") for name in fit.params.index[1:])])
        )


@pytest.mark.parametrize("start", [0.0, 2.45e6, -1e9])
def test_a_day_beside_the_days_since_long_ago(start):
    """A covariate far from 0 that a factor's levels determine, one day off."""
    data = cells().assign(day=lambda d: start + d["b"].map({"x": 0.0, "y": 7.0, "z": 30.0}))
    fit = mlm.lmm("y ~ day + b", data)
    new = pd.DataFrame({"day": start + np.array([0.0, 7.0, 31.0]), "b": list("xyz")})
    with pytest.warns(NonEstimableWarning, match="1 of 3 rows.*row 2"):
        found = fit.predict(new)
    means = data.groupby("b")["y"].mean()
    np.testing.assert_allclose(found, [means["x"], means["y"], np.nan], rtol=1e-7)
    loaded = mlm.load(fit.to_json())
    with pytest.warns(NonEstimableWarning, match="1 of 3 rows.*row 2"):
        np.testing.assert_array_equal(loaded.predict(new), found)


def test_columns_that_are_one_up_to_rounding():
    """What was dropped for 1e-9 of a column is not missed in its own rows."""
    random = np.random.default_rng(6)
    data = cells().assign(x=random.normal(size=40), w=lambda d: d["x"] + 1e-9 * d["t"])
    fit = mlm.lmm("y ~ x + w", data)
    assert fit.aliased == ("w",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(fit.predict(data)).all()
    with pytest.warns(NonEstimableWarning, match="2 of 40"):
        fit.predict(data.assign(w=data["w"] + 0.01 * (np.arange(40) < 2)))


def test_rows_of_the_fit_are_always_predicted():
    fit = mlm.lmm("y ~ a * b + (1 | g)", cells())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(fit.predict(cells()), fit.predict(), rtol=1e-12)


def test_responses_in_such_rows_say_nothing_of_other_rows():
    data = cells().assign(t=lambda d: d.groupby("g").cumcount())
    fit = mlm.lmm("y ~ a * b", data, residual="cs(t | g)")
    new = pd.DataFrame({"a": list("uvv"), "b": list("xzz"), "g": ["9"] * 3, "t": [0, 1, 2]})
    with pytest.warns(NonEstimableWarning, match="2 of 3"):
        alone = fit.predict(new, conditional=True)
    assert alone.isna().tolist() == [False, True, True]
    given = new.assign(y=[np.nan, 40.0, np.nan])
    with pytest.warns(NonEstimableWarning, match=r"1 of 3 rows.*row 2"):
        found = fit.predict(given, conditional=True, interval="prediction")
    np.testing.assert_allclose(found["fit"], [alone[0], 40.0, np.nan], rtol=1e-12)
    old = fit.predict(given, conditional=True, nonestimable="value")
    assert abs(old[0] - alone[0]) > 1e-3


def test_rows_left_out_for_a_missing_response():
    data = cells().assign(t=lambda d: d.groupby("g").cumcount())
    last = data.index[data["g"] == "1"][-1]
    data.loc[last, ["a", "b", "y"]] = ["v", "z", np.nan]
    fit = mlm.lmm("y ~ a * b", data, residual="cs(t | g)")
    with pytest.warns(NonEstimableWarning, match=rf"1 of 40 rows.*row {last} "):
        found = fit.predict(conditional=True)
    np.testing.assert_allclose(found, data["y"])


def test_refusals():
    fit = mlm.lmm("y ~ a * b", cells())
    with pytest.raises(ModelError, match="nonestimable is 'na'; use 'nan' or 'value'"):
        fit.predict(NEW, nonestimable="na")


def test_what_is_left_out_is_named_at_the_fit():
    with pytest.warns(AliasedWarning, match="av:bz"):
        mlm.lmm("y ~ a * b", cells())


def test_robust_contrasts_over_all_coefficients():
    fit = mlm.lmm("y ~ a * b + (1 | g)", cells())
    robust = fit.robust("CR1")
    names = list(fit.params.index)
    row = np.array([float(name == "bz") for name in names])
    kept = row[~fit.params.isna().to_numpy()]
    np.testing.assert_array_equal(robust.contrast(row), robust.contrast(kept))
    with pytest.raises(ModelError, match="not estimable"):
        robust.contrast(np.array([float(name == "av:bz") for name in names]))


@pytest.mark.parametrize("formula", ["y ~ age + a + b + (1 | g)", "y ~ b + a + age + (1 | g)"])
@pytest.mark.parametrize("moved", ["age", "a"])
@pytest.mark.filterwarnings("ignore::mlmfast.AliasedWarning")
def test_a_row_names_all_variables_that_depended_on_each_other_and_no_others(formula, moved):
    """Which of them is left out says nothing of which one the row has changed."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"age": rng.integers(20, 60, 40), "b": rng.normal(size=40)})
    data = data.assign(a=2 * data["age"] + 1, g=np.arange(40) % 8)
    data["y"] = data["age"] + rng.normal(size=8)[data["g"]] + rng.normal(size=40)
    fit = mlm.lmm(formula, data)
    new = data.iloc[:1].assign(age=30, a=61)
    assert np.isfinite(fit.predict(new)).all()
    with pytest.warns(mlm.NonEstimableWarning) as caught:
        assert np.isnan(fit.predict(new.assign(**{moved: 50}))).all()
    found = str(caught[0].message)
    values = {"age": 30, "a": 61} | {moved: 50}
    named = re.search(r"row 0 \((.*?)\)", found).group(1).split(", ")
    assert sorted(named) == sorted(f"{name} = {value}" for name, value in values.items())


@pytest.mark.filterwarnings("ignore::mlmfast.AliasedWarning")
def test_a_row_names_the_dependence_that_it_breaks():
    """Two columns left out, each for reasons of its own."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"u": rng.normal(size=40), "v": rng.normal(size=40)})
    data = data.assign(u2=-data["u"], v2=3 * data["v"], g=np.arange(40) % 8)
    data["y"] = rng.normal(size=8)[data["g"]] + rng.normal(size=40)
    fit = mlm.lmm("y ~ u + v + u2 + v2 + (1 | g)", data)
    new = pd.DataFrame({"u": [1.0, 1.0], "u2": [-1.0, -1.0], "v": [2.0, 2.0], "v2": [6.0, 7.0]})
    new["g"] = 0
    with pytest.warns(mlm.NonEstimableWarning, match=r": row 1 \(v = 2, v2 = 7\);"):
        assert np.isnan(fit.predict(new)).tolist() == [False, True]
