"""Slopes, nested factors, the response's scale, equivalence and letters against R's emmeans.

Tables of reference/emmeans_family.json are by reference/emmeans_family.R, which says the versions.
"""

import json
import warnings
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import AliasedWarning, DataError, FormulaError, ModelError
from mlmfast.inference.emmeans.comparisons.letters import compact_letters
from mlmfast.inference.multiplicity.one_sided import OneSidedMaximumT

from ..cases import REFERENCE, read_frame
from ..fits import lmm
from ..marginal_models import alfalfa, chickweight

R = json.loads((REFERENCE / "emmeans_family.json").read_text(encoding="utf-8"))
NAMES = {
    "SE": "SE",
    "df": "df",
    "t_ratio": "t.ratio",
    "p_value": "p.value",
    "lower": "lower.CL",
    "upper": "upper.CL",
}
#: lmerTest's degrees of freedom come from numerical derivatives.
DF_RTOL = 2e-5


@cache
def cut(how):
    ddf = "kenward-roger-expected" if how == "kenward-roger" else how
    return lmm("Yield ~ Variety * Date + (1 | Block)", alfalfa("unbalanced"), ddf=ddf)


@cache
def grown(formula):
    data = chickweight()
    return lmm(formula, data.assign(logit=np.log(data.weight / 400 / (1 - data.weight / 400))))


@cache
def baked():
    data = read_frame("cake.csv", {"recipe": list("ABC"), "temperature": None, "replicate": None})
    data = data.drop(index=[k - 1 for k in (1, 8, 21, 22, 60, 61, 62, 100, 133, 200)])
    zone = np.where(data.temp < 190, "low", np.where(data.temp > 220, "high", "mid"))
    data = data.assign(
        zone=pd.Categorical(zone, ["low", "mid", "high"]),
        batch=data.replicate.astype(str) + data.recipe.astype(str),
    )
    return lmm("angle ~ recipe * (zone + temperature) + (1 | batch)", data)


def numbers(values):
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def check(table, key, estimate, theirs, rtol=1e-6, df_rtol=DF_RTOL):
    """Every column that both have: estimates and limits by the standard error."""
    expected = pd.DataFrame(R[key])
    assert len(table) == len(expected) > 0
    se = numbers(expected["SE"])
    known = np.isfinite(se)
    assert np.isfinite(table[estimate].to_numpy()).tolist() == known.tolist()
    found = {estimate: theirs, **NAMES}
    compared = 0
    for own, other in found.items():
        if own not in table.columns or other not in expected.columns:
            continue
        ours, right = table[own].to_numpy(dtype=float), numbers(expected[other])
        if own in (estimate, "lower", "upper"):
            right = np.where(np.isfinite(right), right, ours)
            np.testing.assert_allclose(
                (ours / se)[known], (right / se)[known], rtol=0, atol=20 * rtol
            )
        elif own == "p_value":
            np.testing.assert_allclose(ours, right, rtol=max(2e-4, 20 * rtol), atol=1e-9)
        else:
            limit = df_rtol if own == "df" else rtol
            np.testing.assert_allclose(ours, right, rtol=limit, atol=limit)
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize("how", ["satterthwaite", "kenward-roger"])
def test_equivalence_and_one_sided_tests(how):
    pairs = cut(how).emmeans("~ Variety | Date").pairs()
    key = f"alfalfa {how}"
    for name, arguments in {
        "equivalence": {"delta": 0.3, "adjust": "none"},
        "equivalence sidak": {"delta": 0.3},
        "noninferiority": {"delta": 0.2, "side": "noninferiority", "adjust": "holm"},
        "nonsuperiority": {
            "delta": 0.2, "null": 0.05, "side": "nonsuperiority", "adjust": "bonferroni",
        },
        "greater": {"side": "greater", "adjust": "none"},
        "limits greater": {"side": ">", "adjust": "none", "level": 0.9},
        "limits less sidak": {"side": "<", "adjust": "sidak"},
    }.items():  # fmt: skip
        check(pairs.test(**arguments), f"{key} {name}", "estimate", "estimate")


def test_probabilities_of_one_are_adjusted():
    """Differences far beyond the margin, and a contrast of 0 by its making."""
    means = cut("satterthwaite").emmeans("Variety")
    test = means.test(delta=1e-6, adjust="sidak")
    assert (test["p_value"] == 1.0).all()
    same = {"none": [1.0, -1.0, 0.0], "itself": [1e-300, -1e-300, 0.0]}
    pairs = means.contrast(same, adjust="sidak")
    null = float(pairs["estimate"].iloc[0])
    assert pairs.test(null)["p_value"].iloc[0] == 1.0


