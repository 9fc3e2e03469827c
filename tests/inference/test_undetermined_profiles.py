"""Profiles where residuals are held independent: those of the model without the structure."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import mlmfast as mlm


def quiet(formula, data, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mlm.SingularFitWarning)
        return mlm.lmm(formula, data, **arguments)


def visits_of_subjects(n_visits, n=7):
    rng = np.random.default_rng(n_visits)
    data = pd.DataFrame({"s": np.repeat(list("abcdefghijk")[:n], n_visits)})
    data["t"] = np.tile(range(n_visits), n)
    data["arm"] = np.where(data["s"] < "d", "A", "B")
    data["x"] = rng.normal(size=len(data))
    data["y"] = rng.normal(size=len(data)) + np.repeat(rng.normal(size=n), n_visits) + data["x"]
    return data


def least_squares_limits(y, X):
    """Likelihood-ratio limits of the last coefficient, and REML ones of the variance."""
    n, p = X.shape
    beta, (rss,), *_ = np.linalg.lstsq(X, y, rcond=None)
    quantile = stats.chi2.ppf(0.95, 1)
    half = np.sqrt((np.exp(quantile / n) - 1) * rss * np.linalg.inv(X.T @ X)[-1, -1])

    def rise(variance):
        own = (n - p) * np.log(variance) + rss / variance
        return own - (n - p) * np.log(rss / (n - p)) - (n - p) - quantile

    s2 = rss / (n - p)
    variance = [optimize.brentq(rise, *ends) for ends in ((1e-4 * s2, s2), (s2, 1e4 * s2))]
    return (beta[-1] - half, beta[-1] + half), variance


@pytest.mark.parametrize(
    ("structure", "n_visits"), [("cs", 2), ("cs", 3), ("us", 2), ("ar1", 2), ("sp_exp", 2)]
)
def test_profiles_of_residuals_that_no_data_tell_are_those_of_least_squares(structure, n_visits):
    data = visits_of_subjects(n_visits)
    fit = quiet("y ~ s + x", data, residual=f"{structure}(t | s)")
    limits = fit.profile(["x", "Variance"]).conf_int()
    X = np.column_stack([pd.get_dummies(data["s"]).to_numpy(float), data["x"]])
    slope, variance = least_squares_limits(data["y"].to_numpy(), X)
    np.testing.assert_allclose(limits.loc["x"], slope, rtol=1e-5)
    np.testing.assert_allclose(limits.loc["Variance"], variance, rtol=1e-5)


def test_what_is_held_has_no_profile_by_name():
    fit = quiet("y ~ s + x", visits_of_subjects(3), residual="cs(t | s)")
    with pytest.raises(mlm.ModelError, match="do not determine 'CS'"):
        fit.profile("CS")
    profile = fit.profile("covariance")
    limits, note = profile.conf_int(), "Note: left out, as the data do not determine them: CS"
    assert limits.index.tolist() == ["Variance"]
    assert repr(limits).splitlines()[-1] == repr(profile).splitlines()[-1] == note
    assert fit.profile("Variance").notes == ()
    assert quiet("y ~ x", visits_of_subjects(3)).profile().notes == ()


def test_arms_have_the_limits_of_separate_variances():
    data = visits_of_subjects(2)
    found = quiet("y ~ s + x", data, residual="us(t | arm / s)").profile("covariance")
    right = quiet("y ~ s + x", data, residual="homdiag(t | arm / s)").profile("covariance")
    pd.testing.assert_frame_equal(found.conf_int(), right.conf_int(), rtol=1e-5)


def test_functions_have_limits_of_the_model_without_the_structure():
    data = visits_of_subjects(3)
    fit = quiet("y ~ s + x", data, residual="cs(t | s)")
    table = fit.derived(lambda p: np.sqrt(p["Variance"]), "profile")
    right = quiet("y ~ s + x", data).profile("sigma").conf_int()
    np.testing.assert_allclose(table[["lower", "upper"]], right, rtol=1e-5)
