"""Calls of lme4, nlme and mmrm as text give the fits of these programs."""

import re

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, FormulaError, ModelError, SpacingWarning

from ..cases import ALL, data_of, reference, tolerance

#: nlme's correlations as the reference's file abbreviates them.
_WRITTEN = {
    r"ar1\(([^()]*)\)": r"corAR1(form = ~ \1)",
    r"car1\(([^()]*)\)": r"corCAR1(form = ~ \1)",
    r"gau\(([^()]*)\)": r"corGaus(form = ~ \1)",
    r"arma11\(([^()]*)\)": r"corARMA(form = ~ \1, p = 1, q = 1)",
}


def call_of(case_id):
    """The call of a reference fit as R takes it, or None."""
    call = reference(case_id).get("source", {}).get("call", "")
    if not re.match(r"(lmer|lme|gls|mmrm)\(", call):
        return None
    for abbreviated, written in _WRITTEN.items():
        call = re.sub(rf"correlation = {abbreviated}", f"correlation = {written}", call)
    return re.sub(r"method = (\w+)", r'method = "\1"', call)


CALLS = {case_id: call_of(case_id) for case_id in ALL if call_of(case_id)}
#: Contrasts that are set outside of the call.
CALLS = {k: v for k, v in CALLS.items() if not reference(k).get("contrasts")}


def test_there_are_calls_of_each_function():
    for function, least in {"lmer": 75, "mmrm": 50, "lme": 12, "gls": 5}.items():
        assert sum(call.startswith(f"{function}(") for call in CALLS.values()) >= least


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
@pytest.mark.filterwarnings("ignore::mlmfast.errors.AliasedWarning")
@pytest.mark.parametrize("case_id", CALLS)
def test_a_call_gives_the_fit_of_its_program(case_id):
    call = mlm.from_r(CALLS[case_id])
    assert not call.unmapped
    fit = call(data_of(case_id))
    expected = reference(case_id)["expect"]["loglik"]
    assert fit.llf == pytest.approx(expected, rel=tolerance(case_id, "loglik"), abs=1e-7)


ROWS = {
    "lme4::lmer(y ~ x + (1 | g), data = d)  # a comment": 'mlm.lmm("y ~ x + (1 | g)", d)',
    "m1 <- lmerTest::lmer(y ~ x + (x || g), d, FALSE)":
        'mlm.lmm("y ~ x + (x || g)", d, method="ML")',
    "lmer(y ~ (1 | g), d, na.action = na.fail, contrasts = list(f = contr.sum, h = 'contr.SAS'))":
        'na_action="raise", contrasts={"f": "contr.sum", "h": "contr.SAS"}',
    "lmer(y ~ x + (1 | g), d, weights = w, offset = o)": 'weights="w", offset="o"',
    "lme(y ~ x, random = list(a = ~ 1, b = ~ x))": "(1 | a) + (x | a:b)",
    "lme(y ~ x, random = list(g = pdDiag(~ x)))": "diag(1 + x | g)",
    "lme(y ~ x, random = list(g = pdDiag(~ 1)))": "(1 | g)",
    "lme(y ~ x, random = list(g = pdIdent(~ f - 1)))": "homdiag(f - 1 | g)",
    "lme(y ~ x, random = list(g = pdCompSymm(~ f - 1)))": "cs(f - 1 | g)",
    "lme(y ~ x, d, ~ 1 | g / h, correlation = corAR1(form = ~ t))": 'residual="ar1(t | g:h)"',
    "gls(y ~ x, correlation = corExp(form = ~ lon + lat | g))": 'residual="sp_exp(lon, lat | g)"',
    "gls(y ~ x, correlation = corSymm(form = ~ t | g), weights = varIdent(form = ~ 1 | t))":
        'residual="us(t | g)"',
    "gls(y ~ x, correlation = corCompSymm(form = ~ t | g), weights = varIdent(form = ~ 1 | t))":
        'residual="csh(t | g)"',
    "gls(y ~ x, correlation = corAR1(0.3, ~ t | g), weights = varIdent(form = ~ 1 | sex))":
        'residual="ar1(t | g)", residual_scale="sex"',
    "gls(y ~ x, weights = varComb(varIdent(form = ~ 1 | s), varExp(form = ~ x)))":
        'residual_scale="s * exp(x)"',
    "gls(y ~ x, weights = varPower(form = ~ x | s))": 'residual_scale="power(x | s)"',
    "gls(y ~ x, weights = varFixed(~ x))": 'assign(weight_=1 / data["x"])',
    "gls(y ~ x, correlation = corAR1(form = ~ 1 | g))": "cumcount() + 1",
    "mmrm(y ~ a + us(v | id), d, method = 'Kenward-Roger', vcov = 'Kenward-Roger-Linear')":
        'ddf="kenward-roger-linear"',
    "mmrm(y ~ a, d, covariance = cov_struct('ar1', 'v', 'id', group = 'a'))":
        'residual="ar1(factor(v) | a / id)"',
    "mmrm(y ~ a, d, covariance = cov_struct('us', 'v', 'my id', group = 'an arm'))":
        'residual="us(v | `an arm` / `my id`)"',
    "mmrm(y ~ a + us(v | id), d, method = 'Residual', vcov = 'Asymptotic')": 'ddf="residual"',
    "lmer(y ~ x + (1 | g), class)": 'mlm.lmm("y ~ x + (1 | g)", class_)',
    "lmer(y ~ x + (1 | g), mlm)": 'mlm.lmm("y ~ x + (1 | g)", mlm_)',
    "gls(y ~ x, weights = varFixed(~ `a \"b\"`))": '''data['a "b"']''',
    "mmrm(y ~ a, covariance = as.cov_struct(~ toep(v | id)), "
    "control = mmrm_control(method = 'Between-Within'))": 'ddf="between-within"',
}  # fmt: skip


