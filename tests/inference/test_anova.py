"""F tests of terms against lmerTest, mmrm and car, and what must hold for any data.

The reference fits hold lmerTest's tables (random effects) and mmrm's (residual structures). Those
in reference/marginal_means.json are by R 4.2.2, lmerTest 3.1-3 and car 3.1-1 for
`lmer(Yield ~ Variety * Date + (1 | Block))` on alfalfa with rows or a cell left out, and for
`lmer(weight ~ Time * Diet + (1 | Chick))` on ChickWeight.
"""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.data.frame import Frame
from mlmfast.design.columns.build_matrix import build_model_matrix
from mlmfast.errors import DataError, ModelError
from mlmfast.inference.anova import functions_of_formula, type_one, type_three, type_two
from mlmfast.inference.anova.of_fit import estimable_functions

from ..cases import ALL, read_frame, reference, tolerance
from ..fits import fit_case, lmm
from ..marginal_models import R, alfalfa, mixed, warpbreaks

METHODS = {"satterthwaite": "satterthwaite", "ols": "residual"}
# lmerTest's Doolittle rounds entries below 1e-6 of X'X to 0, which spoils these: its own type II
# and III tables give the last term's F as ours.
ROUNDED = {("cake_poly_reml", 1)}


def tables():
    """(case, type, our method, reference table) of all reference fits."""
    for case_id in ALL:
        expect = reference(case_id)["expect"]
        for kind in (1, 2, 3):
            for mode, table in expect.get(f"anova_type{kind}", {}).items():
                if mode == "kr" and not reference(case_id)["residual"]:
                    yield case_id, kind, "kenward-roger-expected", table
                elif mode in METHODS:
                    yield case_id, kind, METHODS[mode], table


@pytest.mark.parametrize(
    ("case_id", "kind", "ddf", "table"),
    [pytest.param(*t, id="-".join(map(str, t[:3]))) for t in tables()],
)
def test_tables_of_the_reference_fits(case_id, kind, ddf, table):
    found = fit_case(case_id).anova(type=kind, ddf=ddf)
    assert list(found.index) == table["terms"]
    assert found["NumDF"].tolist() == table["num_df"]
    rtol = tolerance(case_id, "anova")
    if (case_id, kind) not in ROUNDED:
        np.testing.assert_allclose(found["F value"], table["F"], rtol=rtol)
    if "den_df" in table:
        rtol = max(rtol, tolerance(case_id, "df"))
        np.testing.assert_allclose(found["DenDF"], table["den_df"], rtol=rtol)


