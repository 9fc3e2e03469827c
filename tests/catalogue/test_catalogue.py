"""The catalogue of warnings: every one has its code, every code is given, and the page agrees."""

import ast
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
import mlmfast.statsmodels as smf
from mlmfast import errors
from mlmfast.catalogue.codes import CATALOGUE, CHAPTERS, UNLISTED, code_of_note, page
from mlmfast.statsmodels import errors as statsmodels_errors

from ..cases import REFERENCE, data_of, reference
from ..fitting.test_corners import data_set
from ..residual_models import trial

ROOT = Path(__file__).parents[2]
LOCAL = REFERENCE / "local_optima"


def said_by(make):
    """Warnings of a call, and what it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = make()
    return [item.message for item in caught], found


def codes_of(said):
    return {code for message in said for code in message.codes}


# -- models, each with the codes that its warnings have --------------------------------------------


def grid(n_groups=6, n_rows=4, seed=1):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"g": np.repeat(range(n_groups), n_rows)})
    frame["t"] = np.tile(range(n_rows), n_groups)
    frame["x"] = rng.normal(size=len(frame))
    frame["y"] = rng.normal(size=n_groups)[frame["g"]] + rng.normal(size=len(frame))
    return frame.assign(f=frame["t"].map("v{}".format))


def fitted(case_id):
    return mlm.lmm(reference(case_id)["formula"], data_of(case_id))


def by_two():
    rows = [(i, v) for i in range(40) for v in ((0, 1) if i % 2 else (1, 2))]
    frame = pd.DataFrame(rows, columns=["id", "v"])
    rng = np.random.default_rng(2)
    frame["y"] = rng.normal(size=40)[frame["id"]] + rng.normal(size=80)
    return frame


def exact_level():
    frame = grid(8)
    frame["h"] = np.where(frame.index < 2, "one", "other")
    frame["own"] = (frame.index == 0) * 1.0
    frame["two"] = (frame.index == 1) * 1.0
    return mlm.lmm("y ~ own + two + x", frame, residual_scale="h", method="ML")


def related_twins():
    frame = grid()
    known = np.eye(6)
    known[0, 1] = known[1, 0] = 1.0
    labels = [str(k) for k in range(6)]
    known = pd.DataFrame(known, index=labels, columns=labels)
    return mlm.lmm("y ~ x + (1 | g)", frame.assign(g=frame["g"].astype(str)), cov={"g": known})


def stopped():
    return mlm.lmm("y ~ x + (x | g)", grid(30), options={"max_iter": 1})


def arma_at_its_end():
    rng = np.random.default_rng(2)
    y = rng.normal(size=(30, 1)) + rng.normal(size=(30, 5))
    frame = pd.DataFrame({"y": y.ravel(), "visit": np.tile(range(5), 30)})
    frame["id"] = np.repeat(range(30), 5)
    return mlm.lmm("y ~ 1", frame, residual="arma11(visit | id)")


def opposite():
    """Subjects whose visits add up to nearly nothing beside their own level."""
    frame = trial(seed=3, n_subjects=50, missing=0.1, rho=0.0, site_sd=0.0)
    codes = frame["subject"].str[1:].astype(int)
    own = 0.3 * np.random.default_rng(3).normal(size=50)
    frame["y"] += own[codes] - frame["y"].groupby(codes).transform("mean") + 2.0
    formula = "y ~ x + (1 | subject)"
    return mlm.lmm(formula, frame, residual="cs(visit | subject)", weights="w")


def growing(name, residual, formula="y ~ t*arm"):
    return mlm.lmm(formula, pd.read_csv(LOCAL / name), residual=residual)


def sleep_beside_its_residual():
    frame = mlm.load_sleepstudy()
    frame["f"] = frame["Days"].astype(int).astype(str)
    return mlm.lmm("Reaction ~ Days + toeph(0 + f | Subject)", frame, method="ML")


def few_subjects():
    frame = trial(seed=4, n_subjects=9, n_visits=7, missing=0.35)
    return mlm.lmm("y ~ visit", frame, residual="us(visit | subject)")


FITS = {
    "aliased": ("MLM101", lambda: fitted("cake_rank_deficient_reml")),
    "tiny": ("MLM102", lambda: mlm.lmm("y ~ t", grid().replace({"t": {0: 16.0**-65}}))),
    "twins": ("MLM103", related_twins),
    "labelled": ("MLM104", lambda: mlm.lmm("y ~ f", grid().assign(f=pd.Categorical(
        grid()["t"].astype(object).replace({0: "none"}))))),
    "uneven": ("MLM201", lambda: mlm.lmm("y ~ x", grid().assign(t=grid()["t"] ** 2 % 7),
                                         residual="ar1(t | g)")),
    "levels": ("MLM202", lambda: mlm.lmm("y ~ x", grid().assign(f=grid()["t"].pow(2).map(str)),
                                         residual="ar1(f | g)")),
    "alphabet": ("MLM203", lambda: mlm.lmm("y ~ x", grid(9, 11).assign(
        f=grid(9, 11)["t"].map("d{}".format)), residual="ar1(f | g)")),
    "stopped": ("MLM301", stopped),
    "variance of 0": ("MLM401", lambda: fitted("dyestuff2_reml")),
    "correlation": ("MLM402", lambda: fitted("sing_corr_one_a_reml")),
    "rank": ("MLM403", lambda: mlm.lmm("y ~ x + (x + I(x^2) + I(x^3) | g)", grid(12, 9))),
    "residual at 0": ("MLM411", sleep_beside_its_residual),
    "a visit at 0": ("MLM412", lambda: growing("c859.csv", "csh(t | g)", "y ~ t*arm + (1 | g)")),
    "opposite": ("MLM413", opposite),
    "few subjects": ("MLM414", few_subjects),
    "local": ("MLM415", lambda: growing("d1487.csv", "ar1h(visit | g)")),
    "exact level": ("MLM416", exact_level),
    "end of a range": ("MLM417", arma_at_its_end),
    "held already": ("MLM422", lambda: mlm.lmm("y ~ x + (1 | g)", grid(30),
                                               residual="cs(f | g)")),
    "never meet": ("MLM423", lambda: mlm.lmm("y ~ factor(v)", by_two(), residual="us(v | id)")),
    "effects apart": ("MLM424", lambda: mlm.lmm("y ~ factor(v) + (0 + factor(v) | id)", by_two(),
                                                residual="diag(v | id)")),
    "spanned": ("MLM425", lambda: mlm.lmm("y ~ factor(g) + (1 | g)", grid())),
    "told apart": ("MLM427", lambda: mlm.lmm("y ~ x", trial(seed=1, n_subjects=40, n_visits=3),
                                             residual="fa(visit | subject, 3)")),
    "least squares": ("MLM428", lambda: mlm.lmm("y ~ factor(g) + x", grid(7, 2),
                                                residual="us(t | g)")),
    "a choice": ("MLM429", lambda: mlm.lmm("y ~ factor(g)", grid(), residual="us(t | g)")),
    "no errors": ("MLM430", lambda: mlm.lmm("y ~ factor(g) + factor(t)", grid(),
                                            residual="us(t | g)")),
    "a corner": ("MLM431", lambda: mlm.lmm("y ~ x", data_set(0), residual="sp_lin(time | id)")),
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_fits_say_their_codes(name):
    code, make = FITS[name]
    said, fit = said_by(make)
    assert code in codes_of(said), [str(message) for message in said]
    assert code in fit.warnings
    assert code in mlm.load(fit.to_json()).warnings
    for message in said:
        assert re.search(r" \[MLM\d{3}(, MLM\d{3})*\]$", str(message))
        assert {CATALOGUE[code].category for code in message.codes} & {
            kind.__name__ for kind in type(message).__mro__
        }


@pytest.fixture(scope="module")
def sleep_fit():
    return mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())


def test_a_fit_without_warnings(sleep_fit):
    assert not sleep_fit.warnings
    assert len(sleep_fit.warnings) == 0
    assert sleep_fit.warnings.frame.empty
    assert repr(sleep_fit.warnings) == "no warnings"


def test_warnings_of_a_fit_read_as_text_and_as_a_table():
    _, fit = said_by(FITS["variance of 0"][1])
    assert fit.warnings.frame.loc[0, "advice"] == CATALOGUE["MLM401"].advice
    assert str(fit.warnings).startswith("MLM401:")
    assert "What to do:" in str(fit.warnings)
    assert [notice.code for notice in fit.warnings] == ["MLM401"]


def empty_cell():
    frame = grid().assign(a=lambda d: d["t"] % 2, b=lambda d: d["g"] % 2)
    frame = frame[(frame["a"] == 0) | (frame["b"] == 0)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = mlm.lmm("y ~ factor(a) * factor(b)", frame)
    return fit.predict(pd.DataFrame({"a": [1], "b": [1]}))


def effects_never_together():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = mlm.lmm("y ~ factor(v) + (0 + factor(v) | id)", by_two(), residual="diag(v | id)")
    return fit.predict(pd.DataFrame({"id": [0], "v": [0]}))


def local_minimum():
    """A fit stopped short of its optimum, whose profile finds what is below."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = mlm.lmm(
            "Reaction ~ Days + (Days | Subject)",
            mlm.load_sleepstudy(),
            options={"max_iter": 1},
            start={"Subject": [[10.0, 0.0], [0.0, 1.0]]},
        )
    return fit.profile("sd_(Intercept)|Subject")