def test_tables_of_a_fit_without_an_optimum_say_so():
    generator = np.random.default_rng(2)
    data = pd.DataFrame({"g": np.repeat(np.arange(12), 2), "t": np.tile(["a", "b"], 12)})
    data["y"] = np.where(data["t"] == "a", 1.0, generator.normal(size=24))
    with pytest.warns(mlm.ConvergenceWarning):
        fit = mlm.lmm("y ~ t", data, residual="diag(t | g)")
    means = fit.emmeans("t")
    for table in (means, means.contrast("pairwise"), fit.anova()):
        assert "NOT CONVERGED: these numbers are not to be reported" in str(table)
    assert "NOT CONVERGED" not in str(cut("satterthwaite").emmeans("Variety"))


def test_slopes_that_are_not_estimable_are_named():
    generator = np.random.default_rng(0)
    data = pd.DataFrame({"a": np.tile(list("pq"), 20), "b": np.repeat(list("uv"), 20)})
    data["g"], data["x"] = np.tile(np.arange(10), 4), generator.normal(size=40)
    data["y"] = generator.normal(size=40) + np.arange(10)[data["g"]]
    data = data[~((data["a"] == "q") & (data["b"] == "v"))]
    with pytest.warns(AliasedWarning):
        fit = mlm.lmm("y ~ a * b * x + (1 | g)", data)
    row = next(line for line in str(fit.emtrends("a", "x")).splitlines() if line.startswith("q"))
    assert row.split() == ["q", "nonEst"]


def test_equivalence_is_the_interval_within_the_margin():
    pairs = cut("satterthwaite").emmeans("Variety").pairs(adjust="none")
    test = pairs.test(delta=0.25)
    inside = (test["lower"] > -0.25) & (test["upper"] < 0.25)
    assert (inside == (test["p_value"] < 0.05)).all()
    two_sided = pairs.summary(level=0.9)
    np.testing.assert_allclose(test["lower"], two_sided["lower"])


@pytest.mark.parametrize("how", ["satterthwaite", "kenward-roger"])
def test_joint_tests_of_a_mixed_model(how):
    for by, key in ((None, "joint"), ("Date", "joint by Date")):
        expected = pd.DataFrame(R[f"alfalfa {how} {key}"])
        found = mlm.joint_tests(cut(how), by=by)
        assert found["term"].tolist() == expected["model term"].tolist()
        assert found["NumDF"].tolist() == expected["df1"].tolist()
        # R rounds F to 3 decimals. Its F is Wald's and its denominator the smallest of the rows
        # of a QR decomposition; ours are those of the method.
        single = (expected["df1"] == 1).to_numpy()
        scale = 6e-4 if how == "satterthwaite" else 4e-2
        np.testing.assert_allclose(found["F value"], expected["F.ratio"], atol=6e-4, rtol=scale)
        np.testing.assert_allclose(found["DenDF"][single], expected["df2"][single], atol=6e-3)


@pytest.mark.parametrize("how", ["satterthwaite", "kenward-roger"])
def test_interaction_contrasts_of_a_mixed_model(how):
    means = cut(how).emmeans("Variety * Date")
    check(
        means.contrast(interaction=["pairwise", "consec"]),
        *(f"alfalfa {how} interaction", "estimate", "estimate"),
    )


def test_simple_effects_are_contrasts_by_the_others():
    means = cut("satterthwaite").emmeans("~ Date * Variety")
    for simple, by in (("Date", "Variety"), (["Variety"], "Date"), (["Date", "Variety"], None)):
        found = means.contrast("consec", simple=simple)
        pd.testing.assert_frame_equal(found.frame, means.contrast("consec", by=by).frame)
        pd.testing.assert_frame_equal(means.pairs(simple=simple).frame, means.pairs(by=by).frame)
    split = cut("satterthwaite").emmeans("~ Date | Variety").pairs(simple="Variety")
    pd.testing.assert_frame_equal(split.frame, means.pairs(by="Date").frame)
    with pytest.raises(DataError, match="'Dat' is not a column of this table"):
        means.pairs(simple="Dat")
    with pytest.raises(ModelError, match="leave by= out"):
        means.pairs(simple="Date", by="Variety")


def test_slopes():
    quadratic = grown("weight ~ poly(Time, 2) * Diet + (1 | Chick)")
    # Forward differences of 1e-3 there, over a curvature of 0.2.
    at = quadratic.emtrends("~ Diet | Time", "Time", at={"Time": [2, 10]})
    check(at, "slopes at", "Time.trend", "Time.trend", rtol=2e-4, df_rtol=1e-3)
    pairs = quadratic.emtrends("Diet", "Time").pairs(adjust="none")
    check(pairs, "slopes pairs", "estimate", "estimate", rtol=2e-4, df_rtol=1e-3)
    check(quadratic.emtrends("1", "Time"), "slopes all", "Time.trend", "Time.trend", 2e-4, 1e-3)


