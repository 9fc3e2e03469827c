"""Estimated marginal means, contrasts and joint tests against R, and what must hold for any data.

The reference fits hold tables of R's emmeans. Those in reference/marginal_means.json are by R
4.2.2, emmeans 1.8.4-1: `lm` on warpbreaks ("u": without rows 1-5, 20, 33; "h": without the cell
B:H) and on ChickWeight ("cw"), with `emmeans(m, ...)`, `contrast(..., adjust = "none")` and
`joint_tests`.
"""

import json

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, FormulaError, ModelError

from ..cases import cases_with, reference, tolerance
from ..fits import fit_case, lmm
from ..marginal_models import R, alfalfa, chickweight, linear, mixed, warpbreaks

WEIGHTS = ("equal", "proportional", "outer", "cells", "flat")
FAMILIES = (
    *("pairwise", "revpairwise", "trt.vs.ctrl", "trt.vs.ctrlk", "poly"),
    *("consec", "eff", "del.eff", "mean_chg"),
)


def method_of(case_id, mode):
    """Our name of the reference's degrees of freedom; None where it has another covariance."""
    if mode != "kenward-roger":
        return mode
    # mmrm's covariance depends on its own parameters (reference/README.md).
    return None if reference(case_id)["residual"] else "kenward-roger-expected"


def reference_tables():
    for case_id in cases_with("emmeans"):
        for table in reference(case_id)["expect"]["emmeans"]:
            ddf = method_of(case_id, table["mode"])
            if ddf is not None:
                name = f"{case_id}-{table['specs']}-{ddf}"
                yield pytest.param(case_id, ddf, table, id=name.replace(" ", ""))


def numbers(values):
    return np.array(values, dtype=float)


@pytest.mark.parametrize(("case_id", "ddf", "table"), list(reference_tables()))
def test_means_of_the_reference_fits(case_id, ddf, table):
    found = fit_case(case_id).emmeans(table["specs"], at=table["at"], ddf=ddf)
    grid = pd.DataFrame(table["grid"]).astype(str)
    assert (
        found.frame[list(grid.columns)].astype(str).to_numpy().tolist() == grid.to_numpy().tolist()
    )
    rtol, se = tolerance(case_id, "emmeans"), numbers(table["se"])
    np.testing.assert_allclose(found["emmean"], table["estimate"], rtol=rtol)
    np.testing.assert_allclose(found["SE"], se, rtol=rtol)
    df_rtol = max(rtol, tolerance(case_id, "df"))
    np.testing.assert_allclose(found["df"], table["df"], rtol=df_rtol)
    for ours, theirs in (("lower", "lower95"), ("upper", "upper95")):
        assert np.abs((found[ours] - table[theirs]) / se).max() < 10 * rtol


@pytest.mark.parametrize(("case_id", "ddf", "table"), list(reference_tables()))
def test_pairs_of_the_reference_fits(case_id, ddf, table):
    means = fit_case(case_id).emmeans(table["specs"], at=table["at"], ddf=ddf)
    found, expected = means.contrast("pairwise", adjust="none"), table["contrasts"]
    assert found["contrast"].tolist() == expected["label"]
    rtol, se = tolerance(case_id, "emmeans"), numbers(expected["se"])
    assert np.abs((found["estimate"] - expected["estimate"]) / se).max() < 10 * rtol
    np.testing.assert_allclose(found["SE"], se, rtol=rtol)
    np.testing.assert_allclose(
        found["df"], expected["df"], rtol=max(rtol, tolerance(case_id, "df"))
    )
    p = numbers(expected["p_unadjusted"])
    np.testing.assert_allclose(found["p_value"], p, rtol=1e-3, atol=1e-9)


