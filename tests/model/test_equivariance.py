"""What must happen to a fit when its data are permuted, relabelled, shifted or rescaled."""

import numpy as np
import pytest

import mlmfast as mlm

from ..fits import lmm
from ..problems import formula_of, nested_frame

RANDOM_PARTS = ["", "(x | a)", "(x || a)", "(1 | a/b)", "(x | a) + (1 | a:b)"]
SAME = {"rtol": 1e-7, "atol": 1e-9}


@pytest.fixture(params=["ML", "REML"])
def method(request):
    return request.param


@pytest.fixture(params=RANDOM_PARTS, ids=lambda part: part or "no random term")
def random_part(request):
    return request.param


@pytest.fixture
def frame():
    return nested_frame().copy()


@pytest.fixture
def refit(random_part, method):
    """Fit the model to changed data, or with changed arguments."""

    def fit(data, **arguments):
        return lmm(formula_of(random_part), data, method=method, **arguments)

    return fit


def assert_same_covariances(fit, other, factor=1.0):
    assert set(fit.varcorr) == set(other.varcorr)
    for group, G in fit.varcorr.items():
        np.testing.assert_allclose(other.varcorr[group], factor * G, **SAME)


def assert_same_fit(fit, other):
    """Equal up to rounding in everything but the order of the rows."""
    assert other.llf == pytest.approx(fit.llf, rel=1e-11)
    np.testing.assert_allclose(other.params, fit.params, **SAME)
    np.testing.assert_allclose(other.bse, fit.bse, **SAME)
    assert other.sigma == pytest.approx(fit.sigma, rel=1e-7)
    assert_same_covariances(fit, other)


def test_the_order_of_the_rows_does_not_matter(frame, refit):
    order = np.random.default_rng(1).permutation(len(frame))
    fit, other = refit(frame), refit(frame.iloc[order])
    assert_same_fit(fit, other)
    np.testing.assert_allclose(other.fittedvalues, np.asarray(fit.fittedvalues)[order], **SAME)


def test_the_names_of_the_levels_do_not_matter(frame, refit):
    renamed = {f"a{k}": f"site {(7 * k + 3) % 10}" for k in range(10)}
    fit, other = refit(frame), refit(frame.assign(a=frame["a"].map(renamed)))
    assert_same_fit(fit, other)
    if "a" in fit.ranef:
        effects = fit.ranef["a"].rename(index=renamed)
        np.testing.assert_allclose(other.ranef["a"].loc[effects.index], effects, **SAME)


@pytest.mark.parametrize("c", [1e-8, 3.0, 1e8])
def test_scaling_the_response_scales_the_fit(frame, refit, method, c):
    fit, other = refit(frame), refit(frame.assign(y=c * frame["y"]))
    n_contrasts = fit.nobs - (fit.rank if method == "REML" else 0)
    assert other.llf == pytest.approx(fit.llf - n_contrasts * np.log(c), rel=1e-11)
    np.testing.assert_allclose(other.params / c, fit.params, **SAME)
    np.testing.assert_allclose(other.bse / c, fit.bse, **SAME)
    assert other.sigma / c == pytest.approx(fit.sigma, rel=1e-7)
    for group, G in fit.varcorr.items():
        np.testing.assert_allclose(other.varcorr[group] / c**2, G, **SAME)


@pytest.mark.parametrize("c", [1e-6, 2.5, 1e6])
def test_scaling_a_covariate_scales_its_coefficient(frame, refit, method, c):
    fit, other = refit(frame), refit(frame.assign(x=c * frame["x"]))
    scale = fit.params.index.map({"(Intercept)": 1.0, "x": c, "z": 1.0}).to_numpy()
    np.testing.assert_allclose(other.params * scale, fit.params, **SAME)
    np.testing.assert_allclose(other.bse * scale, fit.bse, **SAME)
    # The REML criterion holds log|X'V^-1 X|, so it changes with the units of X.
    shift = -np.log(c) if method == "REML" else 0.0
    assert other.llf == pytest.approx(fit.llf + shift, rel=1e-11)
    for group, G in fit.varcorr.items():
        units = np.array([c if name == "x" else 1.0 for name in G.index])
        np.testing.assert_allclose(other.varcorr[group] * np.outer(units, units), G, **SAME)


