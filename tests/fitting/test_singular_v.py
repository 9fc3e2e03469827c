"""Ends where V is singular, or where the data tell no more than if a visit had not been."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import ConvergenceWarning, SingularFitWarning


def trial(seed, n, k=4):
    """Subjects with k visits."""
    rng = np.random.default_rng(seed)
    subject, visit = np.repeat(np.arange(n), k), np.tile(np.arange(k), n)
    y = rng.normal(size=n)[subject] + rng.normal(size=n * k)
    return pd.DataFrame({"y": y, "x": rng.normal(size=n * k), "visit": visit, "subject": subject})


def seen_once(frame):
    """The last visit in the first subject only."""
    last = frame["visit"].max()
    return frame[(frame["visit"] < last) | (frame["subject"] == 0)]


def test_a_singular_v_leaves_no_standard_errors_of_covariance_parameters():
    """They were 5e-6, and the fixed effects were called valid."""
    frame = seen_once(trial(1, 40))
    with pytest.warns(SingularFitWarning, match=r"V itself is singular .* too small") as caught:
        fit = mlm.lmm("y ~ x", frame, residual="adh(visit | subject)")
    assert "[MLM413, MLM419]" in str(caught[0].message)
    assert fit.covtest()["se"].isna().all()
    assert fit.covtest("expected")["se"].isna().all()
    assert "no standard errors" in repr(fit.covtest())
    # The combination of rows without variance, and of the fixed effects, which equals it exactly.
    V, rows = np.asarray(fit.V(0)), frame[frame["subject"] == 0]
    values, vectors = np.linalg.eigh(V)
    assert values[0] < 1e-8 * np.trace(V)
    own = vectors[:, 0] @ np.column_stack([np.ones(len(rows)), rows["x"]])
    assert own @ fit.params == pytest.approx(vectors[:, 0] @ rows["y"], abs=1e-6)
    assert np.sqrt(own @ fit.cov_params() @ own) < 1e-3 * fit.bse.min()


def test_what_has_no_maximum_has_no_standard_errors():
    """They were 5e-11 along the way there."""
    frame = seen_once(trial(1, 40))
    with pytest.warns(ConvergenceWarning, match="has no maximum"):
        fit = mlm.lmm("y ~ x", frame, residual="us(visit | subject)")
    assert fit.covtest()["se"].isna().all()
    assert np.isnan(fit.cov_theta()).all(axis=None)


@pytest.mark.parametrize(("seed", "residual", "correlation"), [(2, "ad", 1), (3, "toep", 4)])
def test_random_effects_that_end_singular_beside_a_singular_residual_are_named(
    seed, residual, correlation
):
    """Their correlation of 1 had a standard error of 1e-8, the certificate no word of it."""
    rng = np.random.default_rng(seed)
    n, k = 12, 5
    subject, visit = np.repeat(np.arange(n), k), np.tile(np.arange(k), n)
    y = rng.normal(size=n)[subject] * 0.5 + rng.normal(size=n * k)
    frame = {"y": y, "x": rng.normal(size=n * k), "visit": visit, "subject": subject}
    formula = "y ~ x + adh(0 + factor(visit) | subject)"
    with pytest.warns(SingularFitWarning, match="covariance matrix is singular for factor"):
        fit = mlm.lmm(formula, frame, residual=f"{residual}(visit | subject)")
    G = next(iter(fit.varcorr.values())).to_numpy()
    assert np.linalg.eigvalsh(G)[0] < 1e-10 * np.trace(G)
    tests = fit.covtest().frame.loc[f"Rho({correlation}) | subject"]
    assert abs(tests["estimate"]) == pytest.approx(1.0)
    assert np.isnan(tests["se"])


@pytest.mark.parametrize("structure", ["csh", "adh", "ar1h", "toeph", "diag", "us", "fa(1)"])
@pytest.mark.parametrize(("seed", "n"), [(1, 30), (4, 10), (11, 6)])
def test_a_visit_in_one_row_with_a_mean_of_its_own_tells_nothing(structure, seed, n):
    """Fits without that row are the same; a variance had a standard error of 259, or NumPy's error
    came of one that had run to 0."""
    frame = seen_once(trial(seed, n))
    rest = frame[frame["visit"] < 3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = mlm.lmm("y ~ factor(visit)", rest, residual=f"{structure}(visit | subject)")
    assert right.converged
    with pytest.warns(SingularFitWarning, match=r"no standard error is given for factor\(visit\)3"):
        fit = mlm.lmm("y ~ factor(visit)", frame, residual=f"{structure}(visit | subject)")
    assert fit.deviance == pytest.approx(right.deviance, abs=1e-6)
    found, expected = fit.covtest().frame, right.covtest().frame
    estimates = found["estimate"][expected.index]
    np.testing.assert_allclose(estimates, expected["estimate"], rtol=2e-4, atol=1e-9)
    # A specific variance of 0 has none in either.
    np.testing.assert_allclose(found["se"][expected.index], expected["se"], rtol=2e-3)
    assert found["se"].drop(expected.index).isna().all()
    np.testing.assert_allclose(fit.params[right.params.index], right.params, atol=1e-5)
    np.testing.assert_allclose(fit.bse[right.params.index], right.bse, rtol=1e-4)
    np.testing.assert_allclose(fit.df[right.params.index], right.df, rtol=2e-3)
    assert np.isnan(fit.bse["factor(visit)3"])


@pytest.mark.parametrize(
    ("structure", "seed"), [("adh", 0), ("adh", 11), ("csh", 5), ("csh", 8), ("toeph", 8)]
)
def test_what_a_visit_tells_is_nothing_whatever_its_columns_are_rounded_to(structure, seed):
    """Its variance ran far above the others, or what was found was lost on the way through V: an
    error of 5e5 of a correlation, one of 1e4 of an effect."""
    frame = seen_once(trial(seed, 60, 3))
    site, rng = frame["subject"] % 10, np.random.default_rng(seed)
    frame = frame.assign(site=site, y=frame["y"] + 0.7 * rng.normal(size=10)[site])
    rng = np.random.default_rng(seed)
    for v in (1, 2):
        frame[f"v{v}"] = (frame["visit"] == v) + 1e-15 * rng.normal(size=len(frame))
    rest = frame[frame["visit"] < 2]
    residual = f"{structure}(visit | subject)"
    right = mlm.lmm("y ~ v1 + (1 | site)", rest, residual=residual)
    with pytest.warns(SingularFitWarning, match="no standard error is given for v2"):
        fit = mlm.lmm("y ~ v1 + v2 + (1 | site)", frame, residual=residual)
    found, expected = fit.covtest().frame["se"], right.covtest().frame["se"]
    assert found["Var(3)":].drop(expected.index, errors="ignore").isna().all()
    np.testing.assert_allclose(found[expected.index], expected, rtol=1e-3)
    np.testing.assert_allclose(fit.bse[right.bse.index], right.bse, rtol=1e-4)
    assert np.isnan(fit.bse["v2"])


@pytest.mark.parametrize("structure", ["csh", "adh", "diag", "us", "toeph"])
def test_the_variance_of_one_visit_is_told_where_the_other_is_taken_up(structure):
    """Residuals were held at one variance, the sum of both called what the data determine, with an
    error twice that of the one, and the other visit's mean had one."""
    frame = trial(3, 40, 2)
    frame["arm"] = np.where(frame["subject"] % 2 == 0, "a", "b")
    frame = frame[(frame["visit"] == 0) | (frame["subject"] < 2)]
    first = frame[frame["visit"] == 0]
    with pytest.warns(SingularFitWarning, match=r"no standard error is given for factor\(visit\)1"):
        fit = mlm.lmm("y ~ factor(visit) * arm", frame, residual=f"{structure}(visit | subject)")
    s2 = first.groupby("arm")["y"].var().mean()
    tests = fit.covtest().frame
    assert tests["estimate"].iloc[0] == pytest.approx(s2, rel=1e-6)
    assert tests["se"].iloc[0] == pytest.approx(s2 * np.sqrt(2 / 38), rel=1e-5)
    assert tests["se"].iloc[1:].isna().all()
    assert fit.bse["armb"] == pytest.approx(np.sqrt(s2 / 10), rel=1e-6)
    assert fit.bse.filter(like="factor").isna().all()


