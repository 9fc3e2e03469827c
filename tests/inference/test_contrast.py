"""Linear functions of the fixed effects: how they are written, joint tests, estimability."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm
from mlmfast.errors import ModelError
from mlmfast.inference.contrasts.linear_tests import f_test, linear_tests

from ..cases import cases_with, data_of, reference, tolerance
from ..fits import fit_case, lmm


@pytest.fixture(scope="module")
def cake():
    return lmm("angle ~ recipe * temp + (1 | recipe:replicate)", data_of("cake_splitplot_reml"))


@pytest.mark.parametrize("case_id", cases_with("contrasts"))
def test_reference_contrasts(case_id):
    fit = fit_case(case_id)
    for given in reference(case_id)["expect"]["contrasts"].values():
        test = fit.contrast(given["L"])
        assert test.estimate == pytest.approx(given["estimate"], rel=tolerance(case_id, "beta"))
        assert test.se == pytest.approx(given["se"], rel=tolerance(case_id, "se"))
        assert test.df == pytest.approx(given["df_satterthwaite"], rel=tolerance(case_id, "df"))
        if "df_kr" in given:
            adjusted = fit.contrast(given["L"], ddf="kenward-roger")
            assert adjusted.df == pytest.approx(given["df_kr"], rel=1e-5)


@pytest.mark.parametrize(("ddf", "key"), [("satterthwaite",) * 2, ("kenward-roger", "kr")])
def test_reference_type_three_test_of_an_interaction(ddf, key):
    """mmrm tests the rows of sum contrasts; with Fai and Cornelius that choice matters."""
    fit = fit_case("fev_us_reml")
    table = reference("fev_us_reml")["expect"]["anova_type3"][key]
    at = table["terms"].index("ARMCD:AVISIT")
    names = list(fit.params.index)
    own = [k for k, name in enumerate(names) if name.startswith("ARMCDTRT:AVISIT")]
    deviations = (np.eye(4) - 0.25)[:3, 1:]
    test = fit.contrast(deviations @ np.eye(len(names))[own], ddf=ddf).f
    assert test.df_den == pytest.approx(table["den_df"][at], rel=1e-8)
    if ddf == "satterthwaite":
        # mmrm's covariance with second derivatives is by other parameters.
        assert test.statistic == pytest.approx(table["F"][at], rel=1e-8)


# lmerTest 3 and pbkrtest 0.5: contest(m, L), contest(m, L, ddf = "Kenward-Roger") of
# lmer(Reaction ~ Days + I(Days^2) + (Days | Subject), sleepstudy[c(1:58, 66:120, 122:170), ]);
# lme4's optimum is good for 6 digits.
UNBALANCED = {
    "satterthwaite, 2 rows": ("satterthwaite", [1, 2], 21.4460270750967, 53.0064581151174),
    "expected, 2 rows": ("kenward-roger-expected", [1, 2], 21.0390455074642, 36.9779491860754),
    "satterthwaite, 3 rows": ("satterthwaite", [0, 1, 2], 429.42318280633, 32.4702146289315),
    "expected, 3 rows": ("kenward-roger-expected", [0, 1, 2], 401.645904071627, 26.3746010170646),
}


@pytest.mark.parametrize(("ddf", "rows", "F", "df"), UNBALANCED.values(), ids=UNBALANCED)
def test_joint_tests_of_lmertest_and_pbkrtest(ddf, rows, F, df):
    data = mlm.load_sleepstudy().iloc[np.r_[0:58, 65:120, 121:170]]
    fit = mlm.lmm("Reaction ~ Days + I(Days^2) + (Days | Subject)", data)
    test = fit.contrast(np.eye(3)[rows], ddf=ddf).f
    assert test.statistic == pytest.approx(F, rel=2e-6)
    assert test.df_den == pytest.approx(df, rel=2e-6)


# The same of lmer(strength ~ f + (1 | batch / cask)) on 18 rows of Pastes, the variance of batch 0.
def test_joint_tests_with_a_variance_of_0():
    data = pd.DataFrame(data_of("pastes_nested_reml"))
    data = data[data["batch"].isin(list("ABCH")) & ~data["sample"].isin(["A:a", "C:b", "H:c"])]
    data = data.assign(f=["uvw"[k % 3] for k in range(len(data))])
    fit = lmm("strength ~ f + (1 | batch/cask)", data)
    assert fit.singular
    L = np.eye(3)[1:]
    test = fit.contrast(L).f
    assert test.statistic == pytest.approx(0.253965189632333, rel=2e-6)
    assert test.df_den == pytest.approx(7.41849402626993, rel=2e-6)
    test = fit.contrast(L, ddf="kenward-roger-expected").f
    assert test.statistic == pytest.approx(0.246046109690248, rel=2e-6)
    assert test.df_den == pytest.approx(7.33213399797569, rel=2e-6)


# -- how contrasts are written -------------------------------------------------------------------


def row_of(cake, **weights):
    row = np.zeros(len(cake.params))
    for name, value in weights.items():
        row[list(cake.params.index).index(name.replace("__", ":"))] = value
    return row


WRITTEN = {
    "text": "recipeB - recipeC",
    "text with spaces and a value": "  recipeB-recipeC = 0 ",
    "both sides": "recipeB = recipeC",
    "numbers": "2 * recipeB / 2 - 1e0*recipeC",
    "parentheses": "-(recipeC - recipeB)",
    "backticks": "`recipeB` - `recipeC`",
    "dict": {"recipeB": 1, "recipeC": -1},
    "Series": pd.Series({"recipeB": 1.0, "recipeC": -1.0}),
    "labelled": {"B - C": "recipeB - recipeC"},
    "labelled dict": {"B - C": {"recipeB": 1, "recipeC": -1}},
    "list": [0, 1, -1, 0, 0, 0],
    "array": np.array([[0, 1, -1, 0, 0, 0]]),
    "DataFrame": pd.DataFrame({"recipeB": [1.0], "recipeC": [-1.0]}, index=["B - C"]),
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_every_way_to_write_a_contrast(cake, written):
    test = cake.contrast(written)
    assert_allclose(test.L.to_numpy()[0], row_of(cake, recipeB=1, recipeC=-1))
    assert test.estimate == pytest.approx(cake.params["recipeB"] - cake.params["recipeC"])


def test_names_that_hold_operators_are_read_whole():
    data = mlm.load_sleepstudy()
    fit = mlm.lmm("Reaction ~ Days + I(Days^2) + (1 | Subject)", data)
    test = fit.contrast("2*I(Days^2) - (Intercept) + Days = -1.5")
    assert_allclose(test.L.to_numpy(), [[-1, 1, 2]])
    assert test.table["rhs"].tolist() == [-1.5]
    interaction = lmm("angle ~ recipe * temp + (1 | replicate)", data_of("cake_splitplot_reml"))
    assert_allclose(interaction.contrast("recipeB:temp - recipeB").L.to_numpy()[0, [1, 4]], [-1, 1])


def test_values_under_the_hypothesis(cake):
    tests = cake.contrast(["recipeB = 2", "recipeC"], rhs=[0, 3])
    assert tests.table["rhs"].tolist() == [2, 3]
    t = (cake.params["recipeC"] - 3) / cake.bse["recipeC"]
    assert tests.table["statistic"].iloc[1] == pytest.approx(t)


def test_one_row_is_a_t_test_and_its_square_an_f_test(cake):
    one = cake.contrast("temp")
    assert one.f is None
    assert one.statistic == pytest.approx(cake.tvalues["temp"], rel=1e-12)
    assert one.pvalue == pytest.approx(cake.pvalues["temp"], rel=1e-9)
    for ddf in ("satterthwaite", "kenward-roger", "residual", "asymptotic"):
        single = cake.contrast("temp", ddf=ddf)
        joint = f_test(cake, single.L.to_numpy(), ddf=ddf)
        assert joint.statistic == pytest.approx(single.statistic**2, rel=1e-9)
        assert joint.pvalue == pytest.approx(single.pvalue, rel=1e-6)


def test_dependent_rows_are_left_out(cake):
    rows = ["recipeB", "recipeC", "recipeB - recipeC", "2 * recipeB + recipeC"]
    for ddf in ("satterthwaite", "kenward-roger", "residual"):
        test, whole = cake.contrast(rows, ddf=ddf).f, cake.contrast(rows[:2], ddf=ddf).f
        assert test.df_num == 2
        assert test.statistic == pytest.approx(whole.statistic, rel=1e-9)
        assert test.df_den == pytest.approx(whole.df_den, rel=1e-9)


def test_joint_tests_do_not_depend_on_how_rows_are_written(cake):
    L = np.eye(6)[1:4]
    mixed = np.array([[2.0, 1, 0], [0, 1e4, 1], [1, 1, 1e-3]]) @ L
    for ddf in ("satterthwaite", "kenward-roger"):
        one, other = f_test(cake, L, ddf=ddf), f_test(cake, mixed, ddf=ddf)
        assert one.statistic == pytest.approx(other.statistic, rel=1e-6)
        # Only Kenward and Roger's degrees of freedom are those of the hypothesis.
        rtol = 1e-6 if ddf == "kenward-roger" else 1e-3
        assert one.df_den == pytest.approx(other.df_den, rel=rtol)


def test_estimates_are_tables(cake):
    table = cake.estimate({"B": "recipeB", "C": "recipeC"})
    assert table.f is None
    assert list(table.table.index) == ["B", "C"]
    assert_allclose(table.table["lower"], cake.conf_int().loc[["recipeB", "recipeC"], "lower"])
    assert list(table.tidy()["contrast"]) == ["B", "C"]
    assert "t value" in str(table)
    wide = cake.estimate("temp", level=0.99)
    assert wide.lower < cake.estimate("temp").lower


def test_a_contrast_prints_its_joint_test(cake):
    test = cake.contrast(["recipeB = 1", "recipeC"])
    assert "Joint test: F(2, " in str(test)
    assert "chi2(2)" in str(test)
    assert "H0" in str(test)
    assert list(test.tidy()["contrast"]) == ["recipeB = 1", "recipeC", "(joint)"]
    assert "<table" in test._repr_html_()
    assert "<table" in cake.covtest()._repr_html_()
    assert list(cake.covtest().tidy()["parameter"]) == list(cake.covariance_parameters.index)


def test_many_rows_at_once(cake):
    rows = np.random.default_rng(1).normal(size=(50, 6))
    tests = linear_tests(cake, rows, ddf="kenward-roger")
    for k in (0, 17, 49):
        one = cake.contrast(rows[k], ddf="kenward-roger")
        assert tests.df[k] == pytest.approx(one.df, rel=1e-12)
        assert tests.pvalue[k] == pytest.approx(one.pvalue, rel=1e-9, abs=1e-300)


# -- estimability --------------------------------------------------------------------------------


def aliased_fit():
    return lmm(
        "angle ~ recipe + temperature + temp + (1 | recipe:replicate)",
        data_of("cake_rank_deficient_reml"),
    )


def test_estimable_functions_of_aliased_columns():
    fit = aliased_fit()
    names = list(fit.params.index)
    X = fit.X().to_numpy()
    # A difference of two rows of X is estimable whatever it involves.
    row = X[7] - X[0]
    assert row[names.index("temp")] != 0
    fitted = fit.contrast(row)
    whole = fit.predict(ranef=False)
    assert fitted.estimate == pytest.approx(float(whole.iloc[7] - whole.iloc[0]), rel=1e-9)
    loaded = mlm.load(fit.to_json())
    assert loaded.contrast(row).se == pytest.approx(fitted.se, rel=1e-12)


def test_what_is_not_estimable_is_refused():
    fit = aliased_fit()
    with pytest.raises(ModelError, match=r"not estimable.*temp"):
        fit.contrast("temp")
    with pytest.raises(ModelError, match="not estimable"):
        fit.contrast("temperature185")
    assert fit.contrast("recipeB").estimate == pytest.approx(fit.params["recipeB"])


REFUSED = {
    "unknown name": ("recipB", "did you mean 'recipeB'"),
    "unknown name in a dict": ({"recipB": 1}, "did you mean 'recipeB'"),
    "wrong length": ([1, 0, 0], "3 columns, and the model 6 coefficients"),
    "three dimensions": (np.zeros((1, 1, 6)), "3 dimensions"),
    "words": (["a", 3], "no coefficient 'a'"),
    "an object": (object(), "array of numbers, text"),
    "no rows": ([], "0 columns|no rows"),
    "empty dict": ({}, "no rows|0"),
    "infinite": ([np.inf, 0, 0, 0, 0, 0], "finite"),
    "product": ("recipeB * recipeC", "multiplies coefficients"),
    "division": ("1 / recipeB", "divides by"),
    "open parenthesis": ("(recipeB + recipeC", "not closed"),
    "nothing after plus": ("recipeB +", "missing"),
    "only a number": ("3 = 2", "no coefficient"),
    "two values": ("recipeB = 1 = 2", "not understood"),
    "weight that is no number": ({"recipeB": "one"}, "one|no coefficient"),
    "several rows under a label": ({"B": [[0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]]}, "2 rows"),
}


@pytest.mark.parametrize(("L", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(cake, L, message):
    with pytest.raises(ModelError, match=message):
        cake.contrast(L)


def test_contradictions_and_wrong_values(cake):
    with pytest.raises(ModelError, match="depends on the rows before it"):
        cake.contrast(["recipeB = 1", "2 * recipeB = 3"])
    assert cake.contrast(["recipeB = 1", "2 * recipeB = 2"]).f.df_num == 1
    with pytest.raises(ModelError, match="all rows of the contrast are 0"):
        f_test(cake, np.zeros((1, 6)))
    with pytest.raises(ModelError, match="row 2 of the contrast is 0"):
        cake.contrast(np.eye(6)[[1, 1]] * [[1], [0]], rhs=[0, 1])
    with pytest.raises(ModelError, match="rhs"):
        cake.contrast("recipeB", rhs=[1, 2, 3])
    with pytest.raises(ModelError, match="no number"):
        cake.contrast("recipeB", rhs="much")
    with pytest.raises(ModelError, match="level is"):
        cake.contrast("recipeB", level=95)
    with pytest.raises(ModelError, match="information is"):
        cake.cov_theta("fisher")
    with pytest.raises(ModelError, match="level is"):
        cake.covtest(level=0)


def test_ratios_of_residual_standard_deviations_are_tested_against_1():
    """Which level comes first turns the ratio round: 1 / ratio, -z, and the limits' reciprocals."""
    import pandas as pd

    data = data_of("orthodont_int_ar1_hetsex_reml")
    turned = data.assign(Sex=pd.Categorical(data.Sex.astype(str), data.Sex.cat.categories[::-1]))
    rows = []
    for own in (data, turned):
        fit = mlm.lmm("distance ~ age + (1 | Subject)", own, residual_scale="Sex")
        assert "against 1" in str(fit.covtest())
        rows.append(fit.covtest().table.iloc[-1])
    first, second = rows
    assert first["estimate"] == pytest.approx(1 / second["estimate"], rel=1e-6)
    assert first["z"] == pytest.approx(-second["z"], rel=1e-5)
    assert first["p_value"] == pytest.approx(second["p_value"], rel=1e-4)
    assert first["lower"] == pytest.approx(1 / second["upper"], rel=1e-5)
    assert 0 < first["lower"] < first["estimate"] < first["upper"] < 1


def test_rows_that_follow_from_others_are_said(cake):
    text = str(cake.contrast([[0.0, 1.0] + [0.0] * (len(cake.params) - 2)] * 2))
    assert text.splitlines()[-1].endswith("(1 row follows from the others)")


def test_a_row_of_zeros_is_refused(cake):
    with pytest.raises(ModelError, match="row 1 of the contrast is 0 for every coefficient"):
        cake.contrast(np.zeros(len(cake.params)))
    with pytest.raises(ModelError, match="the contrast is None"):
        cake.contrast(None)