def other_levels():
    frame = grid(8).assign(f=lambda d: d["t"].map("abcd".__getitem__))
    left = (frame["g"] % 2 == 1) & (frame["f"] == "a")
    return mlm.fit_each("y ~ f", frame[~left].assign(s=lambda d: d["g"] % 2), by="s")


def dictionaries():
    frame = grid(12)
    own = {k: np.ones((4, 1)) for k in range(12)}
    X = np.ones((len(frame), 1))
    return smf.MixedLM(frame["y"], X, groups=frame["g"], exog_vc={"own": own})


def old_model():
    return smf.mixedlm("y ~ x", grid(12), groups="g")


def singular_old_model():
    return smf.mixedlm("Yield ~ 1", data_of("dyestuff2_reml"), groups="Batch").fit()


def nearly_exact(noise):
    frame, rng = grid(12), np.random.default_rng(1)
    frame["y"] = frame["x"] + rng.normal(size=12)[frame["g"]] + noise * rng.normal(size=48)
    return smf.mixedlm("y ~ x", frame, groups="g", re_formula="~x")


def held_old_model():
    free = smf.MixedLMParams.from_components(np.ones(2), np.eye(2))
    start = smf.MixedLMParams.from_components(np.zeros(2), np.array([[1, 0.5], [0.5, 1]]))
    return nearly_exact(1e-7).fit(free=free, start_params=start)