def check(table, key):
    """The labels and numbers of R, NaN where R says nonEst."""
    expected = R["means"][key]
    for column, labels in expected["labels"].items():
        assert table[column].astype(str).tolist() == labels
    estimate = table["emmean" if "emmean" in table.columns else "estimate"]
    se = numbers(expected["se"])
    np.testing.assert_allclose(table["SE"], se, rtol=1e-8)
    atol = 1e-9 * np.nanmax(se)
    np.testing.assert_allclose(estimate, numbers(expected["estimate"]), rtol=1e-8, atol=atol)
    if "p_value" in table.columns:
        np.testing.assert_allclose(table["p_value"], numbers(expected["p"]), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_weights(weights):
    full, additive = linear("breaks ~ wool * tension", "u"), linear("breaks ~ wool + tension", "u")
    check(full.emmeans("tension", weights=weights), f"u tension {weights}")
    check(additive.emmeans("wool", weights=weights), f"u+ wool {weights}")


def test_an_empty_cell_makes_what_needs_it_not_estimable():
    fit = linear("breaks ~ wool * tension", "h")
    assert len(fit.aliased) == 1
    check(fit.emmeans("wool"), "h wool")
    check(fit.emmeans("tension"), "h tension")
    check(fit.emmeans("wool * tension"), "h cell")
    check(fit.emmeans("wool", weights="cells"), "h cells")
    check(fit.emmeans("tension", weights="flat"), "h flat")
    check(fit.emmeans("~ wool | tension").contrast("pairwise"), "h pairs by tension")
    text = str(fit.emmeans("wool"))
    assert "Not estimable (nonEst): B; weights='cells'" in text
    assert "nonEst" in text.splitlines()[2]


def test_contrasts_of_what_is_not_estimable_may_be():
    data = alfalfa("unbalanced")
    data = data.assign(kind=np.where(data["Variety"] == "Ladak", "old", "new"))
    fit = lmm("Yield ~ kind + Variety + (1 | Block)", data)
    means = fit.emmeans("~ Variety | kind", nesting=False)
    assert means["emmean"].isna().sum() == 3
    assert fit.emmeans("Variety", nesting=False)["emmean"].isna().all()
    crossed = fit.emmeans("Variety", nesting=False).contrast("pairwise")
    within = crossed.frame.set_index("contrast")
    assert within["estimate"].notna().tolist() == [False, True, False]
    plain = lmm("Yield ~ Variety + (1 | Block)", data)
    expected = plain.emmeans("Variety").contrast("pairwise").frame.set_index("contrast")
    row = "Cossack - Ranger"
    assert within.loc[row, "estimate"] == pytest.approx(expected.loc[row, "estimate"], rel=1e-8)


def test_expressions_of_covariates_are_evaluated_on_the_grid():
    poly = linear("weight ~ poly(Time, 2) * Diet", "cw")
    check(poly.emmeans("Diet"), "cw poly mean")
    check(poly.emmeans("~ Diet | Time", at={"Time": [3, 10.5]}), "cw poly at")
    check(linear("weight ~ log(Time + 1) + I(Time^2) + Diet", "cw").emmeans("Diet"), "cw log")


def test_offsets_stand_at_their_mean():
    check(linear("weight ~ Diet + offset(o) + Time", "cw").emmeans("Diet"), "cw offset")
    given = lmm("weight ~ Diet + Time", chickweight(), offset="o", ddf="residual")
    check(given.emmeans("Diet"), "cw offset")


def test_a_number_made_a_factor_has_levels():
    means = linear("weight ~ factor(Time) + Diet", "cw").emmeans("Time")
    check(means, "cw factor(Time)")
    check(means.contrast("poly"), "poly 12")


@pytest.mark.parametrize("family", FAMILIES)
def test_families_of_contrasts(family):
    means = linear("breaks ~ wool * tension", "u").emmeans("wool * tension")
    check(means.contrast(family, adjust="none"), f"u contrast {family}")


def test_differences_in_differences():
    fit = linear("breaks ~ wool * tension", "u")
    cells = fit.emmeans("wool * tension")
    check(cells.contrast(interaction=["pairwise", "poly"]), "u interaction")
    check(cells.contrast(interaction="consec"), "u interaction consec")
    within = fit.emmeans("~ tension | wool").contrast("pairwise", adjust="none")
    check(within.contrast("pairwise", by="contrast", adjust="none"), "u dd")


@pytest.mark.parametrize(
    ("key", "formula", "kind", "by"),
    [
        ("jt u", "breaks ~ wool * tension", "u", None),
        ("jt u by wool", "breaks ~ wool * tension", "u", "wool"),
        ("jt cw", "weight ~ Time * Diet", "cw", None),
    ],
)
def test_joint_tests(key, formula, kind, by):
    found, expected = mlm.joint_tests(linear(formula, kind), by=by), R["tests"][key]
    assert found["term"].tolist() == expected["model term"]
    assert found["NumDF"].tolist() == expected["df1"]
    # R rounds these to 3 decimals.
    np.testing.assert_allclose(found["F value"], expected["F.ratio"], atol=6e-4)
    np.testing.assert_allclose(found["DenDF"], expected["df2"])


@pytest.mark.parametrize("kind", ["unbalanced"])
def test_joint_tests_are_the_type_three_tests(kind):
    fit = mixed(kind)
    found = mlm.joint_tests(fit).frame.set_index("term")
    expected = fit.anova(type=3).frame
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6, check_names=False)


