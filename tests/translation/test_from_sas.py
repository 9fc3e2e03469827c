"""PROC MIXED steps as text give the listings that SAS prints, and the fits of other programs.

SAS/STAT User's Guide, The MIXED Procedure: Example "Split-Plot Design" (data of Stroup 1989) and
Examples "Repeated Measures" (data of Pothoff and Roy 1964) and "Random Coefficients" (data of
Obenchain 1990), and its first one, to the printed digit.
"""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, FormulaError, ModelError

from .. import dense
from ..cases import data_of, reference, tolerance
from ..model.test_published_listings import GROWTH, SPLIT_PLOT, printed

STEP = """
    title "it's a split plot";
    data sp; input Block A B Y; datalines; 1 1 1 56
    ;
    proc mixed data=sp;
       class A B Block;   /* B varies fastest */
       model Y = A B A*B;
       * random effects of whole plots;
       random Block A*Block;
       estimate 'a1 mean narrow' intercept 1 A 1 B .5 .5 A*B .5 .5 |
                Block .25 .25 .25 .25 A*Block .25 .25 .25 .25 0 0 0 0 0 0 0 0;
       estimate 'a1 mean intermed' intercept 1 A 1 B .5 .5 A*B .5 .5 | Block .25 .25 .25 .25;
       estimate 'a1 mean broad' intercept 1 a 1 b .5 .5 A*B .5 .5;
       estimate 'in halves' intercept 2 A 2 B 1 1 A*B 1 1 / divisor=2 df=6;
       contrast 'A broad' A 1 -1 0 A*B .5 .5 -.5 -.5 0 0, A 1 0 -1 A*B .5 .5 0 0 -.5 -.5 / df=6;
       contrast 'A filled' A 1 -1 0, A 1 0 -1;
       contrast 'B' B 1 -1;
       contrast 'A*B' A*B 1 -1 -1 1 0 0, A*B 1 -1 0 0 -1 1;
       estimate 'nothing' A 1;
       lsmeans A A*B / diff slice=B;
    run;
"""


@pytest.fixture(scope="module")
def split_plot():
    columns = np.array(SPLIT_PLOT.split(), dtype=int).reshape(-1, 4)
    return pd.DataFrame(columns, columns=["Block", "A", "B", "Y"])


@pytest.fixture(scope="module")
def listing(split_plot):
    return mlm.from_sas(STEP)(split_plot)


def test_split_plot(listing):
    printed(listing.fit.covariance_parameters, [62.3958, 15.3819, 9.3611], 4)
    table = listing.tests[3].frame
    printed(table["F value"], [4.07, 19.39, 4.02], 2)
    assert table["DenDF"].tolist() == [6.0, 9.0, 9.0]
    # The solution against the last levels, as PROC MIXED prints it.
    assert listing.fit.params.index.tolist() == ["(Intercept)", "A1", "A2", "B1", "A1:B1", "A2:B1"]
    printed(listing.fit.params, [25.5, 3.25, 4.75, 0.5, 7.75, 7.25], 4)


def test_inference_spaces(listing):
    table = listing.estimates.set_index("label")
    for label, se, t in (
        ("a1 mean narrow", 1.0817, 30.39),
        ("a1 mean intermed", 2.2396, 14.68),
        ("a1 mean broad", 4.5403, 7.24),
    ):
        printed(table.loc[label, "estimate"], 32.8750, 4)
        printed(table.loc[label, "se"], se, 4)
        printed(table.loc[label, "statistic"], t, 2)
        assert table.loc[label, "df"] == 9.0
    assert table.loc["in halves", "df"] == 6.0
    assert table.loc["in halves", "estimate"] == pytest.approx(32.875)


