"""Residual covariances that too few subjects hold, seen by counting."""

import numpy as np
import pandas as pd
import pytest

from mlmfast.covariance.factor_analytic.factor_analytic_alone import FactorAnalyticAlone
from mlmfast.covariance.structures.banded_unstructured import BandedUnstructured
from mlmfast.covariance.structures.huynh_feldt import HuynhFeldt
from mlmfast.covariance.structures.toeplitz import HeterogeneousToeplitz
from mlmfast.errors import ConvergenceWarning

from ..fits import lmm

VISITS, OTHERS, COMPLETE = 5, 8, 2


def trial(seed):
    """8 subjects that miss two visits each, and two that miss none."""
    rng = np.random.default_rng(seed)
    n = OTHERS + COMPLETE
    errors = rng.normal(size=(n, VISITS)) + rng.normal(size=(n, 1))
    frame = pd.DataFrame(
        [
            {"subject": i, "visit": f"v{j}", "y": errors[i, j]}
            for i in range(n)
            for j in range(VISITS)
            if i >= OTHERS or j not in (i % VISITS, (i + 2) % VISITS)
        ]
    )
    frame["x"] = rng.normal(size=len(frame))
    return frame


def deviance(frame, mean, covariance):
    """-2 log-likelihood by each subject's own covariance, but for a constant."""
    out = 0.0
    for _, own in frame.groupby("subject"):
        at = own["visit"].str[1:].astype(int).to_numpy()
        v = covariance[np.ix_(at, at)]
        rest = own["y"].to_numpy() - mean
        out += np.linalg.slogdet(v)[1] + rest @ np.linalg.solve(v, rest)
    return out


def test_the_likelihood_falls_without_bound_where_counting_says_so():
    frame = trial(0)
    complete = frame[frame["subject"] >= OTHERS]["y"].to_numpy().reshape(COMPLETE, VISITS)
    u = np.linalg.svd(complete)[2][-1]
    assert np.abs(complete @ u).max() < 1e-12
    along = [
        deviance(frame, 0.0, np.eye(VISITS) + (variance - 1.0) * np.outer(u, u))
        for variance in (1e-8, 1e-9, 1e-10)
    ]
    np.testing.assert_allclose(np.diff(along), -COMPLETE * np.log(10.0), rtol=1e-3)


def test_the_likelihood_of_huynh_and_feldt_falls_in_the_same_way():
    frame = trial(0)
    complete = frame[frame["subject"] >= OTHERS]["y"].to_numpy().reshape(COMPLETE, VISITS)
    v = np.linalg.svd(complete)[2][-1]
    v = v / v.sum()
    along = []
    hf = HuynhFeldt(VISITS)
    for small in (1e-6, 1e-7, 1e-8):
        root = np.eye(VISITS) - np.outer(np.ones(VISITS), v)
        # A common addition to all entries leaves R[i, j] of the structure.
        covariance = root @ root.T + small
        natural = [*np.diag(covariance), 1.0]
        theta = hf.from_natural(np.array([natural]))
        np.testing.assert_allclose(hf.matrix(theta)[0], covariance, rtol=1e-9, atol=1e-12)
        along.append(deviance(frame, 0.0, covariance))
    np.testing.assert_allclose(np.diff(along), -COMPLETE * np.log(10.0), rtol=1e-3)


def test_combinations_that_structures_free():
    assert HuynhFeldt(4).frees_combinations((0, 3))
    assert FactorAnalyticAlone(3).frees_combinations((0, 1, 2))
    assert not FactorAnalyticAlone(3, order=2).frees_combinations((0, 1))
    banded = BandedUnstructured(4, order=3)
    assert banded.frees_combinations((2, 0, 1))
    assert not banded.frees_combinations((0, 3))
    assert not HeterogeneousToeplitz(4).frees_combinations((0, 1))


# With seed 1 the iteration of `hf` comes to a minimum on its way.
@pytest.mark.parametrize(
    ("structure", "seed"),
    [(s, seed) for s in ("us", "un", "hf", "fa0") for seed in (0, 1, 3) if (s, seed) != ("hf", 1)],
)
def test_a_likelihood_without_a_maximum_is_told_early(structure, seed):
    residual = f"{structure}(visit | subject)"
    with pytest.warns(ConvergenceWarning, match="has no maximum"):
        fit = lmm("y ~ x", trial(seed), residual=residual, method="ML")
    assert not fit.converged
    (text,) = fit.certificate.boundary
    assert "has no maximum" in text
    assert f"({COMPLETE} subject(s) have all of these)" in text
    assert fit.certificate.n_evaluations <= 20
    # No end elsewhere is below what falls without bound.
    assert fit.certificate.n_elsewhere == 0
