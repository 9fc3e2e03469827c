"""Fits against lme4's and mlmfast's own, with statsmodels' names and containers."""

import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
import mlmfast.statsmodels as smf
from mlmfast.statsmodels import MixedLM, MixedLMParams, SingularMatrixWarning, VCSpec

from ..cases import data_of, reference, varcorr_of
from .simulated import growth

#: Reference fits of lme4 that statsmodels can say, and how.
SAID = {
    "sleepstudy_slope_corr_reml": ("Reaction ~ Days", {"groups": "Subject", "re_formula": "~Days"}),
    "sleepstudy_slope_corr_ml": ("Reaction ~ Days", {"groups": "Subject", "re_formula": "~Days"}),
    "dyestuff_reml": ("Yield ~ 1", {"groups": "Batch"}),
    "dyestuff2_reml": ("Yield ~ 1", {"groups": "Batch"}),
    "pastes_nested_reml": (
        "strength ~ 1",
        {"groups": "batch", "re_formula": "1", "vc_formula": {"cask": "0 + cask"}},
    ),
}


@pytest.mark.parametrize("case", SAID)
@pytest.mark.filterwarnings("ignore::mlmfast.statsmodels.SingularMatrixWarning")
def test_estimates_are_lme4s(case):
    formula, said = SAID[case]
    expect = reference(case)["expect"]
    fit = MixedLM.from_formula(formula, data_of(case), **said).fit(reml=case.endswith("reml"))
    np.testing.assert_allclose(fit.fe_params, list(expect["beta"].values()), rtol=1e-6)
    np.testing.assert_allclose(fit.bse_fe, list(expect["se"].values()), rtol=1e-5)
    assert fit.scale == pytest.approx(expect["sigma"] ** 2, rel=1e-5)
    assert fit.llf == pytest.approx(expect["loglik"], abs=1e-6)
    found = [fit.cov_re.to_numpy()] + [np.array([[v]]) for v in fit.vcomp]
    expected = [cov for _, cov in varcorr_of(case).values()]
    if "pastes" in case:
        expected = sorted(expected, key=lambda g: float(g[0, 0]))
    for own, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, theirs, rtol=1e-4, atol=1e-6)
    assert fit.converged


def pair(**how):
    data = growth()
    ours = MixedLM.from_formula("y ~ x + arm", data, groups="site", re_formula="~x").fit(**how)
    own = mlm.lmm(
        "y ~ x + arm + (x | site)", data, method="ML" if how.get("reml") is False else "REML"
    )
    return ours, own, data


@pytest.mark.parametrize("reml", [True, False])
def test_the_fit_is_mlmfasts(reml):
    fit, own, _ = pair(reml=reml)
    order = ["(Intercept)", "armb", "armc", "x"]
    np.testing.assert_allclose(fit.fe_params, own.params[order], rtol=1e-9)
    np.testing.assert_allclose(fit.bse_fe, own.bse[order], rtol=1e-9)
    np.testing.assert_allclose(fit.cov_params().iloc[:4, :4], own.cov_params().loc[order, order])
    np.testing.assert_allclose(fit.cov_re, own.varcorr["site"], rtol=1e-7)
    assert (fit.cov_params().iloc[:4, 4:] == 0.0).all(axis=None)
    np.testing.assert_allclose(fit.fittedvalues, own.fittedvalues, rtol=1e-9)
    np.testing.assert_allclose(fit.resid, own.resid(), atol=1e-9)
    ranef, cov = own.ranef["site"], own.ranef_cov["site"]
    for site, effects in fit.random_effects.items():
        np.testing.assert_allclose(effects, ranef.loc[site], atol=1e-8)
        np.testing.assert_allclose(fit.random_effects_cov[site], cov[site], atol=1e-8)
    errors = own.cov_theta()
    np.testing.assert_allclose(fit.bse_re, np.sqrt(np.diag(errors))[[0, 1, 2]], rtol=1e-6)
    assert fit.lmm.llf == fit.llf == pytest.approx(own.llf)


