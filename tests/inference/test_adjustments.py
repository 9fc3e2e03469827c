"""Adjusted p-values and intervals against R.

The values in reference/marginal_means.json are those of R 4.2.2, emmeans 1.8.4-1: for the means of
`lm(breaks ~ wool * tension)` on warpbreaks without rows 1-5, 20 and 33,
`summary(contrast(emmeans(m, ~ wool * tension), FAMILY), infer = TRUE, adjust = ADJUST)`; "width" is
the half-width of the intervals in standard errors. Those of "mvt" come from mvtnorm 1.1-3,
`1 - pmvt(df = 41, corr = , algorithm = GenzBretz(maxpts = 5e6, abseps = 1e-6))`, with its error.
"""

import numpy as np
import pytest
from scipy import stats

from mlmfast.errors import ModelError
from mlmfast.inference.multiplicity import studentized_range
from mlmfast.inference.multiplicity.adjustments import ADJUSTMENTS, TestFamily, adjusted, stepwise
from mlmfast.inference.multiplicity.maximum_t import MaximumT, SimulatedMaximumT

from ..marginal_models import R, linear


def contrasts(family, adjust, **arguments):
    fit = linear("breaks ~ wool * tension", "u")
    return fit.emmeans("wool * tension").contrast(family, adjust=adjust, **arguments)


def equicorrelated(m, rho):
    return np.full((m, m), rho) + (1 - rho) * np.eye(m)


def pairs(k):
    rows = [np.eye(k)[i] - np.eye(k)[j] for i in range(k) for j in range(i + 1, k)]
    return np.array(rows) @ np.array(rows).T / 2


@pytest.mark.parametrize("key", list(R["adjusted"]))
def test_p_values_and_widths_are_rs(key):
    family, adjust = key.split()
    table = contrasts(family, adjust)
    np.testing.assert_allclose(table["p_value"], R["adjusted"][key]["p"], rtol=1e-8, atol=1e-10)
    width = (table["estimate"] - table["lower"]) / table["SE"]
    np.testing.assert_allclose(width, R["adjusted"][key]["width"], rtol=1e-8)
    np.testing.assert_allclose(table["upper"] - table["estimate"], width * table["SE"], rtol=1e-10)


@pytest.mark.parametrize("family", list(R["mvt"]))
def test_multivariate_t_is_that_of_mvtnorm(family):
    table, expected = contrasts(family, "mvt"), R["mvt"][family]
    np.testing.assert_allclose(table["t_ratio"], expected["t"], rtol=1e-8)
    allowed = 2 * expected["error"] + 4e-4 * np.array(expected["p"])
    assert np.all(np.abs(table["p_value"] - expected["p"]) <= allowed)


@pytest.mark.parametrize("df", [3.0, 11.7, 60.0, np.inf])
@pytest.mark.parametrize("k", [2, 3, 10])
def test_studentized_range_agrees_with_scipy(df, k):
    for q in (0.5, 2.0, 3.5, 6.0):
        expected = stats.studentized_range.sf(q, k, df)
        value = studentized_range.upper_tail(q, k, df)
        assert value == pytest.approx(expected, rel=1e-8, abs=1e-13)


@pytest.mark.parametrize("df", [2.0, 15.0, np.inf])
def test_studentized_range_of_two_means_is_t(df):
    # Far in the tail, where a difference from 1 would have no digits left.
    q = np.sqrt(2) * 30.0
    expected = 2 * stats.t.sf(30.0, df)
    assert studentized_range.upper_tail(q, 2, df) == pytest.approx(expected, rel=1e-9)
    critical = studentized_range.critical_value(0.01, 2, df)
    assert critical == pytest.approx(np.sqrt(2) * stats.t.isf(0.005, df), rel=1e-10)


@pytest.mark.parametrize("df", [5.0, 30.0, np.inf])
def test_maximum_of_all_pairs_is_the_studentized_range(df):
    maximum = MaximumT(pairs(5))
    for c in (1.0, 2.0, 4.0, 8.0):
        expected = studentized_range.upper_tail(np.sqrt(2) * c, 5, df)
        assert maximum.upper_tail(c, df) == pytest.approx(expected, rel=2e-3)
    critical = studentized_range.critical_value(0.05, 5, df) / np.sqrt(2)
    assert maximum.critical_value(0.05, df) == pytest.approx(critical, rel=5e-4)


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.8])
def test_double_integral_and_importance_sampling_agree(rho):
    exact, sampled = MaximumT(equicorrelated(4, rho)), MaximumT(equicorrelated(4, rho))
    assert exact._loadings is not None
    sampled._loadings = None
    for c, df in ((1.0, 4.0), (2.5, 12.5), (6.0, np.inf)):
        value = sampled.upper_tail(c, df)
        assert value == pytest.approx(exact.upper_tail(c, df), rel=2e-3)