def test_slopes_through_logarithms():
    fit = grown("log(weight) ~ log(Time + 1) * Diet + (1 | Chick)")
    check(fit.emtrends("Diet", "Time"), "log slopes", "Time.trend", "Time.trend", rtol=2e-5)
    by_log = fit.emtrends("Diet", "log(Time + 1)")
    name = "log(Time + 1).trend"
    check(by_log, "log slopes by log", name, name, rtol=2e-5)


def test_slopes_are_exact_derivatives():
    """Of polynomials and of logarithms, where the derivatives are known."""
    data = chickweight()
    fit = lmm("weight ~ Diet * (Time + I(Time^2) + I(Time^3)) + (1 | Chick)", data)
    table = fit.emtrends("~ Diet | Time", "Time", at={"Time": [0.0, 7.0, 21.0]})
    names = list(fit.params.index)
    for row, (diet, time) in zip(
        table.L.to_numpy(), table[["Diet", "Time"]].to_numpy(), strict=True
    ):
        time = float(time)
        expected = np.zeros(len(names))
        powers = {"Time": 1.0, "I(Time^2)": 2 * time, "I(Time^3)": 3 * time**2}
        for name, value in powers.items():
            expected[names.index(name)] = value
            if diet != "1":
                expected[names.index(f"Diet{diet}:{name}")] = value
        np.testing.assert_allclose(row, expected, rtol=1e-10, atol=1e-9)
    logs = lmm("weight ~ log(Time + 0.1) + Diet + (1 | Chick)", data)
    slope = logs.emtrends("1", "Time", at={"Time": [0.0, 5.0]}, by="Time").L.to_numpy()
    np.testing.assert_allclose(slope[:, 1], [1 / 0.1, 1 / 5.1], rtol=1e-8)
    knots = lmm("weight ~ bs(Time, 5) + Diet + (1 | Chick)", data)
    at = {"Time": [3.0, 12.0]}
    h = 1e-5
    near = [
        knots.emmeans("1", by="Time", at={"Time": [t + s for t in at["Time"]]})["emmean"]
        for s in (h, -h)
    ]
    found = knots.emtrends("1", "Time", by="Time", at=at)["Time.trend"]
    np.testing.assert_allclose(found, (near[0] - near[1]) / (2 * h), rtol=1e-6)


def test_slopes_of_a_loaded_fit_and_of_offsets():
    fit = lmm("weight ~ Time * Diet + offset(o) + (1 | Chick)", chickweight())
    slopes = fit.emtrends("Diet", "Time", at={"o": 2.0})
    assert slopes["Time.trend"][0] == pytest.approx(fit.params["Time"], rel=1e-10)
    again = mlm.load(fit.to_json()).emtrends("Diet", "Time", at={"o": 2.0})
    np.testing.assert_allclose(again["Time.trend"], slopes["Time.trend"], rtol=1e-9)
    through = lmm("weight ~ Diet + Time + offset(Time^2) + (1 | Chick)", chickweight())
    at = through.emtrends("1", "Time", at={"Time": 3.0})["Time.trend"][0]
    assert at == pytest.approx(through.params["Time"] + 6.0, rel=1e-10)


def test_slopes_are_refused_of_what_has_none():
    fit = grown("weight ~ poly(Time, 2) * Diet + (1 | Chick)")
    with pytest.raises(DataError, match="'Diet' is a factor, which has no slope"):
        fit.emtrends("1", "Diet")
    with pytest.raises(DataError, match="'Tme' is not a variable of the fixed part"):
        fit.emtrends("Diet", "Tme")
    with pytest.raises(FormulaError, match="has 2 variables"):
        fit.emtrends("Diet", "Time * weight")
    with pytest.raises(ModelError, match="flat at a value"):
        fit.emtrends("Diet", "I(Time * 0)")
    logs = lmm("weight ~ log(Time) + (1 | Chick)", chickweight().query("Time > 0"))
    with pytest.raises(ModelError, match="no slope there"):
        logs.emtrends("1", "Time", at={"Time": 1e-9})


