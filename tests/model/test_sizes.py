"""Sizes of numbers: what double precision cannot hold, weights of any size, nothing left over."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import mlmfast as mlm
from mlmfast.errors import DataError
from tests import dense

F = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleep():
    return mlm.load_sleepstudy()


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-80, 1e80, 1e200, 1e300])
@pytest.mark.parametrize(
    ("formula", "residual"), [(F, None), ("Reaction ~ Days", "ar1(Days | Subject)")]
)
def test_responses_whose_fourth_powers_are_out_of_range_are_refused(size, formula, residual, sleep):
    data = sleep.assign(Reaction=sleep.Reaction * size)
    with pytest.raises(DataError, match=r"'Reaction' is of the order of .* another unit"):
        mlm.lmm(formula, data, residual=residual)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_columns_and_weights_of_such_sizes(size, sleep):
    with pytest.raises(DataError, match="column 'Days' is of the order of"):
        mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep.assign(Days=sleep.Days * size))
    with pytest.raises(DataError, match="'Reaction' with its weights is of the order of"):
        mlm.lmm(F, sleep, weights=np.full(len(sleep), size))


@pytest.mark.parametrize("size", [2.0**-220, 2.0**220])
def test_sizes_up_to_there_change_nothing_but_units(size, sleep):
    own = mlm.lmm(F, sleep)
    fit = mlm.lmm(F, sleep.assign(Reaction=sleep.Reaction * size))
    assert fit.tvalues.tolist() == pytest.approx(own.tvalues.tolist(), rel=1e-9)
    assert fit.df.tolist() == pytest.approx(own.df.tolist(), rel=1e-7)
    kr = mlm.lmm(F, sleep.assign(Reaction=sleep.Reaction * size), ddf="kenward-roger")
    assert kr.df.tolist() == pytest.approx(own.df.tolist(), rel=1e-7)


@pytest.mark.parametrize("weight", [1e-30, 1e30])
def test_equal_weights_of_any_size(weight, sleep):
    own, fit = mlm.lmm(F, sleep), mlm.lmm(F, sleep, weights=np.full(len(sleep), weight))
    assert not fit.aliased
    assert fit.llf == pytest.approx(own.llf, abs=1e-8)
    assert fit.sigma == pytest.approx(own.sigma * weight**0.5, rel=1e-9)


@pytest.mark.parametrize(
    "random",
    ["(1 | Subject)", "(Days | Subject)", "cs(0 + half | Subject)", "(1 | Subject) + (1 | half)"],
)
def test_a_response_that_random_effects_reproduce_is_refused(random, sleep):
    half = np.where(sleep.Days < 5, "a", "b")
    data = sleep.assign(Reaction=sleep.Subject.astype(int) + 2.0 * sleep.Days, half=half)
    with pytest.raises(DataError, match="fixed and random effects reproduce it exactly"):
        mlm.lmm(f"Reaction ~ Days + {random}", data)
    # With the least bit of error there is a residual variance.
    noise = np.random.default_rng(1).normal(0, 1e-6, len(data))
    fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", data.assign(Reaction=data.Reaction + noise))
    assert fit.converged
    assert fit.sigma == pytest.approx(1e-6, rel=0.2)


def test_weights_do_not_hide_it(sleep):
    data = sleep.assign(Reaction=sleep.Subject.astype(int) + 2.0 * sleep.Days)
    with pytest.raises(DataError, match="reproduce it exactly"):
        mlm.lmm("Reaction ~ Days + (1 | Subject)", data, weights=np.full(len(data), 1e20))


def pairs():
    """Thirty pairs of rows, of which some have one value of x: nothing else is left of sigma^2."""
    rng = np.random.default_rng(0)
    g, x = np.repeat(np.arange(30), 2), rng.integers(0, 2, 60).astype(float)
    return pd.DataFrame({"g": g, "x": x, "y": x + rng.normal(size=30)[g] + rng.normal(size=60)})


def arms():
    """Twenty sites of two rows, each in one arm."""
    rng = np.random.default_rng(3)
    site = np.repeat(np.arange(20), 2)
    y = rng.normal(size=20)[site] + rng.normal(size=40)
    return pd.DataFrame({"g": site, "x": (site < 10) * 1.0, "y": y})


def best_of_dense(data, method):
    """The highest log-likelihood of y ~ x + (x | g) by a search over a Cholesky factor."""
    X, y = np.column_stack([np.ones(len(data)), data.x]), data.y.to_numpy()

    def deviance(at):
        L = np.array([[np.exp(at[0]), 0.0], [at[1], np.exp(at[2])]])
        term = dense.Term(X, L @ L.T, data.g.to_numpy())
        R = dense.residual_covariance(np.exp(2.0 * at[3]), len(data))
        return -2.0 * dense.log_likelihood(y, X, dense.marginal_covariance([term], R), method)

    starts = ([0.0, 0.0, -1.0, 0.0], [-0.5, -0.5, -0.5, -0.3])
    how = {"method": "Nelder-Mead", "options": {"maxiter": 4000, "xatol": 1e-8, "fatol": 1e-10}}
    return -0.5 * min(minimize(deviance, start, **how).fun for start in starts)


@pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")
@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("make", [pairs, arms])
def test_units_whose_columns_depend_tell_the_residual_variance(make, method):
    """No unit has more rows than random effects, but some have fewer directions."""
    data = make()
    right = best_of_dense(data, method)
    for options in ({}, {"engine": "dense"}):
        fit = mlm.lmm("y ~ x + (x | g)", data, method=method, options=options)
        assert fit.converged
        assert fit.llf == pytest.approx(right, abs=1e-6)
    model = mlm.LMM("y ~ x + (x | g)", data)
    Y = np.column_stack([data.y, data.y.sample(frac=1.0, random_state=1)])
    assert model.fit_many(Y, method=method).llf[0] == pytest.approx(right, abs=1e-6)
    batch = mlm.fit_each("y ~ x + (x | g)", [data, data.assign(y=Y[:, 1])], method=method)
    assert batch.llf[0] == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("make", [pairs, arms])
def test_a_response_that_such_units_reproduce_is_refused(make):
    data, rng = make(), np.random.default_rng(2)
    own = rng.normal(size=(data.g.nunique(), 2))
    exact = data.assign(y=own[data.g, 0] + own[data.g, 1] * data.x)
    with pytest.raises(DataError, match="fixed and random effects reproduce it exactly"):
        mlm.lmm("y ~ x + (x | g)", exact)
    status = mlm.LMM("y ~ x + (x | g)", data).fit_many(np.column_stack([data.y, exact.y])).status
    assert "reproduce it exactly" in str(status[1])
    assert "reproduce it exactly" not in str(status[0])
