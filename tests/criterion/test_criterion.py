"""The engine against the dense oracle, at the engine's own estimates."""

from functools import cache
from itertools import chain

import numpy as np
import pytest

from .. import dense
from ..fits import conditional_covariance, lmm
from ..problems import MODELS, Oracle, formula_of, group_labels, nested_frame

PLAIN, WEIGHTED = {}, {"weights": "w", "offset": "off"}


@cache
def fitted(random_part, method, is_weighted):
    """The oracle of one fitted model."""
    frame, arguments = nested_frame(), WEIGHTED if is_weighted else PLAIN
    fit = lmm(formula_of(random_part), frame, method=method, **arguments)
    return Oracle(fit, frame, random_part, method=method, **arguments)


@pytest.fixture(params=["plain", "weights and offset"])
def is_weighted(request):
    return request.param != "plain"


@pytest.fixture(params=["ML", "REML"])
def method(request):
    return request.param


@pytest.fixture(params=MODELS, ids=lambda part: part or "no random term")
def oracle(request, method, is_weighted):
    return fitted(request.param, method, is_weighted)


@pytest.fixture(params=[part for part in MODELS if part])
def mixed(request, method, is_weighted):
    return fitted(request.param, method, is_weighted)


def test_groups_and_effects_are_those_of_the_formula(oracle):
    found = {group: list(G.index) for group, G in oracle.fit.varcorr.items()}
    assert found == {group: list(chain(*blocks)) for group, blocks in oracle.blocks.items()}


def test_terms_of_their_own_have_no_covariance_between_them(mixed):
    for group, blocks in mixed.blocks.items():
        G = mixed.fit.varcorr[group].to_numpy()
        block_of = np.repeat(np.arange(len(blocks)), [len(names) for names in blocks])
        assert np.all(G[block_of[:, None] != block_of] == 0)


def test_log_likelihood_is_the_dense_one(oracle):
    value = dense.log_likelihood(oracle.y, oracle.X, oracle.V, oracle.method)
    assert oracle.fit.llf == pytest.approx(value, rel=1e-11)


def test_estimates_are_a_stationary_point_of_the_dense_deviance(mixed):
    assert not mixed.fit.singular
    gradient, hessian = dense.gradient_hessian(
        mixed.y, mixed.X, mixed.relative_terms, mixed.method, mixed.weights
    )
    assert np.linalg.eigvalsh(hessian).min() > 0
    assert gradient @ np.linalg.solve(hessian, gradient) < 1e-8


def test_residual_variance_is_the_profiled_one(oracle):
    n, p = oracle.X.shape
    r = oracle.y - dense.marginal_fitted(oracle.y, oracle.X, oracle.V)
    rss = oracle.fit.scale * (r @ np.linalg.solve(oracle.V, r))
    divisor = n if oracle.method == "ML" else n - p
    assert oracle.fit.scale == pytest.approx(rss / divisor, rel=1e-9)