CALLS = {
    "MLM302": local_minimum,
    "MLM501": empty_cell,
    "MLM502": effects_never_together,
    "MLM601": other_levels,
    "MLM801": dictionaries,
    "MLM803": lambda: old_model().fit(no_such_argument=1),
    "MLM804": held_old_model,
    "MLM805": lambda: nearly_exact(1e-9).fit(free=smf.MixedLMParams.from_components(
        np.ones(2), np.eye(2))),
    "MLM806": singular_old_model,
}  # fmt: skip


@pytest.mark.parametrize("code", CALLS)
def test_calls_say_their_codes(code):
    said, _ = said_by(CALLS[code])
    assert code in codes_of(said), [str(message) for message in said]
    named = [message for message in said if code in message.codes]
    assert all(CATALOGUE[code].category in {k.__name__ for k in type(m).__mro__} for m in named)


def test_every_code_occurs_in_a_test():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    assert [code for code in CATALOGUE if not any(code in text for text in texts)] == []


# -- the rules -------------------------------------------------------------------------------------


def test_codes_are_in_order_and_belong_to_a_chapter():
    assert list(CATALOGUE) == sorted(CATALOGUE)
    assert all(re.fullmatch(r"MLM\d{3}", code) for code in CATALOGUE)
    assert {entry.chapter for entry in CATALOGUE.values()} == set(CHAPTERS)
    for entry in CATALOGUE.values():
        assert entry.meaning.endswith(".")
        assert entry.advice.endswith(".")


