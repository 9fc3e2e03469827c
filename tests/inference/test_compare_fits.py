"""Likelihood-ratio tables: reference tests, refusals, refits."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import mlmfast as mlm
from mlmfast.errors import ComparisonError, ConvergenceWarning, SingularFitWarning

from ..cases import cases_with, data_of, reference

COLUMNS = ["npar", "AIC", "BIC", "logLik", "deviance", "Chisq", "Df", "Pr(>Chisq)"]


@pytest.fixture(scope="module")
def sleep():
    return mlm.load_sleepstudy()


@pytest.fixture(scope="module")
def slopes(sleep):
    return mlm.lmm("Reaction ~ Days + (Days | Subject)", sleep)


@pytest.mark.parametrize("case_id", cases_with("lrt"))
def test_reference_tests(case_id):
    case = reference(case_id)
    expected, data = case["expect"]["lrt"], data_of(case_id)
    fits = [
        mlm.lmm(f, data, method=case["method"]) for f in (case["formula"], case["formula_null"])
    ]
    table = mlm.compare(*fits)
    assert list(table.columns) == COLUMNS
    assert table["npar"].tolist() == [expected["npar_null"], expected["npar_alt"]]
    for column, key in (("logLik", "loglik"), ("AIC", "aic"), ("BIC", "bic")):
        np.testing.assert_allclose(
            table[column], [expected[f"{key}_null"], expected[f"{key}_alt"]], rtol=1e-9
        )
    last = table.iloc[1]
    assert last["Chisq"] == pytest.approx(expected["chisq"], rel=1e-6)
    assert last["Df"] == expected["df"]
    assert last["Pr(>Chisq)"] == pytest.approx(expected["p"], rel=1e-5)


def test_rows_are_sorted_and_named(sleep, slopes):
    one = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep)
    two = mlm.lmm("Reaction ~ Days + (Days || Subject)", sleep)
    table = mlm.compare(slopes, one, two, names=["three", "one", "two"])
    assert table.index.tolist() == ["one", "two", "three"]
    np.testing.assert_allclose(
        table["Chisq"].iloc[1:], [2 * (two.llf - one.llf), 2 * (slopes.llf - two.llf)]
    )
    assert "two has random effects that one has not" in str(table)
    assert "boundary" in " ".join(table.notes)
    assert table.method == "REML"


def test_reml_fits_with_other_fixed_effects_are_refused_or_refitted(sleep, slopes):
    quadratic = mlm.lmm("Reaction ~ Days + I(Days^2) + (Days | Subject)", sleep)
    with pytest.raises(ComparisonError, match=r"differ in their fixed effects.*refit=True"):
        mlm.compare(slopes, quadratic)
    table = mlm.compare(slopes, quadratic, refit=True)
    expected = reference("lrt_sleepstudy_quad_ml")["expect"]["lrt"]
    assert table["Chisq"].iloc[1] == pytest.approx(expected["chisq"], rel=1e-6)
    assert "fitted again by maximum likelihood" in table.notes[0]


def test_reml_beside_ml(sleep, slopes):
    other = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep, method="ML")
    with pytest.raises(ComparisonError, match=r"some fits are by REML.*refit=True"):
        mlm.compare(slopes, other)
    table = mlm.compare(slopes, other, refit=True)
    expected = reference("lrt_sleepstudy_slope_ml")["expect"]["lrt"]
    assert table["Chisq"].iloc[1] == pytest.approx(expected["chisq"], rel=1e-6)


def test_the_order_of_columns_does_not_matter():
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(20), 6)
    data = pd.DataFrame(
        {"x": rng.normal(size=120), "z": rng.normal(size=120), "g": group.astype(str)}
    )
    data["y"] = data["x"] + rng.normal(size=20)[group] + rng.normal(size=120)
    one = mlm.lmm("y ~ x + z + (1 | g)", data)
    two = mlm.lmm("y ~ z + x + (1 | g)", data, hold={"sigma": 1.0})
    table = mlm.compare(one, two)
    assert table["Chisq"].iloc[1] == pytest.approx(two.deviance - one.deviance, abs=1e-9)


def test_a_model_that_is_not_nested_is_noticed(sleep):
    fits = [
        mlm.lmm(f"Reaction ~ Days + {r}", sleep, method="ML")
        for r in ("(1 | Subject)", "(0 + Days | Subject)")
    ]
    table = mlm.compare(*fits)
    assert "no test" in " ".join(table.notes)
    assert np.isnan(table["Pr(>Chisq)"].iloc[1])


REFUSALS = {
    "other rows": (lambda d: d.iloc[:-10], {}, r"180 rows.*170"),
    "other values": (lambda d: d.assign(Reaction=d["Reaction"] + 1.0), {}, r"other values"),
    "other weights": (lambda d: d.assign(w=2.0), {"weights": "w"}, r"weights"),
}


@pytest.mark.parametrize(("change", "arguments", "message"), REFUSALS.values(), ids=REFUSALS)
def test_other_data(sleep, slopes, change, arguments, message):
    other = mlm.lmm("Reaction ~ Days + (1 | Subject)", change(pd.DataFrame(sleep)), **arguments)
    with pytest.raises(ComparisonError, match=message):
        mlm.compare(slopes, other)


def test_another_response(sleep, slopes):
    other = mlm.lmm("log(Reaction) ~ Days + (1 | Subject)", sleep)
    with pytest.raises(ComparisonError, match=r"'Reaction'.*log"):
        mlm.compare(slopes, other)


def test_what_are_no_fits(slopes):
    with pytest.raises(ComparisonError, match="at least two"):
        mlm.compare(slopes)
    with pytest.raises(ComparisonError, match="found str"):
        mlm.compare(slopes, "Days")
    with pytest.raises(ComparisonError, match="2 different names"):
        mlm.compare(slopes, slopes, names=["a", "a"])


def test_loaded_fits_are_compared_by_what_they_know(sleep, slopes, tmp_path):
    one = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep)
    paths = [tmp_path / "one.json", tmp_path / "two.json"]
    for fit, path in zip((one, slopes), paths, strict=True):
        fit.to_json(path)
    table = mlm.compare(*map(mlm.load, paths))
    np.testing.assert_allclose(table["Chisq"], mlm.compare(one, slopes)["Chisq"])


NESTED = [("cs", "toep"), ("ar1", "toep"), ("ar1", "ar1h"), ("csh", "us"), ("hf", "us")]
NOT_NESTED = [("toep", "ar1h"), ("cs", "ar1h"), ("ar1", "hf"), ("hf", "toeph")]


@pytest.fixture(scope="module")
def by_structure():
    data = data_of("fev_us_reml").iloc[:320]
    words = {word for pair in NESTED + NOT_NESTED for word in pair}
    return {w: mlm.lmm("FEV1 ~ ARMCD", data, residual=f"{w}(AVISIT | USUBJID)") for w in words}


@pytest.mark.parametrize(("small", "large"), NESTED)
def test_nested_structures_are_tested(small, large, by_structure):
    fits = by_structure[small], by_structure[large]
    table = mlm.compare(*fits)
    assert table["Chisq"].iloc[1] == pytest.approx(2 * (fits[1].llf - fits[0].llf))
    assert table["Pr(>Chisq)"].iloc[1] < 1


@pytest.mark.parametrize(("small", "large"), NOT_NESTED)
def test_structures_that_are_not_nested_have_no_test(small, large, by_structure):
    fits = by_structure[small], by_structure[large]
    table = mlm.compare(*fits)
    assert table[["Chisq", "Pr(>Chisq)"]].isna().all(axis=None)
    assert any("no test" in note for note in table.notes)


def test_random_intercepts_within_residual_covariances(sleep):
    one = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep)
    both = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep, residual="ar1(Days | Subject)")
    alone = mlm.lmm("Reaction ~ Days", sleep, residual="ar1(Days | Subject)")
    us = mlm.lmm("Reaction ~ Days", sleep, residual="us(Days | Subject)")
    for small, large in ((one, both), (alone, both), (one, us), (alone, us)):
        assert mlm.compare(small, large)["Pr(>Chisq)"].notna().iloc[1]


def test_fixed_effects_that_are_not_nested_have_no_test(sleep):
    data = sleep.assign(other=np.random.default_rng(1).normal(size=len(sleep)))
    small = mlm.lmm("Reaction ~ other + (1 | Subject)", data, method="ML")
    large = mlm.lmm("Reaction ~ poly(Days, 2) + (1 | Subject)", data, method="ML")
    days = mlm.lmm("Reaction ~ Days + (1 | Subject)", data, method="ML")
    assert np.isnan(mlm.compare(small, large)["Pr(>Chisq)"].iloc[1])
    assert mlm.compare(days, large)["Pr(>Chisq)"].notna().iloc[1]


def test_a_scale_of_the_residuals_contains_none(sleep):
    one = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep)
    scaled = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep, residual_scale="exp(Days)")
    assert mlm.compare(one, scaled)["Pr(>Chisq)"].notna().iloc[1]


def test_other_offsets_are_refused(sleep, slopes):
    moved = mlm.lmm("Reaction ~ Days + (Days | Subject)", sleep, offset=sleep.Days.to_numpy())
    with pytest.raises(ComparisonError, match="different offsets"):
        mlm.compare(slopes, moved)


@pytest.fixture(scope="module")
def unlike():
    """Groups whose members are less alike than those of different groups."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"g": np.repeat(range(20), 3), "k": np.tile(range(3), 20)})
    frame["x"], frame["y"] = rng.normal(size=60), rng.normal(size=60)
    frame["y"] -= 0.6 * frame.groupby("g")["y"].transform("mean")
    return frame