def test_contrasts_are_the_tests_of_effects(listing):
    """What is not said of an interaction is filled in, and the last effect has its own ddf."""
    table, tests = listing.contrasts.set_index("label"), listing.tests[3].frame
    for label, effect in (("A broad", "A"), ("A filled", "A"), ("B", "B"), ("A*B", "A:B")):
        assert table.loc[label, "f"] == pytest.approx(tests.loc[effect, "F value"], rel=1e-9)
        assert table.loc[label, "p_value"] == pytest.approx(tests.loc[effect, "Pr(>F)"], rel=1e-9)
    assert "not estimable" in listing.problems["nothing"]


def test_means_differences_and_slices(listing):
    cells = np.array(SPLIT_PLOT.split(), dtype=float).reshape(-1, 4)
    means = listing.lsmeans["A"].frame
    assert means["emmean"].tolist() == pytest.approx(
        [cells[cells[:, 1] == k, 3].mean() for k in (1, 2, 3)]
    )
    assert means["df"].tolist() == [6.0] * 3
    # In a balanced design the slice is the F of the cells' sums of squares.
    differences = listing.differences["A*B"].frame
    assert differences["contrast"].tolist()[:2] == ["B1 A1 - B2 A1", "B1 A1 - B1 A2"]
    assert len(listing.slices["A*B"]) == 1
    assert "Least squares means: A*B" in repr(listing)


def test_the_code_gives_what_the_call_gives(split_plot, listing):
    step = mlm.from_sas(STEP.replace("estimate 'nothing' A 1;", ""))
    space = {"data": split_plot, "sas": step}
    exec(step.code, space)
    assert space["fit"].llf == listing.fit.llf
    assert (space["fit"].params == listing.fit.params).all()
    pd.testing.assert_frame_equal(space["tests"].frame, listing.tests[3].frame)


STABILITY = """
1 0 101.2 103.3 103.3 102.1 104.4 102.4  1 1 98.8 99.4 99.7 99.5 . .
1 3 98.4 99.0 97.3 99.8 . .              1 6 101.5 100.2 101.7 102.7 . .
1 9 96.3 97.2 97.2 96.3 . .              1 12 97.3 97.9 96.8 97.7 97.7 96.7
2 0 102.6 102.7 102.4 102.1 102.9 102.6  2 1 99.1 99.0 99.9 100.6 . .
2 3 105.7 103.3 103.4 104.0 . .          2 6 101.3 101.5 100.9 101.4 . .
2 9 94.1 96.5 97.2 95.6 . .              2 12 93.1 92.8 95.4 92.2 92.2 93.0
3 0 105.1 103.9 106.1 104.1 103.7 104.6  3 1 102.2 102.0 100.8 99.8 . .
3 3 101.2 101.8 100.8 102.6 . .          3 6 101.1 102.0 100.1 100.2 . .
3 9 100.9 99.5 102.2 100.8 . .           3 12 97.8 98.3 96.9 98.4 96.9 96.5
"""
HEIGHTS = """
1 F 67 1 F 66 1 F 64 1 M 71 1 M 72 2 F 63 2 F 63 2 F 67 2 M 69 2 M 68 2 M 70
3 F 63 3 M 64 4 F 67 4 F 66 4 M 67 4 M 67 4 M 69
"""


@pytest.fixture(scope="module")
def stability():
    """Example "Random Coefficients" (data of Obenchain 1990)."""
    table = np.array(STABILITY.replace(" .", " nan").split(), dtype=float).reshape(-1, 8)
    rows = [(batch, month, y) for batch, month, *ys in table.tolist() for y in ys]
    data = pd.DataFrame(rows, columns=["Batch", "Month", "Y"])
    return data.assign(Monthc=data["Month"])


