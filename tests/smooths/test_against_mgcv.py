"""Smooth terms against mgcv's: score, curves, errors, degrees of freedom, tests.

`tests/reference/smooths.json` is what `tests/reference/smooths.R` wrote (R 4.2.2, mgcv 1.8-41, nlme
3.1-162).
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm

FOUND = json.loads((Path(__file__).parents[1] / "reference" / "smooths.json").read_text("utf-8"))
DATA = pd.DataFrame(FOUND["data"])
AT = np.array(FOUND["at"])
NEW = pd.DataFrame({"x": AT, "z": 0.5, "f": "B", "w": 1.0})

MODELS = {
    "plain": ("y ~ s(x, k=10)", {}),
    "few": ("y ~ s(x, k=6)", {}),
    "group": ("y ~ f + s(x) + (1 | g)", {}),
    "factor": ("y ~ f + s(x, by=f, k=8) + (1 | g)", {}),
    "number": ("y ~ f + s(x, by=z, k=8)", {}),
    "two": ("v ~ f + s(x, k=10) + s(z, k=7)", {"weights": "w"}),
    "noise": ("noise ~ s(x, k=12)", {}),
    "straight": ("noise ~ s(z)", {}),
}


@pytest.fixture(scope="module")
def fits():
    return {name: mlm.lmm(text, DATA, **how) for name, (text, how) in MODELS.items()}


def _null_space_scale(values, k, centred):
    """Volume of the coefficients without a penalty that one unit of our columns is.

    mgcv's REML score integrates over coefficients in an orthonormal basis, ours over a constant and
    x less its mean. Coefficients of the straight line x are the means of three knots (Greville).
    """
    from scipy.interpolate import BSpline

    low, high = values.min(), values.max()
    margin = 1e-3 * (high - low)
    step = (high - low + 2 * margin) / (k - 3)
    knots = low - margin + step * np.arange(-3, k + 1)
    line = np.array([knots[j + 1 : j + 4].mean() for j in range(k)]) - values.mean()
    basis = np.stack([line, np.ones(k)], axis=1)
    if centred:
        mean = BSpline.design_matrix(values, knots, 3).mean(axis=0)
        assert abs(mean @ line) < 1e-12
        basis = basis[:, :1]
    return 0.5 * np.linalg.slogdet(basis.T @ basis)[1]


@pytest.mark.parametrize("name", MODELS)
def test_the_score_is_that_of_gam(fits, name):
    x, z = DATA["x"].to_numpy(), DATA["z"].to_numpy()
    scale = {
        "plain": _null_space_scale(x, 10, True),
        "few": _null_space_scale(x, 6, True),
        "group": _null_space_scale(x, 10, True),
        "factor": 3 * _null_space_scale(x, 8, True),
        "number": _null_space_scale(x, 8, False),
        "two": _null_space_scale(x, 10, True) + _null_space_scale(z, 7, True),
        "noise": _null_space_scale(x, 12, True),
        "straight": _null_space_scale(z, 10, True),
    }[name]
    assert_allclose(fits[name].llf + scale, -FOUND[name]["score"], rtol=1e-9)
    assert_allclose(fits[name].scale, FOUND[name]["sigma2"], rtol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_fitted_values_and_errors_are_those_of_gam(fits, name):
    # Beyond the data, which end at 2 and 5, too.
    got = fits[name].predict(NEW, ranef=False, interval="confidence", ddf="asymptotic")
    assert_allclose(got["fit"], FOUND[name]["fit"], rtol=2e-6, atol=1e-8)
    half = (got["upper"] - got["lower"]) / (2 * 1.959963984540054)
    assert_allclose(half, FOUND[name]["se"], rtol=2e-6)


@pytest.mark.parametrize("name", MODELS)
def test_curves_are_those_of_gam(fits, name):
    fit, found, compared = fits[name], FOUND[name], 0
    for label, values in found["terms"].items():
        ours = label.replace("s.", "s(").replace(".", ")", 1) if "(" not in label else label
        if (name == "factor" and ours != "s(x):fB") or not ours.startswith("s("):
            continue
        at = NEW["z"] if ours == "s(z)" else NEW["x"]
        times = 0.5 if ours.endswith(":z") else 1.0
        got = fit.smooth(ours).curve(at)
        assert_allclose(times * got["estimate"], values, rtol=2e-6, atol=1e-8)
        assert_allclose(times * got["std_error"], found["terms_se"][label], rtol=2e-6)
        compared += 1
    assert compared == (2 if name == "two" else 1)


@pytest.mark.parametrize("name", MODELS)
def test_degrees_of_freedom_are_those_of_gam(fits, name):
    got, found = fits[name].smooths, FOUND[name]
    assert got.index.tolist() == np.atleast_1d(found["names"]).tolist()
    assert_allclose(got["edf"], np.atleast_1d(found["edf"]), rtol=2e-6)
    assert_allclose(got["df"], len(DATA) - found["total"], rtol=2e-6)
    if "(" not in MODELS[name][0].split("+")[-1].replace("s(", ""):
        assert_allclose(got["ref_df"], np.atleast_1d(found["ref_df"]), rtol=2e-6)


@pytest.mark.parametrize("name", ["two", "noise", "straight", "number", "plain"])
def test_p_values_are_those_of_gam(fits, name):
    # mgcv's algorithm (Davies) is good for six digits, and gives 0 below 1e-6 or so.
    found = np.atleast_1d(FOUND[name]["p"])
    assert_allclose(fits[name].smooths["p_value"], found, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_gamm_has_the_same_likelihood(method):
    fit = mlm.lmm("y ~ f + s(x) + (1 | g)", DATA, method=method)
    found = FOUND[f"gamm_{method.lower()}"]
    scale = _null_space_scale(DATA["x"].to_numpy(), 10, True) if method == "REML" else 0.0
    assert_allclose(fit.llf + scale, found["llf"], rtol=1e-9)
    # Under ML gamm's covariance is for n less the three columns of 1 + f.
    _agrees(fit, found, np.sqrt(150 / 147) if method == "ML" else 1.0)


def test_gamm_with_correlated_residuals():
    fit, found = mlm.lmm("y ~ f + s(x)", DATA, residual="ar1(t | g)"), FOUND["gamm_ar1"]
    scale = _null_space_scale(DATA["x"].to_numpy(), 10, True)
    assert_allclose(fit.llf + scale, found["llf"], rtol=1e-8)
    _agrees(fit, found)


def _agrees(fit, found, inflated=1.0):
    got = fit.predict(NEW, ranef=False, interval="confidence", ddf="asymptotic")
    assert_allclose(got["fit"], found["fit"], rtol=1e-4)
    assert_allclose(fit.smooths["edf"], found["edf"], rtol=1e-4)
    half = (got["upper"] - got["lower"]) / (2 * 1.959963984540054)
    assert_allclose(inflated * half, found["se"], rtol=1e-4)