def test_joint_tests_leave_out_what_is_not_estimable():
    table = mlm.joint_tests(linear("breaks ~ wool * tension", "h"))
    # Of 2 tension contrasts one is left, of 2 interaction contrasts one, of wool none.
    assert table.frame.set_index("term")["NumDF"].to_dict() == {
        "wool": 0,
        "tension": 1,
        "wool:tension": 1,
    }


def test_balanced_means_are_the_means_of_the_data():
    fit = linear("breaks ~ wool * tension", "all")
    data = warpbreaks("all")
    for names in (["wool"], ["tension"], ["tension", "wool"]):
        expected = data.groupby(names, observed=False)["breaks"].mean()
        found = fit.emmeans(names).frame.set_index(names)["emmean"]
        np.testing.assert_allclose(found.loc[expected.index], expected, rtol=1e-10)
    overall = fit.emmeans("~ 1")
    assert overall["emmean"][0] == pytest.approx(data["breaks"].mean(), rel=1e-10)


def test_cell_weights_give_raw_means():
    """Fitted values of a saturated model are cell means, which cell frequencies average back."""
    fit, data = linear("breaks ~ wool * tension", "u"), warpbreaks("u")
    found = fit.emmeans("wool", weights="cells")
    expected = data.groupby("wool", observed=False)["breaks"].mean()
    np.testing.assert_allclose(found["emmean"], expected, rtol=1e-10)


def test_means_are_predictions():
    fit = fit_case("chickweight_slope_reml")
    at = {"Time": [2.0, 15.5]}
    means = fit.emmeans(["Diet", "Time"], at=at).frame
    new = means[["Diet", "Time"]].assign(Time=means["Time"].astype(float), Chick="1")
    np.testing.assert_allclose(means["emmean"], fit.predict(new, ranef=False), rtol=1e-10)


def test_contrasts_used_for_fitting_play_no_part():
    plain = mixed("empty").emmeans("~ Variety | Date").contrast("pairwise").frame
    for coding in ("contr.sum", "contr.helmert"):
        other = mixed("empty", coding=coding).emmeans("~ Variety | Date").contrast("pairwise")
        pd.testing.assert_frame_equal(other.frame, plain, rtol=1e-6, atol=1e-9)


def test_pairs_change_sign_with_their_order():
    means = mixed("unbalanced").emmeans("Date")
    pairs, reverse = means.pairs(), means.contrast("revpairwise")
    for name, sign in (("estimate", -1), ("SE", 1), ("p_value", 1)):
        own = pairs.frame.assign(key=[" ".join(sorted(c.split(" - "))) for c in pairs["contrast"]])
        other = reverse.frame.assign(
            key=[" ".join(sorted(c.split(" - "))) for c in reverse["contrast"]]
        )
        joined = own.merge(other, on="key", suffixes=("", "_r"))
        np.testing.assert_allclose(joined[name], sign * joined[f"{name}_r"], rtol=1e-9)


def test_slices_test_equal_means_within_levels():
    fit = mixed("unbalanced")
    means = fit.emmeans("~ Variety | Date")
    slices, pairs = means.slices().frame, means.contrast("pairwise").test(joint=True).frame
    assert slices["NumDF"].tolist() == [2, 2, 2, 2]
    np.testing.assert_allclose(slices["F value"], pairs["F value"], rtol=1e-9)
    simple = mlm.joint_tests(fit, by="Date").frame
    np.testing.assert_allclose(slices["F value"], simple["F value"], rtol=1e-9)
    # With two means, F is the square of t.
    wool = linear("breaks ~ wool * tension", "u").emmeans("~ wool | tension")
    t = wool.contrast("pairwise")["t_ratio"]
    np.testing.assert_allclose(wool.slices()["F value"], t**2, rtol=1e-10)


def test_joint_test_of_means_is_that_all_are_zero():
    fit = linear("breaks ~ wool", "all")
    joint = fit.emmeans("wool").test(joint=True)
    expected = fit.contrast(np.array([[1.0, 0.0], [1.0, 1.0]])).f
    assert joint["F value"][0] == pytest.approx(expected.statistic, rel=1e-10)