def test_random_coefficients(stability):
    fit = mlm.from_sas("""
        proc mixed data=rc; class Batch; model Y = Month / s;
        random Int Month / type=un sub=Batch s; run;""")(stability).fit
    printed(fit.covariance_parameters.iloc[[0, 1, 3]], [0.9768, -0.1045, 3.2932], 4)
    printed(fit.covariance_parameters.iloc[2], 0.03717, 5)
    printed(fit.deviance, 350.3, 1)
    printed(fit.params["Month"], -0.5259, 4)
    printed(fit.bse, [0.6456, 0.1194], 4)
    assert fit.df.tolist() == [2.0, 2.0]
    printed(fit.tvalues["Month"], -4.41, 2)
    printed(fit.pvalues["Month"], 0.0478, 4)


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_random_coefficients_and_months(stability):
    fit = mlm.from_sas("""
        proc mixed data=rc; class Batch Monthc; model Y = Month / s;
        random Int Month Monthc / sub=Batch s; run;""")(stability).fit
    printed(fit.covariance_parameters.iloc[[0, 2, 3]], [0.0, 3.7411, 0.7969], 4)
    printed(fit.covariance_parameters.iloc[1], 0.01243, 5)
    printed(fit.params["Month"], -0.5003, 4)
    printed(fit.bse, [0.7287, 0.1259], 4)
    printed(fit.pvalues["Month"], 0.0579, 4)


def test_families():
    """The first example of the chapter: heights by family and gender."""
    table = np.array(HEIGHTS.split()).reshape(-1, 3)
    data = pd.DataFrame({"Family": table[:, 0], "Gender": table[:, 1], "Height": table[:, 2]})
    data["Height"] = data["Height"].astype(float)
    found = mlm.from_sas("""
        proc mixed data=heights; class Family Gender; model Height = Gender;
        random Family Family*Gender; run;""")(data)
    printed(found.fit.covariance_parameters, [2.4010, 1.7657, 2.1668], 4)
    test = found.tests[3].frame.loc["Gender"]
    assert test[["NumDF", "DenDF"]].tolist() == [1.0, 3.0]
    printed(test["F value"], 7.95, 2)
    printed(test["Pr(>F)"], 0.0667, 4)


STRUCTURES = {
    "us(age | Subject)": "repeated / type=un subject=Subject r",
    "cs(age | Subject)": "repeated / type=cs subject=Subject",
    "cs(age | Sex / Subject)": "repeated Age / type=cs subject=Subject group=Sex",
}


@pytest.mark.parametrize("residual", GROWTH)
def test_growth_curves(residual):
    data, expected = data_of("orthodont_slope_reml"), GROWTH[residual]
    data["Sex"] = data["Sex"].astype(str)
    # Age is a number in the model, and its levels tell the rows of a subject apart.
    repeated = STRUCTURES[residual].replace("Age", "visit")
    data["visit"] = data["age"]
    step = mlm.from_sas(f"""
        proc mixed data=pr method=ml covtest;
          class Subject Sex visit;
          model Distance = Sex Age Sex*Age / s;
          {repeated};
          estimate 'difference at 14' Sex 1 -1 Sex*Age 14 -14;
        run;""")
    assert not step.unmapped
    found = step(data)
    fit = found.fit
    table = found.covtest.table
    for name, (estimate, se, z, p) in expected["estimate"].items():
        printed(table.loc[name, ["estimate", "se"]], [estimate, se], 4)
        printed(table.loc[name, "z"], z, 2)
        printed(table.loc[name, "p_value"], p, 4)
    printed([fit.deviance, *fit.information_criteria(convention="sas")], expected["criteria"], 1)
    # PROC MIXED's solution has the last level, Male, at 0: the listing's rows are of M and F.
    slope = fit.params[["SexFemale:Age"]].item() if "SexFemale:Age" in fit.params else np.nan
    assert slope == pytest.approx(expected["beta"][3][0], abs=1.01e-4)
    printed(found.tests[3].frame["F value"], expected["F"], 2)
    # TYPE=UN alone: between-subject degrees of freedom for all effects.
    within = 25.0 if "type=un" in repeated else 79.0
    assert found.tests[3].frame["DenDF"].tolist() == [25.0, within, within]
    effect = found.estimates.iloc[0]
    assert effect["df"] == within
    row = fit.estimate({"SexFemale": 1.0, "SexFemale:Age": 14.0})
    assert effect["estimate"] == pytest.approx(row.estimate, rel=1e-10)
    assert effect["se"] == pytest.approx(row.se, rel=1e-10)


