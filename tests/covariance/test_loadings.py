"""Loadings held at values: `fa0` of all factors goes by the steps of `us`, `rr` by its loadings."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

import mlmfast as mlm
from mlmfast.covariance import STRUCTURES
from mlmfast.errors import ModelError

from .. import dense
from ..model.test_units import fit_quietly, small_frame


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    loadings = np.array([[1.5, 0.0, 0.0], [1.0, 0.8, 0.0], [0.6, 0.5, 0.7]])
    effects = rng.normal(size=(40, 3)) @ loadings.T
    y = np.repeat(effects.ravel(), 2) + 0.8 * rng.normal(size=240)
    return pd.DataFrame({
        "y": y, "g": np.repeat(np.arange(40), 6), "f": np.tile(np.repeat(list("abc"), 2), 40)
    })  # fmt: skip


HELD = {"FA(1,1) | g": 1.3, "FA(2,1) | g": 0.3, "FA(2,2) | g": 0.4, "FA(3,1) | g": -0.1,
        "FA(3,2) | g": 0.0, "FA(3,3) | g": 0.3}  # fmt: skip


@pytest.mark.parametrize("name", HELD)
def test_a_held_loading_of_all_factors_has_the_maximum_of_reduced_rank(data, name):
    hold = {name: HELD[name]}
    fit = mlm.lmm("y ~ f + fa0(0 + f | g, 3)", data, hold=hold)
    other = mlm.lmm("y ~ f + rr(0 + f | g, 3)", data, hold=hold)
    assert fit.converged
    assert fit.covtest()["estimate"][name] == pytest.approx(HELD[name], abs=1e-9)
    assert other.converged
    assert fit.llf == pytest.approx(other.llf, abs=1e-7)
    assert_allclose(fit.bse, other.bse, rtol=1e-5)


def test_a_loading_held_at_its_estimate_is_the_fit(data):
    free = mlm.lmm("y ~ f + fa0(0 + f | g)", data)
    value = float(free.covtest()["estimate"]["FA(3,2) | g"])
    held = mlm.lmm("y ~ f + fa0(0 + f | g)", data, hold={"FA(3,2) | g": value})
    assert held.converged
    assert held.llf == pytest.approx(free.llf, abs=1e-9)


def test_bounds_of_a_loading(data):
    fit = mlm.lmm("y ~ f + fa0(0 + f | g)", data, bounds={"FA(2,1) | g": (None, 0.5)})
    held = mlm.lmm("y ~ f + fa0(0 + f | g)", data, hold={"FA(2,1) | g": 0.5})
    assert fit.llf == pytest.approx(held.llf, abs=1e-7)


@pytest.mark.parametrize("structure", ["fa0(0 + f | g, 3)", "fa0(0 + f | g, 2)"])
def test_negative_loadings_on_the_diagonal_are_refused(data, structure):
    with pytest.raises(ModelError, match=r"no covariance matrix of this model has FA\(1,1\) \| g"):
        mlm.lmm(f"y ~ f + {structure}", data, hold={"FA(1,1) | g": -0.2})


@pytest.mark.parametrize("size", [2, 3, 4])
def test_loadings_by_local_coordinates(size):
    """First and second derivatives by differences along the steps of an iteration."""
    structure = STRUCTURES["fa0"](size)
    root = np.tril(np.random.default_rng(size).normal(size=(size, size)))
    matrix = (root @ root.T + np.eye(size))[None]
    theta, n = structure.theta(matrix), structure.n_theta
    jet, h = structure.natural_jet(theta), 1e-4

    def at(step):
        return structure.natural(structure.move(theta, step[None]))[0]

    steps = h * np.eye(n)
    first = np.stack([(at(s) - at(-s)) / (2 * h) for s in steps], axis=1)
    assert_allclose(jet.first[0], first, atol=1e-6)
    second = np.array([
        [(at(a + b) - at(a - b) - at(b - a) + at(-a - b)) / (4 * h * h) for b in steps]
        for a in steps
    ])  # fmt: skip
    assert_allclose(jet.second[0], np.moveaxis(second, 2, 0), atol=1e-5)


PLACES = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]


@pytest.mark.parametrize("name", ["FA(1,1)", "FA(2,1)", "FA(2,2)", "FA(3,3)"])
@pytest.mark.parametrize("seed", [3, 9])
def test_a_loading_held_at_zero_ends_at_the_lowest_of_dense_starts(name, seed):
    """With as many factors as levels too, where others are 0 beside it."""
    frame = small_frame(seed, 60, 8)
    fit = fit_quietly("y ~ f + fa0(0 + f | g)", frame, hold={f"{name} | g": 0.0})
    assert fit.converged
    assert fit.held == {f"{name} | g": 0.0}
    assert abs(fit.covariance_parameters[f"{name} | g"]) < 1e-12
    table = fit.covtest()
    assert np.isnan(table.loc[f"{name} | g", "se"])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fit)).df, fit.df)
    assert np.isfinite(fit.bse).all()

    y, levels = frame["y"].to_numpy(), np.unique(frame["f"], return_inverse=True)[1]
    X = np.column_stack([np.ones(len(y)), levels == 1, levels == 2]).astype(float)
    same = frame["g"].to_numpy()[:, None] == frame["g"].to_numpy()
    free = [k for k, (a, b) in enumerate(PLACES) if name != f"FA({a + 1},{b + 1})"]

    def deviance(values):
        loadings, factor = np.zeros(6), np.zeros((3, 3))
        loadings[free] = values[:-1]
        factor[np.tril_indices(3)] = loadings
        G = factor @ factor.T
        V = np.where(same, G[np.ix_(levels, levels)], 0.0) + np.exp(values[-1]) * np.eye(len(y))
        return -2.0 * dense.log_likelihood(y, X, V, "REML")

    rng = np.random.default_rng(0)
    lowest = min(minimize(deviance, rng.normal(size=6)).fun for _ in range(3))
    assert lowest - 1e-6 < fit.deviance < lowest + 1e-4
