"""Measures against rsimsum, exact sums, and the jackknife."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import mlmfast as mlm
from mlmfast.studies.performance.measures import (
    MEASURES,
    SHARES,
    Sample,
    measured,
    monte_carlo_interval,
)
from mlmfast.studies.performance.samples import samples

REFERENCE = Path(__file__).parents[1] / "reference" / "rsimsum.json"
Z = stats.norm.ppf(0.975)


def _sample(estimate, se, truth, other=None):
    estimate, se = np.asarray(estimate, float), np.asarray(se, float)
    other = np.full(len(estimate), np.nan) if other is None else np.asarray(other, float)
    flags = np.ones(len(estimate), dtype=bool)
    p = 2 * stats.norm.sf(np.abs(estimate / se))
    spread = other.std(ddof=1) if len(other) > 1 else np.nan
    return Sample(estimate, se, estimate - Z * se, estimate + Z * se, p, truth, 0.05, other, spread,
                  flags, ~flags)  # fmt: skip


def _as_numbers(values):
    return np.array([np.nan if value is None else value for value in values])


def _of_rsimsum():
    found = json.loads(REFERENCE.read_text())
    data = found["data"]
    b, se = _as_numbers(data["b"]), _as_numbers(data["se"])
    n = len(b)
    columns = {
        "estimate": b,
        "std_error": se,
        "p_value": 2 * stats.norm.sf(np.abs(b / se)),
        "lower": b - Z * se,
        "upper": b + Z * se,
        "converged": np.ones(n, dtype=bool),
        "singular": np.zeros(n, dtype=bool),
        "drawn": np.ones(n, dtype=bool),
    }
    by_method = {
        m: s for m, _, s in samples(columns, ["A", "B", "C"], {"b": 0.5}, 0.05, "A", False)
    }
    return found["summary"], by_method


def test_measures_are_those_of_rsimsum():
    """Its code (version in the file) on estimates some of which, or their errors, are missing."""
    summary, by_method = _of_rsimsum()
    names = {measure.rsimsum: name for name, measure in MEASURES.items() if measure.rsimsum}
    seen = set()
    for method, theirs, value, mcse in summary:
        if method == "A" and theirs == "relprec":
            continue
        ours = measured(by_method[method], names[theirs])
        assert ours[0] == pytest.approx(value, rel=1e-12, abs=1e-14), (method, theirs)
        if mcse is not None:
            assert ours[1] == pytest.approx(mcse, rel=1e-12, abs=1e-14), (method, theirs)
        seen.add(theirs)
    assert seen == set(names)


def test_table_6_in_exact_arithmetic():
    """Four estimates, by hand: mean 1, deviations -1, 0, 0, 1 tenths, truth 9 / 10."""
    estimate = [Fraction(9, 10), Fraction(1), Fraction(1), Fraction(11, 10)]
    sample = _sample([float(x) for x in estimate], [0.1, 0.2, 0.1, 0.2], 0.9)
    assert measured(sample, "bias")[0] == pytest.approx(0.1)
    # Sum of squares about the mean 2/100; (n - 1) n = 12.
    assert measured(sample, "bias")[1] ** 2 == pytest.approx(float(Fraction(2, 1200)))
    assert measured(sample, "empirical_se")[0] ** 2 == pytest.approx(float(Fraction(2, 300)))
    assert measured(sample, "empirical_se")[1] ** 2 == pytest.approx(float(Fraction(2, 1800)))
    # Squared errors 0, 1, 1, 4 hundredths: mean 3/200, sum of squares about it 9/10^4.
    assert measured(sample, "mse")[0] == pytest.approx(0.015)
    assert measured(sample, "mse")[1] ** 2 == pytest.approx(9e-4 / 12)
    # Variances 1, 4, 1, 4 hundredths: mean 1/40, variance 3/10^4.
    assert measured(sample, "model_se")[0] ** 2 == pytest.approx(0.025)
    assert measured(sample, "model_se")[1] ** 2 == pytest.approx(3e-4 / (4 * 4 * 0.025))
    assert measured(sample, "relative_bias")[0] == pytest.approx(1 / 9)


@pytest.mark.parametrize(
    "name",
    ["bias", "empirical_se", "mse", "rmse", "model_se", "relative_error", "relative_precision",
     "correlation", "coverage", "power", "relative_bias"],
)  # fmt: skip
def test_monte_carlo_errors_agree_with_the_jackknife(name):
    rng = np.random.default_rng(5)
    n = 2000
    both = rng.normal(size=n)
    estimate = 0.5 + 0.2 * both
    other = 0.5 + 0.25 * (0.8 * both + 0.6 * rng.normal(size=n))
    se = 0.2 * np.sqrt(rng.chisquare(12, size=n) / 12)
    sample = _sample(estimate, se, 0.45, other)
    without = []
    for i in range(0, n, 4):
        keep = np.r_[0:i, i + 4 : n]
        without.append(measured(_sample(estimate[keep], se[keep], 0.45, other[keep]), name)[0])
    blocks = len(without)
    jackknife = np.sqrt((blocks - 1) * np.var(without))
    # 500 blocks: the jackknife's own error is 3 per cent.
    assert measured(sample, name)[1] == pytest.approx(jackknife, rel=0.12)


def test_intervals_are_exact_for_shares_and_normal_for_others():
    rng = np.random.default_rng(3)
    sample = _sample(rng.normal(0.5, 1, 40), rng.uniform(0.8, 1.2, 40), 0.5)
    for name in MEASURES:
        value, mcse = measured(sample, name)
        low, high = monte_carlo_interval(sample, name)
        if name in SHARES:
            hits = round(40 * value)
            exact = stats.binomtest(hits, 40).proportion_ci(method="exact")
            np.testing.assert_allclose([low, high], [exact.low, exact.high], rtol=1e-10)
            assert low < high
        else:
            wanted = [value - Z * mcse, value + Z * mcse]
            np.testing.assert_allclose([low, high], wanted, rtol=1e-6, equal_nan=True)
    assert (measured(sample, "convergence")[0], measured(sample, "singular")[0]) == (1, 0)


def test_the_truth_zero_has_no_relative_bias_and_one_replicate_no_error():
    assert np.isnan(measured(_sample([0.1, 0.2], [1, 1], 0.0), "relative_bias")).all()
    value, mcse = measured(_sample([0.1], [1.0], 0.0), "bias")
    assert value == 0.1
    assert np.isnan(mcse)


def test_replicates_needed():
    assert mlm.Study.n_for(mcse=0.005) == 1900
    assert mlm.Study.n_for(mcse=0.001) == 47500
    assert mlm.Study.n_for(mcse=0.01, measure="power") == 2500
    with pytest.raises(mlm.DataError, match="did you mean 'coverage'"):
        mlm.Study.n_for(mcse=0.01, measure="coverag")
    assert mlm.Study.n_for(mcse=0.01, measure="empirical_se", sd=0.2) == 201
    for wrong, message in (
        ({"measure": "bias"}, "standard deviation of the estimates"),
        ({"measure": "bias", "sd": 1.0, "expected": 0.5}, "value of a share"),
        ({"measure": "power", "sd": 1.0}, "goes with 'bias'"),
        ({"measure": "relative_error"}, "run some replicates"),
        ({"expected": 1.5}, "between 0 and 1"),
    ):
        with pytest.raises(mlm.DataError, match=message):
            mlm.Study.n_for(mcse=0.01, **wrong)
    with pytest.raises(mlm.DataError, match="mcse is -1"):
        mlm.Study.n_for(mcse=-1)
