"""The oracle itself: against the reference fits, and its derivatives against finite differences."""

import numpy as np
import pandas as pd
import pytest

from .. import dense
from ..cases import data_of, our_group, our_level, reference, tolerance, varcorr_of


def indicator(frame, column):
    """Treatment contrasts of a factor."""
    return pd.get_dummies(frame[column], drop_first=True).to_numpy(float)


def columns(frame, *names):
    return np.column_stack([np.ones(len(frame)), *[frame[name] for name in names]])


def with_interaction(frame, numeric, factor):
    """The columns of `numeric * factor`."""
    x, f = frame[[numeric]].to_numpy(float), indicator(frame, factor)
    return np.hstack([np.ones_like(x), x, f, x * f])


def splitplot(frame):
    recipe, temperature = indicator(frame, "recipe"), indicator(frame, "temperature")
    products = [recipe * temperature[:, [k]] for k in range(temperature.shape[1])]
    return np.hstack([np.ones((len(frame), 1)), recipe, temperature, *products])


# Fixed part of each model by hand, in R's column order: no formula parser stands between.
DESIGNS = {
    "sleepstudy_slope_corr": lambda d: columns(d, "Days"),
    "sleepstudy_slope_uncorr": lambda d: columns(d, "Days"),
    "sleepstudy_slope_only": lambda d: columns(d, "Days"),
    "orthodont_slope": lambda d: with_interaction(d, "age", "Sex"),
    "pastes_nested": lambda d: np.ones((len(d), 1)),
    "cake_splitplot": splitplot,
    "sim_weights_a": lambda d: columns(d, "x", "z"),
    "sim_multi_a": lambda d: columns(d, "x", "z"),
    "sim_offset_a": lambda d: columns(d, "x", "z"),
    "sing_zero_inner_a": lambda d: columns(d, "x"),
    "sing_corr_one_a": lambda d: columns(d, "x"),
    "lm_warpbreaks": lambda d: np.hstack(
        [
            columns(d),
            indicator(d, "wool"),
            indicator(d, "tension"),
            indicator(d, "wool") * indicator(d, "tension"),
        ]
    ),
}
IDS = [f"{name}_{method}" for name in DESIGNS for method in ("ml", "reml")]


class Model:
    """A reference model in matrices, its parameters at the reference's estimates."""

    def __init__(self, case_id):
        case, frame = reference(case_id), data_of(case_id)
        self.method, self.expect = case["method"], case["expect"]
        self.X = DESIGNS[case_id.rpartition("_")[0]](frame)
        self.y = frame[case["formula"].split(" ~ ")[0]].to_numpy(float)
        if "offset(off)" in case["formula"]:
            self.y = self.y - frame["off"].to_numpy(float)
        weights = None if case["weights"] is None else frame[case["weights"]].to_numpy(float)
        self.terms, self.labels = {}, {}
        for group, (names, G) in varcorr_of(case_id).items():
            label = frame[group.split(":")].astype(str).agg(":".join, axis=1)
            self.labels[group], codes = np.unique(label, return_inverse=True)
            Z = np.column_stack(
                [np.ones(len(frame)) if name == "(Intercept)" else frame[name] for name in names]
            )
            self.terms[group] = dense.Term(Z, G, codes)
        self.R = dense.residual_covariance(self.expect["sigma"] ** 2, len(frame), weights)
        self.V = dense.marginal_covariance(self.terms.values(), self.R)


@pytest.fixture(params=IDS)
def case_id(request):
    return request.param


@pytest.fixture
def model(case_id):
    return Model(case_id)


def test_log_likelihood_is_the_references(model):
    value = dense.log_likelihood(model.y, model.X, model.V, model.method)
    assert value == pytest.approx(model.expect["loglik"], abs=1e-7, rel=1e-9)