def test_the_response_scale_of_logarithms():
    fit = grown("log(weight) ~ log(Time + 1) * Diet + (1 | Chick)")
    means = fit.emmeans("Diet")
    check(means, "log means", "emmean", "emmean")
    check(means.summary(type="response"), "log response", "response", "response")
    ratios = means.pairs(adjust="none").summary(type="response")
    check(ratios, "log ratios", "ratio", "ratio")
    check(means.regrid(), "log regrid", "response", "response")
    check(means.regrid().pairs(adjust="none"), "log regrid pairs", "estimate", "estimate")
    joint, expected = means.regrid().pairs().test(joint=True), R["log regrid joint"][0]
    assert joint["F value"][0] == pytest.approx(expected["F.ratio"], abs=6e-4)
    assert joint["Pr(>F)"][0] == pytest.approx(expected["p.value"], rel=2e-4)
    adjusted = {"bias_adjust": True, "sigma": 0.5}
    check(means.regrid(**adjusted), "log bias", "response", "response")
    check(means.summary(type="response", **adjusted), "log bias response", "response", "response")
    check(means.regrid("sqrt"), "log to sqrt", "emmean", "response")


def test_the_response_scale_of_roots_and_logits():
    roots = grown("sqrt(weight) ~ Time * Diet + (Time | Chick)").emmeans("Diet", at={"Time": 12})
    # lme4's search ends 1e-5 from the optimum of this model, by the standard errors.
    near = {"rtol": 5e-5, "df_rtol": 2e-4}
    check(roots.regrid(), "sqrt regrid", "response", "response", **near)
    check(roots.summary(type="response"), "sqrt response", "response", "response", **near)
    ratios = roots.regrid("log").contrast("trt.vs.ctrl", adjust="none")
    check(ratios, "sqrt to log pairs", "estimate", "estimate", **near)
    adjusted = roots.regrid(bias_adjust=True, sigma=1.5).pairs(adjust="none")
    check(adjusted, "sqrt bias pairs", "estimate", "estimate", **near)
    means = grown("logit ~ Diet + Time + (1 | Chick)").emmeans("Diet")
    check(means.regrid(tran="logit"), "logit regrid", "response", "response")
    bias = means.regrid(tran="logit", bias_adjust=True, sigma=0.4)
    check(bias, "logit bias", "response", "response", rtol=1e-5)


@pytest.mark.parametrize("link", ["probit", "cloglog", "log10", "log2"])
def test_links_by_name(link):
    means = grown("logit ~ Diet + Time + (1 | Chick)").emmeans("Diet")
    check(means.regrid(tran=link), f"forced {link}", "response", "response")
    bias = means.regrid(tran=link, bias_adjust=True, sigma=0.4)
    # Third derivatives there are differences of differences.
    check(bias, f"forced bias {link}", "response", "response", rtol=1e-5)


@pytest.mark.parametrize(
    "link",
    ["log", "log2", "log10", "log1p", "sqrt", "inverse", "logit", "probit", "cloglog",
     "asin.sqrt", "identity", 2, -0.5],
)  # fmt: skip
def test_derivatives_of_links(link):
    from mlmfast.inference.emmeans.estimates.transformations import transformation

    known = transformation(link)
    y = np.array([0.15, 0.4, 0.8])
    x = known.forward(y)
    np.testing.assert_allclose(known.inverse(x), y, rtol=1e-12)
    for k in range(3):
        h = 1e-5
        numeric = (known.derivatives[k](x + h) - known.derivatives[k](x - h)) / (2 * h)
        np.testing.assert_allclose(known.derivatives[k + 1](x), numeric, rtol=1e-6, atol=1e-8)


def test_the_bias_takes_the_marginal_variance():
    fit = grown("log(weight) ~ log(Time + 1) * Diet + (1 | Chick)")
    sigma = np.sqrt(fit.varcorr["Chick"].iloc[0, 0] + fit.scale)
    means = fit.emmeans("Diet")
    found, given = (means.regrid(bias_adjust=True, **s) for s in ({}, {"sigma": sigma}))
    np.testing.assert_allclose(found["response"], given["response"], rtol=1e-10)
    # Of a logarithm to second order: exp(eta) (1 + sigma^2 / 2).
    plain = means.regrid()["response"]
    np.testing.assert_allclose(found["response"], plain * (1 + sigma**2 / 2), rtol=1e-10)
    slopes = grown("sqrt(weight) ~ Time * Diet + (Time | Chick)")
    with pytest.raises(ModelError, match="rows differ in their variance"):
        slopes.emmeans("Diet").regrid(bias_adjust=True)