def test_errors_of_ratios_are_those_of_the_profile_likelihood():
    """Two ways: carried over from G and sigma^2, and the inverse Hessian with beta profiled out."""
    data = growth()
    vc = {"part": "0 + C(part)"}
    for reml in (True, False):
        model = MixedLM.from_formula("y ~ x", data, groups="site", re_formula="~x", vc_formula=vc)
        fit = model.fit(reml=reml)
        hessian = model.hessian(fit.params_object)[0]
        k = 2
        profile = hessian[k:, k:] - hessian[k:, :k] @ np.linalg.solve(
            hessian[:k, :k], hessian[:k, k:]
        )
        expected = np.linalg.inv(-profile)
        np.testing.assert_allclose(fit.cov_params().iloc[k:, k:], expected, rtol=1e-5, atol=1e-9)
        joint = model.fit(reml=reml, se="statsmodels")
        np.testing.assert_allclose(
            joint.cov_params(), np.linalg.inv(-hessian), rtol=1e-6, atol=1e-9
        )
        np.testing.assert_allclose(joint.bse_re, np.sqrt(fit.scale) * joint.bse.iloc[k:])


def test_names_and_containers_of_a_formula():
    fit, _, data = pair()
    names = ["Intercept", "arm[T.b]", "arm[T.c]", "x"]
    full = ["site Var", "site x x Cov", "x Var"]
    for series in (fit.params, fit.bse, fit.tvalues, fit.pvalues):
        assert series.index.tolist() == names + full
    assert fit.fe_params.index.tolist() == fit.bse_fe.index.tolist() == names
    assert fit.bse_re.index.tolist() == full
    assert fit.cov_re.index.tolist() == fit.cov_re.columns.tolist() == ["site", "x"]
    assert isinstance(float(fit.cov_re.iloc[0, 0]), float)
    limits = fit.conf_int()
    assert limits.columns.tolist() == [0, 1]
    assert limits.index.tolist() == names + full
    np.testing.assert_allclose(
        limits.loc["x"], fit.params["x"] + np.array([-1, 1]) * 1.959964 * fit.bse["x"], rtol=1e-6
    )
    assert fit.fittedvalues.index.equals(data.index)
    assert fit.resid.index.equals(data.index)
    assert list(fit.random_effects) == sorted(data["site"].unique())
    assert fit.random_effects["s3"].index.tolist() == ["site", "x"]
    assert (fit.nobs, fit.k_fe, fit.k_re, fit.k_re2, fit.k_vc) == (105, 4, 2, 3, 0)
    assert (fit.method, fit.reml, fit.model.n_groups) == ("REML", True, 15)
    assert type(fit.df_resid) is int
    assert fit.model.endog_names == "y"
    assert fit.model.formula == "y ~ x + arm"
    assert fit.model.data.frame is data
    by_array = MixedLM.from_formula("y ~ x", data, groups=data["site"]).fit()
    assert by_array.params.index.tolist() == ["Intercept", "x", "Group Var"]
    assert by_array.random_effects["s3"].index.tolist() == ["Group"]


def test_names_and_containers_of_arrays():
    data = growth()
    X = np.column_stack([np.ones(len(data)), data["x"]])
    fit = MixedLM(data["y"].to_numpy(), X, data["site"].to_numpy(), exog_re=X).fit()
    for array in (fit.params, fit.bse, fit.pvalues, fit.conf_int(), fit.cov_re, fit.fe_params):
        assert type(array) is np.ndarray
    assert fit.conf_int().shape == (5, 2)
    assert fit.model.data.xnames == ["const", "x1"]
    assert fit.model.data.exog_re_names == ["x_re1", "x_re2"]
    frame = pd.DataFrame(X, columns=["one", "x"], index=data.index)
    named = MixedLM(data["y"], frame, data["site"]).fit()
    assert named.params.index.tolist() == ["one", "x", "Group Var"]
    assert named.fittedvalues.index.equals(data.index)
    column = MixedLM(data["y"].to_numpy(), X[:, :1], data["site"], data["x"].to_numpy()).fit()
    assert column.model.k_re == 1