def test_a_way_without_end_is_reported_from_where_it_can_be_computed():
    """Everything was NaN, and `summary` ended in NumPy's error."""
    rng = np.random.default_rng([9, 22])
    k, n = int(rng.integers(2, 6)), int(rng.integers(4, 16))
    frame = pd.DataFrame({"s": np.repeat(np.arange(n), k), "v": np.tile(np.arange(k), n)})
    frame["arm"] = np.where(frame["s"] % 2 == 0, "a", "b")
    frame["x"] = rng.normal(size=n * k)
    frame["site"] = frame["s"] % int(rng.integers(2, 5))
    effects = rng.normal(size=n)[frame["s"]] * rng.choice([0, 0.3, 1])
    frame["y"] = effects + rng.normal(size=n * k)
    frame = frame[rng.uniform(size=n * k) >= rng.choice([0, 0.2, 0.5])]
    with pytest.warns(ConvergenceWarning, match="has no maximum"):
        fit = mlm.lmm("y ~ x + factor(site)", frame, residual="toeph(v | arm / s)")
    assert np.isfinite(fit.llf)
    assert np.isfinite(fit.params).all()
    assert np.isfinite(fit.bse).all()
    assert "NOT CONVERGED" in str(fit.summary())


def test_the_variance_of_one_visit_is_told_as_a_sum_of_parameters_too():
    """Both visits were held at one variance, which is no more than a guess of the other's mean."""
    frame = trial(3, 40, 2)
    frame["arm"] = np.where(frame["subject"] % 2 == 0, "a", "b")
    frame = frame[(frame["visit"] == 0) | (frame["subject"] < 2)]
    with pytest.warns(SingularFitWarning, match=r"Var\(1\) and FA\(1,1\) cannot be told apart"):
        fit = mlm.lmm("y ~ factor(visit) * arm", frame, residual="fa(1)(visit | subject)")
    s2 = frame[frame["visit"] == 0].groupby("arm")["y"].var().mean()
    assert fit.bse["armb"] == pytest.approx(np.sqrt(s2 / 10), rel=1e-6)
    assert fit.bse.filter(like="factor").isna().all()


