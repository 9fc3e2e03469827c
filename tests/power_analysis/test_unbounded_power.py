"""Power of fits whose variances may be negative: replicates and their tests are like the fit."""

import numpy as np
import pytest
from scipy import stats

import mlmfast as mlm
from mlmfast.errors import ModelError
from mlmfast.simulation.from_fit import design_of_fit
from mlmfast.simulation.streams import Streams

FORMULA, NAME, N, SEED = "y ~ x + (1 | g)", "sd_(Intercept)|g", 200, 1


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(9)
    x = np.repeat(rng.normal(size=8), 4)
    return {"g": np.repeat(range(8), 4), "x": x, "y": rng.normal(size=32) + 0.3 * x}


@pytest.fixture(scope="module")
def fit(data):
    out = mlm.lmm(FORMULA, data, bounded=False)
    # Half of the replicates have a negative estimate.
    assert 0.0 < out.covariance_parameters.iloc[0] < 0.05
    return out


@pytest.fixture(scope="module")
def responses(fit):
    return design_of_fit(fit).responses(Streams(SEED), 0, N)


def power(fit, test, **arguments):
    return mlm.power(fit, test=test, n=N, seed=SEED, **arguments)["power"].iloc[0]


def share(statistic, df=1):
    return (stats.chi2.sf(np.maximum(statistic, 0.0), df) < 0.05).mean()


def test_a_variance_without_a_bound_is_tested_by_chi_square(fit, data, responses):
    large = mlm.LMM(FORMULA, data).fit_many(responses, bounded=False).deviance
    least = mlm.LMM("y ~ x", data).fit_many(responses).deviance
    expected = share(least - large)
    assert power(fit, NAME) == expected
    assert power(fit, NAME, test_method="lr") == expected
    assert power(fit, NAME, test_method="chi-square") == expected
    with pytest.raises(ModelError, match="has none"):
        power(fit, NAME, test_method="mixture")


def test_a_bound_of_0_is_no_place_for_chi_square(data):
    with pytest.raises(ModelError, match="on the boundary"):
        power(mlm.lmm(FORMULA, data), NAME, test_method="chi-square")


def test_another_formula_has_no_bounds_either(fit, data, responses):
    batch = mlm.LMM(FORMULA, data).fit_many(responses, bounded=False)
    assert power(fit, "x", formula=FORMULA) == (batch.pvalues[:, 1] < 0.05).mean()
    large, small = (
        mlm.LMM(own, data).fit_many(responses, method="ML", bounded=False).deviance
        for own in (FORMULA, "y ~ 1 + (1 | g)")
    )
    assert power(fit, "y ~ 1 + (1 | g)") == share(small - large)
