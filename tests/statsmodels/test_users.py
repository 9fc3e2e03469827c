"""Calls as other packages make them, each with what the package reads of the result."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
import mlmfast.statsmodels as smf

from .simulated import growth


@pytest.fixture(autouse=True)
def _quiet():
    """What is said once of optimisers may be said here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smf.IgnoredArgumentWarning)
        warnings.simplefilter("ignore", smf.SingularMatrixWarning)
        yield


def test_scikit_bio():
    """skbio/stats/composition/_dirmult.py, dirmult_lme: arrays, VCSpec, a fit for each feature."""
    data = growth()
    X = np.column_stack([np.ones(len(data)), data["x"], data["z"]])
    grouping = np.unique(data["site"], return_inverse=True)[1]
    dmats = [pd.get_dummies(data["part"][grouping == g], dtype=float) for g in range(15)]
    spec = smf.VCSpec(
        ["part"], [[d.columns.tolist() for d in dmats]], [[d.to_numpy() for d in dmats]]
    )
    covar_range = slice(1, 3)
    for how, own in (
        ({"exog_re": X[:, :2], "exog_vc": None}, "(x | site)"),
        ({"exog_re": X[:, :1], "exog_vc": spec}, "(1 | site) + (1 | site:part)"),
        ({"exog_re": None, "exog_vc": spec}, "(1 | site:part)"),
    ):
        result = smf.MixedLM(data["y"].to_numpy(), X, grouping, **how).fit(method="bfgs")
        expected = mlm.lmm(f"y ~ x + z + {own}", data, ddf="asymptotic")
        assert result.converged
        np.testing.assert_allclose(result.params[covar_range], expected.params.iloc[1:], rtol=1e-7)
        np.testing.assert_allclose(
            result.pvalues[covar_range], expected.pvalues.iloc[1:], rtol=1e-5
        )
        ci = result.conf_int()
        np.testing.assert_allclose(
            ci[covar_range, 0], expected.conf_int()["lower"].iloc[1:], rtol=1e-6
        )
        np.testing.assert_allclose(
            ci[covar_range, 1], expected.conf_int()["upper"].iloc[1:], rtol=1e-6
        )


def test_longcombat():
    """longcombat/_core.py: quoted names, a key of fe_params made of the formula's text."""
    data = growth()
    formula = "Q('y') ~ x + C(Q('batch'), Treatment)"
    md = smf.mixedlm(formula, data=data, groups=data["site"], re_formula="1")
    fit = md.fit(reml=True, method=["lbfgs"])
    assert "C(Q('batch'), Treatment)[T.B]" in fit.fe_params.index
    own = mlm.lmm("y ~ x + batch + (1 | site)", data)
    assert fit.fe_params["C(Q('batch'), Treatment)[T.B]"] == pytest.approx(own.params["batchB"])
    assert fit.scale == pytest.approx(own.scale, rel=1e-6)
    assert np.asarray(fit.resid, dtype=float).shape == np.asarray(fit.fittedvalues).shape == (105,)
    full, reduced = (
        smf.mixedlm(f, data=data, groups=data["site"], re_formula="1").fit(
            reml=False, method=["lbfgs"]
        )
        for f in (formula, "Q('y') ~ x")
    )
    assert full.llf >= reduced.llf


def test_longcombats_method_kr():
    """Its test of batch effects by Kenward and Roger, "not available in Python": a recipe."""
    data = growth()
    fit = smf.mixedlm("y ~ x + arm", data, groups="site", re_formula="1").fit()
    L = np.zeros((2, 4))
    L[0, 1] = L[1, 2] = 1.0
    test = fit.lmm.contrast(L, ddf="kenward-roger")
    own = mlm.lmm("y ~ x + arm + (1 | site)", data, ddf="kenward-roger").anova(type=2)
    row = np.asarray(own.loc["arm"] if hasattr(own, "loc") else own.table.loc["arm"], dtype=float)
    assert float(np.squeeze(test.pvalue)) == pytest.approx(row[-1], rel=1e-6)


def test_mne_nirs():
    """mne_nirs/statistics/_statsmodels.py: the wrapper's class, summary, bse by place."""
    data = growth()
    model = smf.mixedlm("y ~ -1 + arm", data, groups=data["site"]).fit()
    theirs = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    assert isinstance(model, theirs.MixedLMResultsWrapper)
    table = model.summary().tables[1]
    assert table.index.tolist() == ["arm[a]", "arm[b]", "arm[c]", "Group Var"]
    sl = slice(model.k_fe)
    np.testing.assert_allclose(np.sqrt(np.diag(model.cov_params()[sl])), model.bse.iloc[sl])
    assert np.asarray(model.cov_re)[0, 0] > 0.0
    assert np.isfinite(np.sqrt(model.scale) * model.bse.iloc[model.k_fe])
    assert (model.k_re, model.k_re2, model.k_vc, len(model.vcomp)) == (1, 1, 0, 0)


