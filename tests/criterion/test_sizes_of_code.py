"""Designs of each size that has code of its own, and of those beside, against the dense oracle."""

import numpy as np
import pytest

import mlmfast as mlm
from tests import dense


def design(p, q, weighted):
    """p columns of X, q of Z; runs of clusters of one size, clusters of others and of one row."""
    rng = np.random.default_rng([p, q, weighted])
    sizes = [6] * 8 + [1, 9, 2, 6, 6, 6] + [7] * 5 + [3, 1]
    g = np.repeat(np.arange(len(sizes)), sizes)
    X = np.column_stack([np.ones(g.size), rng.normal(size=(g.size, max(p - 1, q - 1)))])
    Z, X = X[:, :q], X[:, :p]
    effects = rng.normal(size=(len(sizes), q)) * [1.5, 1.0, 0.8][:q]
    y = X.sum(axis=1) + (Z * effects[g]).sum(axis=1) + rng.normal(size=g.size)
    weights = rng.uniform(0.5, 2.0, g.size) if weighted else None
    # Rows in any order.
    order = rng.permutation(g.size) if p % 2 else np.arange(g.size)
    return y[order], X[order], Z[order], g[order], None if weights is None else weights[order]


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("q", [1, 2, 3])
@pytest.mark.parametrize("p", [1, 3, 6, 7, 8, 9, 11, 12])
def test_optima_are_those_of_the_dense_likelihood(p, q, method):
    y, X, Z, g, weights = design(p, q, weighted=p % 3 == 0)
    model = mlm.LMM.from_arrays(y, X, groups=g, Z=Z, weights=weights)
    fit = model.fit(method=method)
    assert fit.converged
    assert not fit.singular
    G = fit.varcorr["group"].to_numpy() / fit.scale
    term = dense.Term(Z, G, g)
    W = dense.relative_covariance([term], len(y), weights)
    deviance = dense.profiled_deviance(y, X, W, method)
    llf = dense.log_likelihood(y, X, fit.scale * W, method)
    assert -2.0 * llf == pytest.approx(deviance, rel=1e-10)
    assert fit.llf == pytest.approx(llf, rel=1e-11)
    gradient, hessian = dense.gradient_hessian(y, X, [term], method, weights)
    assert np.linalg.eigvalsh(hessian).min() > 0
    assert gradient @ np.linalg.solve(hessian, gradient) < 1e-8
    beta, vcov = dense.gls(y, X, fit.scale * W)
    np.testing.assert_allclose(fit.params, beta, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(fit.cov_params(), vcov, rtol=1e-8, atol=1e-10)