STEPS = {
    "sleepstudy_slope_corr_reml": "class Subject; model Reaction = Days;"
    " random intercept Days / type=un subject=Subject",
    "sleepstudy_slope_uncorr_ml": "class Subject; model Reaction = Days;"
    " random int Days / sub=Subject",
    "sleepstudy_slope_only_reml": "class Subject; model Reaction = Days; random Days / sub=Subject",
    "pastes_nested_reml": "class batch cask; model strength = ; random batch cask(batch)",
    "penicillin_reml": "class plate sample; model diameter = ; random plate sample",
    "cake_splitplot_reml": "class recipe temperature replicate;"
    " model angle = recipe|temperature; random replicate replicate*recipe",
    "glucose2_nested_ml": "class Subject Date; model glucose = Time Time*Time Time*Time*Time;"
    " random int / sub=Subject; random int / sub=Date(Subject)",
    "orthodont_noint_reml": "class Sex Subject; model distance = Sex Sex*age / noint;"
    " random int / subject=Subject",
    "orthodont_ar1_reml": "class Sex visit Subject; model distance = Sex|visit;"
    " repeated visit / type=ar(1) subject=Subject",
    "orthodont_ar1h_ml": "class Sex visit Subject; model distance = Sex|visit;"
    " repeated visit / type=arh(1) subject=Subject",
    "orthodont_toep_reml": "class Sex visit Subject; model distance = Sex|visit;"
    " repeated visit / type=toep subject=Subject",
    "orthodont_csh_reml": "class Sex visit Subject; model distance = Sex|visit;"
    " repeated visit / type=csh subject=Subject",
    "orthodont_int_hetsex_reml": "class Sex Subject; model distance = age|Sex;"
    " random int / sub=Subject; repeated / group=Sex",
    "fev_us_by_arm_reml": "class RACE SEX ARMCD AVISIT USUBJID;"
    " model FEV1 = RACE SEX ARMCD|AVISIT / ddfm=sat;"
    " repeated AVISIT / type=un subject=USUBJID group=ARMCD",
    "fev_sp_exp2d_reml": "class RACE SEX ARMCD AVISIT USUBJID;"
    " model FEV1 = RACE SEX ARMCD|AVISIT / ddfm=sat;"
    " repeated / type=sp(exp)(VISITN VISITN2) subject=USUBJID",
    "fev_us_weighted_reml": "class RACE SEX ARMCD AVISIT USUBJID; weight WEIGHT;"
    " model FEV1 = RACE SEX ARMCD|AVISIT / ddfm=kr; repeated AVISIT / type=un sub=USUBJID",
    "npk_blocks_reml": "class N P K block; model yield = N|P K; random block",
}


@pytest.mark.parametrize("case_id", STEPS)
def test_a_step_gives_the_fit_of_another_program(case_id):
    method = "ml" if case_id.endswith("_ml") else "reml"
    step = mlm.from_sas(f"proc mixed method={method}; {STEPS[case_id]}; run;")
    assert not step.unmapped
    fit = step(data_of(case_id)).fit
    expected = reference(case_id)["expect"]["loglik"]
    assert fit.llf == pytest.approx(expected, rel=tolerance(case_id, "loglik"), abs=1e-7)