def test_adding_a_fixed_part_to_the_response_moves_only_the_coefficients(frame, refit):
    shift = np.array([40.0, -3.0, 0.5])
    moved = frame["y"] + shift[0] + shift[1] * frame["x"] + shift[2] * frame["z"]
    fit, other = refit(frame), refit(frame.assign(y=moved))
    np.testing.assert_allclose(other.params - shift, fit.params, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(other.bse, fit.bse, **SAME)
    assert other.llf == pytest.approx(fit.llf, rel=1e-11)
    assert other.sigma == pytest.approx(fit.sigma, rel=1e-7)
    assert_same_covariances(fit, other)


def test_centring_a_covariate_moves_only_the_intercept(frame, method):
    formula = formula_of("(1 | a)")
    fit = lmm(formula, frame, method=method)
    other = lmm(formula, frame.assign(x=frame["x"] + 1e6), method=method)
    np.testing.assert_allclose(other.params[["x", "z"]], fit.params[["x", "z"]], rtol=1e-7)
    np.testing.assert_allclose(other.varcorr["a"], fit.varcorr["a"], rtol=1e-7)


def test_a_constant_weight_only_rescales_sigma(frame, refit):
    fit, other = refit(frame), refit(frame, weights=np.full(len(frame), 4.0))
    assert other.llf == pytest.approx(fit.llf, rel=1e-11)
    np.testing.assert_allclose(other.params, fit.params, **SAME)
    np.testing.assert_allclose(other.bse, fit.bse, **SAME)
    assert other.sigma == pytest.approx(2 * fit.sigma, rel=1e-7)
    assert_same_covariances(fit, other)


def test_an_offset_is_subtracted_from_the_response(frame, refit, random_part, method):
    subtracted = refit(frame.assign(y=frame["y"] - frame["off"]))
    formula = formula_of(random_part) + " + offset(off)"
    for fit in (
        refit(frame, offset="off"),
        refit(frame, offset=frame["off"].to_numpy()),
        lmm(formula, frame, method=method),
    ):
        assert_same_fit(subtracted, fit)
        fitted = np.asarray(subtracted.fittedvalues) + frame["off"].to_numpy()
        np.testing.assert_allclose(fit.fittedvalues, fitted, **SAME)


def test_double_bar_is_one_term_per_effect(frame, method):
    short = lmm(formula_of("(x || a)"), frame, method=method)
    long = lmm(formula_of("(1 | a) + (0 + x | a)"), frame, method=method)
    assert_same_fit(short, long)


def test_slash_is_the_outer_factor_and_the_interaction(frame, method):
    short = lmm(formula_of("(1 | a/b)"), frame, method=method)
    long = lmm(formula_of("(1 | a) + (1 | a:b)"), frame, method=method)
    assert_same_fit(short, long)


def test_an_inner_factor_with_unique_labels_needs_no_slash(frame, method):
    frame["ab"] = frame["a"] + "." + frame["b"]
    crossed_in_name = lmm(formula_of("(1 | a) + (1 | ab)"), frame, method=method)
    nested = lmm(formula_of("(1 | a/b)"), frame, method=method)
    assert crossed_in_name.llf == pytest.approx(nested.llf, rel=1e-11)
    np.testing.assert_allclose(crossed_in_name.params, nested.params, **SAME)
    np.testing.assert_allclose(crossed_in_name.varcorr["ab"], nested.varcorr["a:b"], **SAME)


def test_contrasts_change_the_columns_and_not_the_fit(orthodont):
    treatment = mlm.lmm("distance ~ age * Sex + (1 | Subject)", orthodont, method="ML")
    total = mlm.lmm(
        "distance ~ age * Sex + (1 | Subject)",
        orthodont,
        method="ML",
        contrasts={"Sex": "contr.sum"},
    )
    assert list(total.params.index) == ["(Intercept)", "age", "Sex1", "age:Sex1"]
    assert total.llf == pytest.approx(treatment.llf, rel=1e-11)
    np.testing.assert_allclose(total.fittedvalues, treatment.fittedvalues, **SAME)
    half = treatment.params["SexFemale"] / 2
    assert total.params["Sex1"] == pytest.approx(-half, rel=1e-7)


def test_reml_and_ml_agree_on_the_coefficients_of_balanced_data(sleepstudy):
    formula = "Reaction ~ Days + (Days | Subject)"
    ml, reml = (mlm.lmm(formula, sleepstudy, method=method) for method in ("ML", "REML"))
    np.testing.assert_allclose(ml.params, reml.params, rtol=1e-9)
    assert np.all(np.diag(reml.varcorr["Subject"]) > np.diag(ml.varcorr["Subject"]))