def test_visits_that_no_subject_has_together_are_said_so():
    """It said that 0 subject(s) have all of these."""
    frame = trial(0, 6, 5)
    frame = frame[np.where(frame["subject"] % 2 == 0, frame["visit"] < 4, frame["visit"] > 0)]
    with pytest.warns(ConvergenceWarning, match=r"singular \(no subject has all of these\)"):
        fit = mlm.lmm("y ~ factor(visit) + x", frame, residual="toeph(visit | subject)")
    assert not fit.converged


def test_visits_that_never_meet_beside_effects_that_the_residual_holds_already():
    """Their covariance had a standard error of 3e15."""
    frame = trial(5, 16)
    early = frame["subject"] % 2 == 0
    frame = frame[np.where(early, frame["visit"] < 3, frame["visit"] > 0)]
    right = pytest.warns(SingularFitWarning, match=r"no data tell TOEP\(4\)")
    with right:
        fit = mlm.lmm("y ~ x", frame, residual="toep(visit | subject)")
    with right:
        same = mlm.lmm("y ~ x + (1 | subject)", frame, residual="toep(visit | subject)")
    assert same.deviance == pytest.approx(fit.deviance, abs=1e-7)
    expected, found = (f.covtest().frame["se"].iloc[-4:] for f in (fit, same))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.isnan(found["TOEP(4)"])
    assert same.aic == pytest.approx(fit.aic, abs=1e-6)


def test_a_visit_in_a_row_of_each_arm_beside_subjects_tells_nothing_either():
    """Residuals that were 0 at its rows had hidden four of five directions: errors of 1e4."""
    frame = trial(8, 14)
    frame["arm"] = np.where(frame["subject"] % 2 == 0, "a", "b")
    rest = frame[frame["visit"] < 3]
    frame = frame[(frame["visit"] < 3) | (frame["subject"] < 2)]
    formula = "y ~ factor(visit) * arm + (1 | subject)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit, right = (mlm.lmm(formula, d, residual="us(visit | subject)") for d in (frame, rest))
    assert fit.deviance == pytest.approx(right.deviance, abs=1e-6)
    found, expected = (f.covtest().frame["se"].dropna() for f in (fit, right))
    # Beside what the data do not tell, the intercept is told in sums with each covariance.
    assert [name.rpartition(" + ")[2] for name in found.index] == list(expected.index)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    np.testing.assert_allclose(fit.bse[right.bse.index], right.bse, rtol=1e-4)
    assert fit.bse.drop(right.bse.index).isna().all()


def test_loadings_that_a_rotation_moves_have_no_standard_errors():
    """With FA(1,1) held at 0 any rotation of the factors gives the same covariance."""
    rng = np.random.default_rng(3)
    n, k = 60, 5
    loadings = rng.normal(size=(k, 2))
    y = rng.normal(size=(n, 2)) @ loadings.T + 0.7 * rng.normal(size=(n, k))
    frame = pd.DataFrame(
        {"y": y.ravel(), "s": np.repeat(np.arange(n), k), "v": np.tile(np.arange(k), n)}
    )
    with pytest.warns(SingularFitWarning, match="cannot be told apart"):
        fit = mlm.lmm("y ~ factor(v)", frame, residual="fa(2)(v | s)", hold={"FA(1,1)": 0.0})
    values = fit.covariance_parameters
    own = np.zeros((k, 2))
    for i in range(k):
        for j in range(min(i, 1) + 1):
            own[i, j] = values[f"FA({i + 1},{j + 1})"]
    turned = own @ np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    R = np.diag([values[f"Var({i + 1})"] for i in range(k)]) + turned @ turned.T
    assert turned[0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(R, fit.residual_cov, atol=1e-8)
    errors = fit.covtest().frame["se"]
    assert errors.filter(like="FA(").isna().all()
    # The first visit is apart: its variance is that of normal rows.
    assert errors["Var(1)"] == pytest.approx(values["Var(1)"] * np.sqrt(2 / (n - 1)), rel=1e-4)
