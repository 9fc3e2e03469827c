"""Options and labels of a PROC MIXED step: each number that is asked for, told apart from others.

Right values are by their formulas with SciPy's t distribution, and by the functions of a fit.
"""

import ast

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mlmfast as mlm
from mlmfast.errors import FormulaError


def values_of(code, **space):
    """What the expressions of a code are, in their order."""
    out = []
    for node in ast.parse(code).body:
        if isinstance(node, ast.Expr):
            out.append(eval(compile(ast.Expression(node.value), "code", "eval"), space))
        else:
            exec(compile(ast.Module([node], []), "code", "exec"), space)
    return out


HEAD = "proc mixed {}; class arm id; model y = arm x arm*x / ddfm=kr; random int / sub=id;"


def test_one_sided_estimates(trial):
    step = mlm.from_sas(
        HEAD.format("")
        + """
        estimate 'both' arm -1 0 1;
        estimate 'above' arm -1 0 1 / upper e cl;
        estimate 'below' arm -1 0 1 / lowertailed alpha=.1;"""
    )
    assert not step.unmapped
    assert "E of ESTIMATE 'above'" in step.ignored
    table = step(trial).estimates.set_index("label")
    both = table.loc["both"]
    df = both["df"]
    upper = stats.t.sf(both["estimate"] / both["se"], df)
    assert table.loc["above", "p_value"] == pytest.approx(upper, rel=1e-9)
    assert table.loc["below", "p_value"] == pytest.approx(1 - upper, rel=1e-9)
    limit = both["estimate"] - stats.t.ppf(0.95, df) * both["se"]
    assert table.loc["above", ["lower", "upper"]].tolist() == pytest.approx([limit, np.inf])
    limit = both["estimate"] + stats.t.ppf(0.9, df) * both["se"]
    assert table.loc["below", ["lower", "upper"]].tolist() == pytest.approx([-np.inf, limit])
    # Of the three only the two-sided one is a call of its own.
    assert step.code.count("fit.estimate(") == 1
    assert '# "above": see estimates of sas(data), a one-sided test' in step.code


WITHHELD = {
    "estimate 'e' arm 1 -1 / group 1 0": "ESTIMATE 'e': GROUP",
    "estimate 'e' arm 1 -1 | int 1 / subject 1 0": "ESTIMATE 'e': SUBJECT",
    "estimate 'e' arm 1 -1 / uper": "UPER is no option of ESTIMATE",
    "estimate 'e' arm 1 -1 / upper lower": "two tests",
    "estimate 'e' arm 1 -1 / divisor=0": "DIVISOR=0 is not one number other than 0",
    "estimate 'e' arm 1 -1 / alpha=5": "ALPHA=5 is not one number between 0 and 1",
    "contrast 'e' arm 1 -1 / df": "DF is not one number above 0",
    "contrast 'e' arm 1 -1 / upper": "UPPER is no option of CONTRAST",
}


@pytest.mark.parametrize("statement", WITHHELD)
def test_a_statement_with_an_option_that_has_no_counterpart_is_withheld(trial, statement):
    step = mlm.from_sas(HEAD.format("") + statement + ";")
    assert not step.blocking
    assert any(WITHHELD[statement] in text for text in step.unmapped)
    found = step(trial)
    assert not len(found.estimates)
    assert not len(found.contrasts)
    assert "sas.rows" not in step.code


def test_the_chi_square_test_of_a_contrast_is_named(trial):
    step = mlm.from_sas(HEAD.format("") + "contrast 'any' arm 1 -1, arm 1 0 -1 / chisq;")
    assert any("CHISQ of CONTRAST 'any'" in text for text in step.unmapped)
    assert len(step(trial).contrasts) == 1


