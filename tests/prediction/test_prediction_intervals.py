"""Degrees of freedom and standard errors of predictions against dense matrices.

The predictor is w'y; its weights, its error variance and their derivatives come from n x n matrices
and finite differences in the covariance parameters.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mlmfast as mlm
from mlmfast.errors import ModelError

from ..cases import data_of
from ..dense_inference import DenseInference
from ..general_models import trials
from ..residual_models import trial

SLEEP, GROWTH = "sleepstudy_slope_corr_reml", "orthodont_slope_reml"
MODELS = {
    "random slopes": (SLEEP, "Reaction ~ Days + (Days | Subject)", {}),
    "weights": (SLEEP, "Reaction ~ Days + (1 | Subject)", {"weights": np.linspace(0.5, 2, 180)}),
    "nested": ("pastes_nested_reml", "strength ~ 1 + (1 | batch/cask)", {}),
    "crossed": ("assay_crossed_reml", "logDens ~ sample + (1 | Block:sample) + (1 | dilut)", {}),
    "beside ar1": (
        GROWTH,
        "distance ~ age * Sex + (1 | Subject)",
        {"residual": "ar1(age | Subject)"},
    ),
    "items across ar1": (trials, "y ~ x + (1 | item)", {"residual": "ar1(trial | subject)"}),
    "sessions inside ar1": (
        trials,
        "y ~ x + (1 | subject:session)",
        {"residual": "ar1(trial | subject)"},
    ),
    "unstructured": (GROWTH, "distance ~ age * Sex", {"residual": "us(age | Subject)"}),
}


@dataclass(frozen=True)
class DensePrediction:
    """x'beta + z'g (+ e) of the row k of the fit, as functions of the covariance parameters."""

    whole: DenseInference
    k: int
    conditional: bool
    new_response: bool

    def residual(self, psi):
        """R: V with every variance of a random effect set to 0."""
        n_random = sum(len(e.structure.entries) for e in self.whole.fit._source.design.random)
        psi = psi.copy()
        psi[:n_random] = 0.0
        return self.whole.V(psi)

    def weights(self, psi):
        V, X = self.whole.V(psi), self.whole.X
        c = (V - self.residual(psi))[self.k] if self.conditional else np.zeros(len(V))
        inverse = np.linalg.inv(V)
        M = np.linalg.inv(X.T @ inverse @ X)
        d = X[self.k] - X.T @ inverse @ c
        return inverse @ (c + X @ M @ d)

    def variance(self, psi):
        V, R, w = self.whole.V(psi), self.residual(psi), self.weights(psi)
        G = V - R
        c = G[self.k] if self.conditional else np.zeros(len(V))
        own = G[self.k, self.k] if self.conditional or self.new_response else 0.0
        noise = R[self.k, self.k] if self.new_response else 0.0
        return own - 2 * c @ w + w @ V @ w + noise

    def slopes(self, function):
        w = self.whole
        return np.array(
            [
                (function(w.moved((j, 1))) - function(w.moved((j, -1)))) / (2 * h)
                for j, h in enumerate(w.steps)
            ]
        )

    def df(self, total, W):
        g = self.slopes(self.variance)
        return 2 * total**2 / (g @ W @ g)

    def inflation(self, W):
        slopes = self.slopes(self.weights)
        return 2 * np.sum(W * (slopes @ self.whole.V0 @ slopes.T))


CASES = [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.parametrize(("conditional", "new_response"), CASES)
@pytest.mark.parametrize("name", MODELS)
def test_intervals_are_those_of_dense_matrices(name, conditional, new_response):
    case_id, formula, arguments = MODELS[name]
    data = case_id() if callable(case_id) else data_of(case_id)
    fit = mlm.lmm(formula, data, **arguments)
    whole = DenseInference(fit)
    W = np.linalg.inv(whole.observed)
    kind = "prediction" if new_response else "confidence"
    found = fit.predict(ranef=conditional, interval=kind, level=0.9)
    half = (found["upper"] - found["fit"]).to_numpy()
    np.testing.assert_allclose(found["fit"] - found["lower"], half, rtol=1e-10)
    for k in (0, 13, 22):
        dense = DensePrediction(whole, k, conditional, new_response)
        variance = dense.variance(whole.psi)
        df = dense.df(variance, W)
        assert half[k] == pytest.approx(stats.t.ppf(0.95, df) * np.sqrt(variance), rel=2e-6)


@pytest.mark.parametrize("name", ["random slopes", "nested", "crossed", "beside ar1"])
def test_kenward_roger_adds_what_estimating_costs(name):
    case_id, formula, arguments = MODELS[name]
    fit = mlm.lmm(formula, data_of(case_id), ddf="kenward-roger-linear", **arguments)
    whole = DenseInference(fit)
    W = np.linalg.inv(whole.observed)
    found = fit.predict(interval="confidence")
    for k in (0, 22):
        dense = DensePrediction(whole, k, True, False)
        total = dense.variance(whole.psi) + dense.inflation(W)
        half = stats.t.ppf(0.975, dense.df(total, W)) * np.sqrt(total)
        assert found["upper"].iloc[k] - found["fit"].iloc[k] == pytest.approx(half, rel=2e-5)


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger", "containment", 7])
def test_marginal_means_agree_with_estimate(sleepstudy, ddf):
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy.iloc[:-7], ddf=ddf)
    found = fit.predict({"Days": [3.0]}, ranef=False, interval="confidence")
    expected = fit.estimate("(Intercept) + 3 * Days").table.iloc[0]
    np.testing.assert_allclose(found["lower"], expected["lower"], rtol=1e-12)
    np.testing.assert_allclose(found["upper"], expected["upper"], rtol=1e-12)


def test_mean_of_one_sample_and_a_new_one():
    """t on n - 1 degrees of freedom, as in any textbook."""
    y = np.array([3.1, 4.7, 2.2, 5.9, 4.4, 3.8, 6.0])
    fit = mlm.lmm("y ~ 1", {"y": y})
    found = fit.predict({"y": [0.0]}, ranef=False, interval="prediction")
    half = stats.t.ppf(0.975, 6) * y.std(ddof=1) * np.sqrt(1 + 1 / 7)
    assert found["upper"][0] - found["fit"][0] == pytest.approx(half)


def test_a_new_response_of_a_visit_has_that_visits_residual():
    data = data_of(GROWTH)
    fit = mlm.lmm("distance ~ age", data, residual="diag(age | Subject)")
    of_fit = fit.predict(ranef=False, interval="prediction")
    new = pd.DataFrame({"age": data["age"].iloc[:4]})
    found = fit.predict(new, ranef=False, interval="prediction")
    np.testing.assert_allclose(found, of_fit.iloc[:4], rtol=1e-10)


def test_levels_that_are_all_new():
    data = data_of(SLEEP)
    fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", data)
    new = {"Days": [2.0], "Subject": ["nobody"]}
    conditional = fit.predict(new, interval="prediction", new_levels="population")
    marginal = fit.predict(new, ranef=False, interval="prediction")
    np.testing.assert_allclose(conditional, marginal, rtol=1e-10)


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_estimates_with_random_effects_are_predictions(sleepstudy, ddf):
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy, ddf=ddf)
    random = {"Subject": {"309": {"(Intercept)": 1, "Days": 3}}}
    test = fit.estimate("(Intercept) + 3 * Days", random=random).table.iloc[0]
    new = {"Days": [3.0], "Subject": ["309"]}
    found = fit.predict(new, interval="confidence").iloc[0]
    expected = test[["estimate", "lower", "upper"]].to_numpy(dtype=float)
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-10)


#: x, w and y, and limits of new responses at x = -1, 0, 2 of weights 0.5, 1, 4 by R's lm (4.2.2):
#: predict(lm(y ~ x, d, weights = w), new, interval = "prediction", weights = new$w).
WEIGHTED = np.array([
    *((-0.626, 2.55, 1.224), (0.184, 2.12, 1.113), (-0.836, 2.46, 0.412), (1.595, 1.88, 2.556)),
    *((0.33, 1.82, 0.309), (-0.82, 2.47, -0.085), (0.487, 0.56, 0.961), (0.738, 1.69, 1.693)),
    *((0.576, 2.33, 2.296), (-0.305, 2.23, 1.206), (1.512, 1.69, 2.385), (0.39, 2.65, 1.234)),
    *((-0.621, 1.6, 0.93), (-2.215, 1.11, -0.686), (1.125, 0.68, 1.29), (-0.045, 0.75, 0.138)),
    *((-0.016, 1.29, 1.305), (0.944, 1.8, 2.517), (0.821, 2.16, 1.745), (0.594, 1.52, 2.309)),
])  # fmt: skip
LIMITS = [
    (-1.74533638039596, 2.3553423761864),
    (-0.28942221126159, 2.5941814987088),
    (1.93528428145951, 3.7589815893014),
]


def test_new_responses_of_known_weights_as_by_rs_lm():
    data = pd.DataFrame(WEIGHTED, columns=["x", "w", "y"])
    fit = mlm.lmm("y ~ x", data, weights="w")
    new = pd.DataFrame({"x": [-1.0, 0.0, 2.0], "w": [0.5, 1.0, 4.0]})
    once = mlm.load(fit.to_json())
    for found in (
        fit.predict(new, interval="prediction"),
        fit.predict(new[["x"]], interval="prediction", weights=new["w"].to_numpy()),
        once.predict(new, interval="prediction", weights="w"),
    ):
        np.testing.assert_allclose(found[["lower", "upper"]], LIMITS, rtol=1e-9)
    with pytest.raises(ModelError, match="depends on the weights of new rows"):
        once.predict(new, interval="prediction")


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_weights_of_new_responses_at_visits(ddf):
    """A new row like one of the fit has the interval of that row, whatever others weigh."""
    frame = trial(seed=4, n_subjects=24)
    for arguments in (
        {"residual": "us(visit | subject)"},
        {"residual": "ar1(time | subject)", "residual_scale": "arm"},
    ):
        fit = mlm.lmm("y ~ x + arm", frame, weights="w", ddf=ddf, **arguments)
        own = fit.predict(ranef=False, interval="prediction")
        found = fit.predict(frame, ranef=False, interval="prediction")
        pd.testing.assert_frame_equal(found, own, rtol=1e-8)
        loaded = mlm.load(fit.to_json())
        again = loaded.predict(frame, ranef=False, interval="prediction", weights="w")
        pd.testing.assert_frame_equal(again, own, rtol=1e-8)
