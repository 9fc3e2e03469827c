"""Starts from the iterative engine: the same optimum from nearer by, or the usual start."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast import _core
from mlmfast.criterion.criterion import criterion_of
from mlmfast.fitting.starts import probed as probed_starts
from mlmfast.fitting.starts.probed import first_start

FORMULAS = [
    "y ~ x + (1 | u) + (1 | v)",
    "y ~ x + (x | u) + (1 | v)",
    "y ~ x + (x || v) + (1 | u)",
]


def frame(seed=3, sd_v=0.5):
    rng = np.random.default_rng(seed)
    n, n_u, n_v = 6_000, 250, 120
    u, v = rng.integers(0, n_u, n), rng.integers(0, n_v, n)
    x = rng.normal(size=n)
    y = 1.0 + 0.4 * x + 0.7 * rng.normal(size=n_u)[u] + sd_v * rng.normal(size=n_v)[v]
    y += 0.3 * rng.normal(size=n_u)[u] * x + 0.3 * rng.normal(size=n_v)[v] * x
    return pd.DataFrame({"y": y + rng.normal(size=n), "x": x, "u": u, "v": v})


@pytest.fixture
def always(monkeypatch):
    monkeypatch.setattr(probed_starts, "_FEWEST_OPERATIONS", 0.0)
    monkeypatch.setattr(probed_starts, "_OPERATIONS_A_ROW", 0.0)


def starts(model, method="REML"):
    reduced = model._reduced(None)
    fits = np.arange(len(reduced.y_scaling))
    return first_start(reduced, criterion_of(reduced, method), fits)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_the_optimum_is_the_same_in_fewer_evaluations(formula, method, monkeypatch):
    model = mlm.LMM(formula, frame())
    usual = model.fit(method=method)
    monkeypatch.setattr(probed_starts, "_FEWEST_OPERATIONS", 0.0)
    monkeypatch.setattr(probed_starts, "_OPERATIONS_A_ROW", 0.0)
    nearer = model.fit(method=method)
    assert nearer.converged
    assert nearer.certificate.n_evaluations < usual.certificate.n_evaluations
    assert abs(nearer.llf - usual.llf) < 1e-8
    np.testing.assert_allclose(nearer.params, usual.params, rtol=1e-7)
    for name, expected in usual.varcorr.items():
        np.testing.assert_allclose(nearer.varcorr[name], expected, rtol=1e-4, atol=1e-6)


def test_both_engines_have_the_parameters_of_one_basis(always):
    model = mlm.LMM(FORMULAS[1], frame())
    reduced = model._reduced(None)
    other = probed_starts.reduce_for_start(reduced)
    for own, bases in zip(reduced.core.bases, other.core.bases, strict=True):
        np.testing.assert_allclose(own, bases, rtol=1e-10, atol=1e-12)


def test_a_batch_gives_the_bits_of_single_fits(always):
    model = mlm.LMM(FORMULAS[0], frame())
    responses = model.fit().simulate(3, seed=1)
    batch = model.fit_many(responses)
    for f in range(3):
        alone = model.fit_many(responses[:, f])
        np.testing.assert_array_equal(batch.params[f], alone.params[0])
        np.testing.assert_array_equal(batch.llf[f], alone.llf[0])


def test_near_a_singular_covariance_the_start_is_the_usual_one(always, monkeypatch):
    data = frame(sd_v=0.0)
    data["y"] -= data.groupby("v").y.transform("mean")
    model = mlm.LMM(FORMULAS[0], data)
    probed = starts(model)
    monkeypatch.setattr(probed_starts, "_FEWEST_OPERATIONS", np.inf)
    np.testing.assert_array_equal(probed, starts(model))
    with pytest.warns(mlm.errors.SingularFitWarning):
        assert model.fit().varcorr["v"].to_numpy()[0, 0] == 0.0


def test_where_conjugate_gradients_take_long_the_start_is_the_usual_one(always, monkeypatch):
    model = mlm.LMM(FORMULAS[0], frame())
    probed = starts(model)

    def gives_up(*_):
        raise _core.NotConverged(100, 1e-3)

    monkeypatch.setattr(probed_starts, "fit_iteratively", gives_up)
    usual = starts(model)
    monkeypatch.setattr(probed_starts, "_FEWEST_OPERATIONS", np.inf)
    np.testing.assert_array_equal(usual, starts(model))
    assert np.abs(probed - usual).max() > 1e-6


def test_short_evaluations_and_related_levels_start_from_moments(monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(probed_starts, "_probed", never)
    model = mlm.LMM(FORMULAS[0], frame())
    assert model.fit().converged
    monkeypatch.setattr(probed_starts, "_FEWEST_OPERATIONS", 0.0)
    monkeypatch.setattr(probed_starts, "_OPERATIONS_A_ROW", 0.0)
    related = pd.DataFrame(np.eye(120) + 0.01, index=range(120), columns=range(120))
    assert mlm.lmm(FORMULAS[0], frame(), cov={"v": related}).converged
    assert mlm.lmm("y ~ x + (1 | u)", frame()).converged
