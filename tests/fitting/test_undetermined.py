"""Covariances that the data do not determine: the same model in parameters that they do.

Right values come from a model of the same V (or the same K'V K under REML) without a flat
direction, from least squares, from the dense likelihood, and from lme4 where that is said.
"""

import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.criterion.parameters.random_effects import without_rounding
from tests import dense

Y = [5.1, 4.9, 6.2, 6.6, 3.9, 4.4, 5.0, 5.8, 7.1, 7.3, 6.0, 6.5]
Y += [4.1, 3.2, 5.5, 5.9, 6.8, 7.7, 6.1, 5.2, 2.9, 3.8, 4.6, 4.0]
DATA = pd.DataFrame(
    {
        "y": Y,
        "g": np.repeat(range(6), 4),
        "s": np.tile([0, 0, 1, 1], 6),
        "c": np.tile(list("ppqq"), 6),
        "t": np.tile(range(4), 6),
        "arm": np.repeat(list("ababab"), 4),
        "arm3": np.repeat(list("abcabc"), 4),
        "w": np.linspace(1.0, 3.0, 24),
    }
)
SITE = pd.DataFrame(
    {"site": np.repeat(["a", "b"], 10), "y": np.random.default_rng(3).normal(size=20)}
)


def fitted(formula, data=DATA, **arguments):
    """A fit of which the warning that something is not determined is expected, and returned."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = mlm.lmm(formula, data, **arguments)
    assert fit.converged
    assert {w.category for w in caught} <= {mlm.SingularFitWarning}
    return fit, " ".join(str(w.message) for w in caught)


def quiet(formula, data=DATA, **arguments):
    return fitted(formula, data, **arguments)[0]


def sleepstudy():
    data = mlm.load_sleepstudy()
    data["Subject"] = data["Subject"].astype(str)
    return data


def assert_same_inference(found, right, *, penalty=True):
    """Likelihood, fixed effects, their covariance and degrees of freedom, and AIC."""
    assert found.llf == pytest.approx(right.llf, abs=1e-7)
    np.testing.assert_allclose(found.params, right.params, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found.cov_params(), right.cov_params(), rtol=2e-4, atol=1e-9)
    np.testing.assert_allclose(found.df, right.df, rtol=1e-3)
    if penalty:
        assert found.aic == pytest.approx(right.aic, abs=1e-6)
        assert found.bic == pytest.approx(right.bic, abs=1e-6)


def errors(fit):
    return fit.covtest().table["se"]


# -- levels that never meet -------------------------------------------------------------------


UNMET = {
    "us": ["Cov(arm3a, arm3b) | g", "Cov(arm3a, arm3c) | g", "Cov(arm3b, arm3c) | g"],
    "un": ["UN(2,1) | g", "UN(3,1) | g", "UN(3,2) | g"],
    "csh": ["CSH | g"],
    "ar1h": ["ARH(1) | g"],
    "toeph": ["TOEPH(1) | g", "TOEPH(2) | g"],
}


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("structure", UNMET)
def test_covariances_of_levels_that_never_meet_are_no_parameters(structure, method):
    found, said = fitted(f"y ~ arm3 + {structure}(0 + arm3 | g)", method=method)
    right = quiet("y ~ arm3 + diag(0 + arm3 | g)", method=method)
    assert_same_inference(found, right)
    if method == "REML":
        assert found.llf == pytest.approx(-33.7145673, abs=2e-7)
    table = found.covtest().table
    unmet = UNMET[structure]
    assert all(name in said for name in unmet)
    assert table.loc[unmet].isna().all(axis=None)
    kept = table.drop(index=unmet)
    expected = right.covtest().table
    np.testing.assert_allclose(kept["estimate"], expected["estimate"], rtol=2e-4)
    np.testing.assert_allclose(kept["se"], expected["se"], rtol=2e-4)
    assert found.cov_theta().loc[unmet].isna().all(axis=None)


@pytest.mark.parametrize("structure", ["ar1", "toep", "cs"])
def test_one_variance_is_what_is_left_of_levels_that_never_meet(structure):
    found, said = fitted(f"y ~ arm3 + {structure}(0 + arm3 | g)")
    right = quiet("y ~ arm3 + homdiag(0 + arm3 | g)")
    assert_same_inference(found, right)
    own = "Variance | g + CS | g" if structure == "cs" else "Variance | g"
    expected = right.covtest().table.loc["Variance | g"]
    found_row = found.covtest().table.loc[own]
    np.testing.assert_allclose(
        found_row[["estimate", "se"]], expected[["estimate", "se"]], rtol=2e-4
    )
    if structure == "cs":
        assert "Variance | g and CS | g cannot be told apart" in said
        assert errors(found)[["Variance | g", "CS | g"]].isna().all()


def test_loadings_and_specific_variances_are_told_by_covariances_alone():
    found, said = fitted("y ~ arm3 + fa(0 + arm3 | g)")
    assert_same_inference(found, quiet("y ~ arm3 + diag(0 + arm3 | g)"))
    assert "Var(2) | g and FA(2,1) | g cannot be told apart" in said
    assert errors(found).drop("Residual").isna().all()
    right = quiet("y ~ arm3 + diag(0 + arm3 | g)").varcorr["g"].to_numpy()
    np.testing.assert_allclose(np.diag(found.varcorr["g"]), np.diag(right), rtol=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"options": {"engine": "dense"}},
        {"options": {"engine": "crossed"}},
        {"weights": "w"},
        {"cov": {"g": 2.0 * np.eye(6)}},
        {"residual": "ar1(t | g)"},
        {"residual": "toep(t | g)", "method": "ML"},
        {"residual_scale": "c"},
    ],
    ids=str,
)
def test_engines_weights_and_residuals_agree_on_what_is_no_parameter(arguments):
    found, said = fitted("y ~ arm3 + (0 + arm3 | g)", **arguments)
    assert_same_inference(found, quiet("y ~ arm3 + diag(0 + arm3 | g)", **arguments))
    assert all(name in said for name in UNMET["us"])


def test_with_effects_inside_groups_as_lme4_fits_them():
    # lme4 1.1-35.1: logLik(lmer(y ~ arm + (0 + arm | g) + (1 | g:s), d)).
    found, said = fitted("y ~ arm + (0 + arm | g) + (1 | g:s)")
    assert found.llf == pytest.approx(-26.9659877, abs=1e-6)
    assert "Cov(arma, armb) | g" in said
    assert found.certificate.boundary[:2] == (
        "variance of arma by g is 0",
        "variance of armb by g is 0",
    )
    assert_same_inference(found, quiet("y ~ arm + diag(0 + arm | g) + (1 | g:s)"))
    assert np.isnan(found.varcorr["g"].loc["arma", "armb"])


def test_crossed_factors_beside_levels_that_never_meet():
    assert_same_inference(
        quiet("y ~ arm3 + (0 + arm3 | g) + (1 | t)"),
        quiet("y ~ arm3 + diag(0 + arm3 | g) + (1 | t)"),
    )


def test_an_intercept_with_a_difference_between_groups_is_two_variances():
    """(arm | g) with arms of whole groups: 2 Cov + Var is what is told of the difference."""
    found, said = fitted("y ~ arm + (arm | g)")
    right = quiet("y ~ arm + diag(0 + arm | g)")
    assert_same_inference(found, right)
    assert "Cov((Intercept), armb) | g and Var(armb) | g cannot be told apart" in said
    table = found.covtest().table
    combined = table.loc["2 Cov((Intercept), armb) | g + Var(armb) | g"]
    first, second = right.varcorr["g"].loc["arma", "arma"], right.varcorr["g"].loc["armb", "armb"]
    assert table.loc["Var((Intercept)) | g", "estimate"] == pytest.approx(first, rel=1e-4)
    assert combined["estimate"] == pytest.approx(second - first, rel=1e-3)
    covariance = right.cov_theta().to_numpy()[:2, :2]
    assert combined["se"] == pytest.approx(
        np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]), rel=1e-3
    )


def test_levels_of_which_only_some_meet():
    """The pair that never meets is named; pairs that do keep their covariance."""
    rng = np.random.default_rng(11)
    visits = np.array([list("aabb"), list("bbee")] * 30).ravel()
    groups = np.repeat(range(60), 4)
    y = rng.normal(size=240) + np.repeat(rng.normal(size=60), 4)
    data = pd.DataFrame({"h": groups, "v": visits, "y": y})
    found, said = fitted("y ~ v + (0 + v | h)", data)
    assert "Cov(va, ve) | h" in said
    assert "Cov(va, vb)" not in said
    own = found.covtest().table["se"]
    assert own.isna().tolist() == [name == "Cov(va, ve) | h" for name in own.index]
    # The dense likelihood at the estimates, whatever stands for the covariance not told.
    Z = (visits[:, None] == np.array(list("abe"))).astype(float)
    G = found.varcorr["h"].to_numpy().copy()
    for value in (0.0, 0.3):
        G[0, 2] = G[2, 0] = value
        V = dense.Term(Z, G, groups).covariance + found.scale * np.eye(240)
        X = np.column_stack([np.ones(240), Z[:, 1:]])
        assert dense.log_likelihood(y, X, V, "REML") == pytest.approx(found.llf, abs=1e-6)


def test_arrays_and_batches_start_from_what_the_data_tell():
    Z = (DATA.arm3.to_numpy()[:, None] == np.array(list("abc"))).astype(float)
    X = np.column_stack([np.ones(24), Z[:, 1:]])
    model = mlm.LMM.from_arrays(DATA.y, X, groups=DATA.g, Z=Z)
    with pytest.warns(mlm.SingularFitWarning, match="no data tell Cov"):
        single = model.fit()
    assert single.llf == pytest.approx(-33.7145673, abs=2e-7)
    responses = np.column_stack([DATA.y, DATA.y[::-1], DATA.y + np.arange(24) % 5])
    batch = model.fit_many(responses)
    assert batch.converged.all()
    for k in range(3):
        right = quiet("y ~ arm3 + diag(0 + arm3 | g)", DATA.assign(y=responses[:, k]))
        assert batch.llf[k] == pytest.approx(right.llf, abs=1e-6)
        np.testing.assert_allclose(batch.bse[k], right.bse, rtol=1e-4)
        np.testing.assert_allclose(batch.df()[k], right.df, rtol=1e-3)


# -- effects that the fixed effects take up -----------------------------------------------------


def test_a_variance_between_levels_of_a_fixed_factor_leaves_least_squares():
    found, said = fitted("y ~ site + (1 | site)", SITE)
    assert_same_inference(found, quiet("y ~ site", SITE))
    assert "does not depend on Var((Intercept)) | site" in said
    assert "held at 0" in said
    assert found.varcorr["site"].iloc[0, 0] == 0.0
    assert errors(found).isna().tolist() == [True, False]
    ml, said = fitted("y ~ site + (1 | site)", SITE, method="ML")
    assert "variance of (Intercept) by site is 0" in said  # the likelihood tells that
    assert ml.aic == pytest.approx(quiet("y ~ site", SITE, method="ML").aic + 2.0, abs=1e-6)


@pytest.mark.parametrize(
    ("formula", "same", "named"),
    [
        ("factor(Subject) + (Days || Subject)", "factor(Subject) + (0 + Days | Subject)", 1),
        ("factor(Subject) + (Days | Subject)", "factor(Subject) + (0 + Days | Subject)", 2),
        ("factor(Subject) * Days + (Days | Subject)", "factor(Subject) * Days", 3),
        ("factor(Subject) * Days + (1 | Subject)", "factor(Subject) * Days", 1),
    ],
)
def test_slopes_and_intercepts_inside_the_span_of_the_fixed_effects(formula, same, named):
    data = sleepstudy()
    found, said = fitted(f"Reaction ~ {formula}", data)
    right = quiet(f"Reaction ~ {same}", data)
    assert_same_inference(found, right)
    # An eigenvalue of 0, and its rounding, move no degrees of freedom.
    np.testing.assert_allclose(found.df, right.df, rtol=1e-8)
    absorbed = found._record.undetermined.absorbed
    assert len(absorbed) == named
    assert all(name in said for name in absorbed)
    assert (found.covariance_parameters[list(absorbed)] == 0.0).all()
    np.testing.assert_allclose(errors(found).drop(list(absorbed)), errors(right), rtol=1e-4)
    for ddf in ("kenward-roger", "kenward-roger-expected"):
        ours, theirs = (fit.anova(ddf=ddf).frame.to_numpy(dtype=float) for fit in (found, right))
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_crossed_factors_inside_the_span_of_the_fixed_effects():
    found, said = fitted("y ~ factor(g) + (1 | t) + (1 | g)")
    assert_same_inference(found, quiet("y ~ factor(g) + (1 | t)"))
    assert "Var((Intercept)) | g" in said
    assert_same_inference(
        quiet("y ~ factor(t) + factor(g) + (1 | t) + (1 | g)"), quiet("y ~ factor(t) + factor(g)")
    )


@pytest.mark.parametrize("residual", ["cs(t | g)", "cs(t | arm / g)"])
def test_a_common_covariance_of_rows_with_a_mean_of_their_own_leaves_least_squares(residual):
    found, said = fitted("y ~ factor(g)", residual=residual)
    right = quiet("y ~ factor(g)", residual=residual.replace("cs", "homdiag"))
    assert_same_inference(found, right)
    assert "held at 0" in said
    assert "Estimates and standard errors of the fixed effects are valid" in said
    table = found.covtest().table
    own = table.index.str.endswith("CS")
    assert (table.loc[own, "estimate"] == 0.0).all()
    assert table.loc[own, "se"].isna().all()


@pytest.mark.parametrize(("structure", "told"), [("us", 6), ("toep", 3)])
def test_standard_errors_that_depend_on_what_is_not_told_are_not_called_valid(structure, told):
    found, said = fitted("y ~ factor(g)", residual=f"{structure}(t | g)")
    assert "fixed effects and their standard errors depend on what is not determined" in said
    assert "are a choice, no result" in said
    assert found._record.n_parameters == 6 + told
    assert len(found._record.undetermined.combined) == told
    # Contrasts within groups have covariances that the data tell: differences from the first row.
    differences = DATA.y.to_numpy().reshape(6, 4)
    differences = differences[:, 1:] - differences[:, :1]
    if structure == "us":
        moments = differences.T @ differences / 6
        own = found.covtest().table["estimate"].to_numpy()[-6:]
        np.testing.assert_allclose(own, moments[np.tril_indices(3)], rtol=1e-3)


def test_a_structure_that_is_not_linear_is_not_called_valid_either():
    # One parameter more than differences of three visits tell.
    data = DATA.groupby("g").head(3).reset_index(drop=True)
    data["t"] = np.tile(np.arange(3), 6)
    found, said = fitted("y ~ factor(g) + factor(t)", data, residual="arma11(t | g)")
    assert "fixed effects and their standard errors depend on what is not determined" in said
    assert "are a choice, no result" in said
    assert "are valid" not in said
    # What is told of two lags is told by their structure as well.
    right = quiet("y ~ factor(g) + factor(t)", data, residual="toep(t | g)")
    assert found.llf == pytest.approx(right.llf, abs=1e-6)
    assert found._record.n_parameters == right._record.n_parameters
    for fit in (found, right):
        assert fit.bse.isna().tolist() == [True] * 6 + [False] * 2
    np.testing.assert_allclose(found.bse, right.bse, rtol=1e-4)


PAIRS = [*("cs", "ar1", "csh", "toep", "ar1h", "toeph", "un", "us", "ad", "adh", "diag", "fa")]
PAIRS += ["sp_exp", "sp_gau", "sp_sph", "sp_matern", "car1"]


def two_visits(n=10):
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"sub": np.repeat(range(n), 2), "v": np.tile([0, 1], n)})
    data["arm"] = np.where(data["sub"] % 2, "a", "b")
    data["y"] = rng.normal(size=2 * n) + rng.normal(size=n)[data["sub"]]
    return data


@pytest.mark.parametrize("structure", PAIRS)
def test_two_visits_beside_a_mean_of_every_subject_leave_least_squares(structure):
    """The difference of two visits has one variance, whatever the structure."""
    data = two_visits()
    found, said = fitted("y ~ factor(sub) + v", data, residual=f"{structure}(v | sub)")
    X = np.column_stack([np.ones(20), data["sub"].to_numpy()[:, None] == np.arange(1, 10), data.v])
    beta, rss, *_ = np.linalg.lstsq(X, data["y"], rcond=None)
    vcov = rss[0] / 9 * np.linalg.inv(X.T @ X)
    np.testing.assert_allclose(found.params, beta, rtol=1e-9)
    np.testing.assert_allclose(found.cov_params(), vcov, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.df, np.full(11, 9.0), rtol=1e-6)
    V = rss[0] / 9 * np.eye(20)
    assert found.llf == pytest.approx(dense.log_likelihood(data["y"], X, V, "REML"), abs=1e-8)
    assert found._record.n_parameters == 12
    assert "Estimates and standard errors of the fixed effects are valid" in said
    np.testing.assert_allclose(found.residual_cov, rss[0] / 9 * np.eye(2), atol=1e-9)
    table = found.covtest().table
    names = found.residual_parameters.index
    assert all(name in said for name in names if name != "Variance")
    told = table["se"].dropna()
    # fa has no linear combination at the point held.
    expected = rss[0] / 9 * np.sqrt(2 / 9) * (1 + ("Variance" not in names))
    assert told.tolist() == pytest.approx([] if structure == "fa" else [expected], rel=1e-5)
    again = mlm.load(found.to_json())
    assert again._record.undetermined == found._record.undetermined
    pd.testing.assert_series_equal(again.bse, found.bse)


@pytest.mark.parametrize("structure", ["ar1", "csh", "un", "sp_exp"])
@pytest.mark.parametrize("ddf", ["kenward-roger", "kenward-roger-expected"])
def test_two_visits_leave_least_squares_by_every_method(structure, ddf):
    data = two_visits()
    found = quiet("y ~ factor(sub) + v", data, residual=f"{structure}(v | sub)", ddf=ddf)
    right = quiet("y ~ factor(sub) + v", data)
    np.testing.assert_allclose(found.bse, right.bse, rtol=1e-6)
    np.testing.assert_allclose(found.df, right.df, rtol=1e-5)


@pytest.mark.parametrize("structure", ["ar1", "csh", "sp_exp", "toep"])
def test_two_visits_by_arm_leave_a_variance_for_each(structure):
    data = two_visits()
    found, said = fitted("y ~ factor(sub) + v", data, residual=f"{structure}(v | arm / sub)")
    right = quiet("y ~ factor(sub) + v", data, residual="homdiag(v | arm / sub)")
    assert_same_inference(found, right)
    assert "inference of least squares" in said


@pytest.mark.parametrize("structure", ["ar1", "csh"])
def test_two_visits_beside_crossed_effects(structure):
    data = two_visits(12).assign(item=np.arange(24) // 2 % 4 + 4 * (np.arange(24) % 2) % 5)
    formula = "y ~ factor(sub) + v + (1 | item)"
    found, _ = fitted(formula, data, residual=f"{structure}(v | sub)")
    assert_same_inference(found, quiet(formula, data))


@pytest.mark.parametrize("formula", ["y ~ factor(g) + factor(t)", "y ~ factor(g) + t"])
def test_standard_errors_that_depend_on_what_is_not_told_are_not_given(formula):
    """Hotelling: differences within groups have the covariance of their moments."""
    found, said = fitted(formula, residual="us(t | g)")
    free = found.params.index.str.startswith("factor(t)") | (found.params.index == "t")
    for values in (found.bse, found.df, found.tvalues, found.pvalues):
        assert values.isna().tolist() == (~free).tolist()
    assert "no standard error is given for (Intercept), factor(g)1" in said
    assert found.conf_int().isna().any(axis=1).tolist() == (~free).tolist()
    table = found.anova().frame
    assert table.loc["factor(g)"].drop("NumDF").isna().all()
    assert found.cov_params().loc[~free, ~free].isna().all(axis=None)
    if "factor(t)" in formula:
        d = DATA.y.to_numpy().reshape(6, 4)
        d = d[:, 1:] - d[:, :1]
        covariance = np.cov(d.T) / 6
        np.testing.assert_allclose(
            found.cov_params().loc[free, free], covariance, rtol=1e-4, atol=1e-6
        )
        mean = d.mean(axis=0)
        F = mean @ np.linalg.solve(covariance, mean) / 3 * (6 - 3) / 5
        assert found.anova(ddf="kenward-roger").frame.loc["factor(t)", "F value"] == pytest.approx(
            F, rel=1e-3
        )
        means = found.emmeans("t")
        assert means.frame["SE"].isna().all()
        assert means.pairs().frame["SE"].notna().all()
    assert found.predict(DATA, interval="confidence")["lower"].isna().all()
    again = mlm.load(found.to_json())
    pd.testing.assert_series_equal(again.bse, found.bse)


def test_an_effect_in_the_span_beside_correlated_residuals():
    found, said = fitted("y ~ factor(g) + (1 | g)", residual="ar1(t | g)")
    assert_same_inference(found, quiet("y ~ factor(g)", residual="ar1(t | g)"))
    assert "does not depend on Var((Intercept)) | g" in said
    assert "cannot be told apart from residual" not in said


def test_a_slope_combined_with_fixed_levels_keeps_what_is_told():
    """Differences between c within g are told, and how much of them is common is not."""
    found, said = fitted("y ~ factor(g) + diag(0 + c | g)")
    assert "the data determine Var(cp) | g + Var(cq) | g only" in said
    assert "are a choice, no result" in said
    d = DATA.groupby(["g", "c"]).y.mean().unstack()
    half = DATA.y.to_numpy().reshape(6, 2, 2)
    within = ((half - half.mean(axis=2, keepdims=True)) ** 2).sum() / 12
    between = ((d.q - d.p) ** 2).sum() / 6  # each group has its mean, and c no effect
    own = found.covtest().table.loc["Var(cp) | g + Var(cq) | g"]
    assert own["estimate"] == pytest.approx(between - within, rel=1e-5)
    assert found.scale == pytest.approx(within, rel=1e-6)
    variance = 2 * between**2 / 6 + 2 * within**2 / 12
    assert own["se"] == pytest.approx(np.sqrt(variance), rel=1e-4)


# -- terms that overlap ---------------------------------------------------------------------------


def combined_equal(found, right, pairs):
    """Combinations of one fit against parameters of another."""
    ours, theirs = found.covtest().table, right.covtest().table
    for own, other in pairs.items():
        np.testing.assert_allclose(
            ours.loc[own, ["estimate", "se"]].astype(float),
            theirs.loc[other, ["estimate", "se"]].astype(float),
            rtol=1e-3,
        )


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_an_intercept_beside_levels_that_hold_it(method):
    found, said = fitted("y ~ c + (1 | g) + (0 + c | g)", method=method)
    right = quiet("y ~ c + (0 + c | g)", method=method)
    assert_same_inference(found, right)
    own = "Var((Intercept)) | g"
    assert f"{own}, Var(cp) | g, Cov(cp, cq) | g and Var(cq) | g cannot be told apart" in said
    assert errors(found).iloc[:4].isna().all()
    other = ["Var(cp) | g", "Cov(cp, cq) | g", "Var(cq) | g"]
    combined_equal(found, right, {f"{own} + {name}": name for name in other})
    combined_equal(found, right, {"Residual": "Residual"})


def test_an_intercept_beside_a_common_covariance():
    found, said = fitted("y ~ c + (1 | g) + cs(0 + c | g)")
    right = quiet("y ~ c + cs(0 + c | g)")
    assert_same_inference(found, right)
    assert "the data determine Var((Intercept)) | g + CS | g only" in said
    names = {"Var((Intercept)) | g + CS | g": "CS | g", "Variance | g": "Variance | g"}
    combined_equal(found, right, names)


def test_an_interaction_beside_levels_that_hold_it():
    found, said = fitted("y ~ c + (1 | g:c) + (0 + c | g)")
    right = quiet("y ~ c + (0 + c | g)")
    assert_same_inference(found, right)
    own = "Var((Intercept)) | g:c"
    names = {f"{own} + Var(cp) | g": "Var(cp) | g", f"{own} + Var(cq) | g": "Var(cq) | g"}
    combined_equal(found, right, {**names, "Cov(cp, cq) | g": "Cov(cp, cq) | g"})
    assert "Cov(cp, cq)" not in said


def test_three_terms_in_two_pairs():
    found, said = fitted("y ~ c + (1 | g) + (1 | g:c) + cs(0 + c | g)")
    right = quiet("y ~ c + cs(0 + c | g)")
    assert_same_inference(found, right)
    names = {
        "Var((Intercept)) | g + CS | g": "CS | g",
        "Var((Intercept)) | g:c + Variance | g": "Variance | g",
    }
    combined_equal(found, right, names)
    assert said.count("cannot be told apart") == 2


def test_a_slope_of_one_size_within_groups_is_an_intercept():
    data = DATA.assign(two=np.where(DATA.arm == "a", 2.0, -2.0))
    found, said = fitted("y ~ arm + (1 | g) + (0 + two | g)", data)
    right = quiet("y ~ arm + (1 | g)")
    assert_same_inference(found, right)
    own = "0.25 Var((Intercept)) | g + Var(two) | g"
    assert f"the data determine {own} only" in said
    ours = found.covtest().table.loc[own]
    theirs = right.covtest().table.loc["Var((Intercept)) | g"]
    for column in ("estimate", "se"):
        assert 4 * ours[column] == pytest.approx(theirs[column], rel=1e-4)
    # A sum of variances is tested on one side.
    assert ours["p_value"] == pytest.approx(theirs["p_value"], rel=1e-3)


def test_two_rows_a_group_do_not_tell_slopes_from_residuals():
    rng = np.random.default_rng(5)
    y = np.repeat(rng.normal(size=30), 2) + rng.normal(size=60)
    y[1::2] += rng.normal(size=30)
    data = pd.DataFrame({"id": np.repeat(range(30), 2), "t": np.tile([0.0, 1.0], 30), "y": y})
    right = quiet("y ~ t", data, residual="us(t | id)")
    for term in ("(t | id)", "(0 + factor(t) | id)"):
        found, said = fitted(f"y ~ t + {term}", data)
        assert_same_inference(found, right)
        assert "Residual cannot be told apart" in said
    names = {"Var(factor(t)0) | id + Residual": "UN(1,1)"}
    combined_equal(found, right, {**names, "Cov(factor(t)0, factor(t)1) | id": "UN(2,1)"})


def test_levels_related_by_a_multiple_of_the_identity_are_residuals():
    data = DATA.assign(row=np.arange(24))
    found, said = fitted("y ~ 1 + (1 | row)", data, cov={"row": 2.0 * np.eye(24)})
    assert "2 Var((Intercept)) | row + Residual" in said
    variance = DATA.y.var()
    own = found.covtest().table.loc["2 Var((Intercept)) | row + Residual"]
    assert own["estimate"] == pytest.approx(variance, rel=1e-6)
    assert own["se"] == pytest.approx(variance * np.sqrt(2 / 23), rel=1e-5)
    assert found.bse.iloc[0] == pytest.approx(np.sqrt(variance / 24), rel=1e-6)
    assert found.df.iloc[0] == pytest.approx(23.0, rel=1e-5)


# -- what is determined is left alone -----------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "arguments"),
    [
        ("y ~ c + (1 | g)", {}),
        ("y ~ c + (c | g)", {}),
        ("y ~ c + (1 | g) + (1 | g:c)", {}),
        ("y ~ arm + (1 | g) + (1 | t)", {}),
        ("y ~ factor(g) + (1 | g:c)", {}),
        ("y ~ c + (1 | g)", {"residual": "ar1(t | g)"}),
        ("y ~ c", {"residual": "us(t | g)"}),
        ("y ~ c", {"residual": "cs(t | g)"}),
        ("y ~ factor(g) + factor(t)", {"residual": "ar1(t | g)"}),
    ],
    ids=str,
)
def test_nothing_is_named_where_everything_is_determined(formula, arguments):
    found = quiet(formula, **arguments)
    assert found._record.undetermined is None


def test_weights_tell_effects_of_rows_from_the_residual():
    data = DATA.assign(row=np.arange(24))
    assert quiet("y ~ 1 + (1 | row)", data, weights="w")._record.undetermined is None


def test_values_held_determine_the_others():
    free = quiet("y ~ c + (1 | g) + (0 + c | g)")
    held = quiet("y ~ c + (1 | g) + (0 + c | g)", hold={"var_(Intercept)|g": 0.25})
    assert held._record.undetermined is None
    assert_same_inference(held, free)
    right = quiet("y ~ c + (0 + c | g)").covtest().table
    own = held.covtest().table.loc["Var(cp) | g"]
    assert own["estimate"] == pytest.approx(right.loc["Var(cp) | g", "estimate"] - 0.25, rel=1e-4)
    assert own["se"] == pytest.approx(right.loc["Var(cp) | g", "se"], rel=1e-3)


def test_a_held_correlation_of_levels_that_never_meet_leaves_the_rest_open():
    held = {"cor_arm3b.arm3a|g": 0.5}
    found, said = fitted("y ~ arm3 + (0 + arm3 | g)", hold=held)
    assert_same_inference(found, quiet("y ~ arm3 + diag(0 + arm3 | g)"))
    assert "no data tell Cov(arm3a, arm3c) | g and Cov(arm3b, arm3c) | g" in said


def test_other_residual_variances_held_leave_the_span_alone():
    found, said = fitted("y ~ factor(g) + (1 | g)", hold={"sigma": 0.9})
    right = quiet("y ~ factor(g)", hold={"sigma": 0.9})
    assert_same_inference(found, right)
    assert "does not depend on Var((Intercept)) | g" in said


def test_starts_do_not_choose_among_what_is_not_told():
    model = mlm.LMM("y ~ factor(g) + (1 | g) + (1 | t)", DATA)
    for start in (0.1, 50.0):
        with pytest.warns(mlm.SingularFitWarning, match="held at 0"):
            fit = model.fit(start={"g": [[start]], "t": [[1.0]]})
        assert_same_inference(fit, quiet("y ~ factor(g) + (1 | t)"))


# -- what else a fit is asked for -----------------------------------------------------------------


def test_profiles_leave_out_what_is_not_determined_and_say_so():
    found = quiet("y ~ c + (1 | g) + (0 + c | g)")
    with pytest.raises(mlm.ModelError, match=r"do not determine 'sd_cp\|g'"):
        found.profile("sd_cp|g")
    limits = found.profile().conf_int()
    assert limits.index.tolist() == ["(Intercept)", "cq", "sigma"]
    right = quiet("y ~ c + (0 + c | g)").profile(["(Intercept)", "cq", "sigma"]).conf_int()
    np.testing.assert_allclose(limits, right, rtol=1e-4)
    found = quiet("y ~ arm3 + (0 + arm3 | g)")
    assert not any("cor_" in name for name in found.profile("covariance").estimates.index)


def test_bootstraps_leave_out_what_is_not_determined():
    found = quiet("y ~ arm3 + (0 + arm3 | g)")
    right = quiet("y ~ arm3 + diag(0 + arm3 | g)")
    ours, theirs = (fit.bootstrap(20, seed=1).replicates for fit in (found, right))
    assert ours.columns.tolist() == theirs.columns.tolist()
    np.testing.assert_allclose(ours["arm3b"], theirs["arm3b"], rtol=1e-3, atol=1e-6)


def test_tests_of_variances_count_what_is_determined():
    found = quiet("y ~ arm + (0 + arm | g) + (1 | g:s)")
    right = quiet("y ~ arm + diag(0 + arm | g) + (1 | g:s)")
    np.testing.assert_allclose(
        found.ranova().to_numpy(dtype=float), right.ranova().to_numpy(dtype=float), atol=1e-5
    )
    overlapping = quiet("y ~ c + (1 | g) + (0 + c | g)")
    table = overlapping.ranova()
    assert table["Df"].iloc[1] == 0
    assert table.iloc[1][["Pr(>Chisq)", "Pr(mixture)"]].isna().all()
    with pytest.raises(mlm.ModelError, match="takes no parameter that the data determine"):
        overlapping.test_variance("(1|g)")
    with pytest.raises(mlm.ModelError, match="held at 0"):
        quiet("y ~ site + (1 | site)", SITE).test_variance()


def test_functions_of_parameters_have_errors_where_the_data_tell_them():
    found = quiet("y ~ c + (1 | g) + (0 + c | g)")
    table = found.derived(
        lambda p: {"sum": p["var_(Intercept)|g"] + p["var_cp|g"], "part": p["var_cp|g"]}
    )
    right = quiet("y ~ c + (0 + c | g)").covtest().table.loc["Var(cp) | g"]
    assert table.loc["sum", "estimate"] == pytest.approx(right["estimate"], rel=1e-4)
    assert table.loc["sum", "se"] == pytest.approx(right["se"], rel=1e-3)
    assert table.loc["part", ["se", "lower", "upper"]].isna().all()


def test_reports_and_stored_fits_keep_what_is_not_determined():
    found = quiet("y ~ c + (1 | g) + (0 + c | g)")
    text = str(found.summary())
    assert "Undetermined: Var((Intercept)) | g" in text
    again = mlm.load(found.to_json())
    assert again._record.undetermined == found._record.undetermined
    pd.testing.assert_frame_equal(again.covtest().table, found.covtest().table)
    unmet = quiet("y ~ arm3 + (0 + arm3 | g)")
    again = mlm.load(unmet.to_json())
    pd.testing.assert_frame_equal(again.varcorr["g"], unmet.varcorr["g"])
    tidied = mlm.tidy(unmet).set_index("term")["estimate"] if hasattr(mlm, "tidy") else None
    assert tidied is None or np.isnan(tidied["cor__arm3a.arm3b"])
    sas = unmet.information_criteria(convention="sas")
    right = quiet("y ~ arm3 + diag(0 + arm3 | g)").information_criteria(convention="sas")
    np.testing.assert_allclose(sas, right, rtol=1e-7)


def test_predictions_do_not_depend_on_the_stand_in():
    found = quiet("y ~ c + (1 | g) + (0 + c | g)")
    right = quiet("y ~ c + (0 + c | g)")
    np.testing.assert_allclose(found.predict(DATA), right.predict(DATA), rtol=1e-4)
    np.testing.assert_allclose(found.fittedvalues, right.fittedvalues, rtol=1e-4)


def test_variances_that_are_rounding_are_zero():
    rotated = np.array([[1.0, 4.5], [0.0, 2.9]])
    root = np.linalg.solve(rotated, np.array([[3.0], [0.0]]))
    covariance = rotated @ (root @ root.T + np.array([[0.0, 0.0], [0.0, 1e-33]])) @ rotated.T
    found = without_rounding(covariance, rotated)
    assert found[1, 1] == 0.0
    assert found[0, 1] == 0.0
    assert found[0, 0] == pytest.approx(9.0)


def test_variances_that_vanish_by_logarithms_are_zero_by_name():
    found, said = fitted("y ~ arm + un(0 + arm | g) + (1 | g:s)")
    assert "variance of un(0 + arm | g) is 0" in said
    assert "correlation" not in said
    own = found.covariance_parameters
    assert (own[["UN(1,1) | g", "UN(2,2) | g"]] == 0.0).all()


# -- one variance beside a residual that is held ------------------------------------------------


def meta_analysis():
    rng = np.random.default_rng(1)
    variance = rng.uniform(0.01, 0.3, 13)
    y = 0.4 * rng.normal(size=13) + rng.normal(size=13) * np.sqrt(variance)
    return pd.DataFrame({"trial": range(13), "y": y, "w": 1 / variance})


def test_profiles_of_a_meta_analysis_end_at_the_dense_likelihood():
    data = meta_analysis()
    fit = mlm.lmm("y ~ 1 + (1 | trial)", data, weights="w", hold={"Residual": 1.0})
    X = np.ones((13, 1))

    def llf(tau, method):
        V = np.diag(1 / data.w.to_numpy() + tau**2)
        return dense.log_likelihood(data.y.to_numpy(), X, V, method)

    assert fit.llf == pytest.approx(llf(float(np.sqrt(fit.varcorr["trial"].iloc[0, 0])), "REML"))
    limits = fit.profile().conf_int()
    assert limits.index.tolist() == ["(Intercept)", "sd_(Intercept)|trial"]
    for tau in limits.loc["sd_(Intercept)|trial"]:
        assert 2 * (fit.llf - llf(tau, "REML")) == pytest.approx(3.841458820694124, abs=1e-5)


def test_least_squares_with_the_residual_variance_held():
    data = meta_analysis()
    fit = mlm.lmm("y ~ 1", data, weights="w", hold={"Residual": 1.0})
    assert fit.bse.iloc[0] == pytest.approx(1 / np.sqrt(data.w.sum()))
    assert fit.params.iloc[0] == pytest.approx((data.w * data.y).sum() / data.w.sum())


@pytest.mark.parametrize("bounds", [(None, None), (-np.inf, np.inf), [None, np.inf]])
def test_bounds_that_bound_nothing_are_refused(bounds):
    with pytest.raises(mlm.ModelError, match="'sigma' are open on both sides and bound nothing"):
        mlm.lmm("y ~ c + (1 | g)", DATA, bounds={"sigma": bounds})


def test_a_likelihood_without_maximum_is_no_converged_fit():
    """Means of groups fitted exactly: -2 log-likelihood falls with the variance of a mean."""
    with pytest.warns(mlm.ConvergenceWarning, match="grows without bound"):
        fit = mlm.lmm("y ~ factor(g)", DATA, residual="cs(t | g)", method="ML")
    assert not fit.converged


def visits_by_two():
    """Forty subjects with two of three visits each: the first and the last never meet."""
    rng = np.random.default_rng(2)
    rows = [(i, v) for i in range(40) for v in ((0, 1) if i % 2 else (1, 2))]
    data = pd.DataFrame(rows, columns=["id", "v"])
    data["y"] = rng.normal(size=40)[data.id] + rng.normal(size=80)
    return data


@pytest.mark.parametrize(
    ("structure", "same", "named"),
    [("us", "adh(v | id)", "UN(3,1)"), ("toep", "cs(v | id)", "TOEP(3)")],
)
def test_visits_that_never_meet_have_no_covariance_to_count(structure, same, named):
    data = visits_by_two()
    found, said = fitted("y ~ factor(v)", data, residual=f"{structure}(v | id)")
    right = quiet("y ~ factor(v)", data, residual=same)
    assert_same_inference(found, right)
    assert named in said or "visits 0 and 2 are never seen in one subject" in said
    own = found.covtest().table
    assert own.loc[named].isna().all()
    others = own.drop(index=named)["se"]
    if structure == "toep":
        assert others["TOEP(2)"] == pytest.approx(right.covtest().table.loc["CS", "se"], rel=1e-3)
    assert others.notna().all()


def test_effects_and_residuals_of_the_same_visits():
    data = visits_by_two()
    found, said = fitted("y ~ factor(v) + (0 + factor(v) | id)", data, residual="diag(v | id)")
    right = quiet("y ~ factor(v)", data, residual="us(v | id)")
    assert_same_inference(found, right)
    names = {
        f"Var(factor(v){k}) | id + UN({k + 1},{k + 1})": f"UN({k + 1},{k + 1})" for k in range(3)
    }
    combined_equal(found, right, names)
    assert "no data tell Cov(factor(v)0, factor(v)2) | id" in said


@pytest.mark.parametrize("residual", ["cs(v | id)", "us(v | id)"])
def test_effects_that_the_residual_covariance_holds_are_not_counted(residual):
    data = visits_by_two()
    found, said = fitted("y ~ factor(v) + (1 | id)", data, residual=residual)
    assert "(1 | id) cannot be told apart from residual=" in said
    right = quiet("y ~ factor(v)", data, residual=residual)
    assert_same_inference(found, right, penalty=residual.startswith("cs"))


@pytest.mark.parametrize(
    ("formula", "same", "data"),
    [
        ("y ~ arm3 + (0 + arm3 | g)", "y ~ arm3 + diag(0 + arm3 | g)", DATA),
        ("y ~ c + (1 | g) + (0 + c | g)", "y ~ c + (0 + c | g)", DATA),
        ("y ~ factor(g) + (1 | g) + (1 | t)", "y ~ factor(g) + (1 | t)", DATA),
        ("y ~ site + (1 | site)", "y ~ site", SITE),
    ],
)
def test_conditional_aic_is_of_what_is_determined(formula, same, data):
    found, right = quiet(formula, data), quiet(same, data)
    np.testing.assert_allclose(found.caic(), right.caic(), rtol=1e-6)


@pytest.mark.parametrize(("structure", "n"), [("us", 12), ("un(3)", 9)])
def test_visits_of_two_halves_are_no_pairs(structure, n):
    rng = np.random.default_rng(9)
    own = [[0, 1, 3] if i % 2 else [4, 5, 8] for i in range(14)]
    visits = pd.Categorical(np.ravel(own), range(9))
    data = pd.DataFrame({"id": np.repeat(range(14), 3), "t": visits})
    data["y"], data["half"] = rng.normal(size=42), data["id"] % 2
    found, said = fitted("y ~ half", data, residual=f"{structure}(t | id)")
    assert "never" in said
    assert found._record.n_parameters == 2 + n
    halves = [quiet("y ~ 1", data[data.half == k], residual=f"{structure}(t | id)") for k in (0, 1)]
    assert found.llf == pytest.approx(sum(half.llf for half in halves), abs=1e-6)


@pytest.mark.parametrize("formula", ["y ~ arm3 + (0 + arm3 | g)", "y ~ arm + (1 | g)"])
def test_a_constant_response_first_leaves_the_others_of_a_batch(formula):
    y = np.random.default_rng(1).normal(size=(24, 3))
    y[:, 0] = 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = mlm.LMM(formula, DATA).fit_many(y)
    assert "the response '0' has no residual variance" in batch.status[0]
    assert np.isnan(batch.llf[0])
    for k in (1, 2):
        assert batch.llf[k] == quiet(formula, DATA.assign(y=y[:, k])).llf


def test_a_covariance_that_no_data_tell_is_not_called_a_correlation_of_one():
    """The iteration ends at a correlation of 1 here, which is no boundary."""
    rng = np.random.default_rng(18)
    data = pd.DataFrame({"g": np.repeat(range(24), 4), "t": np.tile(range(4), 24)})
    data["arm"] = np.where(data.g % 2, "a", "b")
    data["y"] = rng.normal(size=96) * np.tile([1, 1.5, 0.7, 2], 24)
    data["y"] += rng.normal(size=24)[data.g] * 0.5
    found, said = fitted("y ~ arm + (0 + arm | g)", data, residual="csh(t | g)")
    right = quiet("y ~ arm + diag(0 + arm | g)", data, residual="csh(t | g)")
    # Both end where a visit has no variance of its own, up to what inverting R there rounds; the
    # supremum is that of the dense likelihood with this variance 0 (Nelder-Mead, 1e-12).
    np.testing.assert_allclose([found.llf, right.llf], -158.9829242, atol=5e-5)
    assert found.aic - found.deviance == right.aic - right.deviance
    np.testing.assert_allclose(found.bse, right.bse, rtol=1e-3)
    assert "no data tell Cov(arma, armb) | g" in said
    assert "correlation is" not in said
    np.testing.assert_allclose(errors(found).drop("Cov(arma, armb) | g"), errors(right), rtol=1e-3)


@pytest.mark.parametrize(
    ("structure", "named", "n"),
    [("toeph", "TOEPH(5), TOEPH(7) and TOEPH(8)", 10), ("ad", "Rho(3)", 5), ("adh", "Rho(3)", 10)],
)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_correlations_of_visits_of_two_halves_are_not_counted(structure, named, n, method):
    rng = np.random.default_rng(9)
    own = [[0, 1, 3] if i % 2 else [4, 5, 8] for i in range(40)]
    data = pd.DataFrame(
        {"id": np.repeat(range(40), 3), "t": pd.Categorical(np.ravel(own), range(9))}
    )
    data["y"], data["half"] = rng.normal(size=120), data["id"] % 2
    residual = f"{structure}(t | id)"
    found, said = fitted("y ~ half", data, residual=residual, method=method)
    assert f"no data tell {named} (the visits never meet in one subject)" in said
    assert found._record.n_parameters == 2 + n
    table = found.covtest().table["se"]
    assert table.isna().sum() == 1 + named.count("(") - 1
    if structure == "adh" and method == "ML":
        halves = [data[data.half == k] for k in (0, 1)]
        fits = [quiet("y ~ 1", d.assign(t=d.t.cat.remove_unused_categories()), residual=residual,
                      method="ML") for d in halves]  # fmt: skip
        assert found.llf == pytest.approx(sum(fit.llf for fit in fits), abs=1e-5)
        assert found.aic == pytest.approx(sum(fit.aic for fit in fits), abs=1e-5)
        errors_of_halves = np.concatenate([errors(fit) for fit in fits])
        np.testing.assert_allclose(np.sort(table.dropna()), np.sort(errors_of_halves), rtol=1e-3)


def test_loadings_of_visits_that_never_meet_are_counted_as_what_they_tell():
    data = visits_by_two()
    found, said = fitted("y ~ factor(v)", data, residual="fa(v | id)")
    right = quiet("y ~ factor(v)", data, residual="us(v | id)")
    assert_same_inference(found, right)
    assert "FA(3,1) cannot be told apart" in said


# -- effects of levels on covariances that no data tell -----------------------------------------


def test_effects_of_levels_that_hang_on_a_covariance_no_data_tell_are_not_given():
    found = quiet("y ~ arm3 + (0 + arm3 | g)")
    right = quiet("y ~ arm3 + diag(0 + arm3 | g)")
    own = np.array([next(iter(DATA.arm3[DATA.g == g])) == a for g in range(6) for a in "abc"])
    means, expected = (fit.ranef["g"].to_numpy().ravel() for fit in (found, right))
    np.testing.assert_array_equal(np.isnan(means), ~own)
    np.testing.assert_allclose(means[own], expected[own], rtol=1e-5)
    assert found.ranef_cov["g"]["0"].notna().to_numpy().sum() == 1
    np.testing.assert_allclose(
        found.ranef_cov["g"]["0"].iloc[0, 0], right.ranef_cov["g"]["0"].iloc[0, 0], rtol=1e-4
    )
    np.testing.assert_allclose(found.predict(DATA), right.predict(DATA), rtol=1e-6)


def test_predictions_that_hang_on_a_covariance_no_data_tell_are_nan_by_name():
    found = quiet("y ~ arm3 + (0 + arm3 | g)")
    right = quiet("y ~ arm3 + diag(0 + arm3 | g)")
    new = pd.DataFrame({"arm3": ["a", "b", "c", "b"], "g": [0, 0, 99, 1]})
    unknown = {"new_levels": "population"}
    known = [True, False, True, True]
    with pytest.warns(mlm.errors.NonEstimableWarning, match=r"1 of 4 rows.*Cov\(arm3a.*row 1"):
        values = found.predict(new, **unknown)
    assert values.notna().tolist() == known
    np.testing.assert_allclose(values[known], right.predict(new, **unknown)[known], rtol=1e-6)
    # A level without any data has the mean of the population.
    means = right.predict(new, ranef=False)
    assert values[2] == pytest.approx(means[2])
    with pytest.warns(mlm.errors.NonEstimableWarning):
        limits = found.predict(new, interval="prediction", **unknown)
    assert limits.notna().all(axis=1).tolist() == known
    np.testing.assert_allclose(found.predict(new, ranef=False), means, rtol=1e-6)
    np.testing.assert_allclose(
        found.predict(new, nonestimable="value", **unknown),
        right.predict(new, **unknown),
        rtol=1e-5,
    )


def test_an_intercept_and_a_difference_between_groups_have_a_sum_alone():
    found = quiet("y ~ arm + (arm | g)")
    right = quiet("y ~ arm + diag(0 + arm | g)")
    means = found.ranef["g"]
    assert means["(Intercept)"].notna().tolist() == [True, False] * 3
    assert means["armb"].isna().all()
    np.testing.assert_allclose(found.predict(DATA), right.predict(DATA), rtol=1e-5)
    with pytest.warns(mlm.errors.NonEstimableWarning, match="row 1"):
        values = found.predict(pd.DataFrame({"arm": ["a", "b", "a", "b"], "g": [0, 0, 1, 1]}))
    assert values.isna().tolist() == [False, True, True, False]


# -- parameters of the residual that say the same twice ------------------------------------------


@pytest.mark.parametrize(
    ("residual", "scale", "named"),
    [
        ("cs(t | arm / g)", "arm", ["b: Variance", "b: CS", "SD(b)/SD(a)"]),
        ("ar1(t | arm / g)", "arm", ["b: Variance", "SD(b)/SD(a)"]),
        ("csh(t | g)", "t", ["Var(2)", "Var(3)", "Var(4)"] + [f"SD({k})/SD(0)" for k in (1, 2, 3)]),
    ],
)
def test_a_scale_that_variances_hold_already_is_counted_once(residual, scale, named):
    found, said = fitted("y ~ c", residual=residual, residual_scale=scale)
    right = quiet("y ~ c", residual=residual)
    assert_same_inference(found, right)
    table = found.covtest().table["se"]
    assert table.index[table.isna()].tolist() == named
    assert all(name in said for name in named)
    assert "cannot be told apart" in said
    others = table.dropna()
    np.testing.assert_allclose(others, errors(right)[others.index], rtol=1e-3)


def test_a_trend_of_the_scale_beside_a_covariance_of_every_pair_is_counted_once():
    found, said = fitted("y ~ c", residual="us(t | g)", residual_scale="exp(t)")
    assert_same_inference(found, quiet("y ~ c", residual="us(t | g)"))
    assert "the data determine" not in said  # nothing linear is


@pytest.mark.parametrize("structure", ["csh", "ar1h", "toeph"])
def test_an_intercept_beside_variances_and_a_correlation(structure):
    found, said = fitted(f"y ~ c + (1 | g) + {structure}(0 + c | g)")
    right = quiet("y ~ c + us(0 + c | g)")
    assert_same_inference(found, right)
    own = "Var((Intercept)) | g"
    names = {f"{own} + Var({k}) | g": f"Var(c{c}) | g" for k, c in ((1, "p"), (2, "q"))}
    combined_equal(found, right, names)
    assert " and ".join(names) in said


def test_an_intercept_beside_one_variance_and_a_correlation():
    found, _ = fitted("y ~ c + (1 | g) + ar1(0 + c | g)")
    right = quiet("y ~ c + ar1(0 + c | g)")
    assert_same_inference(found, right)
    combined_equal(found, right, {"Var((Intercept)) | g + Variance | g": "Variance | g"})


# -- many responses ------------------------------------------------------------------------------


BATCHES = [
    ("y ~ arm3 + (0 + arm3 | g)", {}),
    ("y ~ c + (1 | g) + (0 + c | g)", {}),
    ("y ~ factor(g) + (1 | g) + (1 | t)", {}),
    ("y ~ factor(g) + diag(0 + c | g)", {}),
    ("y ~ factor(g) + factor(t)", {"residual": "us(t | g)"}),
    ("y ~ c", {"residual": "csh(t | g)", "residual_scale": "t"}),
]


@pytest.mark.parametrize(("formula", "arguments"), BATCHES, ids=str)
def test_batches_say_what_single_fits_say(formula, arguments):
    y = np.column_stack([DATA.y, DATA.y[::-1], DATA.y + np.arange(24) % 5])
    batch = mlm.LMM(formula, DATA, **arguments).fit_many(y)
    for k in range(3):
        if not batch.converged[k]:
            continue
        single = quiet(formula, DATA.assign(y=y[:, k]), **arguments)
        assert batch.undetermined[k] == "; ".join(single._record.undetermined.messages)
        assert batch.aic[k] == pytest.approx(single.aic, abs=1e-9)
        np.testing.assert_allclose(batch.bse[k], single.bse, rtol=1e-9)
        np.testing.assert_allclose(batch.df()[k], single.df, rtol=1e-6)


@pytest.mark.parametrize("structure", ["ar1", "csh", "un", "sp_exp"])
def test_batches_of_two_visits_are_least_squares(structure):
    data = two_visits()
    y = np.random.default_rng(3).normal(size=(20, 3))
    formula, residual = "y ~ factor(sub) + v", f"{structure}(v | sub)"
    batch = mlm.LMM(formula, data, residual=residual).fit_many(y)
    right = mlm.LMM(formula, data).fit_many(y)
    np.testing.assert_allclose(batch.bse, right.bse, rtol=1e-7)
    np.testing.assert_allclose(batch.df(), right.df(), rtol=1e-5)
    np.testing.assert_allclose(batch.aic, right.aic, atol=1e-6)
    assert all("inference of least squares" in said for said in batch.undetermined)
    single = quiet(formula, data.assign(y=y[:, 1]), residual=residual)
    assert batch.llf[1] == single.llf
    np.testing.assert_array_equal(batch.bse[1], single.bse)


def test_batches_that_are_determined_say_nothing():
    batch = mlm.LMM("y ~ c + (1 | g)", DATA).fit_many(np.column_stack([DATA.y, DATA.y[::-1]]))
    assert batch.undetermined.tolist() == ["", ""]


@pytest.mark.parametrize("formula", ["y ~ c", "y ~ c + (1 | g)"])
@pytest.mark.parametrize("residual", [None, "us(t | g)", "ar1(t | g)"])
def test_responses_without_a_residual_are_no_fits_and_say_why(formula, residual):
    """Alone they are refused; in a batch the reason is the status, and nothing is a number."""
    exact = 2.0 + (DATA.c == "p")
    y = pd.DataFrame({"flat": 2.0, "y": DATA.y, "exact": exact, "zero": 0.0})
    batch = mlm.LMM(formula, DATA, residual=residual).fit_many(y)
    assert batch.converged.tolist() == [False, True, False, False]
    for k in (0, 2, 3):
        with pytest.raises(mlm.DataError) as refused:
            mlm.lmm(formula, DATA.assign(y=y.iloc[:, k]), residual=residual)
        assert batch.status[k] == str(refused.value).replace("'y'", repr(y.columns[k]))
        for values in (batch.llf, batch.sigma, batch.params, batch.bse, batch.cov_params, batch.df):
            assert np.isnan(values[k]).all()
        with pytest.raises(mlm.ModelError, match="no residual variance"):
            batch[k]
    single = quiet(formula, DATA, residual=residual)
    assert batch.llf[1] == single.llf
    np.testing.assert_array_equal(batch.bse[1], single.bse)


# -- a factor of the fixed effects that is eliminated --------------------------------------------


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("term", ["cs(0 + k | f)", "toep(0 + k | f)", "(1 | f) + (1 | f:k)"])
def test_an_eliminated_factor_leaves_the_same_point_and_the_same_numbers(term, weights):
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"f": np.repeat(range(40), 6), "k": np.tile(list("aabbcc"), 40)})
    data["w"], data["x"] = rng.uniform(0.5, 2, 240), rng.normal(size=240)
    data["y"] = rng.normal(size=240) + rng.normal(size=40)[data.f]
    data["y"] += rng.normal(size=120)[np.repeat(range(120), 2)]
    formula = f"y ~ x + k + factor(f) + {term}"
    found, said = fitted(formula, data, weights=weights, absorb=True)
    right, _ = fitted(formula, data, weights=weights, absorb=False)
    assert found.llf == pytest.approx(right.llf, abs=1e-8)
    own, expected = found.covariance_parameters, right.covariance_parameters
    if not term.startswith("toep"):
        # What is held is held at 0 by both.
        np.testing.assert_allclose(own, expected, rtol=1e-6, atol=1e-9)
    else:
        np.testing.assert_allclose(np.diff(own[:3]), np.diff(expected[:3]), rtol=1e-5, atol=1e-8)
        assert "no standard error is given for the levels of factor(f)" in said
    np.testing.assert_allclose(found.bse, right.bse, rtol=1e-6)
    np.testing.assert_allclose(found.df, right.df, rtol=1e-4)
    assert found.bse.isna().any() == term.startswith("toep")
    assert found.aic == pytest.approx(right.aic, abs=1e-7)


# -- what the data tell is not called untold -----------------------------------------------------


def _six_visits(seed):
    """20 subjects in two arms, six visits at uneven times, some rows missing."""
    rng = np.random.default_rng(seed)
    subject, visit = np.repeat(np.arange(20), 6), np.tile(np.arange(6), 20)
    data = pd.DataFrame(
        {
            "id": subject.astype(str),
            "visit": visit.astype(str),
            "time": visit + rng.uniform(0, 0.4, 120).round(3),
            "arm": np.array(["a", "b"])[subject % 2],
            "y": rng.normal(size=120) + rng.normal(size=20)[subject],
        }
    )
    return data[rng.uniform(size=120) > 0.15]


@pytest.mark.parametrize("fixed", ["y ~ time", "y ~ visit * arm"])
@pytest.mark.parametrize(
    "residual",
    [
        "cs(visit | id)",
        "toep(visit | id, 2)",
        "sp_exp(time | id)",
        "sp_gau(time | id)",
        "ar1(visit | id)",
        "car1(time | id)",
        "adh(visit | id)",
        "cs(visit | arm / id)",
    ],
)
def test_parameters_that_the_data_tell_are_not_called_undetermined(fixed, residual):
    """Few parameters over more than five visits bend in what the iteration moves."""
    for seed in range(2):
        found = quiet(fixed, _six_visits(seed), residual=residual)
        assert found._record.undetermined is None
        assert np.isfinite(found.bse).all()
        assert np.isfinite(found.df).all()


def test_an_intercept_beside_compound_symmetry_of_six_visits_leaves_their_sum():
    found, said = fitted("y ~ time + (1 | id)", _six_visits(0), residual="cs(visit | id)")
    right = quiet("y ~ time", _six_visits(0), residual="cs(visit | id)")
    assert_same_inference(found, right)
    assert "the data determine Var((Intercept)) | id + CS only" in said


def test_a_known_matrix_that_is_not_told_leaves_a_covariance():
    """It ended where the matrices add up to none: no standard errors, which it called valid."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(6), 4), "t": np.tile(np.arange(4), 6)})
    data["x"], data["y"] = rng.normal(size=24), rng.normal(size=24)
    pair = np.zeros((4, 4))
    pair[:2, :2] = 1.0
    matrices = [np.eye(4), np.ones((4, 4)), pair]
    found, said = fitted("y ~ factor(g) + x", data, residual="lin(t | g)", lin=matrices)
    right = quiet("y ~ factor(g) + x", data, residual="lin(t | g)", lin=[matrices[0], matrices[2]])
    assert "does not depend on LIN(2)" in said
    assert "held at 0" in said
    assert found.covtest().frame["estimate"].iloc[1] == 0.0
    assert found.deviance == pytest.approx(right.deviance, abs=1e-7)
    np.testing.assert_allclose(found.bse, right.bse, rtol=1e-5)


@pytest.mark.parametrize(("told", "untold"), [(0, 1), (1, 0)])
def test_a_known_matrix_that_fixed_effects_take_up_is_named(told, untold):
    """None of the parameters is a variance; it ended in NumPy's error."""
    data = DATA.assign(x=np.random.default_rng(1).normal(size=24))
    matrices = [np.eye(4), np.ones((4, 4))]
    found, said = fitted(
        "y ~ factor(g) + x", data, residual="lin(t | g)", lin=[matrices[told], matrices[untold]]
    )
    right = quiet("y ~ factor(g) + x", data, residual="cs(t | g)")
    assert f"the data do not determine LIN({untold + 1})" in said
    assert found.llf == pytest.approx(right.llf, abs=1e-7)
    tests, s2 = found.covtest().frame, right.scale
    assert tests["estimate"].iloc[told] == pytest.approx(s2, rel=1e-6)
    assert tests["se"].iloc[told] == pytest.approx(s2 * np.sqrt(2 / 17), rel=1e-5)
    assert np.isnan(tests["se"].iloc[untold])
    assert found.bse["x"] == pytest.approx(right.bse["x"], rel=1e-6)
    assert np.isnan(found.bse["factor(g)1"])