def test_estimates_are_those_of_a_coding_by_cells(trial):
    """Rows over PROC MIXED's columns against the same function of a model of cell means."""
    step = mlm.from_sas("""
        proc mixed; class sex arm id; model y = arm sex arm*sex x x*arm / ddfm=sat;
        random int / sub=id;
        estimate 'c - a, females' arm -1 0 1 arm*sex -1 0 1;
        estimate 'slope of b' x 1 x*arm 0 1;
        estimate 'arms, means' arm 1 -1;
        run;""")
    table = step(trial).estimates.set_index("label")
    cells = mlm.lmm("y ~ 0 + sex:arm + arm:x + (1 | id)", trial)
    expected = {
        # Columns of arm*sex go by CLASS: sex first, arm fastest.
        "c - a, females": {"sexf:armc": 1, "sexf:arma": -1},
        "slope of b": {"armb:x": 1},
        "arms, means": {"sexf:arma": 0.5, "sexm:arma": 0.5, "sexf:armb": -0.5, "sexm:armb": -0.5},
    }
    for label, row in expected.items():
        other = cells.estimate(row)
        for name in ("estimate", "se", "df", "p_value"):
            assert table.loc[label, name] == pytest.approx(getattr(other, name), rel=1e-6)


def test_the_reference_level_stands_last(trial):
    step = mlm.from_sas("""
        proc mixed; class arm(ref='a') id; model y = arm / ddfm=kr; random int / sub=id;
        estimate 'b - a' arm 1 0 -1; estimate 'c - a' arm 0 1 -1;""")
    found = step(trial)
    assert found.fit.params.index.tolist() == ["(Intercept)", "armb", "armc"]
    assert found.estimates["estimate"].tolist() == pytest.approx(found.fit.params.tolist()[1:])
    assert found.estimates["se"].tolist() == pytest.approx(found.fit.bse.tolist()[1:])


def test_by_groups(trial):
    step = mlm.from_sas("proc mixed; by sex; class arm id; model y = arm; random int / sub=id;")
    found = step(trial)
    assert list(found) == ["f", "m"]
    own = mlm.lmm("y ~ arm + (1 | id)", trial[trial.sex == "m"], contrasts={"arm": "contr.SAS"})
    assert found["m"].fit.llf == own.llf
    assert "--- m ---" in repr(found)
    single = trial.assign(arm=trial["arm"].where(trial["sex"] == "m", "a"))
    found = step(single)
    assert list(found) == ["m"]
    assert "one level" in found.problems["f"]
    assert "no fit: " in repr(found)
    with pytest.raises(ModelError, match="no BY group could be fitted"):
        step(trial.assign(arm="a"))


def test_text_is_no_number(trial):
    step = mlm.from_sas("proc mixed; class id; model y = arm; random int / sub=id;")
    with pytest.raises(DataError, match=r"'arm' holds .* is no CLASS variable"):
        step(trial)


def test_parms(trial):
    text = "proc mixed; class id; model y = x; random int x / sub=id type=un; parms {};"
    step = mlm.from_sas(text.format("(1) (0.1) (0.5) (1) / hold=2,4"))
    names = {"Cov((Intercept), x) | id": 0.1, "Residual": 1.0}
    found = step(trial).fit
    own = mlm.lmm("y ~ x + (1 + x | id)", trial, hold=names)
    assert found.llf == pytest.approx(own.llf, abs=1e-8)
    assert len(found.held) == 2
    grid = mlm.from_sas(text.format("(1 to 2 by .5) (0) (0.1, 0.5) (1)"))(trial).fit
    assert len(grid.parms) == 6
    bounds = mlm.from_sas(text.format("1 0 1 1 / lowerb=0.5,.,0.5,. upperb=.,.,.,3"))
    assert bounds._plan.arguments["bounds"] == {
        "Var((Intercept)) | id": (0.5, None),
        "Var(x) | id": (0.5, None),
        "Residual": (None, 3.0),
    }
    for values in ("1 to 2 by .5 0 0.1 1", "1 to 2 by .5, 0, 0.1, 1"):
        assert mlm.from_sas(text.format(values))._plan.arguments["grid"] == {
            "Var((Intercept)) | id": [1.0, 1.5, 2.0],
            "Cov((Intercept), x) | id": [0.0],
            "Var(x) | id": [0.1],
            "Residual": [1.0],
        }
    signed = mlm.from_sas(text.format("1 -0.1 0.5 1"))._plan.arguments["start"]
    assert signed["Cov((Intercept), x) | id"] == -0.1
    residual = mlm.from_sas(
        "proc mixed; class id visit; model y = x; repeated visit / type=cs sub=id;"
        "parms (0.5) (1.0) / hold=1 2;"
    )(trial).fit
    assert residual.held == {"CS": 0.5, "Variance": 1.0}


