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
    if not right.converged or right.singular:
        pytest.skip("the other visits have no regular fit")
    with pytest.warns(SingularFitWarning, match=r"no standard error is given for factor\(visit\)3"):
        fit = mlm.lmm("y ~ factor(visit)", frame, residual=f"{structure}(visit | subject)")
    assert fit.deviance == pytest.approx(right.deviance, abs=1e-6)
    found, expected = fit.covtest().frame, right.covtest().frame
    np.testing.assert_allclose(found["estimate"][expected.index], expected["estimate"], rtol=2e-4)
    np.testing.assert_allclose(found["se"][expected.index], expected["se"], rtol=2e-3)
    assert found["se"].drop(expected.index).isna().all()
    np.testing.assert_allclose(fit.params[right.params.index], right.params, atol=1e-5)
    np.testing.assert_allclose(fit.bse[right.params.index], right.bse, rtol=1e-4)
    np.testing.assert_allclose(fit.df[right.params.index], right.df, rtol=2e-3)
    assert np.isnan(fit.bse["factor(visit)3"])
