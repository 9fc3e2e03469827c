"""Weights where other programs lose them, and a residual variance that is given."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

import mlmfast as mlm


def weighted_rows():
    i = np.arange(60)
    g = i // 5
    data = {"id": g.astype(str), "trt": np.where(g % 2, "b", "a"), "w": np.where(i % 2, 10.0, 1.0),
            "y": ((7 * i * i + 3 * i) % 11) / 4 + (g * g) % 7}  # fmt: skip
    return pd.DataFrame(data)[i % 7 != 3]


# lmerTest 3.1-3 and pbkrtest 0.5.2 of the same fit without weights, lmer(sqrt(w) * y ~ 0 + ...):
# standard errors, degrees of freedom, p values of intercept and trtb.
EQUAL_FIT = {
    "satterthwaite": ([0.601900163, 0.846090827], [10.4052909, 10.1618807], 0.00106260685),
    "kenward-roger-expected": ([0.601965271, 0.846148196], [10.2405740, 10.0000186], 0.00110635006),
}


@pytest.mark.parametrize("ddf", EQUAL_FIT)
def test_tests_of_a_weighted_fit_are_those_of_scaled_rows(ddf):
    se, df, p = EQUAL_FIT[ddf]
    fit = mlm.lmm("y ~ trt + (1 | id)", weighted_rows(), weights="w", ddf=ddf)
    np.testing.assert_allclose(fit.bse, se, rtol=2e-6)
    table = fit.tidy().head(2)
    np.testing.assert_allclose(table["df"], df, rtol=1e-5)
    assert table["p_value"].iloc[0] == pytest.approx(p, rel=2e-5)


def test_profile_limits_of_a_weighted_fit_are_those_of_scaled_rows():
    """By lme4 1.1-31 of the same fit without weights; with them its limits of beta are others."""
    right = {
        "sd_(Intercept)|id": (0.864771025, 2.08461854),
        "sigma": (1.431592647, 2.23367506),
        "(Intercept)": (1.528281129, 3.86552396),
        "trtb": (-1.340942381, 1.94696870),
    }
    fit = mlm.lmm("y ~ trt + (1 | id)", weighted_rows(), weights="w", method="ML")
    found = fit.conf_int(method="profile").loc[list(right)]
    np.testing.assert_allclose(found.to_numpy(), list(right.values()), rtol=2e-5)


@pytest.mark.parametrize("ddf", ["kenward-roger", "kenward-roger-expected"])
def test_scaled_rows_are_one_model_with_weights(ddf):
    data = weighted_rows()
    root = np.sqrt(data["w"].to_numpy())
    X = np.column_stack([root, root * (data["trt"] == "b")])
    arrays = {"groups": data["id"].to_numpy(), "Z": root[:, None]}
    scaled = mlm.LMM.from_arrays(root * data["y"].to_numpy(), X, **arrays).fit(ddf=ddf)
    fit = mlm.lmm("y ~ trt + (1 | id)", data, weights="w", ddf=ddf)
    np.testing.assert_allclose(fit.bse, scaled.bse, rtol=1e-8)
    np.testing.assert_allclose(fit.tidy()["df"].head(2), scaled.tidy()["df"].head(2), rtol=1e-7)


def test_simulated_responses_vary_by_their_weights():
    data = weighted_rows()
    fit = mlm.lmm("y ~ trt + (1 | id)", data, weights="w")
    drawn = fit.simulate(4000, seed=1)
    rest = drawn - fit.predict(ranef=False).to_numpy()[:, None]
    variance = fit.varcorr["id"].iloc[0, 0] + fit.sigma**2 / data["w"].to_numpy()
    # The mean square of 4000 normal draws has a relative standard deviation of sqrt(2 / 4000).
    np.testing.assert_allclose((rest**2).mean(axis=1) / variance, 1, atol=5 * np.sqrt(2 / 4000))
    assert np.unique(variance.round(9)).size == 2


def test_the_bootstrap_of_a_weighted_fit_is_around_its_estimates():
    fit = mlm.lmm("y ~ trt + (1 | id)", weighted_rows(), weights="w")
    bias = fit.bootstrap(200, seed=1)["bias"]["sigma"]
    # sigma of some 38 degrees of freedom varies by an eighth of itself.
    assert abs(bias) < 5 * fit.sigma / 8 / np.sqrt(200) + 0.01 * fit.sigma


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_a_given_residual_variance_leaves_the_likelihood_of_the_others(method):
    """Effects with known variances: the closed form in the variance between studies."""
    k = np.arange(20)
    v = 0.05 + ((11 * k) % 20) / 40
    y = 1 + np.sin(3.0 * k) + np.cos(7.0 * k) * np.sqrt(v)
    reml = method == "REML"

    def deviance(t2):
        w = 1 / (v + t2)
        rest = y - (w * y).sum() / w.sum()
        constant = (k.size - reml) * np.log(2 * np.pi)
        return (w * rest**2).sum() - np.log(w).sum() + reml * np.log(w.sum()) + constant

    best = minimize_scalar(deviance, bounds=(0.01, 5), method="bounded", options={"xatol": 1e-10})
    data = pd.DataFrame({"y": y, "w": 1 / v, "study": k.astype(str)})
    fit = mlm.lmm("y ~ 1 + (1 | study)", data, weights="w", hold={"sigma": 1.0}, method=method)
    assert fit.varcorr["study"].iloc[0, 0] == pytest.approx(best.x, rel=1e-6)
    assert -2 * fit.llf == pytest.approx(best.fun, rel=1e-10)
    assert fit.bse.iloc[0] == pytest.approx((1 / (v + best.x)).sum() ** -0.5, rel=1e-6)