def test_categories_are_classes_of_warnings():
    places = (errors, statsmodels_errors)
    for entry in CATALOGUE.values():
        found = [getattr(p, entry.category) for p in places if hasattr(p, entry.category)]
        found = found or [getattr(__import__("builtins"), entry.category)]
        assert all(issubclass(kind, Warning) for kind in found)


def calls_of_warn():
    """Each call of `warn` or `warnings.warn` in the package: module, and its arguments."""
    package = ROOT / "python" / "mlmfast"
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "warn(" in text else ():
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name == "warn":
                    yield path.relative_to(package).as_posix(), node


def test_no_warning_is_issued_without_a_code():
    calls = list(calls_of_warn())
    assert len(calls) > 15
    for module, call in calls:
        if module == "errors.py":
            continue
        assert isinstance(call.func, ast.Name), f"{module}: warnings.warn has no code; use warn"
        codes = call.args[2:]
        assert codes, f"{module}, line {call.lineno}: warn without a code of mlmfast.catalogue"
        for code in codes:
            if not isinstance(code, ast.Starred):
                assert code.value in CATALOGUE, f"{module}: {code.value}"


def test_a_note_that_nobody_listed_still_has_a_code():
    assert code_of_note("something new") == UNLISTED == "MLM400"


def test_wordings_do_not_overlap():
    """What a note says is the code of one entry, whichever stands first."""
    notes = [
        "variance of (Intercept) by g is 0",
        "correlation is +-1 for (Intercept), x by g",
        "the residual variance of v3 is 0 (residual='csh(f | g)')",
        "Var(1) of residual='fa(t | g)' is 0, an end of its range",
        "(1 | g) cannot be told apart from residual='cs(f | g)', which holds its covariance "
        "already (held at 0 here; leave one of the two out)",
        "(x | g) and residual='us(f | g)': the likelihood is flat, parameters cannot be told apart",
        "the data do not determine Var(x) | g",
        "Var(a) | g and Var(b) | g cannot be told apart: the data determine Var(a) | g only",
    ]
    found = [
        [e.code for e in CATALOGUE.values() if e.wording and re.match(e.wording, note, re.DOTALL)]
        for note in notes
    ]
    assert found == [[code] for code in (
        "MLM401", "MLM402", "MLM412", "MLM417", "MLM422", "MLM421", "MLM426", "MLM427",
    )]  # fmt: skip


def test_the_page_is_that_of_the_catalogue():
    """``python -m mlmfast.catalogue > docs/WARNINGS.md`` writes it."""
    assert (ROOT / "docs" / "WARNINGS.md").read_text(encoding="utf-8") == page()


def test_the_table_of_codes():
    table = mlm.warning_codes()
    assert list(table.index) == list(CATALOGUE)
    assert table.loc["MLM301", "category"] == "ConvergenceWarning"


def test_warnings_are_taken_down_where_they_are_not_shown():
    with warnings.catch_warnings(), errors.taken_down() as outer:
        warnings.simplefilter("ignore")
        with errors.taken_down() as inner:
            errors.warn("one", errors.SpacingWarning, "MLM201")
        errors.warn("two", errors.SingularFitWarning, "MLM401", "MLM402")
    assert [notice.code for notice in inner] == ["MLM201"]
    assert [notice.code for notice in outer] == ["MLM201", "MLM401", "MLM402"]


def test_a_warning_that_is_passed_on_keeps_its_codes():
    data = grid().assign(s=lambda d: d["g"] % 2, f=lambda d: d["t"].pow(2).map(str))
    said, _ = said_by(lambda: mlm.fit_each("y ~ x", data, by="s", residual="ar1(f | g)"))
    (message,) = [one for one in said if isinstance(one, errors.SpacingWarning)]
    assert message.codes == ("MLM202",)
    assert str(message).endswith("(in 2 of 2 fits, first '0') [MLM202]")