def test_single_tests_against_a_value():
    means = linear("breaks ~ wool", "all").emmeans("wool")
    frame = means.test(null=30.0)
    np.testing.assert_allclose(frame["t_ratio"], (means["emmean"] - 30) / means["SE"], rtol=1e-12)
    assert {"lower", "upper"}.isdisjoint(frame.columns)
    twice = means.test(null=30.0, adjust="bonferroni")["p_value"]
    np.testing.assert_allclose(twice, np.minimum(2 * frame["p_value"], 1.0))


def test_own_contrasts_in_every_form():
    means = mixed("unbalanced").emmeans("Variety")
    by_list = means.contrast({"half": [1, -0.5, -0.5]})
    by_label = means.contrast({"half": {"Cossack": 1, "Ladak": -0.5, "Ranger": -0.5}})
    frame = pd.DataFrame([[1, -0.5, -0.5]], index=["half"])
    for other in (by_label, means.contrast(frame)):
        pd.testing.assert_frame_equal(other.frame, by_list.frame)
    matrix = means.contrast([[1, -0.5, -0.5], [0, 1, -1]])
    assert matrix["contrast"].tolist() == ["c.1", "c.2"]
    assert matrix["estimate"][0] == pytest.approx(by_list["estimate"][0], rel=1e-10)


def test_control_by_name_and_default_adjustments():
    means = mixed("unbalanced").emmeans("Date")
    control = means.contrast("trt.vs.ctrl", ref="S20")
    assert control["contrast"].tolist() == ["None - S20", "S1 - S20", "O7 - S20"]
    assert control.adjust == "dunnett"
    assert [means.contrast(m).adjust for m in ("pairwise", "eff", "consec", "poly")] == [
        "tukey",
        "fdr",
        "mvt",
        "none",
    ]


def test_specs_in_every_form():
    fit = mixed("unbalanced")
    expected = fit.emmeans(["Variety"], by=["Date"]).frame
    for found in (fit.emmeans("~ Variety | Date"), fit.emmeans("Variety", by="Date")):
        pd.testing.assert_frame_equal(found.frame, expected)
    pair = fit.emmeans("pairwise ~ Variety | Date")
    pd.testing.assert_frame_equal(pair.contrasts.frame, pair.contrast("pairwise").frame)
    assert "Cossack - Ladak" in str(pair)
    assert fit.emmeans("Variety:Date").frame.equals(fit.emmeans("Variety * Date").frame)


def test_levels_that_stay():
    fit = mixed("unbalanced")
    few = fit.emmeans("Date", at={"Date": ["S20", "None"]})
    assert few["Date"].tolist() == ["S20", "None"]
    full = fit.emmeans("Date").frame.set_index("Date")["emmean"]
    np.testing.assert_allclose(few["emmean"], full[["S20", "None"]])
    one = fit.emmeans("Variety", at={"Date": "S1"})
    by_date = fit.emmeans("Variety", by="Date").frame
    expected = by_date[by_date["Date"] == "S1"]["emmean"]
    np.testing.assert_allclose(one["emmean"], expected, rtol=1e-12)


def test_logical_and_releveled_factors():
    data = warpbreaks("u").assign(b=lambda d: d["wool"] == "B")
    plain = linear("breaks ~ wool * tension", "u").emmeans("wool")["emmean"]
    logical = lmm("breaks ~ b * tension", data).emmeans("b")
    assert logical["b"].tolist() == ["FALSE", "TRUE"]
    assert logical.contrast("pairwise")["contrast"].tolist() == ["bFALSE - bTRUE"]
    np.testing.assert_allclose(logical["emmean"], plain, rtol=1e-10)
    releveled = lmm('breaks ~ relevel(wool, ref = "B") * tension', data)
    only = releveled.emmeans("wool", at={"wool": ["A"]})
    np.testing.assert_allclose(only["emmean"], plain[:1], rtol=1e-10)


def test_levels_with_operators_stand_in_parentheses():
    data = warpbreaks("all").assign(w=lambda d: d["wool"].map({"A": "A-1", "B": "B"}).astype(str))
    fit = lmm("breaks ~ w + (1 | tension)", data)
    assert fit.emmeans("w").pairs()["contrast"].tolist() == ["(A-1) - B"]
    assert fit.emmeans("w").contrast("trt.vs.ctrl", ref="A-1")["contrast"].tolist() == ["B - (A-1)"]


