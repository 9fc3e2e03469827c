"""Long-run properties: over many simulated data sets, intervals cover and tests keep their level.

Every tolerance is 4 standard errors of the simulation, so a right program fails about once in
10,000 changes of the seeds.
"""

import numpy as np
import pytest
from scipy import stats

import mlmfast as mlm

from ..fits import conditional_covariance, lmm

pytestmark = pytest.mark.slow

N_CLUSTERS, N_ROWS, N_DATA_SETS = 200, 6, 1000
BETA = np.array([1.0, -0.5, 0.0])
G = np.array([[1.0, 0.3], [0.3, 0.5]])
SIGMA = 0.8


@pytest.fixture(scope="module")
def design():
    rng = np.random.default_rng(0)
    n = N_CLUSTERS * N_ROWS
    g = np.repeat(np.arange(N_CLUSTERS), N_ROWS)
    return {"g": g, "x": rng.normal(size=n), "z": rng.normal(size=n), "y": rng.normal(size=n)}


def responses(design, n_data_sets, seed):
    """Responses under y ~ x + z + (x | g), shape (n, n_data_sets), and their random effects."""
    rng = np.random.default_rng(seed)
    effects = rng.normal(size=(n_data_sets, N_CLUSTERS, 2)) @ np.linalg.cholesky(G).T
    X = np.column_stack([np.ones_like(design["x"]), design["x"], design["z"]])
    random_part = np.einsum("nk,dnk->nd", X[:, :2], effects[:, design["g"]])
    noise = rng.normal(0, SIGMA, size=(len(X), n_data_sets))
    return (X @ BETA)[:, None] + random_part + noise, effects


@pytest.fixture(scope="module")
def batch(design):
    Y, _ = responses(design, N_DATA_SETS, seed=1)
    return mlm.LMM("y ~ x + z + (x | g)", design).fit_many(Y)


def assert_proportion(hits, probability):
    error = 4 * np.sqrt(probability * (1 - probability) / len(hits))
    assert np.mean(hits) == pytest.approx(probability, abs=error)


def test_every_fit_of_the_batch_converged(batch):
    assert np.all(batch.converged)


@pytest.mark.parametrize("column", range(3))
def test_wald_intervals_cover(batch, column):
    z = (np.asarray(batch.params)[:, column] - BETA[column]) / np.asarray(batch.bse)[:, column]
    assert_proportion(np.abs(z) <= 1.96, 0.95)


@pytest.mark.parametrize("column", range(3))
def test_coefficients_are_unbiased_and_normal(batch, column):
    z = (np.asarray(batch.params)[:, column] - BETA[column]) / np.asarray(batch.bse)[:, column]
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert stats.kstest(z, "norm").pvalue > 1e-4


def test_residual_variance_is_unbiased(batch):
    variance = np.asarray(batch.sigma) ** 2
    error = 4 * variance.std() / np.sqrt(len(variance))
    assert variance.mean() == pytest.approx(SIGMA**2, abs=error)


def test_likelihood_ratio_of_a_coefficient_is_chi_squared(design):
    Y, _ = responses(design, N_DATA_SETS, seed=2)
    full, null = (
        mlm.LMM(formula, design).fit_many(Y, method="ML")
        for formula in ("y ~ x + z + (x | g)", "y ~ x + (x | g)")
    )
    ratio = 2 * (np.asarray(full.llf) - np.asarray(null.llf))
    assert ratio.min() > -1e-7
    assert stats.kstest(ratio, stats.chi2(1).cdf).pvalue > 1e-4


def test_an_absent_variance_is_estimated_as_zero_as_often_as_it_should(design):
    """REML of a balanced one-way layout is 0 exactly when the between mean square is the less."""
    Y = np.random.default_rng(3).normal(size=(N_CLUSTERS * N_ROWS, N_DATA_SETS))
    mixed = mlm.LMM("y ~ 1 + (1 | g)", design).fit_many(Y)
    linear = mlm.LMM("y ~ 1", design).fit_many(Y)
    is_positive = np.asarray(mixed.llf) - np.asarray(linear.llf) > 1e-9
    between_and_within_df = N_CLUSTERS - 1, N_CLUSTERS * (N_ROWS - 1)
    assert_proportion(is_positive, stats.f(*between_and_within_df).sf(1.0))


def test_conditional_covariances_of_the_blups_cover_the_true_effects(design):
    Y, effects = responses(design, 25, seed=4)
    hits = []
    for y, truth in zip(Y.T, effects, strict=True):
        fit = lmm("y ~ x + z + (x | g)", design | {"y": y})
        levels = list(fit.ranef["g"].index)
        spread = [np.diag(conditional_covariance(fit, "g", level)) for level in levels]
        z = (fit.ranef["g"].to_numpy() - truth) / np.sqrt(spread)
        hits.append(np.abs(z) <= 1.96)
    # Clusters of one fit share its error in beta, of relative size 1 / N_CLUSTERS.
    assert np.mean(hits) == pytest.approx(0.95, abs=0.01)


def test_the_parametric_bootstrap_agrees_with_the_standard_errors(design):
    Y, _ = responses(design, 1, seed=5)
    fit = lmm("y ~ x + z + (x | g)", design | {"y": Y[:, 0]})
    refits = mlm.LMM("y ~ x + z + (x | g)", design).fit_many(fit.simulate(N_DATA_SETS, seed=6))
    spread = np.asarray(refits.params).std(axis=0, ddof=1)
    np.testing.assert_allclose(spread, fit.bse, rtol=4 / np.sqrt(2 * N_DATA_SETS))
