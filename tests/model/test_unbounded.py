"""Variances of random effects below 0 (NOBOUND): V alone has to be a covariance matrix.

Right values: the same covariance written as compound symmetry of the residuals, nlme's gls with
corCompSymm (nlme 3.1.162, R 4.2.2), analysis of variance, the dense oracle and its differences.
"""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import mlmfast as mlm
from tests.dense import Term, blups, conditional_covariances, log_likelihood, marginal_covariance


@pytest.fixture(scope="module")
def plots():
    """Six whole plots of three rows: what one row has, the others of its plot lack."""
    y = [52, 47, 61, 44, 58, 55, 60, 41, 57, 49, 62, 46, 43, 59, 58, 57, 45, 59]
    plot, b = np.repeat(np.arange(6), 3), np.tile(["x", "y", "z"], 6)
    a = np.where(plot % 2 == 0, "u", "v")
    return pd.DataFrame({"y": np.array(y, float), "plot": plot, "A": a, "B": b})


@pytest.fixture(scope="module")
def uneven():
    """Ten plots of two to four rows."""
    n = [3, 2, 4, 3, 2, 3, 4, 2, 3, 3]
    y = [48, 56, 45, 59, 48, 39, 52, 54, 53, 47, 61, 50, 51, 40, 58]
    y += [47, 47, 54, 54, 51, 55, 55, 47, 37, 55, 55, 56, 41, 48]
    x = [0.4, 1.4, -0.1, 0.4, -0.1, -1.4, -0.4, -0.4, -0.1, 1.1, 0.8, -0.2, -0.3, 0.7, 0.6]
    x += [-0.7, -0.7, 0.4, 0.8, -0.1, 0.9, 0.4, -0.6, 0.3, -1.1, 1.4, 2, -0.4, -1]
    plot = np.repeat(np.arange(1, 11), n)
    side = np.where(plot % 2 == 0, "u", "v")
    return pd.DataFrame({"y": np.array(y, float), "x": x, "plot": plot, "A": side})


@pytest.fixture(scope="module")
def fit(plots):
    return mlm.lmm("y ~ A * B + (1 | plot)", plots, bounded=False)


def test_nlme_with_compound_symmetry(fit, plots):
    """gls(y ~ A * B, correlation = corCompSymm(form = ~ 1 | plot))."""
    assert fit.converged
    assert not fit.singular
    assert fit.llf == pytest.approx(-38.121207602397, abs=1e-9)
    g, total = fit.varcorr["plot"].iloc[0, 0], 7.382411579825**2
    assert g == pytest.approx(-0.489806320499 * total, rel=1e-7)
    assert fit.scale == pytest.approx(1.489806320499 * total, rel=1e-7)
    errors = [4.26223731288, 6.02771381393, 7.35728417106, 7.35728417106]
    assert fit.bse[:4].tolist() == pytest.approx(errors, rel=1e-7)
    ml = mlm.lmm("y ~ A * B + (1 | plot)", plots, bounded=False, method="ML")
    assert ml.llf == pytest.approx(-48.58887013161, abs=1e-8)


def test_nlme_of_uneven_plots(uneven):
    fit = mlm.lmm("y ~ A + x + (1 | plot)", uneven, bounded=False)
    assert fit.llf == pytest.approx(-85.573727660406, abs=1e-8)
    total = 5.587458324796**2
    assert fit.varcorr["plot"].iloc[0, 0] == pytest.approx(-0.203653253119 * total, rel=1e-6)
    assert fit.params.tolist() == pytest.approx(
        [50.596320561779, -0.525755018853, 2.893892907915], rel=1e-7
    )
    assert fit.bse.tolist() == pytest.approx(
        [1.25317030071, 1.57673414532, 1.21495022447], rel=1e-7
    )


def test_analysis_of_variance_of_balanced_plots(fit, plots):
    """(MS between plots - MS within) / 3, in fractions."""
    cell = plots.groupby(["A", "B"])["y"].transform("mean")
    rest = plots["y"] - cell
    between = 3.0 * (rest.groupby(plots["plot"]).mean() ** 2).sum() / 4
    within = ((rest - rest.groupby(plots["plot"]).transform("mean")) ** 2).sum() / 8
    assert fit.scale == pytest.approx(within, rel=1e-9)
    assert fit.varcorr["plot"].iloc[0, 0] == pytest.approx((between - within) / 3.0, rel=1e-9)
    # The F test of the whole-plot factor by the whole plots, as it always was.
    table = fit.anova().frame
    a = plots.groupby("A")["y"].mean()
    by_hand = 9.0 * ((a - plots["y"].mean()) ** 2).sum() / between
    assert table.loc["A", "F value"] == pytest.approx(by_hand, rel=1e-7)
    assert table.loc["A", "DenDF"] == pytest.approx(4.0, rel=1e-7)


