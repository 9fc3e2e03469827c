"""Smooths, memberships and `dummy` where other parts of the package meet them."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm
from mlmfast.errors import FormulaError, ModelError


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    n = 240
    d = pd.DataFrame({"x": rng.uniform(size=n), "g": np.repeat(np.arange(20), 12)})
    d["f"] = rng.choice(["a", "b"], n)
    d["y"] = np.sin(6 * d["x"]) + rng.normal(size=20)[d["g"]] + 0.5 * rng.normal(size=n)
    return d


@pytest.fixture(scope="module")
def fit(data):
    return mlm.lmm("y ~ f + s(x) + (1 | g)", data)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda fit: pickle.loads(pickle.dumps(fit))])
def test_copies_have_the_curves(fit, copied):
    edf = fit.smooths["edf"].iloc[0]
    assert copied(fit).smooths["edf"].iloc[0] == pytest.approx(edf, rel=1e-9)


def test_many_responses(data):
    responses = np.column_stack(
        [data["y"], data["y"] ** 2, np.where(data.index < 5, np.nan, data["y"])]
    )
    batch = mlm.LMM("y ~ f + s(x) + (1 | g)", data).fit_many(responses)
    single = mlm.lmm("y ~ f + s(x) + (1 | g)", data.assign(y=data["y"] ** 2))
    assert_allclose(batch.llf[1], single.llf, rtol=1e-9)
    # Knots are those of the rows with a response.
    part = mlm.lmm("y ~ f + s(x) + (1 | g)", data.iloc[5:])
    assert_allclose(batch.llf[2], part.llf, rtol=1e-9)


def test_many_data_sets(data):
    batch = mlm.fit_each("y ~ s(x, k=5) + (1 | g)", data, by="f")
    for level, llf in zip(["a", "b"], batch.llf, strict=True):
        own = mlm.lmm("y ~ s(x, k=5) + (1 | g)", data[data["f"] == level])
        assert_allclose(llf, own.llf, rtol=1e-9)


def test_kenward_roger_and_satterthwaite(data, fit):
    adjusted = mlm.lmm("y ~ f + s(x) + (1 | g)", data, ddf="kenward-roger")
    assert adjusted.bse["fb"] >= fit.bse["fb"]
    assert 150 < fit.df["fb"] < 240
    assert_allclose(adjusted.smooths["edf"], fit.smooths["edf"], rtol=1e-9)


def test_the_variance_of_a_curve_is_tested(fit):
    table = fit.ranova().frame
    assert "s(x)" in " ".join(map(str, table.index))


@pytest.mark.parametrize("formula", ["y ~ x + (1 | mm(g, f))", "y ~ dummy(f, 'b') + (1 | g)"])
def test_reductions_by_parts_refuse_what_needs_all_rows(data, formula):
    with pytest.raises(FormulaError, match="looks at all rows at once"):
        mlm.reduce(formula, [data, data])


def test_designs_without_data_have_no_curves():
    with pytest.raises(FormulaError, match="a design has no smooth terms"):
        mlm.design("y ~ s(x) + (1 | g)", levels={"g": 5, "x": range(12)}, sigma=1.0)


def test_variances_from_mean_squares_have_no_curves(data):
    with pytest.raises(ModelError, match="random intercepts"):
        mlm.lmm("y ~ s(x) + (1 | g)", data, method="type3")


CALLS = {
    "gam(y ~ f + s(x, bs = 'ps', by = f, k = 6) + s(g, bs = 're'), data = d, method = 'REML')":
        'mlm.lmm("y ~ f + s(x, by = f, k = 6) + (1 | g)", d)',
    "gamm4(y ~ s(x, bs = 'ps'), random = ~ (1 | g), data = d, REML = FALSE)":
        'mlm.lmm("y ~ s(x) + (1 | g)", d, method="ML")',
    "glmmTMB(y ~ x + rr(0 + f | g, d = 2), data = d)":
        'mlm.lmm("y ~ x + rr(0 + f | g, 2)", d, method="ML")',
    "glmmTMB(y ~ x + cs(0 + f | g) + diag(1 + x | g), d, REML = TRUE)":
        'mlm.lmm("y ~ x + csh(0 + f | g) + diag(1 + x | g)", d)',
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_calls_of_r(call):
    found = mlm.from_r(call)
    assert not found.unmapped
    assert CALLS[call] in " ".join(found.code.split())


@pytest.mark.parametrize(
    ("call", "lost"),
    [
        ("gam(y ~ s(x, bs = 'ps'), data = d)", "method = GCV.Cp"),
        ("gam(y ~ s(x, bs = 'ps'), data = d, method = 'ML')", "method"),
        ("gam(y ~ s(x), data = d, method = 'REML')", "bs = 'ps'"),
        ("gam(y ~ te(x, z), data = d, method = 'REML')", "smooths of one variable"),
        ("gam(y ~ s(x, bs = 'ps'), binomial, d, method = 'REML')", "family"),
        ("gam(y ~ s(x, bs = 'ps'), data = d, method = 'REML', sp = 1)", "sp"),
        ("glmmTMB(y ~ x + ar1(0 + f | g), d)", "ar1 is not mapped"),
        ("glmmTMB(y ~ x + (1 | g), d, family = poisson)", "family"),
        ("glmmTMB(y ~ x + (1 | g), d, dispformula = ~ 0)", "dispformula"),
    ],
)
def test_calls_of_r_that_are_other_models(data, call, lost):
    found = mlm.from_r(call)
    assert any(lost in text for text in found.unmapped)
    with pytest.raises(ModelError, match="cannot be run"):
        found(data)


@pytest.mark.parametrize("ddf", ["between-within", "between-within-sas"])
def test_subjects_are_not_the_rows_that_share_a_curve(data, ddf):
    """A curve has one column among the fixed effects, as x has: degrees of freedom are alike."""
    between = data.assign(a=np.where(data["g"] % 2 == 0, "u", "v"))
    curve = mlm.lmm("y ~ s(x) + a + (1 | g)", between, ddf=ddf)
    line = mlm.lmm("y ~ x + a + (1 | g)", between, ddf=ddf)
    assert curve.df.tolist() == line.df.tolist()
    assert curve.df["av"] == 18.0


def test_no_subjects_for_between_within(data):
    with pytest.raises(ModelError, match="needs subjects, and the model has neither"):
        mlm.lmm("y ~ s(x) + f", data, ddf="between-within")
    members = data.assign(h=(data["g"] + 3) % 20)
    with pytest.raises(ModelError, match=r"all rows share the effects of mm\(g, h\)"):
        mlm.lmm("y ~ x + (1 | mm(g, h))", members, ddf="between-within")