def test_intervals_hold_at_their_level():
    means = linear("breaks ~ wool * tension", "u").emmeans("tension", level=0.9, adjust="sidak")
    narrow = means.summary(adjust="none", level=0.5)
    assert np.all(narrow["upper"] < means["upper"])
    assert narrow["emmean"].equals(means["emmean"])
    assert narrow.level == 0.5


def test_tables_print_and_tidy():
    means = mixed("unbalanced").emmeans("~ Variety | Date")
    text = str(means)
    assert text.startswith("Date = None:\nVariety  emmean")
    assert "Degrees of freedom: Satterthwaite; confidence level 0.95" in text
    assert "<td" in means._repr_html_()
    tidy = means.pairs().tidy()
    assert {"contrast", "Date", "estimate", "std_error", "df", "conf_low", "p_value"} < set(tidy)
    assert "tukey for a family of 3 means" in str(means.pairs())
    assert means.vcov.shape == (12, 12)
    np.testing.assert_allclose(np.sqrt(np.diag(means.vcov)), means["SE"], rtol=1e-10)
    assert len(means) == 12
    assert means.L.shape == (12, 12)
    assert "Averaged over the levels of: Date" in str(mixed("unbalanced").emmeans("Variety"))
    assert "Covariates at: Time = " in str(linear("weight ~ Time * Diet", "cw").emmeans("Diet"))


def test_plot_shows_every_mean():
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    means = mixed("unbalanced").emmeans("~ Variety | Date")
    figure = means.plot()
    assert [panel.get_title() for panel in figure.axes] == [
        f"Date = {level}" for level in ("None", "S1", "S20", "O7")
    ]
    drawn = np.concatenate([panel.lines[0].get_xdata() for panel in figure.axes])
    np.testing.assert_allclose(drawn, means["emmean"])
    _, ax = plt.subplots()
    assert mixed("unbalanced").emmeans("Date").plot(ax) is ax.figure
    with pytest.raises(ModelError, match="one panel"):
        means.plot(ax)
    differences = means.contrast("pairwise")
    figure = differences.plot()
    drawn = np.concatenate([panel.lines[1].get_xdata() for panel in figure.axes])
    np.testing.assert_allclose(drawn, differences["estimate"])
    assert all((np.array(panel.lines[0].get_xdata()) == 0.0).all() for panel in figure.axes)
    plt.close("all")


def test_loaded_fits_answer_what_needs_no_rows():
    fit = fit_case("chickweight_slope_reml")
    loaded = mlm.load(fit.to_json())
    at = {"Time": 21}
    pd.testing.assert_frame_equal(
        loaded.emmeans("Diet", at=at).frame, fit.emmeans("Diet", at=at).frame
    )
    for weights in ("equal", "proportional", "outer", "cells", "flat"):
        pd.testing.assert_frame_equal(
            loaded.emmeans("Diet", weights=weights).frame,
            fit.emmeans("Diet", weights=weights).frame,
        )


def test_files_saved_before_they_held_means_and_frequencies():
    saved = json.loads(fit_case("chickweight_slope_reml").to_json())
    del saved["rows"]
    loaded = mlm.load(json.dumps(saved))
    with pytest.raises(ModelError, match="mean of the covariate 'Time'"):
        loaded.emmeans("Diet")
    with pytest.raises(ModelError, match="a loaded fit holds no rows"):
        loaded.emmeans("Diet", at={"Time": 21}, weights="proportional")
    with pytest.raises(ModelError, match="a loaded fit holds no rows"):
        loaded.anova()
    with pytest.raises(ModelError, match="a loaded fit holds no rows"):
        loaded.icc()


def test_many_cells_are_refused_before_they_are_made():
    levels = [f"l{k:03d}" for k in range(150)]
    columns = {name: pd.Categorical(np.resize(levels, 900)) for name in "abc"}
    data = pd.DataFrame({**columns, "y": np.sin(np.arange(900.0) ** 2), "g": np.arange(900) % 9})
    fit = lmm("y ~ a + (1 | g)", data)
    assert len(fit.emmeans("a")) == 150
    fit = lmm("y ~ a + b + c + (1 | g)", data)
    with pytest.raises(ModelError, match="reference grid has 3375000 points"):
        fit.emmeans("a")


