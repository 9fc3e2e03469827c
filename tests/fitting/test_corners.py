"""Minima of -2 log-likelihood in a corner, where a range of `sp_lin` or `sp_linl` is a distance."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from tests.dense import log_likelihood

pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")

#: Step of one-sided differences in rho, relative to it.
STEP = 1e-5
WHERE = "in a corner of -2 log-likelihood"


def data_set(seed, own_times=False, shift=0.0, noise=0.0):
    """20 subjects of two arms at 6 times, linear correlations that end at 2.9."""
    rng = np.random.default_rng(seed)
    n, k = 20, 6
    times = np.tile(np.cumsum(rng.uniform(0.5, 2.0, k)), (n, 1))
    if own_times:
        times = np.sort(rng.uniform(0.0, 8.0, (n, k)), axis=1)
    y = np.empty((n, k))
    for own, at in zip(y, times, strict=True):
        R = np.maximum(1.0 - 0.35 * np.abs(np.subtract.outer(at, at)), 0.0)
        own[:] = np.linalg.cholesky(R + 1e-9 * np.eye(k)) @ rng.normal(size=k)
    subject = np.repeat(np.arange(n), k)
    x = rng.normal(size=n * k)
    y = y + shift * rng.normal(size=n)[:, None] + noise * rng.normal(size=(n, k))
    return pd.DataFrame(
        {
            "y": y.ravel(),
            "time": times.ravel(),
            "id": subject,
            "x": x,
            "arm": np.where(subject % 2, "a", "b"),
        }
    )


def deviance(data, method, arms, logarithm=False, nugget=0.0, intercept=0.0):
    """-2 log-likelihood from the dense V; ``arms`` are pairs (variance, rho) by arm."""
    gap = np.abs(np.subtract.outer(data["time"].to_numpy(), data["time"].to_numpy()))
    if logarithm:
        gap = np.log(np.where(gap > 0, gap, 1.0))
    same = np.equal.outer(data["id"].to_numpy(), data["id"].to_numpy())
    arm = pd.factorize(data["arm"], sort=True)[0] if len(arms) > 1 else np.zeros(len(data), int)
    variance, rho = np.array(arms)[arm].T
    R = variance[:, None] * np.maximum(1.0 - rho[:, None] * gap, 0.0)
    V = np.where(same, R + intercept, 0.0) + nugget * np.eye(len(data))
    X = np.column_stack([np.ones(len(data)), data["x"]])
    return -2.0 * log_likelihood(data["y"].to_numpy(), X, V, method)


def slopes(function, value, step=STEP):
    """One-sided differences of the second order, from below and from above."""
    h = step * value
    f = [function(value + k * h) for k in (-2, -1, 0, 1, 2)]
    below, above = 3 * f[2] - 4 * f[1] + f[0], -3 * f[2] + 4 * f[3] - f[4]
    return below / (2 * h), above / (2 * h)


CASES = {
    "crept towards from one side": ("sp_lin(time | id)", 5, {}),
    "times of one's own": ("sp_lin(time | id)", 1, {"own_times": True}),
    "arms": ("sp_lin(time | arm / id)", 1, {}),
    "arms, times of one's own": ("sp_lin(time | arm / id)", 3, {"own_times": True}),
    "nugget": ("sp_lin(time | id, nugget)", 1, {"noise": 0.4}),
    "nugget, times of one's own": (
        "sp_lin(time | id, nugget)",
        0,
        {"noise": 0.4, "own_times": True},
    ),
}


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("case", CASES)
def test_the_likelihood_rises_on_both_sides_and_is_level_else(case, method):
    residual, seed, how = CASES[case]
    data = data_set(seed, **how)
    fit = mlm.lmm("y ~ x", data, residual=residual, method=method)
    values = fit.residual_parameters.to_numpy()
    nugget = values[-1] if "nugget" in residual else 0.0
    pairs = values[: len(values) // 2 * 2].reshape(-1, 2)
    named = [text for text in fit.certificate.boundary if WHERE in text]

    def at(parameters, nugget=nugget):
        return deviance(data, method, parameters, nugget=nugget)

    assert fit.converged
    assert at(pairs) == pytest.approx(fit.deviance, abs=1e-7)
    in_corners = 0
    for arm, (variance, rho) in enumerate(pairs):

        def moved(place, value, arm=arm):
            out = pairs.copy()
            out[arm, place] = value
            return at(out)

        below, above = slopes(lambda value: moved(1, value), rho)
        steepness = max(abs(below), abs(above))
        if steepness > 1e-2:
            in_corners += 1
            assert below < -1e-4 * steepness
            assert above > 1e-4 * steepness
        assert slopes(lambda value: moved(0, value), variance)[0] == pytest.approx(0, abs=1e-4)
        assert slopes(lambda value: moved(0, value), variance)[1] == pytest.approx(0, abs=1e-4)
    if nugget:
        assert slopes(lambda value: at(pairs, value), nugget)[0] == pytest.approx(0, abs=1e-4)
    assert in_corners == len(named) > 0
    assert fit.certificate.n_evaluations <= 60


def test_no_range_of_a_grid_is_better():
    data = data_set(0)
    fit = mlm.lmm("y ~ x", data, residual="sp_lin(time | id)", method="ML")
    n, X = len(data), np.column_stack([np.ones(len(data)), data["x"]])
    for rho in np.linspace(0.05, 1.5, 150):
        gap = np.abs(np.subtract.outer(data["time"].to_numpy(), data["time"].to_numpy()))
        same = np.equal.outer(data["id"].to_numpy(), data["id"].to_numpy())
        V = np.where(same, np.maximum(1.0 - rho * gap, 0.0), 0.0)
        # The best variance in closed form.
        inner = np.linalg.solve(V, np.column_stack([X, data["y"]]))
        beta = np.linalg.solve(X.T @ inner[:, :2], X.T @ inner[:, 2])
        r = data["y"] - X @ beta
        variance = r @ np.linalg.solve(V, r) / n
        assert deviance(data, "ML", [(variance, rho)]) >= fit.deviance - 1e-8


def test_beside_a_random_intercept():
    data = data_set(2, own_times=True, shift=1.0)
    fit = mlm.lmm("y ~ x + (1 | id)", data, residual="sp_lin(time | id)")
    variance, rho = fit.residual_parameters
    tau2 = fit.covariance_parameters["Var((Intercept)) | id"]

    def at(variance=variance, rho=rho, tau2=tau2):
        return deviance(data, "REML", [(variance, rho)], intercept=tau2)

    assert any(WHERE in text for text in fit.certificate.boundary)
    assert at() == pytest.approx(fit.deviance, abs=1e-7)
    below, above = slopes(lambda value: at(rho=value), rho)
    assert below < 0 < above
    assert slopes(lambda value: at(variance=value), variance)[0] == pytest.approx(0, abs=1e-4)
    assert slopes(lambda value: at(tau2=value), tau2)[0] == pytest.approx(0, abs=1e-4)


def test_a_range_in_a_corner_is_treated_as_one_that_is_held():
    data = data_set(0)
    model = mlm.LMM("y ~ x", data, residual="sp_lin(time | id)")
    fit = model.fit()
    held = model.fit(hold={"SP(LIN)": fit.residual_parameters["SP(LIN)"]})
    assert held.deviance == pytest.approx(fit.deviance, abs=1e-9)
    tests = fit.covtest()
    assert np.isnan(tests.frame.loc["SP(LIN)", "se"])
    assert tests.frame.loc["Variance", "se"] == pytest.approx(
        held.covtest().frame.loc["Variance", "se"], rel=1e-8
    )
    assert WHERE in str(tests)
    assert WHERE in " ".join(str(fit.summary()).split())
    rho = fit.residual_parameters["SP(LIN)"]
    for ddf in ("satterthwaite", "kenward-roger"):
        own, other = model.fit(ddf=ddf), model.fit(ddf=ddf, hold={"SP(LIN)": rho})
        assert own.df.to_numpy() == pytest.approx(other.df.to_numpy(), rel=1e-6)
        assert own.bse.to_numpy() == pytest.approx(other.bse.to_numpy(), rel=1e-8)


def test_the_message_names_parameter_distance_and_arm():
    fit = mlm.lmm("y ~ x", data_set(1), residual="sp_lin(time | arm / id)")
    named = [text for text in fit.certificate.boundary if WHERE in text]
    for arm, text in zip("ab", named, strict=True):
        rho = fit.residual_parameters[f"{arm}: SP(LIN)"]
        assert text.startswith(f"{arm}: SP(LIN) of residual='sp_lin(time | arm / id)' is {rho:.6g}")
        assert f"of rows {1 / rho:.6g} apart becomes 0" in text


def test_of_logarithms_the_distance_is_told_itself():
    for seed in range(8):
        data = data_set(seed)
        data["time"] = 3.0 * data["time"]
        fit = mlm.lmm("y ~ x", data, residual="sp_linl(time | id)", method="ML")
        assert fit.converged
        variance, rho = fit.residual_parameters
        named = [text for text in fit.certificate.boundary if WHERE in text]
        if named:
            break
    assert f"of rows {np.exp(1 / rho):.6g} apart" in named[0]

    def at(value):
        return deviance(data, "ML", [(variance, value)], logarithm=True)

    below, above = slopes(at, rho)
    assert below < 0 < above


def test_rows_of_a_batch_have_the_bits_of_single_fits():
    frames = [data_set(seed) for seed in range(6)]
    Y = np.column_stack([own["y"] for own in frames])
    model = mlm.LMM("y ~ x", frames[0], residual="sp_lin(time | id)")
    batch = model.fit_many(Y)
    assert batch.converged.all()
    for k in range(Y.shape[1]):
        alone = model.fit_many(Y[:, [k]])
        assert alone.deviance[0] == batch.deviance[k]
        assert (np.asarray(alone.params)[0] == np.asarray(batch.params)[k]).all()
        assert (np.asarray(alone.bse)[0] == np.asarray(batch.bse)[k]).all()
        one = frames[0].assign(y=Y[:, k])
        single = mlm.lmm("y ~ x", one, residual="sp_lin(time | id)")
        assert single.deviance == batch.deviance[k]


@pytest.mark.parametrize("own_times", [False, True])
def test_what_goes_by_rows_leaves_the_range_out(own_times):
    data = data_set(1 if own_times else 0, own_times=own_times)
    fit = mlm.lmm("y ~ x", data, residual="sp_lin(time | id)")
    assert mlm.load(fit.to_json()).df.equals(fit.df)
    found = fit.predict(data.head(3), interval="prediction")
    assert np.isfinite(found.to_numpy(dtype=float)).all()
