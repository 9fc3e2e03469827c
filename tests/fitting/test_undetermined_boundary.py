"""Covariances that the data do not determine where others are 0: standard errors and df.

Right values are those of the same V in parameters that the data tell.
"""

import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm


def quiet(formula, data, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mlm.SingularFitWarning)
        return mlm.lmm(formula, data, **arguments)


def arms():
    """Groups of one arm each; those of arm b differ by less than their rows say."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"g": np.repeat(range(12), 6), "x": rng.normal(size=72)})
    data["arm"] = np.array(list("ab"))[data["g"] % 2]
    noise = rng.normal(size=(12, 6))
    noise[1::2] -= noise[1::2].mean(axis=1, keepdims=True)
    effect = np.where(np.arange(12) % 2, 0.0, 1.3) * rng.normal(size=12)
    data["y"] = (noise + effect[:, None]).ravel() + 0.3 * data["x"]
    return data


@pytest.mark.parametrize("engine", [None, "dense"])
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_a_variance_of_0_written_as_a_difference_between_groups(method, engine):
    options = None if engine is None else {"engine": engine}
    fit = quiet("y ~ arm + x + (arm | g)", arms(), method=method, options=options)
    right = quiet("y ~ arm + x + diag(0 + arm | g)", arms(), method=method)
    assert right.varcorr["g"].iloc[1, 1] == 0.0
    assert fit.llf == pytest.approx(right.llf, abs=1e-8)
    np.testing.assert_allclose(fit.bse, right.bse, rtol=1e-7)
    np.testing.assert_allclose(fit.df, right.df, rtol=1e-5)
    ours = fit.covtest().table["se"]["Var((Intercept)) | g"]
    assert ours == pytest.approx(right.covtest().table["se"]["Var(arma) | g"], rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_an_eliminated_factor_beside_its_own_variance(seed):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": np.repeat(range(13), 8), "s": np.tile(np.repeat([0, 1], 4), 13)})
    data["x"], data["w"] = rng.normal(size=104), rng.uniform(0.5, 2.0, 104)
    data["y"] = rng.normal(size=104) + rng.normal(size=(13, 2))[data["g"], data["s"]]
    fit = quiet("y ~ factor(g) + x + (1 | g) + (1 | g:s)", data, weights="w", absorb=True)
    right = mlm.lmm("y ~ factor(g) + x + (1 | g:s)", data, weights="w", absorb=False)
    np.testing.assert_allclose(fit.bse, right.bse, rtol=1e-7)
    np.testing.assert_allclose(fit.df, right.df, rtol=1e-6)
