"""Correlations held at values, and profiled, where the free fit has them at +-1."""

from functools import cache

import numpy as np
import pytest
from scipy.optimize import minimize

import mlmfast as mlm
from mlmfast.errors import ModelError

from .. import dense
from ..cases import data_of
from ..fits import fit_case, lmm

COR = "cor_x.(Intercept)|g"
SLEEP = "Reaction ~ Days + (Days | Subject)"
SLEEP_COR = "cor_Days.(Intercept)|Subject"


def case(method):
    return f"sing_corr_one_a_{method.lower()}"


@cache
def dense_deviance(method, rho):
    """Lowest -2 log-likelihood with the correlation at ``rho``, by a simplex, V dense."""
    data = data_of(case(method))
    y, x = data["y"].to_numpy(), data["x"].to_numpy()
    X = np.column_stack([np.ones(len(x)), x])
    codes = np.unique(data["g"], return_inverse=True)[1]

    def deviance(log_sd):
        a, b, sigma = np.exp(log_sd)
        G = np.array([[a * a, rho * a * b], [rho * a * b, b * b]])
        R = dense.residual_covariance(sigma**2, len(y))
        V = dense.marginal_covariance([dense.Term(X, G, codes)], R)
        return -2.0 * dense.log_likelihood(y, X, V, method)

    options = {"xatol": 1e-8, "fatol": 1e-10, "maxiter": 4000}
    starts = np.log([[0.85, 0.6, 0.74], [0.9, 0.05, 0.8], [0.05, 0.6, 0.8]])
    found = [minimize(deviance, s, method="Nelder-Mead", options=options).fun for s in starts]
    return min(found)


@pytest.mark.parametrize("rho", [0.99, 0.8, 0.0])
@pytest.mark.parametrize("method", ["ML", "REML"])
def test_a_held_correlation_against_dense_matrices(method, rho):
    held = lmm("y ~ x + (x | g)", data_of(case(method)), method=method, hold={COR: rho})
    assert held.converged
    assert held.deviance == pytest.approx(dense_deviance(method, rho), abs=1e-7)
    G = held.varcorr["g"].to_numpy()
    assert G[0, 1] / np.sqrt(G[0, 0] * G[1, 1]) == pytest.approx(rho, abs=1e-9)


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_profile_limits_against_dense_matrices(method):
    fit = fit_case(case(method))
    profile = fit.profile(COR)
    lower, upper = profile.conf_int().loc[COR]
    assert upper == 1.0
    assert dense_deviance(method, lower) - fit.deviance == pytest.approx(3.841459, abs=1e-5)
    for value, zeta in profile.table[["value", "zeta"]].to_numpy()[1:4]:
        assert dense_deviance(method, value) - fit.deviance == pytest.approx(zeta**2, abs=1e-6)


def test_a_correlation_that_one_variance_of_zero_meets_best_is_refused():
    """The dense profile ends on the deviance of the model without the intercept or the slope."""
    data = data_of(case("ML"))
    without = lmm("y ~ x + (1 | g)", data, method="ML").deviance
    assert dense_deviance("ML", -0.999) == pytest.approx(without, abs=1e-3)
    with pytest.raises(ModelError, match=r"largest where 'sd_x\|g' is 0 and that correlation"):
        lmm("y ~ x + (x | g)", data, method="ML", hold={COR: -0.999})
    with pytest.raises(ModelError, match=r"largest where 'sd_\(Intercept\)\|Subject' is 0"):
        mlm.lmm(SLEEP, mlm.load_sleepstudy(), method="ML", hold={SLEEP_COR: -0.999})


def test_a_profile_does_not_rise_above_the_model_without_an_effect():
    sleep = mlm.load_sleepstudy()
    fit = mlm.lmm(SLEEP, sleep, method="ML")
    without = mlm.lmm("Reaction ~ Days + (0 + Days | Subject)", sleep, method="ML")
    curves, sides, _ = fit.profile(SLEEP_COR)._parts[0]
    start = sides[0][0].knots[0].point[None]
    found = curves(np.array([0]), np.array([-0.999]), start)
    assert found.rise[0] == pytest.approx(without.deviance - fit.deviance, abs=1e-6)


def test_held_standard_deviations_beside_an_unlikely_correlation():
    wishes = {SLEEP_COR: -0.9, "sd_(Intercept)|Subject": 20.0, "sd_Days|Subject": 5.0}
    fit = mlm.lmm(SLEEP, mlm.load_sleepstudy(), hold=wishes)
    assert fit.converged
    assert fit.held == pytest.approx(wishes)