def test_an_effect_or_label_that_comes_again_is_kept_apart(trial):
    step = mlm.from_sas("""
        proc mixed; class arm id; model y = arm x arm*x; random int / sub=id;
        estimate 'e' arm 1 -1; estimate 'e' arm 1 0 -1 / df=5 alpha=.1; contrast 'e' arm 0 1 -1;
        estimate 'n' arm 1; contrast 'n' arm 1;
        lsmeans arm / at x=0 diff; lsmeans arm / at x=9 diff; lsmeans arm / at x=9 df=7;
        lsmeans arm;""")
    found = step(trial)
    labels = ["arm at x=0", "arm at x=9", "arm at x=9 (2)", "arm"]
    assert list(found.lsmeans) == labels
    assert list(found.differences) == labels[:2]
    slopes = found.fit.params[["arma:x", "armb:x"]]
    for label, x in zip(labels, (0, 9, 9), strict=False):
        means = found.lsmeans[label].frame["emmean"]
        expected = found.fit.params["arma"] + x * slopes["arma:x"]
        assert means.iloc[0] - means.iloc[2] == pytest.approx(expected)
    assert found.lsmeans["arm at x=9 (2)"].frame["df"].tolist() == [7.0] * 3
    assert found.estimates["label"].tolist() == ["e", "e (2)"]
    assert found.contrasts["label"].tolist() == ["e"]
    assert set(found.problems) == {"ESTIMATE n", "CONTRAST n"}
    text = "\n".join(line for line in step.code.split("\n") if '"n"' not in line)
    first, second, contrast, *means = values_of(text, data=trial, sas=step)
    for row, made in zip(found.estimates.itertuples(), (first, second), strict=True):
        for name in ("estimate", "se", "df", "p_value", "lower", "upper"):
            assert getattr(made, name) == getattr(row, name)
    assert second.df == 5.0
    assert contrast.statistic**2 == pytest.approx(found.contrasts["f"].item())
    expected = [found.lsmeans[label] for label in labels]
    expected[1:1], expected[3:3] = [found.differences[labels[0]]], [found.differences[labels[1]]]
    for own, other in zip(means, expected, strict=True):
        pd.testing.assert_frame_equal(own.frame, other.frame)


def test_alpha_is_of_the_statement_that_has_it(trial):
    text = """class arm id; model y = arm x / ddfm=kr alpha=.2; random int / sub=id;
        estimate 'e' arm 1 -1; lsmeans arm; lsmeans arm / alpha=.3;"""
    step = mlm.from_sas(f"proc mixed covtest alpha=.1; {text}")
    assert step.unmapped == ("ALPHA=.2 of MODEL: fit.conf_int(level=0.8)",)
    usual = mlm.from_sas("proc mixed alpha=.05; model y = x / alpha=0.05;")
    assert not usual.unmapped
    assert usual.ignored == ("ALPHA=.05 of PROC MIXED", "ALPHA=0.05 of MODEL")
    found = step(trial)
    reach = found.covtest.table[["lower", "upper"]].to_numpy()
    assert reach == pytest.approx(found.fit.covtest(level=0.9).table[["lower", "upper"]].to_numpy())
    assert "fit.covtest(level=0.9)" in step.code
    row = found.estimates.iloc[0]
    t = stats.t.ppf(0.975, row["df"])
    assert row["upper"] == pytest.approx(row["estimate"] + t * row["se"])
    for label, level in (("arm", 0.95), ("arm (2)", 0.7)):
        means = found.lsmeans[label].frame
        own = found.fit.emmeans("arm", level=level).frame
        assert means.to_numpy()[:, 1:].astype(float) == pytest.approx(
            own.to_numpy()[:, 1:].astype(float)
        )
    assert any(
        "covtest(level=0.9)" in t for t in mlm.from_sas(f"proc mixed alpha=.1; {text}").unmapped
    )


def test_labels_and_names_are_printed_as_text(trial):
    data = trial.rename(columns={"arm": 'a "b"', "y": "it's"})
    step = mlm.from_sas("""
        proc mixed order=data; class 'a "b"'n id; model "it's"n = 'a "b"'n x; random int / sub=id;
        estimate 'say "1"
__import__("os")' 'a "b"'n 1 -1;
        estimate 'back\\slash' x 1 / upper;
        estimate 'two
raise SystemExit' x 1 | id 1;
        estimate 'odd
raise SystemExit' x 1 / uper;
        lsmeans 'a "b"'n / diff adjust=smm; ods exclude
            all;
        lsmeans 'a "b"'n;""")
    assert len(values_of(str(step), data=data, sas=step)) == 2
    levels = mlm.from_sas('proc mixed; class \'a "b"\'n; model "it\'s"n = \'a "b"\'n x;')
    space = {"data": data}
    exec(str(levels), space)
    assert space["fit"].llf == levels(data).fit.llf


def test_dunnett_is_for_differences_from_the_first_level(trial):
    for options in ("adjust=dunnett", "diff adjust=dunnett", "diff=control adjust=dunnett"):
        step = mlm.from_sas(HEAD.format("") + f"lsmeans arm / {options};")
        found = step(trial).differences["arm"].frame
        own = mlm.lmm("y ~ arm * x + (1 | id)", trial, ddf="kenward-roger").emmeans("arm")
        expected = own.contrast("trt.vs.ctrl", adjust="dunnett").frame
        assert len(found) == 2
        assert found["p_value"].tolist() == pytest.approx(expected["p_value"].tolist(), abs=1e-6)
    step = mlm.from_sas(HEAD.format("") + "lsmeans arm / diff=all adjust=dunnett;")
    assert any("ADJUST=DUNNETT is for differences from a control" in t for t in step.unmapped)


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_values_of_by_are_a_group(trial, missing):
    by = "sex" if missing is None else "sex half"
    step = mlm.from_sas(f"proc mixed; by {by}; class arm id; model y = arm x; random int / sub=id;")
    data = trial.assign(sex=trial["sex"].where(trial["sex"] == "m", None))
    data["half"] = np.where(data["id"] < 20, 1.0, np.nan)
    found = step(data)
    without = data[data["sex"].isna()]
    if missing is None:
        assert list(found) == [None, "m"]
        own = found[None]
    else:
        assert list(found) == [(None, None), (None, 1.0), ("m", None), ("m", 1.0)]
        own, without = found[None, None], without[without["half"].isna()]
    assert own.fit.nobs == len(without)
    code = "\n".join([*step.code.split("\n"), "    n.append(fit.nobs)"])
    counts = []
    exec(code, {"data": data, "n": counts})
    assert sorted(counts) == sorted(each.fit.nobs for each in found.values())


