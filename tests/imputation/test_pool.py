"""Rubin's rules: the formulas in plain arithmetic, limits, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError
from mlmfast.imputation.pooling.rubin import joint_df

from ..cases import read_frame


def draws(m=12, k=3, seed=1):
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(k, k))
    covariances = np.array([root @ root.T + (0.5 + 0.1 * i) * np.eye(k) for i in range(m)])
    return generator.normal(size=(m, k)) + np.arange(k), covariances


def test_scalars_by_hand():
    estimates, se = np.array([1.0, 1.4, 0.9, 1.2]), np.array([0.5, 0.5, 0.6, 0.55])
    m, complete = 4, 40.0
    within, between = (se**2).mean(), estimates.var(ddof=1)
    total = within + (1 + 1 / m) * between
    share = (1 + 1 / m) * between / total
    old = (m - 1) / share**2
    seen = (complete + 1) / (complete + 3) * complete * (1 - share)
    df = old * seen / (old + seen)
    row = mlm.pool(estimates, se=se, df=complete).frame.iloc[0]
    expected = {
        "estimate": estimates.mean(),
        "SE": np.sqrt(total),
        "df": df,
        "t_ratio": estimates.mean() / np.sqrt(total),
        "p_value": 2 * stats.t.sf(estimates.mean() / np.sqrt(total), df),
        "upper": estimates.mean() + stats.t.ppf(0.975, df) * np.sqrt(total),
        "riv": (1 + 1 / m) * between / within,
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-12)
    # Infinite degrees of freedom of complete data: Rubin (1987).
    assert mlm.pool(estimates, se=se)["df"][0] == pytest.approx(old, rel=1e-12)


def test_nothing_missing_leaves_the_analysis_as_it_is():
    pooled = mlm.pool([[1.0, 2.0]] * 5, se=[[0.5, 0.7]] * 5, df=30)
    assert pooled["SE"].tolist() == pytest.approx([0.5, 0.7])
    # Barnard and Rubin's for lambda = 0.
    assert pooled["df"].tolist() == pytest.approx([31 / 33 * 30] * 2)
    assert pooled["fmi"].tolist() == [0.0, 0.0]
    assert pooled.needed().tolist() == [1.0, 1.0]
    assert np.isinf(mlm.pool([1.0, 1.0], se=[0.5, 0.5])["df"][0])
    test = pooled.test()
    assert test.statistic == pytest.approx(((1 / 0.5) ** 2 + (2 / 0.7) ** 2) / 2)
    nothing = mlm.pool([1.0, 2.0], se=[0.0, 0.0])
    assert nothing["fmi"][0] == 1.0


def test_joint_tests():
    estimates, covariances = draws()
    m, k = estimates.shape
    found = [
        {f"b{j}": (e[j], np.sqrt(v[j, j]), 50.0) for j in range(k)}
        for e, v in zip(estimates, covariances, strict=True)
    ]
    pooled = mlm.pool(found)
    W = np.diag(np.diagonal(covariances, axis1=1, axis2=2).mean(axis=0))
    B = np.cov(estimates.T)
    r = (1 + 1 / m) * np.trace(B @ np.linalg.inv(W)) / k
    mean = estimates.mean(axis=0)
    test = pooled.test()
    assert test.statistic == pytest.approx(mean @ np.linalg.inv(W) @ mean / (k * (1 + r)))
    assert test.pvalue == pytest.approx(stats.f.sf(test.statistic, k, test.df_den))
    # One function: t squared; and the same by name, by rows and by a contrast.
    one = pooled.test({"d": {"b1": 1, "b0": -1}})
    row = pooled.contrast({"d": {"b1": 1, "b0": -1}}).frame.iloc[0]
    assert one.statistic == pytest.approx(row["t_ratio"] ** 2)
    assert one.df_den == pytest.approx(row["df"])
    assert one.pvalue == pytest.approx(row["p_value"])
    assert pooled.test([[-1, 1, 0]]).statistic == pytest.approx(one.statistic)
    assert pooled.test(null=mean).statistic == pytest.approx(0.0, abs=1e-20)


def test_denominators_of_joint_tests_have_their_limits():
    for k, m, r in ((3, 10, 0.4), (2, 40, 1.5), (5, 5, 0.1)):
        t = k * (m - 1)
        large = 4 + (t - 4) * (1 + (1 - 2 / t) / r) ** 2
        assert joint_df(k, m, r, np.inf) == pytest.approx(large)
        # Reiter's form goes there, and for little missing to Barnard and Rubin's.
        assert joint_df(k, m, r, 1e9) == pytest.approx(large, rel=1e-5)
        assert joint_df(k, m, 1e-9, 60.0) == pytest.approx(61 / 63 * 60, rel=1e-5)
        assert joint_df(k, m, r, 60.0) < min(large, 60.0)
    # Few imputations of few estimates: t <= 4.
    assert joint_df(2, 2, 0.5, np.inf) == pytest.approx(2 * 1.5 * 9 / 2)
    assert joint_df(1, 3, 5.0, 4.0) <= 4.0


@pytest.mark.parametrize("m", [2, 4, 5, 6, 20])
@pytest.mark.parametrize("df", [12.0, 495.0, np.inf])
def test_the_joint_test_of_one_estimate_is_its_row(m, df):
    # mice's D1 has 4 degrees of freedom at m = 5, whatever the data.
    rng = np.random.default_rng(m)
    pooled = mlm.pool(rng.normal(1.0, 0.4, m), se=rng.uniform(0.4, 0.6, m), df=df)
    test, row = pooled.test(), pooled.frame.iloc[0]
    assert test.df_den == pytest.approx(row["df"])
    assert test.pvalue == pytest.approx(row["p_value"])


def test_few_imputations_of_few_estimates_never_exceed_what_is_observed():
    for k, m in ((2, 2), (2, 3), (3, 2), (4, 2)):
        observed = 61 / 63 * 60 / 1.5
        assert joint_df(k, m, 0.5, 60.0) < min(joint_df(k, m, 0.5, np.inf), observed)
        assert joint_df(k, m, 1e-9, 60.0) == pytest.approx(61 / 63 * 60)


def test_fits_tables_and_contrasts():
    data = read_frame("sleepstudy.csv", {"Subject": None})
    generator = np.random.default_rng(5)
    fits = [
        mlm.lmm(
            "Reaction ~ C(Days > 4) + (1 | Subject)".replace("C(Days > 4)", "late"),
            data.assign(
                Reaction=data.Reaction + generator.normal(0, 5, len(data)),
                late=np.where(data.Days > 4, "y", "n"),
            ),
        )
        for _ in range(5)
    ]
    pooled = mlm.pool(fits).frame.set_index("term")
    means = mlm.pool([fit.emmeans("late") for fit in fits])
    pairs = mlm.pool([fit.emmeans("late").pairs() for fit in fits])
    single = mlm.pool([fit.estimate("latey") for fit in fits])
    row = pooled.loc["latey"]
    for other in (pairs.frame.iloc[0], single.frame.iloc[0]):
        assert abs(other["estimate"]) == pytest.approx(row["estimate"])
        for name in ("SE", "df", "p_value", "fmi"):
            assert other[name] == pytest.approx(row[name], rel=1e-7)
    assert means["late"].tolist() == ["n", "y"]
    # The covariance between means is kept.
    difference = means.contrast({"d": [-1, 1]}).frame.iloc[0]
    assert difference["SE"] == pytest.approx(row["SE"], rel=1e-7)
    assert mlm.pool(iter(fits))["estimate"].tolist() == pooled["estimate"].tolist()
    assert pooled.loc["latey", "SE"] > np.mean([fit.bse["latey"] for fit in fits])
    assert "Rubin's rules" in repr(means)


def test_resampled_standard_errors():
    values = np.random.default_rng(2).normal(size=30)
    left = [np.delete(values, k).mean() for k in range(30)]
    pooled = mlm.pool([values.mean(), *left], rule="jackknife")
    # The jackknife of a mean is its own standard error.
    assert pooled["SE"][0] == pytest.approx(values.std(ddof=1) / np.sqrt(30))
    assert pooled["estimate"][0] == values.mean()
    drawn = mlm.pool([0.0, 1.0, 2.0, 3.0], rule="bootstrap")
    assert drawn["SE"][0] == pytest.approx(1.0)
    with pytest.raises(ModelError, match="only estimates pooled by Rubin's rules"):
        drawn.test()


def test_numbers_needed():
    pooled = mlm.pool([1.0, 1.4, 0.9, 1.2, 1.1], se=[0.5] * 5)
    share = pooled["fmi"][0]
    logit = np.log(share / (1 - share)) + stats.norm.ppf(0.975) * np.sqrt(2 / 5)
    upper = 1 / (1 + np.exp(-logit))
    assert pooled.needed(0.1).iloc[0] == np.ceil(1 + 0.5 * (upper / 0.1) ** 2)
    with pytest.raises(DataError, match="cv is 2"):
        pooled.needed(2)


REFUSED = {
    "one number": ([1.0], {"se": [0.5]}, DataError, "was given 1"),
    "no errors": ([1.0, 2.0], {}, ModelError, "need the standard error"),
    "text": ("fits", {}, DataError, "takes a list of analyses"),
    "lengths": ([1.0, 2.0], {"se": [0.5]}, DataError, "se has shape"),
    "negative": ([1.0, 2.0], {"se": [0.5, -0.5]}, DataError, "negative"),
    "nan": ([1.0, np.nan], {"se": [0.5, 0.5]}, DataError, "analysis 2 has an estimate"),
    "df": ([1.0, 2.0], {"se": [0.5, 0.5], "df": 0}, DataError, "must be positive"),
    "rule": ([1.0, 2.0], {"se": [0.5, 0.5], "rule": "mean"}, ModelError, "use 'rubin'"),
    "terms": ([{"a": (1, 1)}, {"b": (1, 1)}], {}, DataError, "analysis 2 has other terms"),
    "kinds": ([{"a": (1, 1)}, 1.0], {}, DataError, "several kinds"),
    "ragged": ([{"a": (1, 1), "b": 1}] * 2, {}, DataError, "alike for all"),
    "unknown": ([object(), object()], {}, DataError, "cannot read object"),
    "words": ([{"a": ("x", 1)}] * 2, {}, DataError, "holds what is no number"),
    "below 0": ([{"a": (1, -1)}] * 2, {}, DataError, "negative standard error"),
    "few": ([1.0, 2.0], {"rule": "jackknife"}, DataError, "after the first"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_refused(key):
    given, arguments, error, message = REFUSED[key]
    with pytest.raises(error, match=message):
        mlm.pool(given, **arguments)


def test_questions_that_are_none():
    pooled = mlm.pool([[1.0, 2.0], [1.4, 2.1], [0.9, 1.7]], se=[[0.5, 0.6]] * 3)
    for L in (["estimate 1"], {"a": {"estimate 1": "x"}}, [[1, 0], [1]]):
        with pytest.raises(DataError, match=r"L is .* give a dict of name to coefficients"):
            pooled.test(L)
    for null in ([1.0, 2.0, 3.0], "a", np.nan):
        with pytest.raises(DataError, match=r"null is .* one for each of 2 functions"):
            pooled.test(null=null)
    with pytest.raises(DataError, match="cv is 'a'"):
        pooled.needed("a")


def test_standard_errors_of_0_in_every_analysis_leave_no_test():
    """They left 0 degrees of freedom, and a t ratio beside a p value that was no number."""
    pooled = mlm.pool(
        [{"a": (1.0 + 0.1 * i, 0.0), "b": (2.0 + 0.1 * i, 0.5)} for i in range(3)], df=40
    )
    frame = pooled.frame.set_index("term")
    assert frame.loc["a", "SE"] == pytest.approx(np.sqrt(4 / 3 * 0.01))
    assert frame.loc["a", ["df", "lower", "upper", "t_ratio", "p_value"]].isna().all()
    assert frame.loc["b"].notna().all()
    assert pooled.notes[1].startswith("a: the standard error is 0 in every analysis")
    # Where none differ either, the estimate is known.
    known = mlm.pool([{"a": (1.0, 0.0), "b": (2.0, 0.5)}] * 3, df=40)
    assert len(known.notes) == 1
    assert known.frame["upper"][0] == 1.0


def test_a_joint_test_does_not_go_by_the_units():
    estimates, covariances = draws()
    units = np.array([1e-9, 1.0, 1e9])
    analyses = [
        {n: (b, s) for n, b, s in zip("abc", own, np.sqrt(np.diag(V)), strict=True)}
        for own, V in zip(estimates, covariances, strict=True)
    ]
    scaled = [
        {n: (b * u, s * u) for (n, (b, s)), u in zip(own.items(), units, strict=True)}
        for own in analyses
    ]
    found, expected = mlm.pool(scaled).test(), mlm.pool(analyses).test()
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-10)
    assert found.pvalue == pytest.approx(expected.pvalue, rel=1e-10)


def test_one_fit_is_refused():
    fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    for one in (fit, fit.emmeans("1")):
        with pytest.raises(ModelError, match="was given one; make a list"):
            mlm.pool(one)
    with pytest.raises(DataError, match="was given 1"):
        mlm.pool([fit])
    with pytest.raises(ModelError, match="does not hold their covariance"):
        mlm.pool([fit.contrast(["Days", "(Intercept)"])] * 2)
    pooled = mlm.pool([fit, fit])
    with pytest.raises(DataError, match="'days' is no estimate"):
        pooled.contrast({"d": {"days": 1}})
    with pytest.raises(DataError, match="L has not 2 finite coefficients"):
        pooled.test([[1.0]])
    with pytest.raises(ModelError, match="depend on each other"):
        pooled.test([[1.0, 0.0], [2.0, 0.0]])
    frame = mlm.pool(pd.DataFrame({"a": [1.0, 2.0]}), se=pd.DataFrame({"a": [1.0, 1.0]}))
    assert frame["term"].tolist() == ["a"]
