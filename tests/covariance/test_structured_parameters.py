"""Parameters of structured random effects: values, derivatives, and all that asks for them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm
from mlmfast.covariance.units import scale_powers
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.design.random_structure import random_structures
from mlmfast.reduction.blocks import structure_of

# Loadings (fa, fa0, rr) have tests of their own; periods are too near for the logarithm of sp_linl.
APART = {"us", "diag", "arma11", "fa", "fa0", "rr", "sp_linl"}
STRUCTURES = [word for word in random_structures() if word not in APART]


def periods(n_levels=3):
    """Periods of unequal lengths: columns of Z of unequal size."""
    data = mlm.load_sleepstudy()
    ends = {2: (3, 10), 3: (2, 5, 10)}[n_levels]
    noise = np.random.default_rng(3).normal(0, 40, len(data)) * (data.Days < 2)
    return data.assign(
        period=np.searchsorted(ends, data.Days, side="right") + 1, Reaction=data.Reaction + noise
    )


def formula(structure):
    return f"Reaction ~ Days + {structure}(0 + factor(period) | Subject)"


@pytest.fixture(scope="module", params=STRUCTURES)
def fit(request):
    return mlm.lmm(formula(request.param), periods(), method="ML")


def functions_of(fit):
    source = fit._source
    functions = CovarianceFunctions(source.model, source.criterion)
    scale = None if source.parms is None else source.parms.log_sigma2
    return functions, functions.point_at(source.theta, scale)


def test_values_are_those_of_the_covariance_matrix(fit):
    functions, point = functions_of(fit)
    names = [p.name for p in functions.parameters if p.kind == "natural"]
    if not names:
        pytest.skip("its parameters are the elements of G")
    found = functions(point).value[0, : len(names)]
    structure = fit._source.design.random[0].structure
    G = fit.varcorr["Subject"].to_numpy()
    values = structure.natural(structure.theta(G[None]))[0]
    assert_allclose(found, values, rtol=1e-6)
    assert_allclose(fit.covariance_parameters[names], values, rtol=1e-6)


def test_derivatives_match_differences(fit):
    functions, point = functions_of(fit)
    jet, step = functions(point), 1e-6
    for k in range(functions.n_coordinates):
        move = step * (np.arange(functions.n_coordinates) == k)
        difference = functions(point + move).value - functions(point - move).value
        size = np.abs(jet.first[0]).max(axis=1)
        # At the end of its range a parameter has no slope, and a difference leaves its rounding.
        rounding = 4 * np.finfo(float).eps * np.abs(jet.value[0]) / step
        away = np.abs(difference[0] / (2 * step) - jet.first[0, :, k])
        assert (away <= 1e-6 * size + rounding).all()


def test_held_bounded_started_and_tried(fit):
    text, data = fit.formula, periods()
    first = functions_of(fit)[0].parameters[0]
    own = float(functions_of(fit)[0](functions_of(fit)[1]).value[0, 0])
    held = mlm.lmm(text, data, method="ML", hold={first.name: 1.2 * own})
    found, at = functions_of(held)
    assert found(at).value[0, 0] == pytest.approx(1.2 * own, rel=1e-9)
    assert held.converged
    assert held.llf < fit.llf
    bounded = mlm.lmm(text, data, method="ML", bounds={first.name: (1.2 * own, None)})
    assert bounded.llf == pytest.approx(held.llf, abs=1e-6)
    started = mlm.lmm(text, data, method="ML", start={"Residual": 500.0, first.name: 0.7 * own})
    tried = mlm.lmm(text, data, method="ML", grid={"Residual": [400.0, 800.0]})
    assert_allclose([started.llf, tried.llf], fit.llf, atol=1e-6)


def test_shares_of_variance(fit):
    icc, r2 = fit.icc(), fit.r2()
    assert 0 < icc.loc["conditional", "estimate"] < 1
    assert 0 < r2.loc["marginal", "estimate"] < r2.loc["conditional", "estimate"] < 1


@pytest.fixture(scope="module")
def us_of_two():
    """An unstructured covariance of two levels, and its limits by profile."""
    us = mlm.lmm(formula("us"), periods(2))
    return us, us.conf_int(method="profile")


@pytest.mark.parametrize("structure", ["csh", "ar1h", "toeph", "adh"])
def test_two_levels_are_those_of_an_unstructured_covariance(structure, us_of_two):
    us, limits = us_of_two
    fit = mlm.lmm(formula(structure), periods(2))
    variances = [0, 2, 3]
    for kind in ("estimate", "se"):
        own, target = fit.covtest().table[kind], us.covtest().table[kind]
        assert_allclose(own.iloc[[0, 1, 3]], target.iloc[variances], rtol=1e-6)
    profiles = fit.conf_int(method="profile").iloc[2:5].to_numpy()
    target = limits.iloc[2:5].to_numpy(copy=True)
    target[:2] **= 2
    assert_allclose(profiles, target, rtol=1e-6)
    assert_allclose(fit.icc(), us.icc(), rtol=1e-5)
    assert_allclose(fit.r2(), us.r2(), rtol=1e-5)


def test_a_covariance_of_zero_grows_with_the_scale():
    fit = mlm.lmm(formula("cs"), periods())
    structure = structure_of(fit._source.criterion.terms[0])
    theta = structure.theta(2.0 * np.eye(3)[None])
    assert structure.natural(theta)[0, 1] == pytest.approx(0.0, abs=1e-12)
    theta[:, 1:] = np.where(np.abs(theta[:, 1:]) < 1e-9, 0.0, theta[:, 1:])
    assert scale_powers(structure, theta).tolist() == [[1.0, 1.0]]