def test_dunnett_is_that_of_published_tables():
    # Two-sided 5 % points for 3 treatments and 20 df: Dunnett (1964), Biometrics 20, table II.
    assert MaximumT(equicorrelated(3, 0.5)).critical_value(0.05, 20.0) == pytest.approx(
        2.54, abs=5e-3
    )


def test_independent_statistics_at_infinite_df_are_sidaks():
    single = 2 * stats.norm.sf(2.3)
    value = MaximumT(np.eye(5)).upper_tail(2.3, np.inf)
    assert value == pytest.approx(1 - (1 - single) ** 5, rel=2e-3)


def test_product_form_is_found_whatever_the_signs():
    loadings = np.array([0.9, -0.4, 0.6, -0.1])
    correlation = np.outer(loadings, loadings)
    np.fill_diagonal(correlation, 1.0)
    found = MaximumT(correlation)._loadings
    np.testing.assert_allclose(np.outer(found, found), np.outer(loadings, loadings), atol=1e-12)


@pytest.mark.parametrize("df", [8.0, np.inf])
def test_simulation_is_near_the_exact_value_and_repeats(df):
    correlation = equicorrelated(4, 0.3)
    exact, first = MaximumT(correlation), SimulatedMaximumT(correlation, seed=1)
    assert first.upper_tail(2.2, df) == pytest.approx(exact.upper_tail(2.2, df), rel=0.03)
    assert first.critical_value(0.05, df) == pytest.approx(exact.critical_value(0.05, df), rel=0.01)
    assert first.upper_tail(2.2, df) == SimulatedMaximumT(correlation, 1).upper_tail(2.2, df)
    assert first.upper_tail(2.2, df) != SimulatedMaximumT(correlation, 2).upper_tail(2.2, df)


def test_simulation_follows_its_seed_in_a_table():
    first = contrasts("consec", "simulation", seed=3)
    exact = contrasts("consec", "mvt")
    np.testing.assert_allclose(first["p_value"], exact["p_value"], atol=0.006)
    assert first["p_value"].equals(contrasts("consec", "simulation", seed=3)["p_value"])
    assert not first["p_value"].equals(contrasts("consec", "simulation", seed=4)["p_value"])


@pytest.mark.parametrize("adjust", [a for a in ADJUSTMENTS if a not in {"none", "tukey"}])
def test_adjusted_values_lie_between_unadjusted_and_bonferroni(adjust):
    t, df = np.array([1.0, 2.0, 3.0, 0.2]), np.array([7.0, 9.5, 12.0, 30.0])
    family = TestFamily(t, df, equicorrelated(4, 0.4), None, 4)
    p, width = adjusted(family, adjust, 0.95)
    plain, plain_width = adjusted(family, "none", 0.95)
    most = 4 * plain * (np.sum(1 / np.arange(1, 5)) if adjust == "BY" else 1)
    if adjust != "scheffe":
        assert np.all(p <= np.minimum(most, 1.0) + 0.01)
    assert np.all(p >= plain - 0.01)
    assert np.all(width > plain_width)


def test_many_degrees_of_freedom_are_interpolated_well():
    df = np.linspace(5.0, 80.0, 9)
    family = TestFamily(np.full(9, 2.0), df, equicorrelated(9, 0.5), None, 9)
    _, width = adjusted(family, "mvt", 0.95)
    exact = [MaximumT(equicorrelated(9, 0.5)).critical_value(0.05, value) for value in df]
    np.testing.assert_allclose(width, exact, rtol=2e-5)


def test_one_comparison_needs_no_adjustment():
    family = TestFamily(np.array([2.0]), np.array([9.0]), np.eye(1), 2, 1)
    for adjust in ADJUSTMENTS:
        p, _ = adjusted(family, adjust, 0.95)
        assert p[0] == pytest.approx(2 * stats.t.sf(2.0, 9), rel=1e-10)


def test_stepwise_methods_keep_the_order_of_the_rows():
    p = np.array([0.04, 0.01, 0.02])
    assert stepwise(p, "holm").tolist() == [0.04, 0.03, 0.04]
    assert stepwise(p, "BH").tolist() == [0.04, 0.03, 0.03]


def test_refusals():
    with pytest.raises(ModelError, match="did you mean 'tukey'"):
        contrasts("pairwise", "tukay")
    with pytest.raises(ModelError, match="all pairwise differences of one set"):
        contrasts("eff", "tukey")
