"""Sample sizes and smallest effects: against closed forms, and against power itself."""

import numpy as np
import pytest
from scipy import optimize

import mlmfast as mlm
from tests.power_analysis.closed_forms import arms_between, power_of_f, slopes

EFFECT = 5.0


def exact_size(target):
    """The smallest number of subjects in closed form."""
    return next(n for n in range(3, 500) if slopes(n, range(6), EFFECT).power >= target)


@pytest.fixture(scope="module")
def found():
    return mlm.sample_size(slopes(8, range(6), EFFECT).design, "day", along="id", n=1500, seed=2)


def test_sample_size(found):
    exact = exact_size(0.8)
    assert found.lower <= exact <= found.upper
    assert found.upper - found.lower < 0.25 * exact
    # The error of the size is that of the power over the slope of the curve.
    slope = slopes(exact + 1, range(6), EFFECT).power - slopes(exact, range(6), EFFECT).power
    assert abs(found.value - exact) < 3.5 * np.sqrt(0.16 / 1500) / slope + 1


def test_sample_size_is_the_root_of_the_power_of_the_same_seed(found):
    design = slopes(8, range(6), EFFECT).design
    curve = mlm.power(design, "day", along="id", values=[found.value - 1, found.value], n=1500,
                      seed=2)  # fmt: skip
    below, at = curve["power"].tolist()
    assert below < 0.8 <= at
    assert found.power == at
    assert int(found) == found.value
    assert found.curve["value"].is_monotonic_increasing


@pytest.mark.slow
def test_intervals_cover():
    """Of twenty seeds, nearly all intervals hold the exact number."""
    exact = exact_size(0.7)
    design = slopes(8, range(6), EFFECT).design
    hits = 0
    for seed in range(20):
        found = mlm.sample_size(design, "day", along="id", power=0.7, n=200, seed=seed)
        hits += found.lower <= exact <= found.upper
    assert hits >= 16


def test_sample_size_within_clusters():
    design = arms_between(40, 2, 1.2, between=1.0, sigma=4.0).design
    found = mlm.sample_size(design, "armt", within="g", n=800, seed=1)
    exact = next(
        k for k in range(2, 200) if arms_between(40, k, 1.2, between=1.0, sigma=4.0).power >= 0.8
    )
    assert found.lower <= exact <= found.upper
    assert "rows within g" in repr(found)


def test_a_power_out_of_reach():
    design = arms_between(10, 2, 0.2, between=4.0).design
    with pytest.raises(mlm.ModelError, match=r"with 60 rows within 'g', below 0\.8"):
        mlm.sample_size(design, "armt", within="g", n=50, seed=1, high=60)
    with pytest.raises(mlm.DataError, match="give along="):
        mlm.sample_size(design, "armt", n=50)
    with pytest.raises(mlm.ModelError, match="power is 80; a number between 0 and 1"):
        mlm.sample_size(design, "armt", along="g", power=80)


def test_smallest_effect():
    case = arms_between(12, 4, 0.0)
    found = mlm.detectable_effect(case.design, "armt", along="g", values=[12, 24], n=2000, seed=1)
    for row, n in zip(found.itertuples(), (12, 24), strict=True):
        variance = (2.0 + 1 / 4) * 4 / n
        exact = optimize.brentq(lambda b: power_of_f(1, n - 2, b**2 / variance) - 0.8, 0.01, 20)  # noqa: B023
        assert row.lower < exact < row.upper
        assert row.effect == pytest.approx(exact, rel=0.05)


def test_smallest_effect_is_the_root_of_power_of_the_same_seed():
    case = arms_between(12, 4, 0.7)
    found = mlm.detectable_effect(case.design, "armt", n=500, seed=3)
    effect = float(found["effect"].iloc[0])
    for factor, reaches in ((0.999, False), (1.001, True)):
        curve = mlm.power(case.design, "armt", n=500, seed=3, set={"armt": factor * effect})
        assert (curve["power"].iloc[0] >= 0.8) == reaches


def test_smallest_effect_of_several_coefficients_is_refused():
    design = mlm.design("y ~ f + (1 | g)", levels={"g": 8, "f": list("abc")}, icc=0.1, sigma=1)
    with pytest.raises(mlm.ModelError, match="is of one coefficient"):
        mlm.detectable_effect(design, "f", n=20, seed=1)