@pytest.mark.parametrize("text", ROWS)
def test_what_a_call_is_here(text):
    call = mlm.from_r(text)
    assert ROWS[text] in " ".join(call.code.split()).replace("( ", "(").replace(", )", ")")
    assert not call.unmapped
    compile(call.code, "code", "exec")


def test_the_code_gives_the_fit_of_the_call():
    """Rows by number, and weights that are made of a column, are made in the code too."""
    data = mlm.load_sleepstudy()
    data["v"] = data.Days + 1.0
    for text in (
        "gls(Reaction ~ Days, correlation = corAR1(form = ~ 1 | Subject))",
        "lme(Reaction ~ Days, random = ~ 1 | Subject, weights = varFixed(~ v))",
    ):
        call = mlm.from_r(text)
        space = {"data": data}
        exec(call.code, space)
        assert space["fit"].llf == call(data).llf
    weighted = mlm.lmm("Reaction ~ Days + (1 | Subject)", data, weights=1 / data.v.to_numpy())
    assert space["fit"].llf == weighted.llf


def test_independent_effects_of_a_factor_are_independent():
    """nlme's pdDiag has no covariance at all; lme4's `||` keeps a factor's columns together."""
    rng = np.random.default_rng(2)
    g, f = np.repeat(np.arange(30), 12), np.tile(list("abc"), 120)
    effects = rng.normal(size=(30, 3))
    y = rng.normal(size=360) + effects[g, 0] + (f == "b") * effects[g, 1]
    data = {"y": y + 1.5 * (f == "c") * effects[g, 2], "g": g, "f": f}
    fit = mlm.from_r("lme(y ~ f, random = list(g = pdDiag(~ f)))")(data)
    assert np.count_nonzero(fit.varcorr["g"]) == 3
    numbers = {**data, "b": (f == "b") * 1.0, "c": (f == "c") * 1.0}
    assert fit.llf == pytest.approx(mlm.lmm("y ~ f + (b + c || g)", numbers).llf, abs=1e-8)


def test_other_frames_are_read():
    polars = pytest.importorskip("polars")
    data = mlm.load_sleepstudy()
    call = mlm.from_r("gls(Reaction ~ Days, correlation = corAR1(form = ~ 1 | Subject))")
    own = call(data).llf
    assert call(polars.from_dict({c: data[c].to_numpy() for c in data})).llf == own
    assert call({c: data[c].to_numpy() for c in data}).llf == own