def test_where_lmertest_rounds_the_last_term_is_the_same_in_all_types():
    fit = fit_case("cake_poly_reml")
    last = [fit.anova(type=kind)["F value"].iloc[-1] for kind in (1, 2, 3)]
    np.testing.assert_allclose(last, last[2], rtol=1e-10)
    expected = reference("cake_poly_reml")["expect"]["anova_type3"]["satterthwaite"]["F"][-1]
    assert last[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("data", ["unbalanced", "empty"])
def test_unbalanced_data_and_an_empty_cell_as_lmertest(data, kind):
    table, expected = mixed(data).anova(type=kind), R["tests"][f"lmerTest {data} {kind}"]
    assert list(table.index) == expected["terms"]
    assert table["NumDF"].tolist() == expected["num"]
    # lmerTest rounds the coefficients of its type III hypotheses to 7 digits.
    np.testing.assert_allclose(table["F value"], expected["F"], rtol=1e-6 if kind == 3 else 1e-8)
    np.testing.assert_allclose(table["DenDF"], expected["den"], rtol=1e-7)


@pytest.mark.parametrize(
    ("key", "fit", "kind"),
    [
        ("car 2 lmer", lambda: mixed("unbalanced"), 2),
        ("car 3 lmer", lambda: mixed("unbalanced"), 3),
        ("car 3 sum", lambda: mixed("unbalanced", coding="contr.sum"), 3),
        ("car 2 cov", lambda: chick_fit(), 2),
    ],
)
def test_definition_of_car(key, fit, kind):
    table, expected = fit().anova(type=kind, definition="car", chisq=True), R["tests"][key]
    rows = [expected["terms"].index(term) for term in table.index]
    np.testing.assert_allclose(table["Chisq"], np.array(expected["F"])[rows], rtol=1e-6)


def chick_fit():
    chicks = pd.unique(read_frame("chickweight.csv", {})["Chick"]).astype(str)
    data = read_frame("chickweight.csv", {"Diet": list("1234"), "Chick": list(chicks)})
    return lmm("weight ~ Time * Diet + (1 | Chick)", data)


def test_type_three_with_all_cells_is_that_of_sum_contrasts():
    """Yates' weighted squares of means, as car computes them from sum contrasts."""
    expected = mixed("unbalanced", coding="contr.sum").anova(type=3, definition="car")
    for definition in ("SAS", "lmerTest", "mmrm"):
        found = mixed("unbalanced").anova(type=3, definition=definition)
        np.testing.assert_allclose(found["F value"], expected["F value"], rtol=1e-8)


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("data", ["unbalanced", "empty"])
@pytest.mark.parametrize("coding", ["contr.sum", "contr.helmert", "contr.poly", "contr.SAS"])
def test_contrasts_used_for_fitting_play_no_part(coding, data, kind):
    found = mixed(data, coding=coding).anova(type=kind).frame
    pd.testing.assert_frame_equal(found, mixed(data).anova(type=kind).frame, rtol=1e-6)


def test_type_three_ignores_cell_counts_and_type_two_does_not():
    counts = {"once": [0, 1, 2, 3], "repeated": [0, 0, 0, 0, 1, 2, 2, 3]}
    cells = pd.DataFrame({"a": list("uuvv"), "b": list("xyxy")})
    spans = {}
    for name, rows in counts.items():
        frame = Frame.from_native(cells.iloc[rows].reset_index(drop=True))
        functions = functions_of_formula(build_model_matrix("a * b", frame).spec, frame, range(4))
        for find in (type_two, type_three):
            row = find(functions, 1)[0]
            spans[name, find] = row / row[1]
    same = spans["once", type_three]
    np.testing.assert_allclose(same, [0, 1, 0, 0.5], atol=1e-12)
    np.testing.assert_allclose(spans["repeated", type_three], same, atol=1e-12)
    assert abs(spans["repeated", type_two] - same).max() > 0.01


def test_type_one_is_the_drop_in_the_residual_sum_of_squares():
    data = warpbreaks("u")
    fits = [
        lmm(f"breaks ~ {rhs}", data) for rhs in ("1", "wool", "wool + tension", "wool * tension")
    ]
    sums = [fit.scale * (fit.nobs - fit.rank) for fit in fits]
    table = fits[-1].anova(type=1, ddf="residual")
    explained = table["F value"] * table["NumDF"] * fits[-1].scale
    np.testing.assert_allclose(explained, -np.diff(sums), rtol=1e-8)
    # In another order other terms come first.
    other = lmm("breaks ~ tension * wool", data).anova(type=1, ddf="residual")
    assert abs(other["F value"]["wool"] / table["F value"]["wool"] - 1) > 1e-3


def test_type_two_of_a_main_effect_is_that_of_the_model_without_interaction():
    """The hypothesis; F differs, as the residual variance is that of the larger model."""
    data = warpbreaks("u")
    additive, full = lmm("breaks ~ wool + tension", data), lmm("breaks ~ wool * tension", data)
    small, large = (fit.anova(type=2, ddf="residual") for fit in (additive, full))
    for term in ("wool", "tension"):
        expected = small["F value"][term] * additive.scale
        assert large["F value"][term] * full.scale == pytest.approx(expected, rel=1e-9)


def test_balanced_data_have_one_table():
    fit = fit_case("alfalfa_splitplot_reml")
    first = fit.anova(type=1).frame
    for kind in (2, 3):
        pd.testing.assert_frame_equal(fit.anova(type=kind).frame, first, rtol=1e-6)


def test_hypotheses_are_those_tested():
    fit = mixed("empty")
    table = fit.anova()
    for term, L in table.hypotheses.items():
        joint = fit.contrast(L)
        f = joint.f.statistic if len(L) > 1 else joint.statistic**2
        assert f == pytest.approx(table["F value"][term], rel=1e-8)


def test_rows_differ_from_program_to_program_but_not_f():
    fit = fit_case("fev_us_reml")
    by = {name: fit.anova(definition=name) for name in ("SAS", "lmerTest", "mmrm")}
    assert fit.anova().definition == "mmrm"
    assert mixed("empty").anova().definition == "lmerTest"
    for name in ("lmerTest", "mmrm"):
        np.testing.assert_allclose(by[name]["F value"], by["SAS"]["F value"], rtol=1e-9)
    assert by["SAS"]["DenDF"]["AVISIT"] != pytest.approx(by["mmrm"]["DenDF"]["AVISIT"], rel=1e-3)
    np.testing.assert_allclose(by["SAS"]["DenDF"]["SEX"], by["mmrm"]["DenDF"]["SEX"], rtol=1e-9)
    L = by["SAS"].hypotheses["RACE"]
    # Asian - White, Black - White over the treatment coding.
    np.testing.assert_allclose(L.filter(like="RACE"), [[0, -1], [1, -1]], atol=1e-9)


def test_published_proc_mixed_tables():
    for case_id in ("fevbl_ar1_reml", "fevblsex_ar1_reml"):
        sas = reference(case_id)["agreement"]["sas"]
        for kind in (2, 3):
            rows = sas[f"anova_type{kind}"]
            table = fit_case(case_id).anova(type=kind, definition="SAS")
            assert table["NumDF"].tolist() == [row["num_df"] for row in rows]
            # PROC MIXED stops earlier: 5 to 6 digits.
            np.testing.assert_allclose(table["F value"], [row["F"] for row in rows], rtol=1e-5)
            np.testing.assert_allclose(table["DenDF"], [row["den_df"] for row in rows], rtol=2e-6)


def test_without_intercept_the_first_factor_has_all_its_levels():
    fit = lmm("Yield ~ 0 + Variety + (1 | Block)", alfalfa("unbalanced"))
    joint = fit.contrast(np.eye(3)).f
    table = fit.anova()
    assert table["F value"]["Variety"] == pytest.approx(joint.statistic, rel=1e-9)
    # Beside another factor only its differences are free of that (SAS's NOINT).
    two = lmm("Yield ~ 0 + Variety + Date + (1 | Block)", alfalfa("unbalanced"))
    same = lmm("Yield ~ Variety + Date + (1 | Block)", alfalfa("unbalanced"))
    np.testing.assert_allclose(two.anova()["F value"], same.anova()["F value"], rtol=1e-7)
    assert two.anova()["NumDF"].tolist() == [2, 3]
    assert two.anova(type=1)["NumDF"].tolist() == [3, 3]


def test_terms_with_covariates_are_tested_where_the_covariates_are_zero():
    data = chick_data()
    fit = lmm("weight ~ Time * Diet + (1 | Chick)", data)
    moved = lmm("weight ~ T * Diet + (1 | Chick)", data.assign(T=data["Time"] - 10))
    apart = fit.anova()["F value"]["Diet"] / moved.anova()["F value"]["Diet"]
    assert abs(apart - 1) > 0.01
    # The slopes' tests do not depend on the origin, and a scale on nothing.
    scaled = lmm("weight ~ S * Diet + (1 | Chick)", data.assign(S=data["Time"] * 1e5))
    np.testing.assert_allclose(scaled.anova()["F value"], fit.anova()["F value"], rtol=1e-6)
    last = [table.anova()["F value"].iloc[-1] for table in (fit, moved)]
    assert last[0] == pytest.approx(last[1], rel=1e-7)


def chick_data():
    chicks = pd.unique(read_frame("chickweight.csv", {})["Chick"]).astype(str)
    return read_frame("chickweight.csv", {"Diet": list("1234"), "Chick": list(chicks)})


def test_bases_are_one_term_however_they_are_coded():
    data = chick_data()
    poly = lmm("weight ~ poly(Time, 3) + Diet + (1 | Chick)", data).anova()
    spline = lmm("weight ~ bs(Time, 3) + Diet + (1 | Chick)", data).anova()
    assert poly["NumDF"].tolist() == spline["NumDF"].tolist() == [3, 3]
    # A cubic either way: the same space, so the same F.
    np.testing.assert_allclose(poly["F value"], spline["F value"], rtol=1e-6)


def test_terms_that_cannot_be_estimated_are_left_out_and_named():
    data = alfalfa("unbalanced")
    fit = lmm("Yield ~ Variety + kind + (1 | Block)", data.assign(kind=data["Variety"].astype(str)))
    table = fit.anova(type=1)
    assert list(table.index) == ["Variety"]
    assert "Not estimable, left out: kind" in str(table)
    # Each is confounded with the other.
    with pytest.raises(ModelError, match="nothing to test"):
        fit.anova(type=3)


def test_many_rows_give_the_same_as_their_distinct_ones():
    data = warpbreaks("u")
    many = pd.concat([data] * 200, ignore_index=True)
    few, all_rows = (estimable_functions(lmm("breaks ~ wool * tension", d)) for d in (data, many))
    for find in (type_one, type_two, type_three):
        for term in (1, 2, 3):
            one, other = find(few, term), find(all_rows, term)
            # The same span.
            joint = np.vstack([one / np.linalg.norm(one), other / np.linalg.norm(other)])
            assert np.linalg.matrix_rank(joint, tol=1e-9) == len(one)


def test_reduced_contrasts_are_covariates():
    data = alfalfa("unbalanced")
    linear = np.array([[-1.5], [-0.5], [0.5], [1.5]])
    fit = lmm("Yield ~ Variety + Date + (1 | Block)", data, contrasts={"Date": linear})
    assert fit.anova()["NumDF"].tolist() == [2, 1]
    mixed_up = "Yield ~ 0 + Date + Variety + Date:Variety + (1 | Block)"
    fit = lmm(mixed_up, data, contrasts={"Date": linear})
    with pytest.raises(ModelError, match="fewer contrasts than its levels need"):
        fit.anova()


def test_arrays_are_tested_column_by_column():
    design = np.column_stack([np.ones(40), np.arange(40.0), np.arange(40) % 3])
    groups = np.repeat(np.arange(8), 5)
    y = design @ [1.0, 0.5, 2.0] + np.sin(np.arange(40.0) ** 2) + np.cos(groups)
    fit = mlm.LMM.from_arrays(y, design, groups=groups, names=["one", "x", "z"]).fit()
    table = fit.anova(type=3)
    np.testing.assert_allclose(table["F value"], fit.tvalues**2, rtol=1e-9)
    np.testing.assert_allclose(table["DenDF"], fit.df, rtol=1e-9)


def test_table_prints_and_tidies():
    fit = fit_case("sleepstudy_slope_corr_reml")
    table = fit.anova(chisq=True)
    assert str(table).splitlines()[0].startswith("Type III tests of fixed effects (lmerTest)")
    assert "45.853" in str(table)
    assert "<td>45.853</td>" in table._repr_html_()
    tidy = table.tidy()
    assert tidy["term"].tolist() == ["Days"]
    assert {"num_df", "den_df", "statistic", "p_value", "chisq", "p_value_chisq"} < set(tidy)
    assert tidy["chisq"][0] == pytest.approx(tidy["statistic"][0], rel=1e-10)


def test_types_by_name():
    fit = mixed("unbalanced")
    for name, kind in (("III", 3), ("ii", 2), ("1", 1)):
        assert fit.anova(type=name).frame.equals(fit.anova(kind).frame)


def test_another_fit_is_compared_by_likelihood():
    fit, other = mixed("unbalanced"), mixed("unbalanced", coding="contr.sum")
    small = fit_case("sleepstudy_intercept_ml")
    table = small.anova(fit_case("sleepstudy_slope_corr_ml"))
    pd.testing.assert_frame_equal(
        pd.DataFrame(table), pd.DataFrame(mlm.compare(small, fit_case("sleepstudy_slope_corr_ml")))
    )
    with pytest.raises(ModelError, match="not for comparing fits"):
        fit.anova(other, type=2)


def test_refusals():
    fit = mixed("unbalanced")
    with pytest.raises(ModelError, match="type is 5; use 1, 2, 3 or 4"):
        fit.anova(type=5)
    with pytest.raises(ModelError, match="did you mean 'car'"):
        fit.anova(definition="cars")
    with pytest.raises(ModelError, match="did you mean 'satterthwaite'"):
        fit.anova(ddf="satterthwait")
    with pytest.raises(ModelError, match="no term besides the intercept"):
        lmm("Yield ~ 1 + (1 | Block)", alfalfa("")).anova()
    with pytest.raises(ModelError, match="need the rows of the data, and a loaded fit holds none"):
        mlm.load(fit.to_json()).anova(ddf="kenward-roger-2009")
    with pytest.raises(ModelError, match="one type of test"):
        fit.anova(1, 2)
    with pytest.raises(DataError, match="did you mean 'Date'"):
        mlm.joint_tests(fit, by="Dat")


def by_definition(functions, term):
    """SAS's type III from null spaces."""

    def null_space(matrix):
        _, sizes, right = np.linalg.svd(matrix, full_matrices=True)
        return right[np.count_nonzero(sizes > 1e-9 * max(sizes, default=1.0)) :].T

    own = functions.terms[term]
    containing = [t for t, other in enumerate(functions.terms) if own.is_contained_in(other)]
    outside = [t for t in range(len(functions.terms)) if t != term and t not in containing]
    free = null_space(functions.columns_of(outside).T) if outside else np.eye(len(functions.root))
    alone = functions.columns_of([term]).T @ free
    everything = np.vstack([alone, functions.columns_of(containing).T @ free])
    chosen = null_space((everything @ null_space(alone)).T @ everything)
    return (free @ chosen).T @ functions.root


@pytest.mark.parametrize("empty", [0.0, 0.25])
@pytest.mark.parametrize("formula", ["a * b * c * d", "a * b + c:x + a:x + d", "a:b + b:c + x"])
def test_type_three_of_many_factors_is_that_of_the_definition(formula, empty):
    rng = np.random.default_rng(8)
    cells = pd.MultiIndex.from_product([list("uvw")] * 4, names=list("abcd")).to_frame(index=False)
    cells = cells[rng.random(len(cells)) >= empty]
    data = cells.iloc[rng.integers(0, len(cells), 300)].reset_index(drop=True)
    data = pd.concat([cells, data], ignore_index=True).assign(x=rng.normal(size=len(cells) + 300))
    frame = Frame.from_native(data)
    matrix = build_model_matrix(formula, frame)
    x = np.column_stack([np.ones(len(data)) if c is None else c for c in matrix.columns])
    kept = [
        j
        for j in range(x.shape[1])
        if np.linalg.matrix_rank(x[:, : j + 1]) > np.linalg.matrix_rank(x[:, :j])
    ]
    functions = functions_of_formula(matrix.spec, frame, kept)
    for term in range(1, len(functions.terms)):
        found, expected = type_three(functions, term), by_definition(functions, term)
        assert found.shape == expected.shape
        spans = [np.linalg.qr(rows.T)[0] if len(rows) else rows.T for rows in (found, expected)]
        np.testing.assert_allclose(spans[0] @ spans[0].T, spans[1] @ spans[1].T, atol=1e-8)
