# ruff: noqa: E402
"""marginaleffects on fits: the numbers of contrast, emmeans and predict."""

from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm

pytest.importorskip("marginaleffects", reason="marginaleffects is not installed")
pl = pytest.importorskip("polars")
if int(pl.__version__.split(".")[0]) >= 2 and version("marginaleffects") in {"0.6.0", "0.6.1"}:
    pytest.skip("marginaleffects 0.6 needs polars < 2", allow_module_level=True)

from marginaleffects import (
    avg_comparisons,
    avg_predictions,
    avg_slopes,
    comparisons,
    datagrid,
    hypotheses,
    predictions,
    slopes,
)

import mlmfast.marginaleffects as me

# Of marginaleffects 0.6, which calls what polars will leave out of version 2.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    n = 160
    site = rng.integers(12, size=n)
    frame = pd.DataFrame(
        {
            "dose": rng.normal(size=n) + 3.0,
            "arm": np.array(["ctl", "low", "high"])[rng.integers(3, size=n)],
            "site": [f"s{k}" for k in site],
            "base": rng.normal(size=n),
        }
    )
    effect = rng.normal(size=12)[site]
    frame["y"] = 2.0 + 0.5 * frame["dose"] * (frame["arm"] == "low") + effect + rng.normal(size=n)
    frame["arm"] = pd.Categorical(frame["arm"], categories=["ctl", "low", "high"])
    return frame


@pytest.fixture(scope="module")
def fit(data):
    return mlm.lmm("y ~ dose * arm + poly(base, 2) + (1 | site)", data)


def t_tests(table, df):
    """p-values and limits that follow from estimates, standard errors and df."""
    from scipy import stats

    estimate, error = table["estimate"].to_numpy(), table["std_error"].to_numpy()
    np.testing.assert_allclose(
        table["p_value"], 2.0 * stats.t.sf(np.abs(estimate / error), df), rtol=1e-6, atol=1e-14
    )
    half = stats.t.ppf(0.975, df) * error
    np.testing.assert_allclose(table["conf_low"], estimate - half, rtol=1e-8)


def test_predictions_are_those_of_the_population(fit):
    found = predictions(fit)
    own = fit.predict(ranef=False, interval="confidence", ddf="asymptotic")
    np.testing.assert_allclose(found["estimate"], own["fit"], rtol=1e-10)
    error = (own["upper"] - own["fit"]) / 1.959963984540054
    np.testing.assert_allclose(found["std_error"], error, rtol=1e-6)
    t_tests(found, me.model(fit).get_df())


def test_predictions_on_a_grid(fit):
    grid = datagrid(model=me.model(fit), dose=[1.0, 5.0], arm=["ctl", "high"])
    found = predictions(fit, newdata=grid).sort("dose", "arm")
    new = found.select("dose", "arm", "base").to_pandas()
    np.testing.assert_allclose(found["estimate"], fit.predict(new, ranef=False), rtol=1e-10)


def test_comparisons_of_a_factor_are_contrasts_at_the_data(fit, data):
    found = avg_comparisons(fit, variables="arm").sort("contrast")
    for row in found.iter_rows(named=True):
        level = row["contrast"].split(" - ")[0].strip("()").replace("mean(", "").strip(")")
        L = {f"arm{level}": 1.0, f"dose:arm{level}": float(data["dose"].mean())}
        own = fit.contrast(L)
        assert row["estimate"] == pytest.approx(own.estimate, rel=1e-8)
        assert row["std_error"] == pytest.approx(own.se, rel=1e-6)


def test_slopes_are_derivatives(fit):
    found = slopes(fit, variables="dose", newdata=datagrid(model=me.model(fit), arm=["ctl", "low"]))
    by_arm = dict(zip(found["arm"].to_list(), found["estimate"].to_list(), strict=True))
    assert by_arm["ctl"] == pytest.approx(fit.params["dose"], rel=1e-8)
    low = fit.contrast({"dose": 1.0, "dose:armlow": 1.0})
    assert by_arm["low"] == pytest.approx(low.estimate, rel=1e-8)
    errors = dict(zip(found["arm"].to_list(), found["std_error"].to_list(), strict=True))
    assert errors["low"] == pytest.approx(low.se, rel=1e-7)