@pytest.fixture(scope="module")
def visits():
    """Visits 1, 2, 4, 8 as numbers, of which mmrm takes levels one by one."""
    rng = np.random.default_rng(6)
    id, v = np.repeat(np.arange(40), 4), np.tile([1, 2, 4, 8], 40)
    data = pd.DataFrame({"id": id, "v": v, "a": id % 2, "site": id // 8, "x": rng.normal(size=160)})
    e = rng.normal(size=(40, 4))
    e[:, 1:] += e[:, :-1]
    y = 1.0 * rng.normal(size=40)[id] + rng.normal(size=5)[id // 8] + e.ravel() + 0.2 * data["x"]
    data["y"] = y + np.sqrt(v)
    data["o"] = np.tile([1, 2, 3, 4], 40)
    data["o2"] = data.groupby("site").cumcount() + 1
    return data


@pytest.mark.parametrize("kind", ["us", "cs", "csh", "toep", "toeph", "ar1", "ar1h", "ad", "adh"])
def test_visits_of_mmrm_are_factors(visits, kind):
    call = mlm.from_r(f"mmrm(y ~ x + v + {kind}(v | id), d)")
    fit, space = call(visits), {"d": visits}
    exec(call.code, space)
    assert space["fit"].llf == fit.llf
    own = mlm.lmm("y ~ x + factor(v)", visits, residual=f"{kind}(factor(v) | id)")
    assert fit.llf == pytest.approx(own.llf, abs=1e-8)
    assert fit.params.index.tolist() == ["(Intercept)", "x", "v2", "v4", "v8"]
    named = visits.assign(o=visits["v"].map({1: "p", 2: "q", 4: "r", 8: "s"}))
    same = mlm.lmm("y ~ x + o", named, residual=f"{kind}(factor(o) | id)")
    assert fit.llf == pytest.approx(same.llf, abs=1e-8)


def test_lags_of_mmrm_count_visits_that_are_seen(visits):
    """Neither a level without rows nor one without responses is a step, unless it is kept."""
    text = "mmrm(y ~ x + ar1(v | id), d{})"
    expected = mlm.lmm("y ~ x", visits.query("v != 2"), residual="ar1(factor(v) | id)").llf
    gone = visits.assign(y=visits["y"].where(visits["v"] != 2))
    assert mlm.from_r(text.format(""))(gone).llf == pytest.approx(expected, abs=1e-8)
    few = visits.query("v != 2").assign(v=lambda d: pd.Categorical(d["v"], [1, 2, 4, 8]))
    assert mlm.from_r(text.format(""))(few).llf == pytest.approx(expected, abs=1e-8)
    kept = mlm.from_r(text.format(", control = mmrm_control(drop_visit_levels = FALSE)"))(few)
    with pytest.warns(SpacingWarning, match="steps 0, 2, 3"):
        own = mlm.lmm("y ~ x", visits.query("v != 2"), residual="ar1(o | id)")
    assert kept.llf == pytest.approx(own.llf, abs=1e-8)


def test_arms_of_mmrm_are_factors_and_points_are_numbers(visits):
    data = visits.assign(a=visits["id"] % 3)
    fit = mlm.from_r("mmrm(y ~ a + cs(v | a / id), d)")(data)
    own = mlm.lmm("y ~ factor(a)", data, residual="cs(factor(v) | a / id)")
    assert fit.llf == pytest.approx(own.llf, abs=1e-8)
    points = mlm.from_r("mmrm(y ~ v + sp_exp(v | id), d)")
    assert points(data).llf == mlm.lmm("y ~ v", data, residual="sp_exp(v | id)").llf
    with pytest.raises(DataError, match="no column 'w' in the data"):
        mlm.from_r("mmrm(y ~ C(a, contr.sum) + w + cs(v | id), d)")(data)


def test_the_order_of_levels_outlives_the_frame(visits):
    polars = pytest.importorskip("polars")
    order = ["one", "two", "four", "eight"]
    words = visits["v"].map(dict(zip([1, 2, 4, 8], order, strict=True)))
    data = visits.assign(v=pd.Categorical(words, order))
    call = mlm.from_r("mmrm(y ~ v + ar1(v | id), d)")
    columns = {name: data[name].to_numpy() for name in ("y", "id")}
    columns["v"] = polars.Series(words.tolist(), dtype=polars.Enum(order))
    for given in (columns, polars.DataFrame(columns)):
        fit = call(given)
        assert fit.params.index.tolist() == ["(Intercept)", "vtwo", "vfour", "veight"]
        assert fit.llf == pytest.approx(call(data).llf, abs=1e-9)


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_wider_groups_of_a_correlation_are_those_of_the_random_effects(visits):
    """As nlme, which warns; groups inside of those are taken as they are."""
    wide = mlm.from_r(
        "lme(y ~ x, d, random = ~ 1 | site/id, correlation = corAR1(form = ~ o2 | site))"
    )
    assert "nlme takes site/id for them" in " ".join(wide.notes)
    own = mlm.lmm("y ~ x + (1 | site/id)", visits, residual="ar1(o2 | site:id)")
    assert wide(visits).llf == own.llf
    inner = mlm.from_r(
        "lme(y ~ x, d, random = ~ 1 | site, correlation = corAR1(form = ~ o | site/id))"
    )
    own = mlm.lmm("y ~ x + (1 | site)", visits, residual="ar1(o | site:id)")
    assert inner(visits).llf == own.llf


@pytest.mark.parametrize(
    "text",
    [
        "gls(y ~ x, d, correlation = corAR1(form = ~ 1 | id){})",
        "lme(y ~ x, d, random = ~ 1 | site, correlation = corAR1(form = ~ 1 | site/id){})",
    ],
)
def test_rows_are_numbered_when_incomplete_ones_are_gone(visits, text):
    data = visits.copy()
    data.loc[data.index[2::7], "y"] = np.nan
    data.loc[data.index[5::31], "x"] = np.nan
    data["unused"] = np.where(data.index % 2, 1.0, np.nan)
    whole = data.drop(columns="unused").dropna()
    whole["k"] = whole.groupby("id").cumcount() + 1
    random, bar = (" + (1 | site)", "site:id") if "random" in text else ("", "id")
    own = mlm.lmm(f"y ~ x{random}", whole, residual=f"ar1(k | {bar})")
    for action in ("na.omit", "na.exclude", "'na.omit'"):
        call = mlm.from_r(text.format(f", na.action = {action}"))
        assert call(data).llf == pytest.approx(own.llf, abs=1e-9)
    space = {"d": data}
    exec(call.code, space)
    assert space["fit"].llf == call(data).llf
    stops = r"column '[xy]' has \d+ missing values, at which (gls|lme)\(\) stops .na.fail is its"
    with pytest.raises(DataError, match=stops):
        mlm.from_r(text.format(""))(data)
    assert 'na_action="raise"' in mlm.from_r(text.format("")).code
    assert mlm.from_r(text.format(""))(data.assign(y=1.0 * visits["y"], x=visits["x"])).converged


UNMAPPED = {
    "lmer(y ~ x + (1 | g), d, subset = x > 0)": "subset",
    "lmer(y ~ x + (1 | g), d, weights = 1 / v)": "weights = 1/v",
    "lmer(y ~ x + (1 | g), head(d))": "data = head(d)",
    "glmmTMB(y ~ x + (1 | g), d, weights = w)": "counts a row of weight w as w rows",
    "glmmTMB(y ~ f + diag(f | g), d, contrasts = list(f = 'contr.sum'))": "another model",
    "mmrm(y ~ a + us(v | id), d, vcov = 'Empirical')": "fit.robust('CR0')",
    "mmrm(y ~ a + us(v | id), d, vcov = 'Empirical-Bias-Reduced')": "fit.robust('CR2')",
    # Its default covariance there is the sandwich.
    "mmrm(y ~ a + us(v | id), d, method = 'Residual')": "fit.robust('CR0')",
    "mmrm(y ~ a + us(v | id), d, control = mmrm_control(method = 'Residual'))": "fit.robust('CR0')",
}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lmer(y ~ f + (f | g), d, contrasts = list(f = 'contr.sum'))", True),
        ("glmmTMB(y ~ f * x + (f * x | g), d, contrasts = list(f = 'contr.sum'))", True),
        ("lmer(y ~ f + (1 | g), d, contrasts = list(f = 'contr.sum'))", False),
        # Without an intercept a factor has a column for each level, by any contrasts.
        ("lmer(y ~ f + (f || g), d, contrasts = list(f = 'contr.sum'))", False),
        ("glmmTMB(y ~ f + diag(0 + f | g), d, contrasts = list(f = 'contr.sum'))", False),
    ],
)
def test_contrasts_of_random_effects_are_told_of(text, said):
    call = mlm.from_r(text)
    assert not call.unmapped
    assert any("codes the random effects without them" in note for note in call.notes) == said


@pytest.mark.parametrize("text", UNMAPPED)
def test_what_has_no_counterpart_is_named_and_not_run(text):
    call = mlm.from_r(text)
    assert UNMAPPED[text] in call.unmapped[0]
    assert f"# not mapped, and the fit would differ: {call.unmapped[0]}" in str(call)
    with pytest.raises(ModelError, match="cannot be run as it is"):
        call(pd.DataFrame({"y": np.zeros(3)}))


REFUSED = {
    "glmer(y ~ x + (1 | g), family = binomial)": r"glmer\(\) is not understood; from_r reads lmer",
    "y ~ x": "not a call",
    "d |> lmer(y ~ x + (1 | g))": "passes data on",
    "lmer(y ~ x + (1 | g), d, spam = 1)": "no argument 'spam'",
    "lmer(y ~ x + (1 | g)": "is not closed",
    "lmer()": "no formula",
    "lme(y ~ x, d)": "groupedData",
    "lme(y ~ x, d, random = ~ x)": "names no groups",
    "lme(y ~ x, random = list(g = pdBlocked(list(~ 1))))": "no counterpart",
    "gls(y ~ x, correlation = corAR1(form = ~ t))": "one block of all rows",
    "gls(y ~ x, correlation = corARMA(form = ~ t | g, p = 2, q = 0))": r"p = 2",
    "gls(y ~ x, correlation = corSymm(form = ~ t | g))": "varIdent",
    "gls(y ~ x, correlation = corCAR1(form = ~ t | g, nugget = TRUE))": "nugget",
    "gls(y ~ x, weights = varPower())": "fitted values",
    "gls(y ~ x, correlation = corNatural(form = ~ t | g))": "corNatural",
    "lme(y ~ x, d, random = ~ 1 | id, correlation = corAR1(form = ~ o | site))": "not those",
    "lme(y ~ x, d, random = ~ 1 | site, correlation = corAR1(form = ~ o | id))": "incompatible",
    "lme(y ~ x, d, random = ~ 1 | id, correlation = corAR1(form = ~ o | site/id))": "site/id,",
    "lme(y ~ x, random = list(a = ~ 1, b = ~ 1), correlation = corExp(form = ~ t | a/c))": "a/c,",
    "mmrm(y ~ a, d)": "one covariance structure",
    "mmrm(y ~ a + us(v | id) + cs(v | id), d)": "found 2",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refusals(text):
    with pytest.raises(FormulaError, match=REFUSED[text]):
        mlm.from_r(text)


def test_text_alone():
    with pytest.raises(FormulaError, match="not int"):
        mlm.from_r(3)


def test_nothing_in_the_text_is_run(tmp_path):
    mark = tmp_path / "mark"
    for text in (
        f"lmer(y ~ x + (1 | g), data = system('touch {mark}'))",
        f"lmer(y ~ __import__('os').system('touch {mark}') + (1 | g))",
    ):
        with pytest.raises((FormulaError, ModelError)):
            mlm.from_r(text)(pd.DataFrame({"y": [1.0, 2.0], "x": [0.0, 1.0], "g": ["a", "b"]}))
    assert not mark.exists()