@pytest.mark.parametrize(
    "ddf",
    ["satterthwaite", "kenward-roger", "kenward-roger-linear", "kenward-roger-2009", "containment"],
)
def test_the_same_covariance_as_that_of_the_residuals(uneven, ddf):
    visit = uneven.groupby("plot").cumcount().astype(str)
    data = uneven.assign(visit=visit)
    fit = mlm.lmm("y ~ A + x + (1 | plot)", data, bounded=False, ddf=ddf)
    other = "between-within" if ddf == "containment" else ddf
    same = mlm.lmm("y ~ A + x", data, residual="cs(visit | plot)", ddf=other)
    assert fit.llf == pytest.approx(same.llf, abs=1e-9)
    assert fit.bse.tolist() == pytest.approx(same.bse.tolist(), rel=1e-7)
    if ddf != "containment":
        assert fit.df.tolist() == pytest.approx(same.df.tolist(), rel=1e-6)
        means, others = fit.emmeans("A").frame, same.emmeans("A").frame
        assert means["SE"].tolist() == pytest.approx(others["SE"].tolist(), rel=1e-7)
    errors = fit.covtest().frame.loc["Var((Intercept)) | plot"]
    assert errors["se"] == pytest.approx(same.covtest().frame.loc["CS", "se"], rel=1e-5)
    # Without a bound a variance is tested on both sides.
    assert errors["p_value"] == pytest.approx(same.covtest().frame.loc["CS", "p_value"], rel=1e-5)


def test_variances_without_a_bound_have_no_mixture(plots):
    """A correlation of 0 lies within its space: chi-square with 1 df, on either side."""
    fit = mlm.lmm("y ~ A * B + (1 | plot)", plots, bounded=False)
    same = mlm.lmm("y ~ A * B", plots, residual="cs(B | plot)")
    statistic = 2.0 * (same.llf - mlm.lmm("y ~ A * B", plots).llf)
    p = float(scipy.stats.chi2.sf(statistic, 1))
    test = fit.test_variance()
    assert (test.method, test.df) == ("chi-square", 1)
    assert [test.statistic, test.pvalue] == pytest.approx([statistic, p], rel=1e-6)
    assert "the variance has no bound" in repr(test)
    row = fit.ranova().loc["(Intercept) in (1 | plot)"]
    assert row[["Pr(>Chisq)", "Pr(mixture)"]].tolist() == pytest.approx([p, p], rel=1e-6)
    for method in ("exact", "mixture"):
        with pytest.raises(mlm.ModelError, match="this one has none"):
            fit.test_variance(method=method)
    with pytest.raises(mlm.ModelError, match="'exact', 'mixture' or 'bootstrap'"):
        fit.test_variance(method="wald")
    drawn = fit.test_variance(method="bootstrap", n=200, seed=1)
    assert drawn.pvalue == pytest.approx(p, abs=4 * drawn.standard_error + 0.05)
    with pytest.warns(mlm.SingularFitWarning):
        bounded = mlm.lmm("y ~ A * B + (1 | plot)", plots)
    with pytest.raises(mlm.ModelError, match="lies on the boundary here"):
        bounded.test_variance(method="chi-square")


def test_comparisons_without_a_bound(plots):
    fit = mlm.lmm("y ~ A * B + (1 | plot)", plots, bounded=False)
    same = mlm.lmm("y ~ A * B", plots, residual="cs(B | plot)")
    null = mlm.lmm("y ~ A * B", plots)
    own, other = mlm.compare(null, fit), mlm.compare(null, same)
    assert not own.notes
    columns = ["Chisq", "Df", "Pr(>Chisq)"]
    np.testing.assert_allclose(own.iloc[1][columns], other.iloc[1][columns], rtol=1e-6)
    with pytest.raises(mlm.ModelError, match="conditional AIC counts random effects"):
        fit.caic()


