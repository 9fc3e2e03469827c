"""Tests of variances on the boundary: known null distributions, agreement of methods, refusals."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mlmfast as mlm
from mlmfast.errors import ModelError
from mlmfast.inference.comparison.restricted_lrt import eigenvalues

SLOPES = "Reaction ~ Days + (Days | Subject)"

pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")


@pytest.fixture(scope="module")
def sleep():
    return mlm.load_sleepstudy()


@pytest.fixture(scope="module")
def slopes(sleep):
    return mlm.lmm(SLOPES, sleep)


def one_way(n_groups, size, seed=0, sd=0.0):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_groups), size)
    y = rng.normal(size=len(group)) + sd * rng.normal(size=n_groups)[group]
    x = np.random.default_rng(77).normal(size=len(group))
    return pd.DataFrame({"y": y, "x": x, "g": group.astype(str)})


def test_balanced_one_way_null_distribution():
    # The supremum is a function of an F statistic there: lambda-hat is 0 where F <= 1 (REML).
    m, k = 6, 5
    test = mlm.lmm("y ~ 1 + (1 | g)", one_way(m, k)).test_variance("g", n=200_000, seed=1)
    df1, df2 = m - 1, m * (k - 1)
    assert np.mean(test.null < 1e-9) == pytest.approx(stats.f.cdf(1.0, df1, df2), abs=0.005)

    def statistic(f):
        between, within, n1 = f * df1, df2, df1 + df2
        free = df1 * np.log(between / df1) + df2 * np.log(within / df2)
        return n1 * np.log((between + within) / n1) - free

    for level in (0.8, 0.9, 0.95, 0.99):
        # Four standard errors of an empirical probability either way.
        error = 4.0 * np.sqrt(level * (1.0 - level) / 200_000)
        low, high = (statistic(stats.f.ppf(level + e, df1, df2)) for e in (-error, error))
        assert low < np.quantile(test.null, level) < high


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_the_statistic_of_simulated_data_has_the_exact_distribution(method):
    data = one_way(10, 5).iloc[:47]
    fit = mlm.lmm("y ~ x + (0 + x | g)", data, method=method)
    exact = fit.test_variance("sd_x|g", "exact", seed=3)
    boot = fit.test_variance("sd_x|g", "bootstrap", n=3000, seed=3)
    assert boot.n_failed == 0
    assert boot.statistic == exact.statistic
    for level in (0.7, 0.8, 0.9, 0.95):
        assert np.mean(boot.null <= np.quantile(exact.null, level)) == pytest.approx(
            level, abs=0.03
        )


def test_statistic_is_a_difference_of_deviances(sleep, slopes):
    one = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep)
    test = slopes.test_variance("sd_Days|Subject")
    assert test.method == "mixture"
    assert test.statistic == pytest.approx(one.deviance - slopes.deviance, abs=1e-8)
    expected = 0.5 * (stats.chi2.sf(test.statistic, 1) + stats.chi2.sf(test.statistic, 2))
    assert test.pvalue == pytest.approx(expected, rel=1e-9)
    whole = slopes.test_variance("(Days | Subject)", n=50, seed=1)
    assert (whole.method, whole.df) == ("bootstrap", 3)
    assert whole.statistic == pytest.approx(
        mlm.lmm("Reaction ~ Days", sleep).deviance - slopes.deviance, abs=1e-8
    )
    assert whole.pvalue == pytest.approx(1 / 51)
    assert "Days by Subject" in repr(test)


def test_a_variance_estimated_as_0(sleep):
    data = one_way(12, 4, seed=4)
    fit = mlm.lmm("y ~ 1 + (1 | g)", data)
    assert fit.singular
    for method in ("exact", "mixture", "bootstrap"):
        test = fit.test_variance("g", method, n=20, seed=1)
        assert (test.statistic, test.pvalue) == (0.0, 1.0)


def test_seeds(sleep):
    fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep)
    one, two = (fit.test_variance("Subject", n=1000, seed=s).null for s in (5, 5))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, fit.test_variance("Subject", n=1000, seed=6).null)


def test_distinct_eigenvalues_are_those_of_the_whole_matrix():
    rng = np.random.default_rng(2)
    diagonal = np.repeat([1.0, 2.0, 5.0], [4, 1, 3])
    basis = np.linalg.qr(rng.normal(size=(20, 2)))[0][:8]
    cross = 0.5 * basis
    values, times = eigenvalues(diagonal, cross)
    expected = np.linalg.eigvalsh(np.diag(diagonal) - cross @ cross.T)
    np.testing.assert_allclose(np.sort(np.repeat(values, times.astype(int))), expected, atol=1e-9)


def test_ranova(sleep, slopes):
    # lmerTest::ranova(lmer(Reaction ~ Days + (Days | Subject), sleepstudy))
    table = slopes.ranova()
    row = table.loc["Days in (Days | Subject)"]
    assert row["npar"] == 4
    assert row["logLik"] == pytest.approx(-893.2325426974605, rel=1e-10)
    assert row["LRT"] == pytest.approx(42.836813436430475, rel=1e-8)
    assert row["Pr(>Chisq)"] == pytest.approx(4.990041426961304e-10, rel=1e-6)
    assert row["Pr(mixture)"] < row["Pr(>Chisq)"]
    assert table.loc["<none>", "AIC"] == pytest.approx(slopes.aic)


REFUSALS = {
    "unknown effect": (("sd_Day|Subject",), r"did you mean 'sd_Days\|Subject'"),
    "unknown method": (("sd_Days|Subject", "wald"), r"'exact', 'mixture' or 'bootstrap'"),
    "exact with other variances": (("sd_Days|Subject", "exact"), r"method='bootstrap'"),
    "mixture for a whole term": (("Subject", "mixture"), r"one effect at a time"),
    "no draws": (("Subject", "bootstrap", 0), r"integer >= 1"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(slopes, arguments, message):
    with pytest.raises(ModelError, match=message):
        slopes.test_variance(*arguments)


def test_a_fit_that_holds_parameters_is_refused(sleep):
    fit = mlm.lmm(SLOPES, sleep, hold={"sigma": 26})
    with pytest.raises(ModelError, match="holds covariance parameters"):
        fit.test_variance("sd_Days|Subject")
    with pytest.raises(ModelError, match="holds covariance parameters"):
        fit.ranova()


@pytest.mark.slow
def test_size_of_the_exact_test():
    data = one_way(8, 4)
    model = mlm.LMM("y ~ x + (1 | g)", data)
    null = mlm.lmm("y ~ x + (1 | g)", data).test_variance("g", n=200_000, seed=1).null
    rng = np.random.default_rng(9)
    responses = rng.normal(size=(32, 20_000))
    full = model.fit_many(responses).llf
    without = mlm.LMM("y ~ x", data).fit_many(responses).llf
    rejected = np.mean(2 * (full - without) > np.quantile(null, 0.95))
    assert rejected == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 20_000))


@pytest.fixture(scope="module")
def below_zero():
    """Balanced groups whose variance is estimated below 0: F of the analysis of variance < 1."""
    data = one_way(8, 4, seed=4)
    data["y"] -= 0.9 * data.groupby("g")["y"].transform("mean")
    return data


def test_without_a_bound_zero_is_no_boundary(below_zero):
    fit = mlm.lmm("y ~ 1 + (1 | g)", below_zero, bounded=False)
    assert fit.varcorr["g"].iloc[0, 0] < 0
    test = fit.test_variance()
    # Of a balanced layout the likelihood ratio is a function of the two mean squares.
    means = below_zero.groupby("g")["y"].mean()
    between = 4.0 * float(((means - means.mean()) ** 2).sum())
    within = float(((below_zero["y"] - means[below_zero["g"]].to_numpy()) ** 2).sum())
    free = 7 * np.log(between / 7) + 24 * np.log(within / 24)
    expected = 31 * np.log((between + within) / 31) - free
    assert test.statistic == pytest.approx(expected, rel=1e-8)
    assert (test.method, test.df, test.n) == ("chi-square", 1, 0)
    assert test.pvalue == pytest.approx(stats.chi2.sf(expected, 1), rel=1e-7)
    assert "chi-square with 1 df" in repr(test)
    table = fit.ranova().to_dict("index")["(Intercept) in (1 | g)"]
    assert table["Pr(mixture)"] == table["Pr(>Chisq)"] == pytest.approx(test.pvalue, rel=1e-9)
    # With the bound the statistic is 0 here.
    assert mlm.lmm("y ~ 1 + (1 | g)", below_zero).test_variance(n=9, seed=1).pvalue == 1.0


def test_without_a_bound_samples_and_no_mixture(below_zero):
    fit = mlm.lmm("y ~ 1 + (1 | g)", below_zero, bounded=False)
    sampled = fit.test_variance(method="bootstrap", n=200, seed=1)
    # Where F may fall below 1 without being cut off no statistic is 0.
    assert (sampled.null > 0).all()
    assert sampled.pvalue < 0.1
    for method in ("exact", "mixture"):
        with pytest.raises(ModelError, match="bound is 0, and this one has none"):
            fit.test_variance(method=method)
    comparison = mlm.compare(mlm.lmm("y ~ 1", below_zero), fit)
    assert not any("boundary" in note for note in comparison.notes)
    assert "two-sided p" in str(fit.covtest())


@pytest.fixture(scope="module")
def members():
    rng = np.random.default_rng(5)
    first, second = (rng.integers(0, 6, 90).astype(str) for _ in "ab")
    effects = rng.normal(size=6)
    y = effects[first.astype(int)] + effects[second.astype(int)] + rng.normal(size=90)
    return pd.DataFrame({"y": y, "a": first, "b": second})


def test_levels_of_a_membership_are_tested_together(members):
    fit = mlm.lmm("y ~ 1 + (1 | mm(a, b))", members)
    test = fit.test_variance(n=20, seed=1)
    assert (test.effects, test.df) == ("(1 | mm(a, b))", 1)
    assert test.statistic == pytest.approx(
        mlm.lmm("y ~ 1", members).deviance - fit.deviance, abs=1e-7
    )
    with pytest.raises(ModelError, match=r"effects: \(1 \| mm\(a, b\)\)"):
        fit.test_variance("sd_0|mm(a, b)")


def test_members_are_named_where_levels_are(members):
    fit = mlm.lmm("y ~ 1 + (1 | mm(a, b))", members)
    blups = fit.ranef["mm(a, b)"]["(Intercept)"]
    found = fit.estimate({"(Intercept)": 1}, random={"mm(a, b)": {"2": 1, "4": -1}})
    assert float(found.estimate) == pytest.approx(
        fit.params.iloc[0] + blups["2"] - blups["4"], rel=1e-9
    )
    with pytest.raises(ModelError, match=r"such as \{'0': 1\}"):
        fit.estimate({"(Intercept)": 1}, random={"mm(a, b)": 3})
    with pytest.raises(ModelError, match="of which a row has several levels; relationships"):
        mlm.lmm("y ~ 1 + (1 | mm(a, b))", members, cov={"mm(a, b)": np.eye(6)})


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_one_variance_of_members_is_tested_as_that_of_levels(method):
    """With all weight on the first column the members are its levels."""
    data = one_way(7, 6, seed=2, sd=0.4).iloc[:40]
    data["h"], data["one"], data["none"] = data["g"].iloc[::-1].to_numpy(), 1.0, 0.0
    levels = mlm.lmm("y ~ x + (1 | g)", data, method=method)
    members = mlm.lmm("y ~ x + (1 | mm(g, h, weights=cbind(one, none)))", data, method=method)
    for how in ("exact", "mixture"):
        own, other = (fit.test_variance(method=how, n=None, seed=4) for fit in (members, levels))
        assert own.df == other.df == 1
        assert own.statistic == pytest.approx(other.statistic, rel=1e-7)
        assert own.pvalue == pytest.approx(other.pvalue, rel=1e-5)
        np.testing.assert_allclose(own.null, other.null, rtol=1e-7, atol=1e-9)
    assert members.test_variance(n=100).method == "exact"
    more = mlm.lmm("y ~ x + (1 | mm(g, h)) + (1 | h)", data, method=method)
    assert more.test_variance("(1 | mm(g, h))").method == "mixture"


def test_the_variance_of_a_curve_has_the_exact_distribution():
    data = one_way(10, 4)
    fit = mlm.lmm("y ~ s(x, k=6)", data)
    exact = fit.test_variance(seed=3)
    boot = fit.test_variance(method="bootstrap", n=1500, seed=3)
    assert exact.method == "exact"
    for level in (0.7, 0.8, 0.9, 0.95):
        share = np.mean(boot.null <= np.quantile(exact.null, level))
        assert share == pytest.approx(level, abs=0.04)