MAPPED = {
    "random arm / sub=site type=csh": "csh(0 + arm | site)",
    "random arm / sub=site type=un": "us(0 + arm | site)",
    "random int arm / sub=site": "(1 | site) + (1 | site:arm)",
    "random int / sub=id group=sex": "diag(0 + sex | id)",
    "random int x / sub=id type=fa0(2)": "(1 + x | id)",
    "random x*arm / sub=site": "(0 + x | site:arm)",
    "repeated visit / sub=id type=un(1)": 'residual="diag(visit | id)"',
    "repeated visit / sub=id type=toep(2)": 'residual="toep(factor(visit) | id, 2)"',
    "repeated visit / sub=id(site) type=ante(1)": 'residual="adh(factor(visit) | site:id)"',
    "repeated / sub=id type=sp(gau)(x) local": 'residual="sp_gau(x | id, nugget)"',
    "repeated / local=exp(x)": 'residual_scale="exp(x)"',
    "repeated sex visit / sub=id type=un@ar(1)": 'residual="us(sex) @ ar1(factor(visit) | id)"',
    "repeated / sub=id type=sp(pow)(x)": 'residual="sp_pow(x | id)"',
    "lsmeans arm / diff=control('b') adjust=dunnett alpha=.1": ".contrast("
    '"trt.vs.ctrl", ref="b", adjust="dunnett")',
    "lsmeans arm / at x=2 om adjust=tukey": 'fit.emmeans("arm", weights="proportional", '
    'at={"x": 2.0}).contrast("pairwise", adjust="tukey")',
    "lsmeans arm / at (x)=(1) diff": 'at={"x": 1.0}',
}


@pytest.mark.parametrize("statement", MAPPED)
def test_what_a_statement_is_here(statement):
    step = mlm.from_sas(
        f"proc mixed; class arm sex site visit id; model y = arm x / ddfm=sat; {statement};"
    )
    assert MAPPED[statement] in step.code
    assert not step.unmapped
    compile(step.code, "code", "exec")


SPATIAL = """
    proc mixed; class id v; model y = x; random v / sub=id type=sp({})(time); run;
"""


@pytest.mark.parametrize(
    ("kind", "correlation"),
    [("pow", lambda gap, rho: rho**gap), ("exp", lambda gap, length: np.exp(-gap / length))],
)
def test_levels_of_a_random_effect_lie_where_type_says(kind, correlation):
    """Not at their own values; against the dense likelihood."""
    rng = np.random.default_rng(4)
    ids, v = np.repeat(np.arange(30), 8), np.tile(np.repeat([10, 20, 30, 40], 2), 30)
    time = np.where(ids % 2, v**2 / 100, np.sqrt(v / 10))
    gaps = np.abs(time[:, None] - time[None, :])
    same = ids[:, None] == ids[None, :]
    G = np.where(same, 2.0 * 0.6**gaps, 0.0) + 1e-9 * np.eye(240)
    data = pd.DataFrame({"id": ids, "v": v, "time": time, "x": rng.normal(size=240)})
    data["y"] = data["x"] + np.linalg.cholesky(G) @ rng.normal(size=240) + rng.normal(size=240)
    step = mlm.from_sas(SPATIAL.format(kind))
    assert not step.unmapped
    fit = step(data).fit
    variance, by_gap, error = fit.covariance_parameters

    def llf(values):
        V = np.where(same, values[0] * correlation(gaps, values[1]), 0.0) + values[2] * np.eye(240)
        X = np.column_stack([np.ones(240), data["x"]])
        return dense.log_likelihood(data["y"].to_numpy(), X, V, "REML")

    at = [variance, by_gap, error]
    assert fit.llf == pytest.approx(llf(at), abs=1e-8)
    for k in range(3):
        for factor in (0.98, 1.02):
            assert llf([value * (factor if j == k else 1) for j, value in enumerate(at)]) < fit.llf
    space = {"data": data}
    exec(step.code, space)
    assert space["fit"].llf == fit.llf


