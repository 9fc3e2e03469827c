"""Degrees of freedom of predictions given the responses observed, by weights of all responses."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlmfast.errors import ModelError

from ..fits import lmm
from ..residual_models import trial

METHODS = ["satterthwaite", "kenward-roger", "kenward-roger-linear"]


@pytest.mark.parametrize("ddf", METHODS)
@pytest.mark.parametrize("formula", ["y ~ x + (1 + x | site)", "y ~ x + (1 | site) + (1 | visit)"])
def test_with_independent_residuals_they_are_those_of_the_blup(formula, ddf):
    frame = trial(seed=4).head(60)
    fit = lmm(formula, frame)
    new = frame.head(5).assign(x=frame["x"] + 1)
    found = fit.predict(new, conditional=True, interval="prediction", ddf=ddf)
    expected = fit.predict(new, interval="prediction", ddf=ddf)
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    plain = fit.predict(new, conditional=True, interval="prediction")
    assert (found["upper"] > plain["upper"]).all()


@pytest.mark.parametrize("ddf", METHODS)
def test_compound_symmetry_is_a_random_intercept(ddf):
    whole = trial(seed=5, n_subjects=12, missing=0.0)
    hidden = whole.groupby("subject").head(1).head(5)
    frame = whole.drop(hidden.index)
    residual = lmm("y ~ x + time", frame, residual="cs(visit | subject)")
    effects = lmm("y ~ x + time + (1 | subject)", frame)
    how = {"interval": "prediction", "ddf": ddf}
    found = residual.predict(hidden.drop(columns="y"), conditional=True, **how)
    expected = effects.predict(hidden.drop(columns="y"), **how)
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def _dense(fit, whole, n_fit, observed, at, parameters):
    """Weights (n,) of all responses in the prediction of row ``at``, its error variance; V."""
    sigma2, rho = parameters
    lag = np.abs(np.subtract.outer(*[whole["time"].to_numpy()] * 2))
    same = np.equal.outer(*[whole["subject"].to_numpy()] * 2)
    V = np.where(same, sigma2 * rho**lag, 0.0)
    X = np.column_stack([np.ones(len(whole)), whole[["x", "time"]]])
    f = np.arange(n_fit)
    M = np.linalg.inv(X[f].T @ np.linalg.solve(V[np.ix_(f, f)], X[f]))
    b = np.zeros((3, len(whole)))
    b[:, f] = M @ np.linalg.solve(V[np.ix_(f, f)], X[f]).T
    a = np.zeros(len(whole))
    a[observed] = np.linalg.solve(V[np.ix_(observed, observed)], V[observed, at])
    d = X[at] - a @ X
    return a + d @ b, V[at, at] - a @ V[:, at] + d @ M @ d, V


@pytest.mark.parametrize("ddf", METHODS)
def test_against_weights_of_all_responses(ddf):
    """A subject of the fit, a new one with responses, and one of the fit with another response."""
    whole = trial(seed=7, n_subjects=9, missing=0.0)
    subject, time = whole["subject"], whole["time"]
    hidden = (subject == "s01") & (time == 3) | (subject == "s02") & (time >= 2)
    hidden |= subject.isin(["s03"])
    frame, new = whole[~hidden], whole[hidden].copy()
    target = (new["time"] == 3) | (new["subject"] == "s03") & (new["time"] == 1)
    truth = new["y"].copy()
    new.loc[target, "y"] = np.nan
    fit = lmm("y ~ x + time", frame, residual="ar1(time | subject)")
    how = {"conditional": True, "interval": "prediction"}
    half = fit.predict(new, ddf=ddf, **how)
    half = (half["upper"] - half["lower"]).to_numpy()[target] / 2
    stacked = pd.concat([frame, new.assign(y=truth)])
    observed = np.flatnonzero(np.append(np.ones(len(frame), bool), ~target))
    estimates = np.array(list(dict(fit.residual_parameters).values()))
    W = fit.cov_theta().to_numpy()
    for own, at in zip(half, len(frame) + np.flatnonzero(target), strict=True):
        args = (fit, stacked, len(frame), observed, at)
        middle = _dense(*args, estimates)
        steps = 1e-5 * estimates
        moved = [
            [_dense(*args, estimates + side * step) for side in (1, -1)] for step in np.diag(steps)
        ]
        g = np.array([(u[1] - v[1]) for u, v in moved]) / (2 * steps)
        w = np.array([(u[0] - v[0]) for u, v in moved]) / (2 * steps)[:, None]
        variance = middle[1]
        if ddf != "satterthwaite":
            variance = variance + 2 * (W * (w @ middle[2] @ w.T)).sum()
        df = 2 * variance**2 / (g @ W @ g)
        assert own == pytest.approx(stats.t.ppf(0.975, df) * np.sqrt(variance), rel=1e-6)


def test_other_methods_and_refusals():
    frame = trial(seed=4).head(60)
    fit = lmm("y ~ x", frame, residual="cs(visit | subject)")
    new = frame.head(3).drop(columns="y").assign(subject="new")
    how = {"conditional": True, "interval": "prediction"}
    plain = fit.predict(new, **how)
    np.testing.assert_array_equal(fit.predict(new, ddf="asymptotic", **how), plain)
    wide, middle = fit.predict(new, ddf=7, **how), plain["fit"]
    ratio = stats.t.ppf(0.975, 7) / stats.norm.ppf(0.975)
    np.testing.assert_allclose(wide["upper"] - middle, ratio * (plain["upper"] - middle))
    # Rows that are observed are known.
    known = fit.predict(frame.head(3), ddf="satterthwaite", **how)
    np.testing.assert_array_equal(known["upper"] - known["lower"], np.zeros(3))
    with pytest.raises(ModelError, match="no such degrees of freedom"):
        fit.predict(new, conditional=True, interval="confidence", ddf="satterthwaite")
    with pytest.raises(ModelError, match="REML"):
        lmm("y ~ x", frame, residual="cs(visit | subject)", method="ML").predict(
            new, ddf="kenward-roger", **how
        )
