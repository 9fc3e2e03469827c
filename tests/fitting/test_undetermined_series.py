"""Residual covariances along times and points of their own, of which the data tell less.

Two rows a subject at one distance: beside fixed means of the subjects one variance is told, beside
random intercepts two of three parameters. Right values: least squares, the random-intercept model.
"""

import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm

RNG = np.random.default_rng(5)
N = 70
DATA = pd.DataFrame({"sub": np.repeat(range(N), 2), "v": np.tile([0, 1], N)})
DATA["time"] = 7 * DATA["sub"] + DATA["v"]
DATA["px"], DATA["py"] = 10.0 * DATA["sub"] + DATA["v"], 3.0 * DATA["sub"]
DATA["z"] = RNG.normal(size=2 * N)
DATA["y"] = RNG.normal(size=2 * N) + RNG.normal(size=N)[DATA["sub"]]
STRUCTURES = ["car1(time | sub)", "ar1(time | sub)", "arma11(time | sub)", "sp_gau(px, py | sub)"]


def quiet(formula, data=DATA, **arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = mlm.lmm(formula, data, **arguments)
    return fit, " ".join(str(w.message) for w in caught)


@pytest.mark.parametrize("residual", STRUCTURES)
def test_two_rows_beside_a_mean_of_every_subject_leave_least_squares(residual):
    data = DATA[DATA["sub"] < 67] if "px" in residual else DATA
    fit, said = quiet("y ~ factor(sub) + z", data, residual=residual)
    right, _ = quiet("y ~ factor(sub) + z", data)
    assert fit.llf == pytest.approx(right.llf, abs=1e-7)
    assert fit._record.n_parameters == right._record.n_parameters
    np.testing.assert_allclose(fit.cov_params(), right.cov_params(), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fit.df, right.df, rtol=1e-5)
    assert fit.residual_parameters["Variance"] == pytest.approx(right.sigma**2, rel=1e-6)
    assert (fit.residual_parameters.drop("Variance") == 0.0).all()
    assert "the inference of least squares" in said


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize(
    "residual", ["car1(time | sub)", "ar1(time | sub)", "sp_gau(px, py | sub)"]
)
def test_a_random_intercept_beside_two_rows_leaves_their_covariance_matrix(residual, method):
    fit, said = quiet("y ~ z + (1 | sub)", residual=residual, method=method)
    right, _ = quiet("y ~ z + (1 | sub)", method=method)
    assert fit.llf == pytest.approx(right.llf, abs=1e-6)
    assert fit._record.n_parameters == right._record.n_parameters
    np.testing.assert_allclose(fit.bse, right.bse, rtol=1e-4)
    assert "cannot be told apart" in said
    assert "are valid" in said
    table = fit.covtest().table
    assert table["se"].iloc[:3].isna().all()
    total = right.derived(lambda p: p["var_(Intercept)|sub"] + p["Residual"]).loc["value"]
    told = table.loc["Var((Intercept)) | sub + Variance", ["estimate", "se"]]
    np.testing.assert_allclose(told, total[["estimate", "se"]], rtol=1e-5)
    assert fit.ranef["sub"].isna().all(axis=None)


@pytest.mark.parametrize("residual", STRUCTURES[:2])
def test_three_rows_tell_what_two_do_not(residual):
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"sub": np.repeat(range(N), 3), "v": np.tile([0, 1, 3], N)})
    data["time"] = 7 * data["sub"] + data["v"]
    noise = (
        rng.normal(size=(N, 4))
        @ np.linalg.cholesky(0.6 ** np.abs(np.subtract.outer(range(4), range(4)))).T
    )
    data["y"] = noise[:, [0, 1, 3]].ravel() + np.repeat(rng.normal(size=N), 3)
    fit, said = quiet("y ~ 1 + (1 | sub)", data, residual=residual)
    assert fit._record.undetermined is None
    assert "told apart" not in said
    assert fit.covtest().table["se"].notna().all()