def test_gls_gives_the_references_coefficients_and_standard_errors(model, case_id):
    beta, vcov = dense.gls(model.y, model.X, model.V)
    se = np.array(list(model.expect["se"].values()))
    error = np.abs(beta - list(model.expect["beta"].values()))
    assert np.all(error <= tolerance(case_id, "beta") * np.maximum(se, np.abs(beta)))
    np.testing.assert_allclose(np.sqrt(np.diag(vcov)), se, rtol=tolerance(case_id, "se"))


def test_blups_and_their_covariances_are_the_references(model, case_id):
    for group, levels in model.expect.get("ranef", {}).items():
        ours = our_group(case_id, group)
        term = model.terms[ours]
        value = dense.blups(term, model.y, model.X, model.V)
        spread = dense.conditional_covariances(term, model.V)
        position = {label: k for k, label in enumerate(model.labels[ours])}
        order = [position[our_level(case_id, group, level)] for level in levels]
        atol = tolerance(case_id, "ranef") * np.sqrt(term.G.max())
        np.testing.assert_allclose(value[order], list(levels.values()), atol=atol)
        condvar = model.expect["ranef_condvar"][group]
        np.testing.assert_allclose(
            spread[order], list(condvar.values()), atol=atol**2 + 1e-6 * term.G.max()
        )


def test_conditional_fitted_values_add_the_blups_to_the_marginal_ones(model):
    total = dense.marginal_fitted(model.y, model.X, model.V)
    for term in model.terms.values():
        effects = dense.blups(term, model.y, model.X, model.V)[term.codes]
        total = total + np.sum(term.Z * effects, axis=1)
    fitted = dense.conditional_fitted(model.y, model.X, model.V, model.R)
    np.testing.assert_allclose(fitted, total, rtol=1e-9, atol=1e-9)


def test_profiled_deviance_is_minus_twice_the_log_likelihood(model):
    W = model.V / model.expect["sigma"] ** 2
    value = dense.profiled_deviance(model.y, model.X, W, model.method)
    assert value == pytest.approx(-2 * model.expect["loglik"], abs=2e-7, rel=1e-9)


def random_model(seed, weighted):
    """Two nested terms, the outer one with a slope, at parameters away from any optimum."""
    rng = np.random.default_rng(seed)
    n = 60
    outer = rng.integers(0, 6, n)
    inner = 3 * outer + rng.integers(0, 3, n)
    x = rng.normal(size=n)
    X = np.column_stack([np.ones(n), x, rng.normal(size=n)])
    root = rng.normal(size=(2, 2))
    terms = [
        dense.Term(X[:, :2], root @ root.T + 0.1 * np.eye(2), outer),
        dense.Term(np.ones((n, 1)), np.array([[0.7]]), inner),
    ]
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    return X @ [1.0, 2.0, -1.0] + rng.normal(size=n) + outer, X, terms, weights


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_and_hessian_match_finite_differences(method, weighted):
    y, X, terms, weights = random_model(7, weighted)
    gradient, hessian = dense.gradient_hessian(y, X, terms, method, weights)

    def deviance(phi):
        return dense.deviance_at(phi, y, X, terms, method, weights)

    def slope(phi):
        return dense.gradient(y, X, dense.with_entries(terms, phi), method, weights)

    phi = dense.entries(terms)
    np.testing.assert_allclose(dense.finite_difference(deviance, phi, 1e-5), gradient, rtol=1e-6)
    np.testing.assert_allclose(dense.finite_difference(slope, phi, 1e-5), hessian, rtol=1e-6)


def test_stacked_terms_equal_separate_ones():
    _, X, _, _ = random_model(3, False)
    codes = np.arange(len(X)) % 5
    parts = [
        dense.Term(X[:, :1], np.array([[2.0]]), codes),
        dense.Term(X[:, 1:], np.array([[1.0, 0.3], [0.3, 0.5]]), codes),
    ]
    R = dense.residual_covariance(1.5, len(X))
    separate = dense.marginal_covariance(parts, R)
    np.testing.assert_allclose(dense.marginal_covariance([dense.stack(parts)], R), separate)