def test_profile_of_a_negative_variance(fit, plots):
    same = mlm.lmm("y ~ A * B", plots, residual="cs(B | plot)")
    own = fit.conf_int(method="profile").loc["var_(Intercept)|plot"]
    assert own.tolist() == pytest.approx(
        same.conf_int(method="profile").loc["CS"].tolist(), rel=1e-5
    )


def test_said_in_the_certificate_and_kept(fit, tmp_path):
    assert fit.certificate.negative[0].startswith("variance of (Intercept) by plot is negative (-")
    assert "Negative" in str(fit.summary())
    assert "positive definite" in str(fit.summary())
    path = tmp_path / "fit.json"
    fit.to_json(path)
    loaded = mlm.load(path)
    assert loaded.certificate == fit.certificate
    assert loaded.varcorr["plot"].equals(fit.varcorr["plot"])
    assert loaded.covtest().frame.equals(fit.covtest().frame)
    assert np.isnan(fit.varcorr.tidy()["sdcor"].iloc[0])
    assert fit.tidy("random")["term"].tolist() == ["var__(Intercept)", "sd__Observation"]


def _oracle(fit, data, X, groups):
    """Dense terms of the fit, V, and the log-likelihood as a function of the variances."""
    one = np.ones((len(data), 1))
    terms = [
        Term(one, fit.varcorr[name].to_numpy(), pd.factorize(codes)[0])
        for name, codes in groups.items()
    ]
    y = data["y"].to_numpy()

    def llf(values):
        own = [t.with_covariance([[v]]) for t, v in zip(terms, values[:-1], strict=True)]
        R = values[-1] * np.eye(len(data))
        return log_likelihood(y, X, marginal_covariance(own, R), "REML")

    V = marginal_covariance(terms, fit.scale * np.eye(len(data)))
    at = np.array([*(t.G[0, 0] for t in terms), fit.scale])
    return terms, V, llf, at


def _assert_minimum(llf, at, value):
    assert llf(at) == pytest.approx(value, abs=1e-8)
    for k in range(len(at)):
        step = np.zeros(len(at))
        step[k] = 2e-4 * abs(at[-1])
        near, far = (llf(at + m * step) - llf(at - m * step) for m in (1, 2))
        assert abs((8 * near - far) / (12 * step[k]) * at[-1]) < 1e-6


def test_random_effects_by_their_formula(uneven):
    fit = mlm.lmm("y ~ A + x + (1 | plot)", uneven, bounded=False)
    side = (uneven["A"] == "v").to_numpy(float)
    X = np.column_stack([np.ones(len(uneven)), side, uneven["x"]])
    terms, V, llf, at = _oracle(fit, uneven, X, {"plot": uneven["plot"]})
    _assert_minimum(llf, at, fit.llf)
    y = uneven["y"].to_numpy()
    found = fit.ranef["plot"].to_numpy()
    assert found == pytest.approx(blups(terms[0], y, X, V), abs=1e-9)
    covariances = np.stack([fit.ranef_cov["plot"][str(k)].to_numpy() for k in range(1, 11)])
    assert covariances == pytest.approx(conditional_covariances(terms[0], V), abs=1e-9)