def test_errors_of_slopes_beside_a_large_intercept(data):
    """Forward differences lose these: predictions are 1e6, a slope's difference 1e-4 of them."""
    fit = mlm.lmm("y ~ dose + (1 | site)", data.assign(y=data["y"] + 1e6))
    found = avg_slopes(fit, variables="dose")
    assert found["estimate"][0] == pytest.approx(fit.params["dose"], rel=1e-5)
    assert found["std_error"][0] == pytest.approx(fit.bse["dose"], rel=1e-3)
    ratio = hypotheses(fit, hypothesis="b1 / b0 = 0")
    b, a = fit.params["dose"], fit.params["(Intercept)"]
    gradient = np.array([-b / a**2, 1.0 / a])
    exact = np.sqrt(gradient @ fit.cov_params().to_numpy() @ gradient)
    assert ratio["std_error"][0] == pytest.approx(exact, rel=1e-6)


def test_averages_by_group(fit, data):
    found = avg_predictions(fit, by="arm")
    own = pd.Series(fit.predict(ranef=False), index=data.index).groupby(data["arm"], observed=True)
    for level, estimate in zip(found["arm"].to_list(), found["estimate"].to_list(), strict=True):
        assert estimate == pytest.approx(own.mean()[level], rel=1e-8)


def test_means_of_a_balanced_grid_are_emmeans(fit):
    found = predictions(fit, newdata="balanced", by="arm")
    assert found["estimate"].len() == 3
    own = fit.emmeans("arm").to_frame().set_index("arm")
    for level, estimate, error in zip(
        found["arm"], found["estimate"], found["std_error"], strict=True
    ):
        assert estimate == pytest.approx(own["emmean"][level], rel=1e-7)
        assert error == pytest.approx(own["SE"][level], rel=1e-5)


def test_hypotheses(fit):
    found = hypotheses(fit)
    np.testing.assert_allclose(found["estimate"], fit.params, rtol=1e-10)
    np.testing.assert_allclose(found["std_error"], fit.bse, rtol=1e-6)
    assert found["term"].to_list() == fit.params.index.to_list()
    own = fit.contrast("armhigh - armlow")
    two = hypotheses(fit, hypothesis="b3 - b2 = 0")
    assert two["estimate"][0] == pytest.approx(own.estimate, rel=1e-7)
    assert two["std_error"][0] == pytest.approx(own.se, rel=1e-5)


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2", "CR3", "kenward-roger"])
def test_other_covariances(fit, kind):
    found = hypotheses(fit, vcov=kind)
    errors = np.sqrt(np.diag(fit.cov_params(kind)))
    np.testing.assert_allclose(found["std_error"], errors, rtol=1e-6)
    df = me.model(fit).get_df()
    if kind.startswith("CR"):
        df = min(df, fit.robust(kind).df.min())
    t_tests(found, df)


def test_a_matrix(fit):
    found = hypotheses(fit, vcov=4.0 * fit.cov_params().to_numpy())
    np.testing.assert_allclose(found["std_error"], 2.0 * fit.bse, rtol=1e-6)
    assert "std_error" not in predictions(fit, vcov=False).columns


def test_kenward_and_roger(data):
    fit = mlm.lmm("y ~ dose * arm + (1 | site)", data, ddf="kenward-roger")
    found = avg_slopes(fit, variables="dose", newdata=data[data["arm"] == "ctl"])
    assert found["std_error"][0] == pytest.approx(fit.bse["dose"], rel=1e-5)


def test_the_degrees_of_freedom_are_the_smallest(fit, data):
    df = me.model(fit).get_df()
    assert isinstance(df, float)
    assert df <= fit.df.min()
    rows = fit.X(fit.ranef["site"].index[0])
    several = [fit.contrast(row).df for row in np.asarray(rows)]
    assert df <= min(several) + 1e-9
    z = mlm.lmm("y ~ dose + (1 | site)", data, ddf="asymptotic")
    assert me.model(z).get_df() == np.inf


@pytest.mark.parametrize("joint", ["dose", "arm", ["dose"], ["armlow", "armhigh"]])
def test_joint_tests_by_name_are_refused(fit, joint):
    with pytest.raises(mlm.ModelError, match=r"fit\.anova\(\)"):
        hypotheses(fit, joint=joint)