def test_fits_with_and_without_bounds(unlike):
    """A bound that is reached tells two likelihoods apart, which no chi-square refers to."""
    one, two = "y ~ x + (1 | g)", "y ~ x + (1 | g) + (1 | k)"
    with pytest.warns(SingularFitWarning):
        within = mlm.lmm(one, unlike)
    with pytest.warns(SingularFitWarning):
        within_two = mlm.lmm(two, unlike)
    free, free_two = (mlm.lmm(f, unlike, bounded=False) for f in (one, two))
    assert free.llf > within.llf + 1.0
    for small, large, words in (
        (within, free_two, "may be negative in"),
        (free, within_two, "is not a special case of"),
        (within, free, "differ in bounds of variances: no test"),
    ):
        table = mlm.compare(small, large)
        assert table[["Chisq", "Pr(>Chisq)"]].isna().to_numpy().all()
        assert words in " ".join(table.notes)
    # Nothing lies on a boundary without bounds: a chi-square with one degree of freedom.
    table = mlm.compare(free, free_two)
    statistic = 2.0 * (free_two.llf - free.llf)
    assert table.notes == ()
    assert table["Pr(>Chisq)"].iloc[1] == pytest.approx(chi2.sf(statistic, 1), rel=1e-10)


def test_a_bound_that_is_not_reached_changes_no_test(sleep):
    one = "Reaction ~ Days + (1 | Subject)"
    within, free = (mlm.lmm(one, sleep, bounded=b) for b in (True, False))
    large = mlm.lmm("Reaction ~ Days + (Days | Subject)", sleep, bounded=False)
    tables = [mlm.compare(small, large) for small in (within, free)]
    np.testing.assert_allclose(*(t["Pr(>Chisq)"].iloc[1] for t in tables), rtol=1e-6)


def test_a_fit_without_a_minimum_is_named(sleep):
    one = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep)
    with pytest.warns(ConvergenceWarning):
        large = mlm.lmm("Reaction ~ Days + (Days | Subject)", sleep, options={"max_iter": 1})
    notes = mlm.compare(one, large, names=["one", "two"]).notes
    assert "two did not reach a certified minimum" in notes[0]


def test_without_random_effects_there_is_no_bound_to_leave(sleep):
    for arguments in ({}, {"residual": "cs(Days | Subject)"}):
        plain, free = (
            mlm.lmm("Reaction ~ Days", sleep, bounded=b, **arguments) for b in (True, False)
        )
        assert free.llf == plain.llf
        np.testing.assert_array_equal(free.bse, plain.bse)