def test_a_level_lies_in_one_place(trial):
    data = trial.assign(v=1, time=trial["visit"])
    with pytest.raises(DataError, match=r"'time' has 3 values at one level of id, v \(0, 1\)"):
        mlm.from_sas(SPATIAL.format("pow"))(data)


DDF = {
    "model y = x;": "residual",
    "model y = x; random int / sub=id;": "containment",
    "model y = x; repeated visit / type=cs sub=id;": "between-within-sas",
    "model y = x / ddfm=kr;": "kenward-roger",
    "model y = x / ddfm=kr(firstorder);": "kenward-roger-linear",
    "model y = x / ddfm=kenwardroger2;": "kenward-roger-2009",
    "model y = x / ddfm=satterth;": "satterthwaite",
    "model y = x / ddfm=bw;": "between-within-sas",
    "model y = x / ddfm=none;": "asymptotic",
}


def test_dfbw_is_between_within():
    step = mlm.from_sas("proc mixed dfbw; class id; model y = x; random int / sub=id;")
    assert 'ddf="between-within-sas"' in step.code
    assert not step.ignored


@pytest.mark.parametrize("statements", DDF)
def test_degrees_of_freedom(statements):
    assert (
        f'ddf="{DDF[statements]}"' in mlm.from_sas(f"proc mixed; class id visit; {statements}").code
    )


BLOCKING = {
    "proc mixed method=hml; model y = x;": "METHOD=HML",
    "proc mixed empirical; model y = x;": "fit.robust",
    "proc mixed order=freq; class g; model y = x g;": "ORDER=FREQ of PROC MIXED",
    "proc mixed; class g v / order=data; model y = x; repeated v / sub=g type=ar(1);": "of CLASS",
    "proc mixed; class g / missing; model y = x g;": "MISSING of CLASS",
    "proc mixed dfbw; model y = x / ddfm=kr;": "two methods",
    "proc mixed; model y = x / ddf=3,4;": "2 numbers for 1 effects",
    "proc mixed; model y = x / ddf=-3;": "neither a positive number nor a period",
    "proc mixed; where x > 0; model y = x;": "where x > 0",
    "proc mixed data=d(where=(x=1)); model y = x;": "options of the data set",
    "proc mixed; class g; model y = x; random int / sub=g; parms (1) (1) / eqcons=1,2;": "EQCONS",
    "proc mixed; class g; model y = x; random int / sub=g; parms (1);": "has 1 values",
    "proc mixed; class g; model y = x; random int;": "SUBJECT= is missing",
    "proc mixed; class g a; model y = x; random int a / sub=g type=un;": "together",
    "proc mixed; class g a; model y = x; random int x / sub=g type=cs;": "units differ",
    "proc mixed; class g a; model y=x; random int x / sub=g type=un group=a*b;": "GROUP= by",
    "proc mixed; class g v; model y = x; repeated v / sub=g type=ar(1) local;": "LOCAL adds",
    "proc mixed; class g; model y = x; repeated / type=ar(1);": "one block of all rows",
    "proc mixed; class g v; model y = x; random v / sub=g type=sp(exp)(s t);": "s, t as",
    "proc mixed; class g v; model y = x; random v / sub=g type=sp(exp);": "names no coordinates",
    "proc mixed; class g; model y = x; random int / sub=g type=sp(pow)(t);": "units differ",
    "proc mixed; class g v; model y = x; repeated g*v / type=cs sub=g;": "one CLASS variable",
    "proc mixed; class g(param=effect); model y = g;": "PARAM",
}