FIT_ERRORS = {
    "Dat": (DataError, "did you mean 'Date'"),
    "Block": (DataError, "not a factor of the fixed part"),
    "": (DataError, "names no variable"),
    "a ~ b ~ c": (FormulaError, "more than one '~'"),
    "a | b | c": (FormulaError, r"more than one '\|'"),
    "Date |": (FormulaError, r"nothing right of '\|'"),
    "Date * Date": (DataError, "more than once"),
    "pairs2 ~ Date": (ModelError, "not a family of contrasts"),
}


@pytest.mark.parametrize("specs", list(FIT_ERRORS))
def test_specs_refused(specs):
    error, match = FIT_ERRORS[specs]
    with pytest.raises(error, match=match):
        mixed("unbalanced").emmeans(specs)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"weights": "prop"}, ModelError, "use one of 'equal', 'proportional'"),
        ({"at": {"Date": ["S2"]}}, DataError, "did you mean 'S20'"),
        ({"at": {"Date": []}}, DataError, "at least one"),
        ({"at": {"Dte": ["S1"]}}, DataError, "did you mean 'Date'"),
        ({"at": ["S1"]}, DataError, "write a dict"),
        ({"level": 95}, ModelError, "between 0 and 1"),
        ({"adjust": "tukey"}, ModelError, "all pairwise differences"),
        ({"adjust": "holmes"}, ModelError, "did you mean 'holm'"),
        ({"ddf": "kenward"}, ModelError, "did you mean 'kenward-roger'"),
        ({"by": "Varity"}, DataError, "did you mean 'Variety'"),
        ({"by": 3}, DataError, "a name or a list of names"),
    ],
)
def test_arguments_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        mixed("unbalanced").emmeans("Date", **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"method": "pairwis"}, ModelError, "did you mean 'pairwise'"),
        ({"method": {"x": [1, -1]}}, DataError, "2 coefficients; there are 4 means"),
        ({"method": {"x": {"Nome": 1, "S1": -1}}}, DataError, "did you mean 'None'"),
        ({"method": {"x": ["a", 0, 0, 1]}}, DataError, "must be numbers"),
        ({"method": [[1, np.nan, 0, -1]]}, DataError, "finite"),
        ({"method": {}}, DataError, "no contrast is given"),
        ({"method": "pairwise", "ref": "S1"}, ModelError, "ref is for 'trt.vs.ctrl'"),
        ({"method": "trt.vs.ctrl", "ref": "S200"}, DataError, "did you mean 'S20'"),
        ({"method": "pairwise", "by": "Variety"}, DataError, "not a column of this table"),
        ({"method": "pairwise", "by": "Date"}, ModelError, "nothing is left"),
        ({"interaction": ["pairwise", "poly"]}, ModelError, "2 methods for 1 factors"),
    ],
)
def test_contrasts_refused(arguments, error, match):
    means = mixed("unbalanced").emmeans("Date")
    with pytest.raises(error, match=match):
        means.contrast(**arguments)


def test_other_refusals():
    chick = fit_case("chickweight_slope_reml")
    with pytest.raises(DataError, match=r"covariate, which stands at its mean.*at=\{'Time'"):
        chick.emmeans("Time")
    with pytest.raises(DataError, match="needs numbers"):
        chick.emmeans("Diet", at={"Time": "late"})
    with pytest.raises(DataError, match="finite number"):
        chick.emmeans("Diet", at={"Time": [np.nan]})
    with pytest.raises(DataError, match="twice"):
        chick.emmeans("Diet", at={"Time": [1, 1]})
    means = mixed("unbalanced").emmeans("Date")
    with pytest.raises(ModelError, match="against 0"):
        means.test(null=1.0, joint=True)
    with pytest.raises(ModelError, match="one mean in each family"):
        mixed("unbalanced").emmeans("Date", at={"Date": "S1"}).pairs()
    with pytest.raises(FormulaError, match=r"has a '\|' already"):
        mixed("unbalanced").emmeans("Date | Variety", by="Variety")
    with pytest.raises(ModelError, match="no effect is left"):
        mlm.joint_tests(mixed("unbalanced"), by=["Date", "Variety"])
    y = np.arange(12.0) % 5 + np.repeat([0.0, 9.0, 3.0], 4)
    arrays = mlm.LMM.from_arrays(y, np.ones((12, 1)), groups=np.repeat([1, 2, 3], 4)).fit()
    with pytest.raises(ModelError, match="made from arrays"):
        arrays.emmeans("x")
