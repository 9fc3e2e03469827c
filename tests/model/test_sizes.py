"""Sizes of numbers: what double precision cannot hold, weights of any size, nothing left over."""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError

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