@pytest.mark.parametrize("text", BLOCKING)
def test_what_would_change_the_fit_is_named_and_not_run(text):
    step = mlm.from_sas(text)
    assert any(BLOCKING[text] in lost for lost in step.blocking)
    assert set(step.blocking) <= set(step.unmapped)
    assert "# not mapped, and the fit would differ: " in str(step)
    with pytest.raises(ModelError, match="cannot be run as it is"):
        step(pd.DataFrame({"y": [1.0], "x": [1.0]}))


def test_what_is_left_out_and_ignored_is_listed(trial):
    step = mlm.from_sas("""
        ods output estimates=e;
        proc mixed noclprint covtest;
          class arm id; model y = arm / solution outp=p influence;
          random int / sub=id solution;
          lsmeans arm / adjust=smm; ods exclude all; run;""")
    assert not step.blocking
    assert len(step.unmapped) == 3
    assert "fit.predict()" in step.unmapped[0]
    assert "ADJUST=SMM" in step.unmapped[2]
    assert any("ods exclude" in text for text in step.ignored)
    assert step(trial).fit.converged


REFUSED = {
    "proc glm; model y = x;": "no PROC MIXED step .found PROC GLM",
    "model y = x;": "no PROC MIXED step",
    "proc mixed; model y = x; proc mixed; model y = x;": "2 PROC MIXED steps",
    "proc mixed; class g;": "no MODEL statement",
    "proc mixed; model y x;": "not of the form",
    "proc mixed; model y = &vars;": "'&vars' is a macro",
    "proc mixed; model y = x; estimate 'open x 1;": "quotation",
    "proc mixed; model y = x; estimate x 1;": "label in quotes",
    "proc mixed; model y = x; estimate 'a' x;": "x has no coefficients",
    "proc mixed; model y = x; estimate 'a' x 1, x 2;": "ESTIMATE takes one",
    "proc mixed; model y = a(b; class a b;": "not closed",
    "proc mixed; model y = a*; class a;": "an effect is expected before",
    "proc mixed; model y = x; model y = z;": "the second",
    "proc mixed; model y = x|x;": "write powers as x.x",
    "proc mixed; class a; model y = a; estimate 'e' a (1 1) (2 -1);": "nonpositional",
    "proc mixed; model y = x; parms 1 to;": "PARMS statement: TO stands in a list of numbers",
    "proc mixed; model y = x; parms (to 3);": "without a number before and after",
    "proc mixed; model y = x; parms 1 to 2 by;": "BY stands in a list of numbers",
    "proc mixed; model y = x; parms (3 to 1);": "from 3 to 1 by 1 has no numbers",
    "proc mixed; model y = x; parms (1 2;": "not closed",
    "proc mixed; model y = x; parms () (1);": "holds no value",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refusals(text):
    with pytest.raises(FormulaError, match=REFUSED[text]):
        mlm.from_sas(text)


def test_columns_are_found_in_any_case(trial):
    step = mlm.from_sas("proc mixed; class ARM ID; model Y = Arm X; random INT / sub=Id;")
    assert step(trial).fit.llf == step(trial.rename(columns={"arm": "Arm", "y": "Y"})).fit.llf
    with pytest.raises(DataError, match="no column 'X'"):
        step(trial.drop(columns="x"))
    with pytest.raises(DataError, match=r"'ARM' may be 'arm' or 'Arm'"):
        step(trial.assign(Arm=trial["arm"]))


def test_order_of_the_data(trial):
    text = "proc mixed order=data; class arm id; model y = arm; random int / sub=id;"
    backwards = trial.iloc[::-1]
    step = mlm.from_sas(text)
    assert step(backwards).fit.params.index.tolist()[1:] == [
        f"arm{level}" for level in backwards["arm"].unique()[:2]
    ]
    space = {"data": backwards, "sas": step}
    exec(step.code, space)
    assert space["fit"].params.index.equals(step(backwards).fit.params.index)


def test_text_alone():
    with pytest.raises(FormulaError, match="not NoneType"):
        mlm.from_sas(None)