def _nested(seed=4):
    """Plots in blocks, blocks of one plot among them: V needs less than 1 + n g > 0 inside."""
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(12), rng.integers(2, 7, 12))
    plot = np.concatenate([np.arange((block == b).sum()) // 2 for b in range(12)])
    y = rng.normal(size=len(block))
    own = pd.Series(y).groupby([block, plot]).transform("mean").to_numpy()
    y = y - 0.4 * own + rng.normal(size=12)[block]
    return pd.DataFrame({"y": y, "block": block, "plot": plot})


@pytest.mark.parametrize("engine", [None, "nested"])
def test_nested_factors_against_the_dense_oracle(engine):
    data = _nested()
    options = None if engine is None else {"engine": engine}
    fit = mlm.lmm("y ~ 1 + (1 | block/plot)", data, bounded=False, options=options)
    assert fit.converged
    assert fit.certificate.engine.startswith("nested" if engine else "dense")
    names = {"block": data["block"], "block:plot": data["block"] * 100 + data["plot"]}
    X = np.ones((len(data), 1))
    terms, V, llf, at = _oracle(fit, data, X, names)
    assert at[1] < 0 < at[0]
    _assert_minimum(llf, at, fit.llf)
    for term, name in zip(terms, names, strict=True):
        expected = blups(term, data["y"].to_numpy(), X, V)
        assert fit.ranef[name].to_numpy() == pytest.approx(expected, abs=1e-8)


def test_crossed_factors_against_the_dense_oracle():
    rng = np.random.default_rng(11)
    a, b = np.repeat(np.arange(8), 6), np.tile(np.arange(6), 8)
    y = rng.normal(size=48) + 1.5 * rng.normal(size=6)[b]
    y -= 0.5 * pd.Series(y).groupby(a).transform("mean").to_numpy()
    data = pd.DataFrame({"y": y, "a": a, "b": b})
    fit = mlm.lmm("y ~ 1 + (1 | a) + (1 | b)", data, bounded=False)
    assert fit.certificate.engine == "dense V, crossed"
    X = np.ones((48, 1))
    _, _, llf, at = _oracle(fit, data, X, {"a": data["a"], "b": data["b"]})
    assert at[0] < 0 < at[1]
    _assert_minimum(llf, at, fit.llf)


def test_correlated_effects_of_an_indefinite_matrix():
    """Intercepts and slopes whose G has a negative eigenvalue, V being positive definite."""
    rng = np.random.default_rng(5)
    g, x = np.repeat(np.arange(30), 4), np.tile([-1.0, 0.0, 1.0, 2.0], 30)
    y = 1.2 * rng.normal(size=30)[g] + rng.normal(size=120)
    slope = pd.Series(y * x).groupby(g).transform("mean").to_numpy()
    data = pd.DataFrame({"y": y - 0.35 * slope * x, "g": g, "x": x})
    fit = mlm.lmm("y ~ x + (x | g)", data, bounded=False)
    assert fit.converged
    G = fit.varcorr["g"].to_numpy()
    assert np.linalg.eigvalsh(G)[0] < 0
    X = np.column_stack([np.ones(120), x])
    term = Term(X, G, g)

    def llf(values):
        own = term.with_covariance([[values[0], values[1]], [values[1], values[2]]])
        return log_likelihood(
            data["y"].to_numpy(), X, marginal_covariance([own], values[3] * np.eye(120)), "REML"
        )

    _assert_minimum(llf, np.array([G[0, 0], G[0, 1], G[1, 1], fit.scale]), fit.llf)
    names = [p.name for p in _functions(fit).parameters]
    assert names[:3] == ["var_(Intercept)|g", "cov_(Intercept).x|g", "var_x|g"]


def _functions(fit):
    from mlmfast.criterion.parameters.functions import CovarianceFunctions

    return CovarianceFunctions(fit._source.model, fit._source.criterion)


def test_a_positive_variance_is_the_same_with_and_without_the_bound():
    data = mlm.load_sleepstudy()
    bounded = mlm.lmm("Reaction ~ Days + (Days | Subject)", data)
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", data, bounded=False)
    assert fit.certificate.negative == ()
    assert fit.llf == pytest.approx(bounded.llf, abs=1e-9)
    assert fit.df.tolist() == pytest.approx(bounded.df.tolist(), rel=1e-6)


def test_compound_symmetry_of_effects_below_its_bound(plots):
    """cs of the effects of B by plot: the variance of a level's own may be negative too."""
    data = pd.concat([plots, plots.assign(y=plots["y"] + np.tile([3.0, -4.0, 2.0], 6))])
    fit = mlm.lmm("y ~ A + B + cs(0 + B | plot)", data, bounded=False)
    plain = mlm.lmm("y ~ A + B + (1 | plot) + (1 | plot:B)", data, bounded=False)
    assert fit.llf == pytest.approx(plain.llf, abs=1e-8)
    own = fit.varcorr.parameters["estimate"].tolist()
    both = [plain.varcorr["plot:B"].iloc[0, 0], plain.varcorr["plot"].iloc[0, 0]]
    assert own == pytest.approx(both, rel=1e-5)


def test_simulated_rows_have_the_covariance(fit):
    drawn = fit.simulate(4000, seed=3)
    V = fit.V(0).to_numpy()
    assert np.cov(drawn[:3]) == pytest.approx(V, abs=0.06 * V.max())
    assert (fit.simulate(2, seed=3) == drawn[:, :2]).all()


def test_many_responses_are_single_fits(plots):
    Y = np.column_stack([plots["y"], plots["y"].to_numpy()[::-1], np.sin(np.arange(18.0))])
    model = mlm.LMM("y ~ A * B + (1 | plot)", plots)
    batch = model.fit_many(Y, bounded=False)
    for k in range(3):
        single = mlm.lmm("y ~ A * B + (1 | plot)", plots.assign(y=Y[:, k]), bounded=False)
        assert batch.llf[k] == single.llf
        assert batch.varcorr["plot"][k, 0, 0] == single.varcorr["plot"].iloc[0, 0]
    assert "var" not in batch.tidy()["term"].iloc[0]


def test_one_parameter_without_bounds(plots, fit):
    for name in ("sd_(Intercept)|plot", "Var((Intercept)) | plot", "var_(Intercept)|plot"):
        own = mlm.lmm("y ~ A * B + (1 | plot)", plots, bounds={name: (None, None)})
        assert own.llf == fit.llf
    data = plots.assign(t=np.tile([0.0, 1.0, 3.0], 6))
    part = mlm.lmm("y ~ A * B + (t || plot)", data, bounds={"sd_(Intercept)|plot": (None, None)})
    assert part.varcorr["plot"].iloc[0, 0] < 0
    assert part.varcorr["plot"].iloc[1, 1] >= 0
    held = mlm.lmm(
        "y ~ A * B + (1 | plot)", plots, bounded=False, hold={"var_(Intercept)|plot": -9}
    )
    assert held.varcorr["plot"].iloc[0, 0] == pytest.approx(-9.0, rel=1e-9)
    assert held.llf < fit.llf
    start = mlm.lmm("y ~ A * B + (1 | plot)", plots, bounded=False, start={"plot": [[-3.0]]})
    assert start.llf == pytest.approx(fit.llf, abs=1e-9)


def test_no_minimum_among_positive_definite_v():
    """The grand mean alone has a variance of 3 g_a + 8 g_b + sigma^2, which REML does not see."""
    rng = np.random.default_rng(3)
    e = rng.normal(size=(8, 3))
    e -= 0.8 * e.mean(1, keepdims=True)
    e -= 0.9 * e.mean(0, keepdims=True)
    data = pd.DataFrame({"y": e.ravel(), "a": np.repeat(range(8), 3), "b": np.tile(range(3), 8)})
    with pytest.warns(mlm.ConvergenceWarning, match="nearly singular.*MLM418"):
        fit = mlm.lmm("y ~ 1 + (1 | a) + (1 | b)", data, bounded=False)
    assert not fit.converged


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bounded": "no"}, "bounded is 'no'; use False"),
        ({"bounded": False, "options": {"engine": "crossed"}}, "roots of the random effects"),
        ({"bounds": {"sigma": (None, None)}}, "open on both sides and bound nothing"),
    ],
)
def test_refusals(plots, change, message):
    with pytest.raises(mlm.ModelError, match=message):
        mlm.lmm("y ~ A * B + (1 | plot)", plots, **change)


