"""Ordinary steps taken by the core are those that the iteration takes by itself."""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.fitting import fit
from mlmfast.fitting.core_steps import CoreSteps

N_FITS = 120
GROUPS = np.repeat(np.arange(20), 8)


def model(z, sd, columns=3, seed=1):
    """Random effects of `z` columns with standard deviations `sd`, `sd` / 2, ..."""
    rng = np.random.default_rng(seed)
    n = GROUPS.size
    X = np.column_stack([np.ones(n), rng.normal(size=(n, columns - 1))])
    Y = X.sum(axis=1)[:, None] + rng.normal(size=(n, N_FITS))
    for k in range(z):
        Y += X[:, [k]] * rng.normal(size=(20, N_FITS))[GROUPS] * sd * 0.5**k
    return mlm.LMM.from_arrays(Y[:, 0], X, groups=GROUPS, Z=X[:, :z]), Y


def nested():
    rng = np.random.default_rng(2)
    classes, n = np.repeat(np.arange(40), 4), GROUPS.size
    X = np.column_stack([np.ones(n), rng.normal(size=n)])
    Y = rng.normal(size=(20, N_FITS))[GROUPS] + rng.normal(size=(40, N_FITS))[classes]
    groups = {"school": GROUPS, "class": classes}
    Y += X[:, [1]] * rng.normal(size=(20, N_FITS))[GROUPS]
    Y += rng.normal(size=(n, N_FITS))
    return mlm.LMM.from_arrays(Y[:, 0], X, groups=groups, Z={"school": X}), Y


MODELS = {
    "intercept": model(1, 0.3),
    "slope": model(2, 1.0),
    "slope near 0": model(2, 0.2),
    "slopes": model(3, 1.0),
    "more columns than have code of their own": model(2, 0.5, columns=8),
    "nested": nested(),
}


def both(monkeypatch, name, **how):
    """The batch by the core's steps, and by the iteration alone."""
    own, Y = MODELS[name]
    ahead = own.fit_many(Y, **how)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "core_steps", lambda *_: None)
        return ahead, own.fit_many(Y, **how)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", MODELS)
def test_the_steps_are_those_of_the_iteration(monkeypatch, name, method):
    ahead, alone = both(monkeypatch, name, method=method)
    np.testing.assert_array_equal(ahead.n_evaluations, alone.n_evaluations)
    np.testing.assert_array_equal(ahead.n_iterations, alone.n_iterations)
    np.testing.assert_array_equal(ahead.status, alone.status)
    np.testing.assert_allclose(ahead.llf, alone.llf, rtol=1e-13)
    np.testing.assert_allclose(ahead.params, alone.params, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("most", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["slope", "slopes", "nested"])
def test_a_limit_of_steps_holds_wherever_they_are_taken(monkeypatch, name, most):
    ahead, alone = both(monkeypatch, name, options={"max_iter": most})
    np.testing.assert_array_equal(ahead.n_iterations, alone.n_iterations)
    np.testing.assert_array_equal(ahead.converged, alone.converged)
    assert ahead.n_iterations.max() <= most
    # Some digits fewer: the iteration was stopped where derivatives are large.
    np.testing.assert_allclose(ahead.llf, alone.llf, rtol=1e-11)


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_has_the_same_bits_alone(name):
    own, Y = MODELS[name]
    batch = own.fit_many(Y)
    for k in range(0, N_FITS, 29):
        alone = own.fit_many(Y[:, [k]])
        assert alone.llf.tobytes() == batch.llf[[k]].tobytes()
        assert alone.params.tobytes() == batch.params[[k]].tobytes()
        assert alone.n_evaluations[0] == batch.n_evaluations[k]


def test_most_fits_never_leave_the_core(monkeypatch):
    own, Y = MODELS["slope"]
    left = []
    steps = CoreSteps.go

    def counted(*arguments):
        went = steps(*arguments)
        left.append((len(went.stand), int((went.stand == 0).sum())))
        return went

    monkeypatch.setattr(CoreSteps, "go", counted)
    own.fit_many(Y)
    (n, some), *_ = left
    assert n == N_FITS
    assert some < 0.2 * n


def test_where_the_core_has_no_chart_the_iteration_takes_all_steps(monkeypatch):
    rng = np.random.default_rng(4)
    X = np.column_stack([np.ones(160), rng.normal(size=(160, 3))])
    y = (X * rng.normal(size=(20, 4))[GROUPS]).sum(axis=1) + rng.normal(size=160)
    monkeypatch.setattr(CoreSteps, "go", lambda *_: pytest.fail("four effects"))
    assert mlm.LMM.from_arrays(y, X, groups=GROUPS, Z=X).fit_many(y[:, None]).converged.all()


ESTIMATES = ("params", "cov_params", "sigma", "llf", "newton_decrement", "min_hessian_eigenvalue")
COUNTS = ("n_evaluations", "n_iterations", "converged", "singular", "status")


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", MODELS)
def test_a_single_fit_in_one_call_is_that_of_its_steps(monkeypatch, name, method):
    own, Y = MODELS[name]
    taken = []
    one_call = fit.whole_fit

    def counted(*arguments):
        found = one_call(*arguments)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(fit, "whole_fit", counted)
    for k in range(0, N_FITS, 11):
        single = own.fit_many(Y[:, [k]], method=method)
        with monkeypatch.context() as patch:
            patch.setattr(fit, "whole_fit", lambda *_: None)
            in_steps = own.fit_many(Y[:, [k]], method=method)
        for part in (*ESTIMATES, *COUNTS):
            np.testing.assert_array_equal(getattr(single, part), getattr(in_steps, part), part)
        # What ends at a bound is not the core's.
        assert not (taken[-1] and single.singular[0])
    assert any(taken)


def test_a_limit_of_steps_holds_in_one_call(monkeypatch):
    own, Y = MODELS["slope"]
    needed = int(own.fit_many(Y[:, [0]]).n_iterations[0])
    for most in range(1, needed + 2):
        single = own.fit_many(Y[:, [0]], options={"max_iter": most})
        with monkeypatch.context() as patch:
            patch.setattr(fit, "whole_fit", lambda *_: None)
            in_steps = own.fit_many(Y[:, [0]], options={"max_iter": most})
        for part in (*ESTIMATES, *COUNTS):
            np.testing.assert_array_equal(getattr(single, part), getattr(in_steps, part), part)


def test_what_the_data_do_not_tell_is_not_fitted_in_one_call(monkeypatch):
    """Of a slope on what varies between groups alone, two of three parameters are told."""
    rng = np.random.default_rng(3)
    X = np.column_stack([np.ones(GROUPS.size), GROUPS % 2])
    Y = (rng.normal(size=20)[GROUPS] + rng.normal(size=GROUPS.size))[:, None]
    found = []
    one_call = fit.whole_fit
    monkeypatch.setattr(fit, "whole_fit", lambda *a: found.append(one_call(*a)))
    batch = mlm.LMM.from_arrays(Y[:, 0], X, groups=GROUPS, Z=X).fit_many(Y)
    assert found == [None]
    assert batch.undetermined[0]
