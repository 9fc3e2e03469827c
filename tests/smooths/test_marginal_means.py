"""Marginal means and slopes of models with curves, against predictions and the curves."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError

X = [0.1, 0.45, 0.8]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(2)
    n = 160
    frame = pd.DataFrame({"x": rng.uniform(size=n), "z": rng.normal(size=n)})
    frame["f"] = rng.choice(list("abc"), n)
    frame["h"] = rng.choice(["u", "v"], n)
    frame["g"] = rng.integers(0, 12, n)
    shift = frame["f"].map({"a": 0.0, "b": 0.5, "c": 1.0})
    frame["y"] = np.sin(6 * frame["x"]) + shift + 0.3 * frame["z"] + 0.4 * rng.normal(size=n)
    frame["y"] += 0.5 * rng.normal(size=12)[frame["g"]]
    return frame


@pytest.fixture(scope="module")
def fit(data):
    return mlm.lmm("y ~ f * z + h + s(x, k=8) + (1 | g)", data)


def grid(x, f, h=("u", "v"), z=0.0):
    rows = [(a, b, c) for a in x for b in f for c in h]
    return pd.DataFrame(rows, columns=["x", "f", "h"]).assign(z=z)


def test_cells_are_predictions_of_the_population(fit, data):
    z = data["z"].mean()
    means = fit.emmeans(["h", "f", "x"], at={"x": X})
    rows = means.frame[["x", "f", "h"]].assign(z=z)
    rows["x"] = rows["x"].astype(float)
    rows["g"] = "none"
    new = fit.predict(rows, ranef=False, interval="confidence")
    np.testing.assert_allclose(means["emmean"], new["fit"], rtol=1e-10)
    np.testing.assert_allclose(means["lower"], new["lower"], rtol=1e-8)
    np.testing.assert_allclose(means["upper"], new["upper"], rtol=1e-8)
    # At the mean of x where no value is given.
    plain = fit.emmeans(["h", "f"])
    own = fit.predict(grid([data["x"].mean()], "abc", z=z), ranef=False)
    np.testing.assert_allclose(plain["emmean"], own, rtol=1e-10)


def test_averages_and_differences_have_the_covariance_of_the_cells(fit):
    cells = fit.emmeans(["h", "f", "x"], at={"x": X})
    V, values = cells.vcov.to_numpy(), cells["emmean"].to_numpy()
    means = fit.emmeans("f", at={"x": X})
    A = np.array([(cells["f"] == level) / 6.0 for level in "abc"])
    np.testing.assert_allclose(means["emmean"], A @ values, rtol=1e-10)
    np.testing.assert_allclose(means["SE"], np.sqrt(np.diag(A @ V @ A.T)), rtol=1e-7)
    np.testing.assert_allclose(means.vcov, A @ V @ A.T, rtol=1e-7, atol=1e-12)
    along = fit.emmeans("x", at={"x": X}).pairs(adjust="none")
    B = np.array([(cells["x"].astype(float) == x) / 6.0 for x in X])
    D = np.array([B[0] - B[1], B[0] - B[2], B[1] - B[2]])
    np.testing.assert_allclose(along["SE"], np.sqrt(np.diag(D @ V @ D.T)), rtol=1e-7)
    assert (along["df"] > 10).all()


def test_differences_that_no_curve_is_in_are_contrasts(fit):
    pairs = fit.emmeans("f", at={"z": 0.0}).pairs(adjust="none")
    names = list(fit.params.index)
    L = np.zeros((2, len(names)))
    L[0, names.index("fb")] = L[1, names.index("fc")] = -1.0
    own = fit.contrast(L)
    for column, name in (("estimate", "estimate"), ("SE", "se"), ("df", "df")):
        np.testing.assert_allclose(pairs[column][:2], getattr(own, name), rtol=1e-6)
    joint = fit.emmeans("f", at={"z": 0.0}).pairs().test(joint=True).frame.iloc[0]
    assert joint["F value"] == pytest.approx(own.f.statistic, rel=1e-6)


def test_slopes_are_those_of_the_curve(fit):
    slopes = fit.emtrends("x", "x", at={"x": X})
    curve = fit.smooth("x").derivative(X)
    np.testing.assert_allclose(slopes["x.trend"], curve["estimate"], rtol=1e-6)
    np.testing.assert_allclose(slopes["SE"], curve["std_error"], rtol=1e-6)
    by = fit.emtrends("f", "z")
    names = ["z", "fb:z", "fc:z"]
    expected = fit.params[names[0]] + np.array([0.0, *fit.params[names[1:]]])
    np.testing.assert_allclose(by["z.trend"], expected, rtol=1e-8)


def test_a_curve_for_each_level(data):
    fit = mlm.lmm("y ~ f + s(x, by=f, k=6)", data)
    at = fit.emmeans(["f", "x"], at={"x": X})
    rows = at.frame[["f"]].assign(x=at["x"].astype(float))
    new = fit.predict(rows, ranef=False, interval="confidence")
    np.testing.assert_allclose(at[["emmean", "lower", "upper"]], new, rtol=1e-8)


def test_what_curves_do_not_allow(fit):
    with pytest.raises(ModelError, match="use ddf='satterthwaite'"):
        fit.emmeans("f", ddf="kenward-roger")
    with pytest.raises(ModelError, match="covariates='averaged' has no place for the smooth"):
        fit.emmeans("f", covariates="averaged")
    with pytest.raises(ModelError, match="holds no rows"):
        mlm.load(fit.to_json()).emmeans("f")
    with pytest.raises(ModelError, match="no place for the smooth term"):
        mlm.joint_tests(fit)
    z = fit.emmeans("f", ddf="asymptotic")
    assert np.isinf(z["df"]).all()