def test_refusals_of_models_and_results(plots, fit):
    with pytest.raises(mlm.ModelError, match="'ar1' has correlations and variances of its own"):
        mlm.lmm("y ~ A + ar1(0 + B | plot)", plots, bounded=False)
    with pytest.raises(mlm.ModelError, match="no further row of a group"):
        fit.predict(plots, interval="prediction")
    with pytest.raises(mlm.ModelError, match="do not determine all covariance parameters"):
        # No plot has rows of both sides: no data tell the covariance of their effects.
        mlm.lmm("y ~ 1 + (0 + A | plot)", plots, bounded=False)
    fit.predict(plots, ranef=False, interval="prediction")


def test_sas_nobound(plots):
    step = mlm.from_sas("proc mixed nobound; class plot A B; model y = A B A*B; random plot;")
    assert not step.unmapped
    assert "bounded=False" in step.code
    found = step(plots).fit
    assert found.llf == pytest.approx(-38.121207602397, abs=1e-9)
    parms = mlm.from_sas(
        "proc mixed; class plot A B; model y = A B A*B; random plot; parms (1) (9) / nobound;"
    )
    assert parms(plots).fit.llf == pytest.approx(-38.121207602397, abs=1e-9)


@pytest.mark.parametrize("value", [None, "no", 0, np.zeros(2)], ids=repr)
@pytest.mark.parametrize("method", ["REML", "type3"])
def test_bounded_is_true_or_false(value, method, uneven):
    for fit in (mlm.lmm, lambda formula, data, **own: mlm.LMM(formula, data).fit(**own)):
        with pytest.raises(mlm.ModelError, match=r"^bounded is .*; use False to let"):
            fit("y ~ x + (1 | plot)", uneven, bounded=value, method=method)