def test_pyolinkanalyze():
    """pyolinkanalyze/stats.py: two names skipped exactly, covariances by name."""
    data = growth()
    fit = smf.mixedlm("y ~ arm", data, groups=data["site"]).fit(
        reml=False, method="lbfgs", disp=False, full_output=False
    )
    terms = [name for name in fit.params.index if name not in ("Intercept", "Group Var")]
    assert [name.split("[T.")[0] for name in terms] == ["arm", "arm"]
    cov = fit.cov_params()
    b, c = (f"arm[T.{level}]" for level in "bc")
    variance = cov.loc[b, b] + cov.loc[c, c] - 2.0 * cov.loc[b, c]
    L = np.array([[0.0, 1.0, -1.0]])
    assert float(np.ravel(fit.t_test(L).sd)[0]) == pytest.approx(np.sqrt(variance))
    assert float(fit.params.get("arm[T.q]", np.nan)) != 0.0
    assert {float(fit.tvalues[t]) for t in terms} <= set(fit.tvalues)


def test_sctrial():
    """sctrial/stats/mixed_effects.py: two methods in turn, limits by name and number."""
    data = growth().assign(arm_bin=lambda d: (d["arm"] == "a") * 1, post_num=lambda d: d["x"])
    model = smf.mixedlm(
        "y ~ arm_bin + post_num + arm_bin:post_num + C(batch)",
        data,
        groups=data["site"],
        re_formula="1 + post_num",
    )
    fit = model.fit(method="powell", maxiter=500, full_output=False)
    assert fit.converged
    term = "arm_bin:post_num"
    assert term in fit.params.index
    ci = fit.conf_int().loc[term]
    assert float(ci[0]) < float(fit.params[term]) < float(ci[1])
    assert float(fit.cov_re.iloc[0, 0]) > 0.0
    assert float(fit.cov_re.iloc[1, 1]) > 0.0
    with pytest.raises((ValueError, np.linalg.LinAlgError)):
        smf.mixedlm("y ~ x + I(2 * x)", data, groups=data["site"]).fit(method="powell")


def test_omicverse():
    """omicverse/metabol/_multifactor.py and protein/_de.py: a column made on the way."""
    data = growth().rename(columns={"y": "_y_"})
    data["group"] = pd.Categorical(data["arm"], categories=["a", "b", "c", "never"])
    res = smf.mixedlm("_y_ ~ group", data, groups=data["site"], re_formula="1").fit(
        method="lbfgs", disp=False
    )
    named = [name for name in res.params.index if not name.startswith("Group ")]
    assert named == ["Intercept", "group[T.b]", "group[T.c]"]
    target = next(k for k in res.params.index if k.startswith("group[T."))
    for series in (res.bse, res.tvalues, res.pvalues):
        assert np.isfinite(float(series[target]))


def test_an_icc_as_scripts_compute_it():
    data = growth()
    fit = smf.mixedlm("y ~ 1", data, groups=data["site"]).fit()
    icc = fit.cov_re.iloc[0, 0] / (fit.cov_re.iloc[0, 0] + fit.scale)
    own = mlm.lmm("y ~ 1 + (1 | site)", data)
    variance = float(own.varcorr["site"].iloc[0, 0])
    assert icc == pytest.approx(variance / (variance + own.scale), rel=1e-6)
    assert fit.random_effects["s0"]["Group"] == pytest.approx(
        float(own.ranef["site"].loc["s0"].iloc[0])
    )


def test_pyolinkanalyzes_statistics_where_rows_are_missing():
    """They differ from statsmodels' by its kind of standard error alone."""
    theirs = pytest.importorskip("statsmodels.formula.api")
    rng = np.random.default_rng(6)
    subject = np.repeat(np.arange(24), 3)
    some = pd.DataFrame({"site": subject, "arm": np.array(list("abc"))[subject % 3]})
    some["x"] = np.tile([0.0, 1.0, 2.0], 24)
    some["y"] = 5.0 + rng.normal(size=24)[subject] + 0.7 * rng.normal(size=72)
    some = some[rng.random(72) > 0.4]
    call = {"reml": False, "method": "lbfgs"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.mixedlm("y ~ arm + x", some, groups=some["site"]).fit(**call)
    ours = smf.mixedlm("y ~ arm + x", some, groups=some["site"])
    same = ours.fit(**call, se="statsmodels")
    assert expected.llf == pytest.approx(same.llf, abs=1e-6)
    np.testing.assert_allclose(same.tvalues.iloc[:4], expected.tvalues.iloc[:4], rtol=1e-4)
    # (X'V^-1 X)^-1 is never the larger.
    share = np.asarray(ours.fit(**call).bse_fe / expected.bse_fe)
    assert (share < 1.0 + 1e-6).all()
    assert share.min() < 1.0 - 1e-5


def test_a_response_without_a_residual_is_refused_with_parameters_held_too():
    """Nothing but rounding is left of its residual variance, which came out below 0."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"g": np.repeat(range(12), 4), "x": rng.normal(size=48)})
    effects = rng.normal(size=12)
    frame["y"] = frame["x"] + effects[frame["g"]] + 1e-9 * rng.normal(size=48)
    model = smf.mixedlm("y ~ x", frame, groups="g", re_formula="~x")
    free = smf.MixedLMParams.from_components(np.ones(2), np.eye(2))
    start = smf.MixedLMParams.from_components(np.zeros(2), np.array([[1, 0.5], [0.5, 1]]))
    with pytest.raises(mlm.DataError, match="no residual variance"):
        model.fit(free=free, start_params=start)
