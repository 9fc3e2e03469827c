"""Every fit against the reference fits of other programs (origin: reference/README.md)."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import AliasedWarning, DataError, SingularFitWarning

from ..cases import (
    ALL,
    cases_of,
    cases_with,
    data_of,
    has_visit_labels,
    n_parameters_of,
    our_group,
    our_level,
    reference,
    residual_cov_of,
    residual_matrix_of,
    sigma_of,
    tolerance,
    varcorr_of,
)
from ..fits import conditional_covariance, covariance_of_coefficients, estimated, fit_case

# Models where our optimum is higher than the reference's, which then stopped short of it.
# Each needs a certificate of its own below.
BETTER_OPTIMUM: frozenset[str] = frozenset()

# Share of an effect's own resolution to which a variance of 0 must be found.
ZERO_VARIANCE = 1e-7


def expected(case_id, key):
    return reference(case_id)["expect"][key]


def vector(values):
    return np.array(list(values.values()), dtype=float)


def effect_resolution(case_id, group, names):
    """m se^2 of the same-named fixed effect: how large a variance the data can tell from 0."""
    se = expected(case_id, "se")
    n_levels = len(fit_case(case_id).ranef[group])
    return np.array([n_levels * se.get(name, 0.0) ** 2 for name in names])


def geometric(variances):
    """sqrt(v_i v_j)."""
    sd = np.sqrt(variances)
    return np.outer(sd, sd)


@pytest.mark.parametrize("case_id", ALL)
def test_log_likelihood_is_at_least_the_references(case_id):
    value, target = fit_case(case_id).llf, expected(case_id, "loglik")
    rounding = 1e-9 * abs(target)
    assert value >= target - (1e-7 + rounding), f"{value - target:.3g} below the reference"
    if case_id not in BETTER_OPTIMUM:
        assert value <= target + (1e-6 + rounding), f"{value - target:.3g} above the reference"


@pytest.mark.parametrize("case_id", ALL)
def test_fit_ends_with_a_certificate(case_id):
    fit = fit_case(case_id)
    assert fit.converged
    assert 0 <= fit.certificate.newton_decrement < 1e-8
    assert fit.certificate.min_hessian_eigenvalue >= -1e-6
    assert fit.certificate.n_evaluations <= 40


@pytest.mark.parametrize("case_id", ALL)
def test_coefficients_carry_rs_names_in_rs_order(case_id):
    assert list(estimated(fit_case(case_id)).index) == list(expected(case_id, "beta"))


@pytest.mark.parametrize("case_id", ALL)
def test_coefficients(case_id):
    beta, se = vector(expected(case_id, "beta")), vector(expected(case_id, "se"))
    error = np.abs(estimated(fit_case(case_id)).to_numpy() - beta) / np.maximum(np.abs(beta), se)
    assert error.max() <= tolerance(case_id, "beta")


@pytest.mark.parametrize("case_id", ALL)
def test_standard_errors(case_id):
    se = expected(case_id, "se")
    value = fit_case(case_id).bse[list(se)].to_numpy()
    np.testing.assert_allclose(value, vector(se), rtol=tolerance(case_id, "se"))


@pytest.mark.parametrize("case_id", ALL)
def test_covariance_of_the_coefficients(case_id):
    vcov = np.array(expected(case_id, "vcov"))
    error = np.abs(covariance_of_coefficients(fit_case(case_id)) - vcov)
    assert np.all(error <= 2 * tolerance(case_id, "se") * geometric(np.diag(vcov)))


@pytest.mark.parametrize("case_id", ALL)
def test_residual_standard_deviation(case_id):
    fit, sigma = fit_case(case_id), sigma_of(case_id)
    if sigma is None:
        assert (fit.sigma, fit.scale) == (None, None)
        return
    assert fit.sigma == pytest.approx(sigma, rel=tolerance(case_id, "sigma"), abs=0)
    assert fit.scale == pytest.approx(fit.sigma**2, rel=1e-14, abs=0)


LABELLED = [case_id for case_id in cases_with("residual_cov") if has_visit_labels(case_id)]
UNLABELLED = sorted(set(cases_with("residual_cov")) - set(LABELLED))


@pytest.mark.parametrize("case_id", UNLABELLED)
def test_residual_covariance_of_subjects(case_id):
    fit, rtol, frame = fit_case(case_id), tolerance(case_id, "residual_cov"), data_of(case_id)
    subject = reference(case_id)["residual"].split("|")[1].strip(" )")
    frame = frame.dropna(subset=[reference(case_id)["formula"].split("~")[0].strip()])
    for label, own in list(frame.groupby(subject, observed=True))[:12]:
        target = residual_matrix_of(case_id, own)
        error = np.abs(fit.R(label).to_numpy() - target)
        assert np.all(error <= rtol * geometric(np.diag(target))), label


@pytest.mark.parametrize("case_id", LABELLED)
def test_residual_covariance(case_id):
    fit, rtol = fit_case(case_id), tolerance(case_id, "residual_cov")
    for group, (levels, matrix) in residual_cov_of(case_id).items():
        frame = fit.residual_cov if group is None else fit.residual_cov[group]
        labels = list(frame.index) if levels is None else levels
        assert list(frame.columns) == list(frame.index)
        assert set(frame.index) == set(labels)
        target = matrix(np.array(labels, dtype=float) if levels is None else None)
        error = np.abs(frame.loc[labels, labels].to_numpy() - target)
        assert np.all(error <= rtol * geometric(np.diag(target))), f"{group}\n{error}"


@pytest.mark.parametrize("case_id", cases_with("residual_cov"))
def test_covariance_parameters_are_counted_as_sas_counts_them(case_id):
    fit, n_covariance = fit_case(case_id), expected(case_id, "npar_cov")
    aic = fit.information_criteria(count="covariance")["AIC"]
    assert aic == pytest.approx(fit.deviance + 2 * n_covariance, rel=1e-12)
    assert len(fit.residual_parameters) + n_random_parameters(case_id) == n_covariance


def n_random_parameters(case_id):
    """Distinct entries of the unstructured covariances of the random effects."""
    return sum(len(names) * (len(names) + 1) // 2 for names, _ in varcorr_of(case_id).values())


@pytest.mark.parametrize("case_id", ALL)
def test_variance_components(case_id):
    fit, rtol, groups = fit_case(case_id), tolerance(case_id, "varcorr"), varcorr_of(case_id)
    assert set(fit.varcorr) == set(groups)
    for group, (names, G) in groups.items():
        frame = fit.varcorr[group]
        assert list(frame.index) == list(frame.columns) == names
        floor = ZERO_VARIANCE * geometric(effect_resolution(case_id, group, names))
        error = np.abs(frame.to_numpy() - G)
        assert np.all(error <= rtol * geometric(np.diag(G)) + floor), f"{group}\n{error}"


@pytest.mark.parametrize("case_id", cases_with("ranef"))
def test_blups_by_level(case_id):
    fit, rtol = fit_case(case_id), tolerance(case_id, "ranef")
    for group, levels in expected(case_id, "ranef").items():
        ours = our_group(case_id, group)
        names, G = varcorr_of(case_id)[ours]
        labels = [our_level(case_id, group, level) for level in levels]
        frame = fit.ranef[ours]
        assert set(frame.index) == set(labels)
        assert list(frame.columns) == names
        floor = 10 * ZERO_VARIANCE * np.sqrt(effect_resolution(case_id, ours, names))
        error = np.abs(frame.loc[labels].to_numpy() - vector(levels).reshape(len(labels), -1))
        assert np.all(error <= rtol * np.sqrt(np.diag(G)) + floor), f"{group}: {error.max(axis=0)}"


@pytest.mark.parametrize("case_id", cases_with("ranef_condvar"))
def test_conditional_covariances_of_the_blups(case_id):
    fit, rtol = fit_case(case_id), 10 * tolerance(case_id, "ranef")
    for group, levels in expected(case_id, "ranef_condvar").items():
        ours = our_group(case_id, group)
        names, _ = varcorr_of(case_id)[ours]
        floor = ZERO_VARIANCE * geometric(effect_resolution(case_id, ours, names))
        for level, block in levels.items():
            value = conditional_covariance(fit, ours, our_level(case_id, group, level))
            allowed = rtol * geometric(np.diag(block)) + floor
            assert np.all(np.abs(value - block) <= allowed), f"{group} {level}"


@pytest.mark.parametrize("method", ["ml", "reml"])
def test_conditional_covariances_far_below_those_of_the_effects(method):
    """In exact arithmetic; G - G H G would lose the eight digits by which they are smaller."""
    case_id = f"exact_ill_ratio_large_{method}"
    fit = fit_case(case_id)
    for group, levels in expected(case_id, "ranef_condvar").items():
        for level, block in levels.items():
            value = conditional_covariance(fit, group, our_level(case_id, group, level))
            np.testing.assert_allclose(value, block, rtol=1e-10)


@pytest.mark.parametrize("case_id", ALL)
def test_counts(case_id):
    fit, expect = fit_case(case_id), reference(case_id)["expect"]
    assert (fit.nobs, fit.rank) == (expect["n"], expect["rank_x"])
    assert list(fit.aliased) == expect.get("dropped", [])


@pytest.mark.parametrize("case_id", ALL)
def test_information_criteria_follow_r(case_id):
    fit, n_parameters = fit_case(case_id), n_parameters_of(case_id)
    assert fit.deviance == pytest.approx(-2 * fit.llf, rel=1e-15)
    assert fit.aic == pytest.approx(fit.deviance + 2 * n_parameters, rel=1e-12)
    assert fit.bic == pytest.approx(fit.deviance + np.log(fit.nobs) * n_parameters, rel=1e-12)


@pytest.mark.parametrize("case_id", ALL)
def test_singular_exactly_where_the_reference_is(case_id):
    fit = fit_case(case_id)
    assert fit.singular == reference(case_id)["singular"]
    assert bool(len(fit.certificate.boundary)) == fit.singular


CONDITIONAL = [name for name in cases_with("predict") if "conditional" in expected(name, "predict")]


@pytest.mark.parametrize("case_id", cases_with("predict"))
def test_predictions_without_random_effects(case_id):
    predict = expected(case_id, "predict")
    value = fit_case(case_id).predict(pd.DataFrame(predict["newdata"]), ranef=False)
    np.testing.assert_allclose(value, predict["marginal"], rtol=tolerance(case_id, "beta"))


@pytest.mark.parametrize("case_id", CONDITIONAL)
def test_predictions_with_random_effects(case_id):
    predict = expected(case_id, "predict")
    value = fit_case(case_id).predict(pd.DataFrame(predict["newdata"]), new_levels="population")
    rtol = tolerance(case_id, "ranef")
    np.testing.assert_allclose(value, predict["conditional"], rtol=rtol)


@pytest.mark.parametrize("case_id", CONDITIONAL)
def test_prediction_for_an_unknown_level_is_an_error_unless_asked_for(case_id):
    newdata = pd.DataFrame(expected(case_id, "predict")["newdata"])
    with pytest.raises(DataError, match=r"Subject.*(new|999)|(new|999).*Subject"):
        fit_case(case_id).predict(newdata)


@pytest.mark.parametrize("case_id", cases_with("lrt"))
def test_likelihood_ratio_against_the_null_model(case_id):
    fit, null, lrt = fit_case(case_id), fit_case(case_id, "formula_null"), expected(case_id, "lrt")
    assert null.llf == pytest.approx(lrt["loglik_null"], rel=1e-9, abs=1e-7)
    chisq = null.deviance - fit.deviance
    assert chisq == pytest.approx(lrt["chisq"], rel=tolerance(case_id, "chisq"), abs=4e-7)
    assert (null.aic, fit.aic) == pytest.approx((lrt["aic_null"], lrt["aic_alt"]), rel=1e-8)
    assert (null.bic, fit.bic) == pytest.approx((lrt["bic_null"], lrt["bic_alt"]), rel=1e-8)
    rtol = tolerance(case_id, "beta")
    np.testing.assert_allclose(null.params, vector(lrt["beta_null"]), rtol=rtol)
    assert null.sigma == pytest.approx(lrt["sigma_null"], rel=rtol)


@pytest.mark.parametrize("case_id", cases_of("x_"))
def test_exact_variance_components_have_nine_digits(case_id):
    fit, exact = fit_case(case_id), expected(case_id, "digits30")
    (matrix,) = fit.varcorr.values()
    (name,) = (key for key in exact if key.startswith("var_"))
    pairs = {"sigma^2": (fit.scale, exact["sigma2"]), name: (matrix.iloc[0, 0], exact[name])}
    digits = {key: correct_digits(value, text) for key, (value, text) in pairs.items()}
    assert min(digits.values()) >= 9, digits


def correct_digits(value, text):
    """Significant digits of `value` that agree with the decimal number `text`; at most 16."""
    target = float(text)
    return -np.log10(max(abs(value - target) / abs(target), 1e-16))


def test_singular_fit_says_so(dyestuff2):
    with pytest.warns(SingularFitWarning, match="Batch"):
        fit = mlm.lmm("Yield ~ 1 + (1 | Batch)", dyestuff2)
    assert fit.singular
    assert fit.converged


def test_rank_deficient_fixed_part_names_the_column_left_out(cake):
    formula = "angle ~ recipe + temperature + temp + (1 | recipe:replicate)"
    with pytest.warns(AliasedWarning, match=r"\btemp\b"):
        fit = mlm.lmm(formula, cake)
    assert list(fit.aliased) == ["temp"]


def test_interaction_group_labels_join_the_levels(pastes):
    fit = mlm.lmm("strength ~ 1 + (1 | batch/cask)", pastes)
    assert set(fit.varcorr) == {"batch", "batch:cask"}
    assert {"A:a", "J:c"} <= set(fit.ranef["batch:cask"].index)
    assert fit.n_groups["batch"] == 10
    assert fit.n_groups["batch:cask"] == 30