@pytest.mark.parametrize("renamed", ["function", "argument"])
@pytest.mark.parametrize("joint", ["dose", ["arm"], [2, 3], True])
def test_joint_tests_of_another_version_are_refused(fit, monkeypatch, renamed, joint):
    """The function that looks names up, under another name or with its argument under another."""
    from importlib import import_module
    from types import FunctionType

    main, theirs = (import_module(f"marginaleffects.test.{name}") for name in ("main", "joint"))
    known = theirs.joint_hypotheses
    code = known.__code__
    if renamed == "function":
        code = code.replace(co_name="joint_test")
    else:
        code = code.replace(
            co_varnames=tuple("index" if n == "joint_index" else n for n in code.co_varnames),
            co_cellvars=tuple("index" if n == "joint_index" else n for n in code.co_cellvars),
        )
    other = FunctionType(code, theirs.__dict__, code.co_name, known.__defaults__)

    def joint_hypotheses(model, joint_index, joint_test, hypothesis):
        return other(model, joint_index, joint_test, hypothesis)

    monkeypatch.setattr(main, "joint_hypotheses", joint_hypotheses)
    with pytest.raises(mlm.ModelError, match=r"not asked for before.*fit\.anova\(\)"):
        hypotheses(fit, joint=joint)


@pytest.mark.parametrize("vcov", ["CR2", False, np.eye(8)])
def test_joint_tests_by_another_covariance_are_refused(fit, vcov):
    """marginaleffects would take the fit's own and say nothing."""
    with pytest.raises(mlm.ModelError, match="is left out of joint tests"):
        hypotheses(fit, joint=[2, 3], vcov=vcov)


def test_who_asks_for_variables_gets_them(fit):
    assert me.model(fit).find_predictors() == ["dose", "arm", "base"]


def test_joint_tests_by_position(fit):
    found = hypotheses(fit, joint=[2, 3])
    own = fit.contrast([[0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0]])
    assert found["statistic"][0] == pytest.approx(own.f.statistic, rel=1e-8)
    assert found["df1"][0] == 2
    assert hypotheses(fit, joint=True)["df1"][0] == 8


def test_offsets_and_logicals():
    rng = np.random.default_rng(8)
    n = 90
    frame = pd.DataFrame(
        {"x": rng.normal(size=n), "old": rng.integers(2, size=n) == 1, "o": rng.normal(size=n)}
    )
    frame["g"] = rng.integers(9, size=n)
    frame["y"] = frame["x"] + frame["o"] + frame["old"] + frame["g"] + rng.normal(size=n)
    fit = mlm.lmm("y ~ x + old + offset(o) + (1 | g)", frame)
    found = predictions(fit)
    np.testing.assert_allclose(found["estimate"], fit.predict(ranef=False), rtol=1e-10)
    difference = avg_comparisons(fit, variables="old")
    assert difference["estimate"][0] == pytest.approx(fit.params["oldTRUE"], rel=1e-8)


def test_cells_without_data_are_not_predicted(data):
    some = data[~((data["arm"] == "high") & (data["dose"] > 3.0))].assign(
        big=lambda d: np.where(d["dose"] > 3.0, "yes", "no")
    )
    with pytest.warns(mlm.AliasedWarning):
        fit = mlm.lmm("y ~ arm * big + (1 | site)", some)
    new = pl.DataFrame({"arm": ["high", "low"], "big": ["yes", "yes"]})
    assert np.isnan(me.model(fit).get_exog(new)[0]).all()
    assert np.isfinite(me.model(fit).get_exog(new)[1]).all()


def test_plots(fit):
    plotnine = pytest.importorskip("plotnine")
    from marginaleffects import plot_comparisons, plot_predictions, plot_slopes

    for drawn in (
        plot_predictions(fit, condition=["dose", "arm"]),
        plot_slopes(fit, variables="dose", condition="arm"),
        plot_comparisons(fit, variables="arm", condition="dose"),
    ):
        assert isinstance(drawn, plotnine.ggplot)


def test_what_is_refused(data):
    arrays = mlm.LMM.from_arrays(data["y"], np.ones((160, 1)), groups=data["site"]).fit()
    with pytest.raises(mlm.ModelError, match="made from arrays"):
        me.model(arrays)
    fit = mlm.lmm("y ~ dose + (1 | site)", data)
    with pytest.raises(mlm.ModelError, match="'CR2'"):
        predictions(fit, vcov={"a": 1})
    with pytest.raises(mlm.ModelError, match="not known"):
        predictions(fit, vcov="HC3")
    loaded = mlm.load(fit.to_json())
    with pytest.raises(mlm.ModelError, match="holds no rows"):
        me.model(loaded)


def test_other_models_are_still_taken(data):
    smf = pytest.importorskip("statsmodels.formula.api")
    ols = smf.ols("y ~ dose", data).fit()
    assert avg_slopes(ols, variables="dose")["estimate"][0] == pytest.approx(ols.params["dose"])
    me.register()
    assert comparisons(ols, variables="dose").height == len(data)