def test_degrees_of_freedom_of_an_effect_in_any_order(trial):
    data = trial.assign(half=trial["visit"] > 2)
    step = mlm.from_sas("""
        proc mixed; class arm half id; model y = arm half arm*half; random int / sub=id;
        lsmeans half*arm; lsmeans arm*half;""")
    found = step(data)
    within = found.tests[3].frame.loc["arm:half", "DenDF"]
    assert within != found.fit.df.iloc[0]
    for own in found.lsmeans.values():
        assert own.frame["df"].tolist() == [within] * 6


PRIORS = {
    "prior;": "fit.posterior(n=1000)",
    "prior jeffreys / nsample=50 seed=3;": "fit.posterior(n=50, seed=3)",
    "prior flat / nsample=50 seed=3 out=draws;": "fit.posterior(n=50, seed=3, prior='flat')",
    "prior / alg=rwc seed=0 psearch;": "fit.posterior(n=1000)",
}


@pytest.mark.parametrize("statement", PRIORS)
def test_prior_is_a_posterior(statement):
    step = mlm.from_sas(f"proc mixed; class id; model y = x; random int / sub=id; {statement} run;")
    assert PRIORS[statement] in step.code.replace('"', "'")
    assert not step.unmapped
    compile(step.code, "step", "exec")


def test_the_posterior_of_a_step_is_that_of_the_fit(trial):
    text = "proc mixed; class id; model y = x; random int / sub=id; "
    found = mlm.from_sas(text + "prior flat / nsample=40 seed=3; run;")(trial)
    again = found.fit.posterior(40, seed=3, prior="flat")
    pd.testing.assert_frame_equal(found.posterior.draws, again.draws)
    assert "Posterior, flat prior: 40 draws" in repr(found)
    assert mlm.from_sas(text)(trial).posterior is None
    by_ml = mlm.from_sas(text.replace("mixed", "mixed method=ml") + "prior;")(trial)
    assert by_ml.posterior is None
    assert "fit with method='REML'" in by_ml.problems["PRIOR"]
    held = mlm.from_sas(text + "parms (1) (2) / hold=1; prior / nsample=20 seed=1;")(trial)
    np.testing.assert_allclose(held.posterior.draws.iloc[:, 2], 1.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("prior data=p;", "DATA=P has no counterpart; there are JEFFREYS and FLAT"),
        ("prior / nsample=0;", "NSAMPLE=0 is not a whole number from 1 on"),
        ("prior / nsample=1.5;", "not a whole number"),
        ("prior / lbound=2;", "LBOUND=2 has no counterpart"),
        ("prior / grid=g;", "GRID=G of PRIOR: the posterior is drawn from, on no grid"),
    ],
)
def test_priors_without_a_counterpart_are_named(statement, named):
    step = mlm.from_sas(f"proc mixed; class g; model y = x; random int / sub=g; {statement}")
    assert any(named in text for text in step.unmapped)
    assert ("posterior(" in step.code) == ("grid" in statement)
    with pytest.raises(FormulaError, match="the second"):
        mlm.from_sas("proc mixed; model y = x; prior; prior flat;")


def test_lcomponents_are_the_rows_of_the_tests(trial):
    text = HEAD.format("").replace("ddfm=kr", "ddfm=kr htype=1,3 lcomponents")
    step = mlm.from_sas(text)
    assert not step.unmapped
    assert step.code.count("tests.components") == 2
    found = step(trial)
    assert list(found.components) == [1, 3]
    for kind, table in found.components.items():
        for term, rows in table.groupby("term", sort=False):
            F = found.tests[kind].frame.loc[term]
            assert len(rows) == F["NumDF"]
            if len(rows) == 1:
                assert rows["statistic"].iloc[0] ** 2 == pytest.approx(F["F value"], rel=1e-9)
                assert rows["p_value"].iloc[0] == pytest.approx(F["Pr(>F)"], rel=1e-7)
    assert "Components of type 3 tests" in repr(found)
    assert mlm.from_sas(HEAD.format(""))(trial).components == {}