def test_what_has_no_response_scale_is_refused():
    means = grown("weight ~ poly(Time, 2) * Diet + (1 | Chick)").emmeans("Diet")
    for ask in (means.regrid, lambda: means.summary(type="response")):
        with pytest.raises(ModelError, match="no transformation of the response is known"):
            ask()
    with pytest.raises(ModelError, match="did you mean 'logit'"):
        means.regrid(tran="logitt")
    with pytest.raises(ModelError, match="sigma is for bias_adjust"):
        means.regrid(tran="log", sigma=1.0)
    with pytest.raises(DataError, match="give a positive number"):
        means.regrid(tran="log", bias_adjust=True, sigma=-1.0)
    roots = grown("sqrt(weight) ~ Time * Diet + (Time | Chick)")
    with pytest.raises(ModelError, match="contrasts after regrid"):
        roots.emmeans("Diet").pairs().summary(type="response")
    with pytest.raises(ModelError, match="contrasts after regrid"):
        roots.emtrends("Diet", "Time").regrid()
    with pytest.raises(ModelError, match="no linear functions"):
        _ = roots.emmeans("Diet").regrid().L
    # A value outside of the range of the transformation has no estimate.
    outside = means.regrid(tran="identity").regrid("logit", tran="identity")
    assert outside["emmean"].isna().all()


def test_nested_factors_are_found():
    fit = baked()
    check(fit.emmeans("temperature"), "nested temperature", "emmean", "emmean")
    assert list(fit.emmeans("temperature").columns[:2]) == ["temperature", "zone"]
    check(fit.emmeans("zone"), "nested zone", "emmean", "emmean")
    check(fit.emmeans("zone", weights="cells"), "nested zone cells", "emmean", "emmean")
    check(fit.emmeans("zone", weights="proportional"), "nested zone prop", "emmean", "emmean")
    check(fit.emmeans("recipe"), "nested recipe", "emmean", "emmean")
    recipe = fit.emmeans("recipe", weights="proportional")
    check(recipe, "nested recipe prop", "emmean", "emmean")
    pairs = fit.emmeans("temperature").pairs(adjust="none")
    check(pairs, "nested pairs", "estimate", "estimate")
    assert pairs["contrast"].tolist() == [row["contrast"] for row in R["nested pairs"]]
    check(fit.emmeans("~ temperature | recipe"), "nested by recipe", "emmean", "emmean")
    assert "Nested: temperature in zone" in repr(fit.emmeans("recipe"))


def test_joint_tests_of_nested_factors():
    found = mlm.joint_tests(baked()).frame.set_index("term")
    expected = {row["model term"]: row for row in R["nested joint"]}
    # R's last row is what its other rows leave, not the interaction with the nested factor.
    assert expected.pop("(confounded)")["df1"] == 6
    assert set(found.index) == {*expected, "recipe:zone:temperature"}
    interaction = baked().anova(type=3).frame.loc["recipe:temperature"]
    for name in ("NumDF", "F value"):
        assert found.loc["recipe:zone:temperature", name] == pytest.approx(interaction[name])
    for term, row in expected.items():
        assert found.loc[term, "NumDF"] == row["df1"]
        assert found.loc[term, "F value"] == pytest.approx(row["F.ratio"], abs=6e-4, rel=6e-4)