def test_coefficients_and_their_covariance_are_generalised_least_squares(oracle):
    beta, vcov = dense.gls(oracle.y, oracle.X, oracle.V)
    np.testing.assert_allclose(oracle.fit.params, beta, rtol=1e-9)
    np.testing.assert_allclose(oracle.fit.cov_params(), vcov, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(oracle.fit.bse, np.sqrt(np.diag(vcov)), rtol=1e-9)
    np.testing.assert_allclose(oracle.fit.tvalues, beta / np.sqrt(np.diag(vcov)), rtol=1e-9)


def test_blups_are_conditional_means(mixed):
    for group, terms in mixed.terms.items():
        expected = dense.blups(dense.stack(terms), mixed.y, mixed.X, mixed.V)
        levels = np.unique(group_labels(mixed.frame, group))
        np.testing.assert_allclose(mixed.fit.ranef[group].loc[levels], expected, atol=1e-9)


def test_conditional_covariances_are_those_of_the_normal_distribution(mixed):
    for group, terms in mixed.terms.items():
        expected = dense.conditional_covariances(dense.stack(terms), mixed.V)
        levels = np.unique(group_labels(mixed.frame, group))
        for level, block in zip(levels, expected, strict=True):
            value = conditional_covariance(mixed.fit, group, level)
            np.testing.assert_allclose(value, block, rtol=1e-8, atol=1e-10)


def test_fitted_values_add_the_offset(oracle):
    conditional = dense.conditional_fitted(oracle.y, oracle.X, oracle.V, oracle.R) + oracle.offset
    np.testing.assert_allclose(oracle.fit.fittedvalues, conditional, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(oracle.fit.predict(), conditional, rtol=1e-9, atol=1e-9)


def test_marginal_predictions_leave_the_random_effects_out(oracle):
    marginal = dense.marginal_fitted(oracle.y, oracle.X, oracle.V) + oracle.offset
    np.testing.assert_allclose(oracle.fit.predict(ranef=False), marginal, rtol=1e-9, atol=1e-9)


def test_predictions_on_the_same_rows_are_the_fitted_values(oracle, is_weighted):
    fit, offset = oracle.fit, "off" if is_weighted else None
    value = fit.predict(oracle.frame, offset=offset)
    np.testing.assert_allclose(value, fit.fittedvalues, rtol=1e-12, atol=1e-12)


def test_residuals_of_each_kind(oracle):
    y, X, V, R = oracle.y, oracle.X, oracle.V, oracle.R
    raw = y - dense.conditional_fitted(y, X, V, R)
    expected = {
        "raw": raw,
        "marginal": y - dense.marginal_fitted(y, X, V),
        "pearson": raw / np.sqrt(np.diag(R)),
        "scaled": dense.scaled_residuals(y, X, V),
    }
    for kind, values in expected.items():
        residuals = oracle.fit.resid(kind=kind)
        np.testing.assert_allclose(residuals, values, atol=1e-8, err_msg=kind)


def test_matrices_of_a_cluster_are_blocks_of_the_dense_ones(mixed):
    labels = group_labels(mixed.frame, next(iter(mixed.blocks)))
    for label in np.unique(labels)[[0, 4, -1]]:
        rows = np.flatnonzero(labels == label)
        block = np.ix_(rows, rows)
        np.testing.assert_array_equal(mixed.fit.X(label), mixed.X[rows])
        np.testing.assert_allclose(mixed.fit.R(label), mixed.R[block], rtol=1e-12)
        np.testing.assert_allclose(mixed.fit.V(label), mixed.V[block], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("random_part", ["(1 | a)", "(x | a)", "(x || a)", "(0 + f | a)"])
def test_marginal_covariance_is_zgz_plus_r(random_part, method, is_weighted):
    fit = fitted(random_part, method, is_weighted).fit
    G = np.asarray(fit.G("a"))
    np.testing.assert_array_equal(G, fit.varcorr["a"])
    for label in ("a0", "a7"):
        Z = np.asarray(fit.Z(label))
        V = Z @ G @ Z.T + np.asarray(fit.R(label))
        # An entry may be a difference of larger ones: rounding is relative to those.
        np.testing.assert_allclose(fit.V(label), V, rtol=1e-12, atol=1e-15 * V.max())


@pytest.mark.parametrize("weighted", [False, True])
def test_linear_model_is_least_squares(weighted):
    ml, reml = (fitted("", method, weighted) for method in ("ML", "REML"))
    w = np.ones(len(ml.y)) if ml.weights is None else ml.weights
    n, p = ml.X.shape
    XtWX = ml.X.T @ (w[:, None] * ml.X)
    b = np.linalg.solve(XtWX, ml.X.T @ (w * ml.y))
    rss = w @ (ml.y - ml.X @ b) ** 2
    np.testing.assert_allclose(ml.fit.params, b, rtol=1e-11)
    np.testing.assert_allclose(reml.fit.params, b, rtol=1e-11)
    assert reml.fit.scale == pytest.approx(rss / (n - p), rel=1e-12)
    assert ml.fit.scale == pytest.approx(rss / n, rel=1e-12)
    variance = reml.fit.scale * np.linalg.inv(XtWX)
    np.testing.assert_allclose(reml.fit.cov_params(), variance, rtol=1e-10, atol=1e-14)
    llf = -n / 2 * (1 + np.log(2 * np.pi * rss / n)) + np.log(w).sum() / 2
    assert ml.fit.llf == pytest.approx(llf, rel=1e-12)