def test_variance_components_however_they_are_given():
    """Indicators by formula, by matrices, dense columns of one variance: mlmfast's own models."""
    data = growth()
    said = {"groups": "site", "re_formula": "1", "vc_formula": {"part": "0 + C(part)"}}
    one = MixedLM.from_formula("y ~ x", data, **said).fit()
    own = mlm.lmm("y ~ x + (1 | site) + (1 | site:part)", data)
    assert one.llf == pytest.approx(own.llf, abs=1e-8)
    assert one.vcomp[0] == pytest.approx(float(own.varcorr["site:part"].iloc[0, 0]), rel=1e-6)
    spec = one.model.exog_vc
    X = np.column_stack([np.ones(len(data)), data["x"]])
    mats = [[np.array(m) for m in spec.mats[0]]]
    by_array = MixedLM(
        data["y"].to_numpy(),
        X,
        data["site"],
        X[:, :1],
        VCSpec(["part"], [list(spec.colnames[0])], mats),
    ).fit()
    np.testing.assert_allclose(by_array.params, one.params, rtol=1e-7)
    names = one.random_effects["s0"].index.tolist()
    assert names == ["site", *(f"part[C(part)[{p}]]" for p in sorted(data["part"][:7].unique()))]
    slopes = MixedLM.from_formula(
        "y ~ x", data, groups="site", re_formula="1", vc_formula={"s": "0 + x"}
    ).fit()
    assert slopes.llf == pytest.approx(mlm.lmm("y ~ x + (x || site)", data).llf, abs=1e-8)
    both = MixedLM.from_formula(
        "y ~ x", data, groups="site", re_formula="1", vc_formula={"s": "0 + x + z"}
    ).fit()
    dense = both.model.loglike(both.params_object)
    assert both.llf == pytest.approx(dense, abs=1e-8)
    assert both.model.k_vc == 1
    crossed = MixedLM.from_formula(
        "y ~ x",
        data,
        groups=np.ones(len(data)),
        vc_formula={"site": "0 + C(site)", "part": "0 + C(part)"},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = crossed.fit()
        own = mlm.lmm("y ~ x + (1 | site) + (1 | part)", data)
    assert fit.llf == pytest.approx(own.llf, abs=1e-7)
    # Components stand in the order of their names.
    assert fit.params.index.tolist() == ["Intercept", "x", "part Var", "site Var"]
    np.testing.assert_allclose(fit.fittedvalues, own.fittedvalues, atol=1e-6)


def test_the_old_dictionary_of_components():
    data = growth()
    X = np.column_stack([np.ones(len(data)), data["x"]])
    site = data["site"].to_numpy()
    old = {
        "b": {g: X[site == g][:, 1:] for g in set(site)},
        "a": {g: X[site == g][:, :1] for g in set(site)},
    }
    with pytest.warns(FutureWarning, match="deprecated variance"):
        fit = MixedLM(data["y"].to_numpy(), X, site, exog_vc=old).fit()
    assert fit.model.exog_vc.names == ["a", "b"]
    assert fit.llf == pytest.approx(mlm.lmm("y ~ x + (x || site)", data).llf, abs=1e-8)


def test_held_covariances():
    data = growth()
    model = MixedLM.from_formula("y ~ x", data, groups="site", re_formula="~x")
    free = MixedLMParams.from_components(np.ones(2), cov_re=np.eye(2))
    apart = model.fit(free=free)
    own = mlm.lmm("y ~ x + (x || site)", data)
    assert apart.llf == pytest.approx(own.llf, abs=1e-8)
    assert apart.cov_re.iloc[1, 0] == 0.0
    np.testing.assert_allclose(apart.bse_fe, own.bse, rtol=1e-7)
    assert apart.bse["site x x Cov"] == 0.0
    # A variance held at its ratio to the residual's, all else at its best.
    free.cov_re = np.array([[0.0, 0.0], [0.0, 1.0]])
    start = MixedLMParams.from_components(np.zeros(2), cov_re=np.diag([2.0, 1.0]))
    held = model.fit(free=free, start_params=start)
    assert held.cov_re_unscaled.iloc[0, 0] == pytest.approx(2.0)
    assert held.converged
    for step in (-0.01, 0.01):
        moved = held.params_object.copy()
        moved.cov_re[1, 1] *= 1.0 + step
        assert model.loglike(moved) < held.llf
    assert held.llf < apart.llf
    with pytest.raises(mlm.MlmError, match="parameters held"):
        _ = held.lmm
    start_only = model.fit(start_params=start, do_cg=False)
    assert not start_only.converged
    assert start_only.llf == pytest.approx(model.loglike(start))


@pytest.mark.parametrize("reml", [True, False])
def test_held_fixed_effects(reml):
    """What is held is an offset of the rest."""
    data = growth()
    model = MixedLM.from_formula("y ~ x + z", data, groups="site", re_formula="~x")
    free = MixedLMParams.from_components(np.array([1.0, 0.0, 1.0]), cov_re=np.ones((2, 2)))
    start = MixedLMParams.from_components(np.array([9.0, 0.5, 9.0]), cov_re=np.eye(2))
    held = model.fit(free=free, start_params=start, reml=reml)
    data["half"] = 0.5 * data["x"]
    own = mlm.lmm("y ~ z + offset(half) + (x | site)", data, method="REML" if reml else "ML")
    assert held.llf == pytest.approx(own.llf, abs=1e-9)
    assert held.fe_params["x"] == 0.5
    np.testing.assert_allclose(held.fe_params[["Intercept", "z"]], own.params, rtol=1e-9)
    np.testing.assert_allclose(held.bse_fe[["Intercept", "z"]], own.bse, rtol=1e-9)
    assert held.bse_fe["x"] == held.bse["x"] == 0.0
    np.testing.assert_allclose(held.cov_re, own.varcorr["site"], rtol=1e-7)
    np.testing.assert_allclose(held.fittedvalues, own.fittedvalues, rtol=1e-9)
    effects = np.array(list(held.random_effects.values()))
    np.testing.assert_allclose(effects, own.ranef["site"], atol=1e-8)
    np.testing.assert_allclose(
        held.predict(data.head(4)), own.predict(data.head(4), ranef=False), rtol=1e-9
    )
    # The model itself is as it was.
    assert model.fit(reml=reml).llf > held.llf
    with pytest.raises(NotImplementedError, match="profile beside fixed effects held"):
        held.profile_re(0, vtype="re")


def test_fixed_effects_held_beside_what_is_not_offered():
    data = growth()
    model = MixedLM.from_formula("y ~ x", data, groups="site", re_formula="~x")
    free = MixedLMParams.from_components(np.array([1.0, 0.0]), cov_re=np.diag([0.0, 1.0]))
    with pytest.raises(NotImplementedError, match="single covariances held"):
        model.fit(free=free)
    free.cov_re = np.ones((2, 2))
    with pytest.raises(NotImplementedError, match="joint Hessian by REML"):
        model.fit(free=free, se="statsmodels")
    by_ml = model.fit(free=free, se="statsmodels", reml=False)
    data["none"] = 0.0
    own = MixedLM.from_formula("y ~ 1", data, groups="site", re_formula="~x").fit(
        se="statsmodels", reml=False
    )
    np.testing.assert_allclose(by_ml.bse_fe["Intercept"], own.bse_fe["Intercept"], rtol=1e-6)
    short = MixedLMParams.from_components(np.ones(3), cov_re=np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"fe_params of shape \(3,\)"):
        model.fit(free=short)
    for name in ("fe_pen", "cov_pen"):
        with pytest.raises(NotImplementedError, match=name):
            model.fit(**{name: object()})


MEANS = {
    ("y ~ x + C(arm)", "y ~ x + arm"): [("arm", {}), ("arm", {"at": {"x": 2.0}})],
    ("y ~ arm * batch + x", "y ~ arm * batch + x"): [
        (["arm", "batch"], {}),
        ("arm", {"by": "batch"}),
        ("batch", {"at": {"arm": ["a", "c"]}}),
    ],
    ("y ~ np.log(z) + C(arm, Sum)", "y ~ log(z) + arm"): [("arm", {}), ("1", {})],
    ("y ~ 0 + arm:x + arm", "y ~ 0 + arm:x + arm"): [("arm", {"at": {"x": 1.0}})],
}


@pytest.mark.parametrize("formulas", MEANS)
def test_marginal_means(formulas):
    """Those of mlmfast's own formula, whatever the coding."""
    data = growth()
    theirs, ours = formulas
    fit = MixedLM.from_formula(theirs, data, groups="site").fit()
    own = mlm.lmm(f"{ours} + (1 | site)", data, ddf="asymptotic")
    for specs, arguments in MEANS[formulas]:
        found = fit.emmeans(specs, **arguments).frame
        pd.testing.assert_frame_equal(found, own.emmeans(specs, **arguments).frame, rtol=1e-8)
    pairs = fit.emmeans(specs, ddf="satterthwaite", **arguments)
    assert np.isfinite(pairs.frame["df"]).all()


def test_means_of_rows_with_holes_and_of_subsets():
    data = growth()
    data.loc["row3", "x"] = np.nan
    data.loc["row9", "arm"] = None
    fit = MixedLM.from_formula("y ~ x + arm", data, groups="site", missing="drop").fit()
    own = mlm.lmm("y ~ x + arm + (1 | site)", data, ddf="asymptotic")
    pd.testing.assert_frame_equal(fit.emmeans("arm").frame, own.emmeans("arm").frame, rtol=1e-8)
    some = MixedLM.from_formula("y ~ z + arm", growth(), groups="site", subset=growth()["z"] > 1)
    with pytest.raises(mlm.DataError, match="give the value of 'z' by at="):
        some.fit().emmeans("arm")
    assert len(some.fit().emmeans("arm", at={"z": 1.0}).frame) == 3
    arrays = MixedLM(np.arange(6.0) ** 2, np.ones((6, 1)), [0, 0, 1, 1, 2, 2]).fit()
    with pytest.raises(mlm.ModelError, match="a model made by a formula"):
        arrays.emmeans("arm")
    with pytest.raises(mlm.DataError, match="did you mean 'arm'"):
        fit.emmeans("arn")
    with pytest.raises(mlm.DataError, match="is not a variable of the fixed part"):
        fit.emmeans("arm", at={"y": 1})


def test_errors_of_a_held_fit_are_those_of_the_same_fit_made_otherwise():
    """`free` of ones in coordinates that it holds nothing in, against the usual path."""
    from mlmfast.statsmodels.fitting.fit import _held

    data = growth()
    vc = {"part": "0 + C(part)"}
    model = MixedLM.from_formula("y ~ x", data, groups="site", re_formula="~x", vc_formula=vc)
    for reml in (True, False):
        usual = model.fit(reml=reml)
        other = _held(model, None, model.fit(reml=reml).params_object, True)
        result = model._results_of(other, model, "gls", False)._results
        np.testing.assert_allclose(result.params, usual.params, rtol=1e-5)
        np.testing.assert_allclose(result.bse, usual.bse, rtol=1e-5)
        np.testing.assert_allclose(result.bse_re, usual.bse_re, rtol=1e-5)
        np.testing.assert_allclose(result.fittedvalues, usual.fittedvalues, atol=1e-5)


def test_profile_likelihood():
    data = growth()
    fit = MixedLM.from_formula("y ~ x", data, groups="site", re_formula="~x").fit()
    for place in (0, 1):
        table = fit.profile_re(
            place, vtype="re", num_low=2, dist_low=0.1, num_high=2, dist_high=0.4
        )
        assert table.shape == (5, 2)
        assert table[2, 0] == pytest.approx(fit.cov_re.iloc[place, place], rel=1e-6)
        assert table[2, 1] == pytest.approx(fit.llf, abs=1e-9)
        assert (np.delete(table[:, 1], 2) < fit.llf).all()
        # Best of what the ratio leaves: no other correlation or variance does better.
        top = table[4]
        for r in np.linspace(-0.9, 0.9, 13):
            for v in np.geomspace(0.05, 5.0, 25):
                g = np.empty((2, 2))
                ratio = _ratio(fit, place, top)
                sd = np.sqrt([ratio, v] if place == 0 else [v, ratio])
                g[:] = np.outer(sd, sd) * np.array([[1.0, r], [r, 1.0]])
                assert (
                    fit.model.loglike(MixedLMParams.from_components(np.zeros(2), cov_re=g))
                    <= top[1] + 1e-9
                )
    vc = MixedLM.from_formula(
        "y ~ x", data, groups="site", re_formula="1", vc_formula={"s": "0 + x"}
    ).fit()
    table = vc.profile_re("s", vtype="vc", num_low=1, dist_low=0.1, num_high=1, dist_high=0.3)
    assert table[1, 1] == pytest.approx(vc.llf, abs=1e-9)
    for bad in (
        lambda: fit.profile_re(0, vtype="other"),
        lambda: fit.profile_re(0, "re", dist_low=1e3),
    ):
        with pytest.raises(ValueError, match=r"vtype|negative variance"):
            bad()


def _ratio(fit, place, row):
    at = float(fit.cov_re.iloc[place, place])
    return (at + 0.4) / fit.scale


def test_a_variance_of_zero_is_an_answer():
    data = data_of("dyestuff2_reml")
    with pytest.warns(SingularMatrixWarning, match="random effects covariance matrix is singular"):
        fit = MixedLM.from_formula("Yield ~ 1", data, groups="Batch").fit()
    assert issubclass(SingularMatrixWarning, mlm.SingularFitWarning)
    assert fit.cov_re.iloc[0, 0] == 0.0
    assert all(float(effects.iloc[0]) == 0.0 for effects in fit.random_effects.values())
    assert np.isfinite(fit.bse["Intercept"])
    assert np.isnan(fit.bse["Batch Var"])
    y = data["Yield"]
    assert fit.bse["Intercept"] == pytest.approx(y.std() / math.sqrt(len(y)), rel=1e-9)
    assert fit.t_test([1.0]).tvalue == pytest.approx(float(fit.tvalues["Intercept"]))
    assert fit.converged


def test_tests_of_the_fixed_effects():
    fit, _own, _ = pair()
    L = np.array([[0.0, 1.0, -1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    tests = fit.t_test(L)
    V = fit.cov_params().to_numpy()[:4, :4]
    np.testing.assert_allclose(np.ravel(tests.effect), L @ fit.fe_params)
    np.testing.assert_allclose(np.ravel(tests.sd), np.sqrt(np.diag(L @ V @ L.T)))
    joint = fit.wald_test(L, scalar=True) if _statsmodels() else fit.wald_test(L)
    expected = (L @ fit.fe_params) @ np.linalg.solve(L @ V @ L.T, L @ fit.fe_params)
    assert float(joint.statistic) == pytest.approx(expected)
    with pytest.raises(ValueError, match="should have 4 columns"):
        fit.t_test(np.eye(5))
    if _statsmodels():
        assert float(fit.f_test("x = 0").fvalue) == pytest.approx(float(fit.tvalues["x"]) ** 2)
        assert float(fit.f_test(L).fvalue) == pytest.approx(expected / 2)
    else:
        with pytest.raises(NotImplementedError, match=r"mlmfast\[statsmodels\]"):
            fit.f_test(L)


def _statsmodels():
    from mlmfast.statsmodels.classes import HAS_STATSMODELS

    return HAS_STATSMODELS


def test_tests_by_term():
    data = growth()
    fit = MixedLM.from_formula("y ~ x * arm + bs(z, df=4)", data, groups="site").fit()
    found = fit.wald_test_terms()
    table = getattr(found, "table", found)
    assert table.index.tolist() == ["Intercept", "arm", "x", "x:arm", "bs(z, df=4)"]
    assert table["df_constraint"].tolist() == [1, 2, 1, 2, 4]
    names = fit.fe_params.index
    for term, start in {"arm": "arm[", "x:arm": "x:arm[", "bs(z, df=4)": "bs("}.items():
        rows = np.array(
            [[float(n == name) for n in names] for name in names if name.startswith(start)]
        )
        V = fit.cov_params().to_numpy()[: len(names), : len(names)]
        effect = rows @ fit.fe_params
        expected = effect @ np.linalg.solve(rows @ V @ rows.T, effect)
        assert table.loc[term, "statistic"] == pytest.approx(expected)
    one = MixedLM.from_formula("y ~ x + arm", data.assign(arm="a"), groups="site").fit()
    found = one.wald_test_terms()
    assert getattr(found, "table", found).index.tolist() == ["Intercept", "x"]
    both = fit.wald_test_terms(skip_single=True, combine_terms=["arm"])
    table = getattr(both, "table", both)
    assert table["df_constraint"].tolist() == [2, 2, 4, 4]
    for refused, words in ((fit.bootstrap, "lmm.bootstrap"), (fit.t_test_pairwise, "emmeans")):
        with pytest.raises(NotImplementedError, match=words):
            refused("arm")


def test_names_of_mlmfasts_own_result():
    fit = pair()[0]
    assert fit.lmm.params.index.tolist() == fit.fe_params.index.tolist()
    assert fit.lmm.varcorr["groups"].index.tolist() == ["Intercept", "x"]


def test_predictions():
    fit, own, data = pair()
    new = data.iloc[[3, 50, 7]].copy()
    fixed = fit.predict(new)
    assert fixed.index.equals(new.index)
    np.testing.assert_allclose(fixed, own.predict(new, ranef=False))
    np.testing.assert_allclose(fit.predict(new, random_effects=True), own.predict(new))
    np.testing.assert_allclose(fit.predict(random_effects=True), fit.fittedvalues)
    np.testing.assert_allclose(fit.predict(), fit.model.exog @ fit.fe_params)
    np.testing.assert_allclose(fit.model.predict(fit.params), fit.predict())
    new["site"] = "nowhere"
    np.testing.assert_allclose(fit.predict(new, random_effects=True), fixed)
    new.loc[new.index[0], "x"] = np.nan
    assert np.isnan(fit.predict(new).iloc[0])
    np.testing.assert_allclose(fit.predict(new).iloc[1:], fixed.iloc[1:])
    table = fit.get_prediction(data.iloc[:4]).summary_frame()
    X = fit.model.exog[:4]
    expected = np.sqrt(np.diag(X @ fit.cov_params().to_numpy()[:4, :4] @ X.T))
    np.testing.assert_allclose(table["mean_se"], expected)
    with pytest.raises(ValueError, match="fixed effects"):
        fit.predict(np.ones((2, 7)), transform=False)


def test_criteria():
    fit, own, _ = pair(reml=False)
    assert fit.aic == pytest.approx(own.aic)
    assert fit.bic == pytest.approx(own.bic)
    by_reml = pair()[0]
    assert math.isnan(by_reml.aic)
    assert math.isnan(by_reml.bic)


def test_a_result_is_kept(tmp_path):
    fit, _, data = pair()
    again = pickle.loads(pickle.dumps(fit))
    assert again.params.equals(fit.params)
    assert again.random_effects["s1"].equals(fit.random_effects["s1"])
    fit.save(tmp_path / "fit.pickle")
    read = smf.MixedLMResultsWrapper.load(tmp_path / "fit.pickle")
    assert read.llf == fit.llf
    before, text = len(pickle.dumps(fit)), str(fit.summary())
    prediction = fit.predict(data.iloc[:3])
    fit.remove_data()
    assert len(pickle.dumps(fit)) < before
    assert str(fit.summary()) == text
    assert fit.predict(data.iloc[:3]).equals(prediction)
    assert fit.model.endog is None


def test_summary_has_errors_in_the_units_of_the_variances():
    data = data_of("sleepstudy_slope_corr_reml")
    fit = MixedLM.from_formula("Reaction ~ Days", data, groups="Subject", re_formula="~Days").fit()
    table = fit.summary().tables[1]
    own = mlm.lmm("Reaction ~ Days + (Days | Subject)", data)
    error = float(np.sqrt(own.cov_theta().iloc[0, 0]))
    assert float(table.loc["Subject Var", "Std.Err."]) == pytest.approx(error, abs=1e-3)
    named = fit.summary(yname="ms", xname_fe=["a", "b"], xname_re=["c", "d", "e"], title="T")
    assert named.tables[1].index.tolist() == list("abcde")
    with pytest.raises(ValueError, match="xname_fe should be a list of length 2"):
        fit.summary(xname_fe=["a"])
    assert "NaN" not in str(fit.summary())


def test_draws_have_the_models_variance():
    fit = pair()[0]
    model = fit.model
    draws = [
        model.get_distribution(np.asarray(fit.params), fit.scale).rvs(0, rng=k) for k in range(400)
    ]
    Z = model.exog_re
    expected = ((Z @ fit.cov_re.to_numpy()) * Z).sum(axis=1).mean() + fit.scale
    assert np.var(np.array(draws) - model.exog @ fit.fe_params.to_numpy()) == pytest.approx(
        expected, rel=0.05
    )
    first = model.get_distribution(np.asarray(fit.params), fit.scale).rvs(0, rng=5)
    np.testing.assert_array_equal(first, draws[5])


def test_lasso_of_the_fixed_effects():
    """|2 X'V^-1 r| is at most the weight where a coefficient is 0, and equal to it elsewhere."""
    rng = np.random.default_rng(2)
    n, groups = 240, np.repeat(np.arange(40), 6)
    X = rng.normal(size=(n, 5))
    y = X[:, 0] - X[:, 2] + rng.normal(size=40)[groups] + rng.normal(size=n)
    model = MixedLM(y, X, groups)
    free, alpha = model.fit(), 60.0
    found = model.fit_regularized(alpha=alpha)
    beta = np.asarray(found.fe_params)
    assert (beta == 0.0).any()
    at = model._likelihood(free.params_object)
    w = at._solved[1] / free.scale
    slope = 2.0 * (w[:-1, -1] - w[:-1, :-1] @ beta)
    np.testing.assert_allclose(slope[beta != 0.0], alpha * np.sign(beta[beta != 0.0]), rtol=1e-4)
    assert (np.abs(slope[beta == 0.0]) <= alpha).all()
    np.testing.assert_allclose(found.cov_re, free.cov_re)
    np.testing.assert_allclose(
        model.fit_regularized(alpha=0.0).fe_params, free.fe_params, rtol=1e-8
    )
    assert np.isnan(found.bse[:5][beta == 0.0]).all()
    found.summary()


def test_subset_and_missing_rows():
    data = growth()
    rows = data.index[::2]
    whole = MixedLM.from_formula("y ~ x", data.loc[rows], groups="site").fit()
    for subset in (rows, data.index.isin(rows)):
        part = MixedLM.from_formula("y ~ x", data, groups="site", subset=subset).fit()
        np.testing.assert_allclose(part.params, whole.params)
    holes = data.copy()
    holes.loc["row3", "x"] = np.nan
    holes.loc["row5", "site"] = None
    holes.loc["row9", "Q"] = np.nan
    kept = data.drop(index=["row3", "row5"])
    expected = MixedLM.from_formula("y ~ x", kept, groups="site").fit()
    found = MixedLM.from_formula("y ~ x", holes, groups="site", missing="drop").fit()
    np.testing.assert_allclose(found.params, expected.params)
    assert found.fittedvalues.index.equals(kept.index)
    X = np.column_stack([np.ones(len(data)), holes["x"]])
    arrays = MixedLM(holes["y"].to_numpy(), X, holes["site"].to_numpy(), missing="drop").fit()
    np.testing.assert_allclose(arrays.params, expected.params)
    for missing in ("none", "raise"):
        with pytest.raises(smf.MissingDataError, match="2 rows have missing values"):
            MixedLM.from_formula("y ~ x", holes, groups="site", missing=missing)


def test_repeated_labels_of_rows():
    data = growth()
    twice = data.set_axis(np.arange(len(data)) // 2)
    said = {"groups": "site", "re_formula": "1", "vc_formula": {"part": "0 + C(part)"}}
    np.testing.assert_allclose(
        MixedLM.from_formula("y ~ x", twice, **said).fit().params,
        MixedLM.from_formula("y ~ x", data, **said).fit().params,
    )


def test_other_frames():
    polars = pytest.importorskip("polars")
    data = growth()
    fit = MixedLM.from_formula(
        "y ~ x + arm", polars.from_pandas(data.reset_index(drop=True)), groups="site"
    ).fit()
    np.testing.assert_allclose(
        fit.params, MixedLM.from_formula("y ~ x + arm", data, groups="site").fit().params
    )