def test_what_holds_a_nested_factor_is_not_averaged_over():
    """As R's emmeans says below the same tables."""
    rows = [(s, f"{s}{k}", t, b) for s in "AB" for k in range(2) for t in "xy" for b in "12"]
    data = pd.DataFrame(rows, columns=["region", "site", "t", "b"])
    data["y"] = np.random.default_rng(1).normal(size=len(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = mlm.lmm("y ~ region / site + t + (1 | b)", data)
    averaged = {"site": "t", "region": "site, t", "t": "region, site", "~ t | region": "site"}
    for spec, names in averaged.items():
        assert f"Averaged over the levels of: {names}\n" in str(fit.emmeans(spec))
    assert "Averaged" not in str(fit.emmeans("~ t | site"))


def test_nesting_given():
    fit = baked()
    found = fit.emmeans("recipe").frame
    for given in ({"temperature": "zone"}, {"temperature": ["zone"]}, "temperature %in% zone"):
        pd.testing.assert_frame_equal(fit.emmeans("recipe", nesting=given).frame, found)
    assert fit.emmeans("recipe", nesting=False)["emmean"].isna().all()
    loaded = mlm.load(fit.to_json()).emmeans("1", nesting={"temperature": "zone"})
    assert len(loaded) == 1
    within = fit.emmeans("recipe", by="temperature")
    assert within.by == ("temperature", "zone")
    with pytest.raises(DataError, match="'temprature' is not a factor of the grid"):
        fit.emmeans("recipe", nesting={"temprature": "zone"})
    with pytest.raises(DataError, match="has no %in%"):
        fit.emmeans("recipe", nesting="temperature, zone")
    with pytest.raises(DataError, match="nested in itself"):
        fit.emmeans("recipe", nesting={"temperature": "zone", "zone": "temperature"})
    with pytest.raises(DataError, match="write a dict"):
        fit.emmeans("recipe", nesting=3)


def share_a_letter(letters):
    k = len(letters)
    return {(i, j): bool(set(letters[i]) & set(letters[j])) for i, j in combinations(range(k), 2)}


@pytest.mark.parametrize("seed", range(40))
def test_letters_say_which_pairs_differ(seed):
    generator = np.random.default_rng(seed)
    k = int(generator.integers(2, 9))
    differs = np.triu(generator.random((k, k)) < generator.uniform(0.1, 0.9), 1)
    differs = differs | differs.T
    letters = compact_letters(differs)
    for (i, j), shared in share_a_letter(letters).items():
        assert shared == (not differs[i, j])
    assert all(letters)
    # No letter can be left out.
    every = sorted(set("".join(letters)))
    for letter in every:
        left = [own.replace(letter, "") for own in letters]
        assert share_a_letter(left) != share_a_letter(letters) or not all(left)


def test_letters_of_overlapping_groups():
    """Groups of which each pair that is in one does not differ come back as letters."""
    groups = [{0, 1, 2}, {1, 2, 3, 4}, {3, 4, 5}, {5, 6, 7}]
    differs = np.array(
        [[i != j and not any({i, j} <= g for g in groups) for j in range(8)] for i in range(8)]
    )
    assert compact_letters(differs) == ["a", "ab", "ab", "bc", "bc", "cd", "d", "d"]


def test_cld_of_means():
    fit = cut("satterthwaite")
    table = fit.emmeans("Date").cld()
    pairs = fit.emmeans("Date").pairs().frame
    labels = dict(zip(table["Date"], table["group"], strict=True))
    for contrast, p in zip(pairs["contrast"], pairs["p_value"], strict=True):
        first, second = contrast.split(" - ")
        assert bool(set(labels[first]) & set(labels[second])) == (p > 0.05)
    assert table["emmean"].is_monotonic_increasing
    assert table["group"][0].startswith("a")
    back = fit.emmeans("Date").cld(reverse=True)
    assert back["emmean"].is_monotonic_decreasing
    by = fit.emmeans("~ Variety | Date").cld(alpha=0.2, adjust="none")
    assert len(by) == 12
    assert "group" in repr(table)
    alike = fit.emmeans("Variety").cld(delta=2.0)
    assert set(alike["group"]) == {"a"}
    with pytest.raises(ModelError, match="letters need every mean"):
        lmm("Yield ~ Variety * Date + (1 | Block)", alfalfa("empty")).emmeans("Variety").cld()


def test_letters_are_maximal_groups_that_do_not_differ_and_none_is_spare():
    """Every group of letters is a clique that no other mean fits into (Piepho's insert-absorb)."""
    rng = np.random.default_rng(2)
    for k in (2, 3, 4, 5, 6, 7):
        for _ in range(40):
            differs = np.triu(rng.uniform(size=(k, k)) < rng.uniform(), 1)
            differs = differs | differs.T
            letters = compact_letters(differs)
            groups = [
                {i for i in range(k) if letter in letters[i]} for letter in set("".join(letters))
            ]
            for group in groups:
                assert not any(differs[i, j] for i in group for j in group)
                assert all(any(differs[i, j] for j in group) for i in set(range(k)) - group)
            for i in range(k):
                assert all(
                    bool(set(letters[i]) & set(letters[j])) != differs[i, j]
                    for j in range(k)
                    if j != i
                )
            for spare in groups:
                rest = [group for group in groups if group is not spare]
                pairs = [(i, j) for i in range(k) for j in range(i, k) if not differs[i, j]]
                assert not all(any({i, j} <= group for group in rest) for i, j in pairs)


def test_tests_are_tables_that_say_what_was_tested():
    means = cut("satterthwaite").emmeans("~ Variety | Date")
    tests = means.pairs().test(delta=1.5)
    plain = means.pairs().test(null=0.2)
    assert "equivalence with a margin of 1.5" in repr(tests)
    assert "one-sided limits, each of level 0.95" in repr(tests)
    assert repr(tests).count("Date = ") == len(set(tests["Date"]))
    assert "Tests of a difference from 0.2" in repr(plain)
    assert "level" not in repr(plain)
    assert isinstance(plain.frame, pd.DataFrame)


def test_letters_of_contrasts_are_refused():
    means = cut("satterthwaite").emmeans("Date")
    with pytest.raises(ModelError, match="letters are of means"):
        means.pairs().cld()
    assert list(means.cld(adjust="sidak")["group"])


def test_what_is_no_test_is_refused():
    pairs = cut("satterthwaite").emmeans("Variety").pairs()
    with pytest.raises(DataError, match="give the margin as a positive number"):
        pairs.test(delta=-1.0)
    with pytest.raises(DataError, match="side is 'up'"):
        pairs.test(side="up")
    with pytest.raises(DataError, match="null is nan"):
        pairs.test(null=float("nan"))
    with pytest.raises(ModelError, match="these tests are one-sided"):
        pairs.test(delta=1.0, adjust="tukey")
    with pytest.raises(ModelError, match="leave out null, delta and side"):
        pairs.test(delta=1.0, joint=True)
    with pytest.raises(ModelError, match="level is for tests with a side"):
        pairs.test(level=0.9)
    for alpha in (5, "x"):
        with pytest.raises(ModelError, match=f"alpha is {alpha!r}"):
            cut("satterthwaite").emmeans("Variety").cld(alpha=alpha)
    with pytest.raises(ModelError, match="bias_adjust= and sigma= go with type='response'"):
        pairs.summary(bias_adjust=True)


def test_pair_plot():
    pytest.importorskip("matplotlib")
    means = cut("satterthwaite").emmeans("~ Variety | Date")
    figure = means.pwpp()
    assert len(figure.axes) == 4
    assert [len(panel.lines) for panel in figure.axes] == [4] * 4
    with pytest.raises(ModelError, match="leave ax out"):
        means.pwpp(ax=figure.axes[0])


def with_covariates():
    generator = np.random.default_rng(3)
    n = 90
    arm = np.array(list("abc"))[generator.integers(0, 3, n)]
    sex = np.array(["f", "m"])[generator.integers(0, 2, n)]
    x, z = generator.normal(2 + (arm == "b"), 1.0), generator.normal(1, 2, n)
    y = x**2 + (arm == "c") * x + 0.3 * x * z + (sex == "m") + generator.normal(size=n)
    return pd.DataFrame({"y": y, "arm": arm, "sex": sex, "x": x, "z": z, "xx": x * x, "xz": x * z})


def test_products_of_covariates_at_their_averages():
    """As LS-means of PROC MIXED: a product that is a column of its own stands at its mean."""
    data = with_covariates()
    formula = "y ~ arm * x + I(x^2) + x:z + sex"
    columns = "y ~ arm * x + xx + xz + sex"
    fit, plain = (lmm(f, data, ddf="residual") for f in (formula, columns))
    found, expected = fit.emmeans("arm", covariates="averaged"), plain.emmeans("arm")
    for name in ("emmean", "SE"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-10)
        assert not np.allclose(fit.emmeans("arm")[name], expected[name], rtol=1e-3)
    assert "averaged over the rows" in repr(found)
    step = mlm.from_sas("""proc mixed; class arm sex; model y = arm x arm*x x*x x*z sex;
        lsmeans arm; lsmeans arm / at means;""")
    averaged, means = step(data).lsmeans.values()
    np.testing.assert_allclose(averaged["emmean"], expected["emmean"], rtol=1e-9)
    np.testing.assert_allclose(means["emmean"], fit.emmeans("arm")["emmean"], rtol=1e-9)


def test_margins_by_level_are_raw_means():
    """BYLEVEL's own property: in a linear model the means of the data (SAS/STAT, LSMEANS)."""
    data = with_covariates()
    fit = lmm("y ~ arm + sex + x + I(x^2) + x:z", data, ddf="residual")
    found = fit.emmeans("arm", weights="cells", covariates="by level")
    np.testing.assert_allclose(found["emmean"], data.groupby("arm")["y"].mean(), rtol=1e-10)
    step = mlm.from_sas("""proc mixed; class arm sex; model y = arm sex x x*x x*z;
        lsmeans arm / om bylevel at x=3;""")
    np.testing.assert_allclose(step(data).lsmeans["arm"]["emmean"], found["emmean"], rtol=1e-9)
    assert 'weights="cells"' in step.code
    shift = lmm("y ~ arm + x", data, offset="z", ddf="residual")
    found = shift.emmeans("arm", weights="cells", covariates="by level")
    np.testing.assert_allclose(found["emmean"], data.groupby("arm")["y"].mean(), rtol=1e-10)
    # Averaged over all rows they give the mean of all, weighted by their frequencies.
    overall = shift.emmeans("arm", covariates="averaged")["emmean"]
    share = data["arm"].value_counts().sort_index() / len(data)
    assert overall.to_numpy() @ share.to_numpy() == pytest.approx(data["y"].mean(), rel=1e-10)
    empty = fit.emmeans("arm", by="sex", covariates="by level")
    assert empty["emmean"].notna().all()


def test_covariates_are_said_in_one_way():
    fit = lmm("y ~ arm + x", with_covariates(), ddf="residual")
    with pytest.raises(ModelError, match="at= sets x"):
        fit.emmeans("arm", at={"x": 2.0}, covariates="averaged")
    with pytest.raises(ModelError, match="use 'means', 'averaged', 'by level'"):
        fit.emmeans("arm", covariates="mean")
    with pytest.raises(ModelError, match="holds no rows"):
        mlm.load(fit.to_json()).emmeans("arm", covariates="averaged")


def test_one_sided_differences_of_a_step():
    data = with_covariates()
    step = mlm.from_sas("""proc mixed; class arm; model y = arm x;
        lsmeans arm / diff=controll('b'); lsmeans arm / diff=controlu adjust=sidak;""")
    low, high = step(data).differences.values()
    assert low["contrast"].tolist() == ["a - b", "c - b"]
    assert np.isneginf(low["lower"]).all()
    assert np.isposinf(high["upper"]).all()
    fit = step(data).fit
    pairs = fit.emmeans("arm").contrast("trt.vs.ctrl", ref="b", adjust="none")
    half = pairs["p_value"] / 2
    expected = np.where(pairs["t_ratio"] < 0, half, 1 - half)
    np.testing.assert_allclose(low["p_value"], expected, rtol=1e-10)
    refused = mlm.from_sas("""proc mixed; class arm; model y = arm;
        lsmeans arm / diff=controll adjust=simulate;""")
    assert any("one-sided" in text for text in refused.unmapped)
    exact = mlm.from_sas("""proc mixed; class arm; model y = arm x;
        lsmeans arm / diff=controlu('b') adjust=dunnett;""")
    (found,) = exact(data).differences.values()
    expected = pairs.test(side="greater", adjust="dunnett")
    np.testing.assert_allclose(found["p_value"], expected["p_value"], rtol=1e-10)
    assert '.test(side="greater", adjust="dunnett")' in exact.code


def test_dunnetts_one_sided_test():
    """Against R 4.2.2, mvtnorm 1.1-3: 1 - pmvt(..., algorithm = TVPACK())."""
    half = np.array([[1.0, 0.5], [0.5, 1.0]])
    two = OneSidedMaximumT(half)
    assert two.upper_tail(2.2, 20.0) == pytest.approx(0.03579720467, rel=1e-8)
    # pmvnorm has 0.95 there.
    assert two.critical_value(0.05, np.inf) == pytest.approx(1.916331944688, abs=1e-9)
    loadings = np.array([0.3, 0.6, 0.8])
    three = np.outer(loadings, loadings)
    np.fill_diagonal(three, 1.0)
    found = OneSidedMaximumT(three)
    assert found.upper_tail(1.4, 12.0) == pytest.approx(0.2215533459, rel=1e-8)
    p = found.upper_tail(found.critical_value(0.1, 7.5), 7.5)
    assert p == pytest.approx(0.1, rel=1e-9)
    means = cut("satterthwaite").emmeans("Date")
    against = means.contrast("trt.vs.ctrl", ref="None")
    one, plain = (against.test(side="less", adjust=a) for a in ("dunnett", "none"))
    sidak = against.test(side="less")
    assert (one["p_value"] >= plain["p_value"]).all()
    assert (one["p_value"] <= sidak["p_value"] + 1e-12).all()
    # The limit excludes 0 where p is below 1 - level.
    assert ((one["upper"] < 0) == (one["p_value"] < 0.05)).all()
    with pytest.raises(ModelError, match="comparisons with a control"):
        means.pairs().test(side="less", adjust="mvt")
    with pytest.raises(ModelError, match="these tests are one-sided"):
        against.test(delta=0.1, adjust="dunnett")


def test_nested_effects_of_a_step():
    """B(A) is nested because it is written so, whatever occurs."""
    data = with_covariates()
    data["site"] = [f"{a}{k % 2}" for k, a in enumerate(data["arm"])]
    nested = mlm.from_sas("proc mixed; class arm site; model y = arm site(arm); lsmeans arm;")
    assert 'nesting={"site": ["arm"]}' in nested.code
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AliasedWarning)
        found = nested(data).lsmeans["arm"]["emmean"]
    raw = data.groupby(["arm", "site"])["y"].mean().groupby("arm").mean()
    np.testing.assert_allclose(found, raw, rtol=1e-9)
    crossed = mlm.from_sas("proc mixed; class arm sex; model y = arm sex; lsmeans arm;")
    assert "nesting=False" in crossed.code
