"""Streams of the simulation and its bad arguments; `test_results` has its distribution."""

import numpy as np
import pytest

from mlmfast.covariance.correlations import covariance_root
from mlmfast.errors import DataError, ModelError

from ..fits import lmm
from ..problems import formula_of, nested_frame


@pytest.fixture(scope="module")
def fit():
    return lmm(formula_of("(x | a/b)"), nested_frame(), weights="w", offset="off")


def test_a_column_does_not_depend_on_how_many_there_are(fit):
    np.testing.assert_array_equal(fit.simulate(2, seed=4), fit.simulate(9, seed=4)[:, :2])


def test_seeds_of_every_kind(fit):
    expected = fit.simulate(2, seed=4)
    sequence = np.random.SeedSequence(4)
    for _ in range(2):
        np.testing.assert_array_equal(fit.simulate(2, seed=sequence), expected)
    one, two = (fit.simulate(1, seed=np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    generator = np.random.default_rng(4)
    assert not np.any(fit.simulate(1, seed=generator) == fit.simulate(1, seed=generator))
    assert not np.any(fit.simulate() == fit.simulate())


@pytest.mark.parametrize("n", [0, -1, 1.5, "3", True, None])
def test_a_number_of_responses_that_is_none(fit, n):
    with pytest.raises(DataError, match=r"^n is "):
        fit.simulate(n)


@pytest.mark.parametrize("seed", [-1, "seed", 1.5])
def test_a_seed_that_is_none(fit, seed):
    with pytest.raises(DataError, match=r"^seed is "):
        fit.simulate(1, seed=seed)


def test_the_root_of_a_singular_covariance():
    G = np.array([[1e10, -1e2, 0.0], [-1e2, 1e-6, 0.0], [0.0, 0.0, 0.0]])
    B = covariance_root(G)
    np.testing.assert_allclose(B @ B.T, G, rtol=1e-12)


def test_kinds_of_residuals_are_named(fit):
    with pytest.raises(ModelError, match="raw, pearson, studentised, marginal"):
        fit.resid("deviance")
