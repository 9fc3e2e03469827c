"""The likelihood with its derivatives against a dense covariance matrix and differences."""

import numpy as np
import pytest

from mlmfast.statsmodels import MixedLM, MixedLMParams, VCSpec

from ..dense import inverse, log_determinant


def problem(seed=4, use_sqrt=True):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(6), [3, 5, 4, 6, 2, 5])
    n = len(groups)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    Z = np.column_stack([np.ones(n), rng.normal(size=n)])
    C = rng.normal(size=(n, 3))
    y = X @ [1.0, 2.0, -1.0] + rng.normal(size=6)[groups] + rng.normal(size=n)
    mats = [
        [C[groups == g][:, : 1 + g % 2] for g in range(6)],
        [(C[groups == g][:, 2:] > 0) * 1.0 for g in range(6)],
    ]
    names = [[[str(k) for k in range(m.shape[1])] for m in own] for own in mats]
    spec = VCSpec(["a", "b"], names, mats)
    return MixedLM(y, X, groups, exog_re=Z, exog_vc=spec, use_sqrt=use_sqrt)


def point(seed, singular=False):
    rng = np.random.default_rng(seed)
    root = np.tril(rng.normal(size=(2, 2)))
    if singular:
        root[1, 1] = 0.0
    vcomp = np.array([0.0, 0.4]) if singular else rng.gamma(1.0, size=2)
    return MixedLMParams.from_components(rng.normal(size=3), cov_re=root @ root.T, vcomp=vcomp)


def dense(model, params, reml, beta=None):
    """Log-likelihood with the residual variance profiled out, from V whole."""
    n, p = model.exog.shape
    V = np.eye(n)
    for k, rows in enumerate(model.row_indices.values()):
        Z = model.exog_re[rows]
        own = Z @ params.cov_re @ Z.T
        for variance, mats in zip(params.vcomp, model.exog_vc.mats, strict=True):
            own = own + variance * mats[k] @ mats[k].T
        V[np.ix_(rows, rows)] += own
    Vi = inverse(V)
    A = model.exog.T @ Vi @ model.exog
    if beta is None:
        beta = np.linalg.solve(A, model.exog.T @ Vi @ model.endog)
    r = model.endog - model.exog @ beta
    d = n - p if reml else n
    q = r @ Vi @ r
    out = -0.5 * (log_determinant(V) + d * (np.log(2 * np.pi * q / d) + 1))
    return out - (0.5 * log_determinant(A) if reml else 0.0)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("singular", [True, False])
def test_value_is_that_of_the_dense_covariance(reml, singular):
    model, params = problem(), point(1, singular)
    model.reml = reml
    assert model.loglike(params) == pytest.approx(dense(model, params, reml), abs=1e-10)
    at_beta = model.loglike(params, profile_fe=False)
    assert at_beta == pytest.approx(dense(model, params, reml, params.fe_params), abs=1e-10)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("use_sqrt", [True, False])
@pytest.mark.parametrize("profile", [True, False])
def test_score_is_the_difference(reml, use_sqrt, profile):
    model = problem(use_sqrt=use_sqrt)
    model.reml = reml
    for seed in range(3):
        params = point(seed)
        packed = params.get_packed(use_sqrt=use_sqrt, has_fe=not profile)

        def value(x, fe=not profile):
            moved = MixedLMParams.from_packed(x, 3, 2, model.use_sqrt, has_fe=fe)
            return model.loglike(moved, profile_fe=not fe)

        found = model.score(params, profile_fe=profile)
        np.testing.assert_allclose(found, differences(value, packed), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("singular", [True, False])
def test_hessian_is_the_difference_of_the_score_anywhere(reml, singular):
    model, params = problem(use_sqrt=False), point(7, singular)
    model.reml = reml
    packed = params.get_packed(use_sqrt=False, has_fe=True)

    def score(x):
        moved = MixedLMParams.from_packed(x, 3, 2, False, has_fe=True)
        return model.score(moved, profile_fe=False)

    expected = np.array(differences(score, packed))
    found, is_singular = model.hessian(params)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert is_singular == singular
    np.testing.assert_allclose(model.information(params), -found)


def differences(f, x, h=1e-5):
    steps = h * np.eye(len(x))
    return [(np.asarray(f(x + s)) - np.asarray(f(x - s))) / (2 * h) for s in steps]


def test_effects_given_the_data():
    """B Z'V^-1 r and its covariance, group by group, from V whole."""
    model, params = problem(), point(5)
    at = model._likelihood(params)
    beta = at.beta
    for k, rows in enumerate(model.row_indices.values()):
        Z = np.column_stack([model.exog_re[rows], *(mats[k] for mats in model.exog_vc.mats)])
        B = np.zeros((Z.shape[1],) * 2)
        B[:2, :2] = params.cov_re
        widths = [mats[k].shape[1] for mats in model.exog_vc.mats]
        B[np.arange(2, len(B)), np.arange(2, len(B))] = np.repeat(params.vcomp, widths)
        Vi = inverse(np.eye(len(rows)) + Z @ B @ Z.T)
        r = model.endog[rows] - model.exog[rows] @ beta
        np.testing.assert_allclose(at.effects(beta)[k], B @ Z.T @ Vi @ r, atol=1e-12)
        expected = B - B @ Z.T @ Vi @ Z @ B
        np.testing.assert_allclose(at.effects_covariance()[k], expected, atol=1e-12)


def test_packing_and_unpacking():
    params = point(2)
    for use_sqrt in (True, False):
        for has_fe in (True, False):
            packed = params.get_packed(use_sqrt=use_sqrt, has_fe=has_fe)
            back = MixedLMParams.from_packed(packed, 3, 2, use_sqrt, has_fe)
            np.testing.assert_allclose(back.cov_re, params.cov_re, atol=1e-14)
            np.testing.assert_allclose(back.vcomp, params.vcomp, atol=1e-14)
            assert len(back.fe_params) == 3
    copy = params.copy()
    copy.cov_re[0, 0] = -1.0
    assert params.cov_re[0, 0] != -1.0
