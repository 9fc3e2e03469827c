"""lme4's `dummy`, in random terms and elsewhere; sums of grouping factors; logical responses."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm
from mlmfast.errors import DataError, FormulaError


@pytest.fixture(scope="module")
def data():
    d = mlm.load_sleepstudy()
    return d.assign(f=np.array(["a", "b", "c"])[(np.arange(180) + 1) % 3])


def test_a_variance_for_one_level_is_that_of_lme4(data):
    # lme4 1.1-31: lmer(Reaction ~ Days + (1 | Subject) + (0 + dummy(factor(Days), "9") | Subject),
    # sleepstudy, control = lmerControl(optimizer = "bobyqa")): logLik, fixef, VarCorr.
    formula = "Reaction ~ Days + (1 | Subject) + (0 + dummy(factor(Days), '9') | Subject)"
    fit = mlm.lmm(formula, data)
    assert_allclose(fit.llf, -890.465239603, rtol=1e-11)
    assert_allclose(fit.params, [251.9272922016, 10.2714657022], rtol=1e-6)
    found = [*np.diag(fit.varcorr["Subject"]), fit.scale]
    assert_allclose(found, [1306.19841832, 1066.82560564, 859.008574426], rtol=1e-5)
    assert fit.varcorr["Subject"].index[1] == 'dummy(factor(Days), "9")'


def test_all_levels_but_the_first_are_those_of_lme4(data):
    # lme4 1.1-31: d$f <- factor(c("a", "b", "c")[1 + seq_len(180) %% 3]);
    # lmer(Reaction ~ dummy(f) + (1 | Subject), d): fixef, logLik.
    fit = mlm.lmm("Reaction ~ dummy(f) + (1 | Subject)", data)
    assert fit.params.index.tolist() == ["(Intercept)", "dummy(f)b", "dummy(f)c"]
    assert_allclose(fit.params, [300.23646279653, -1.88205606608, -3.30365732352], rtol=1e-8)
    assert_allclose(fit.llf, -946.193006409, rtol=1e-11)


def test_names_of_several_levels_are_those_of_lme4(data):
    model = mlm.LMM("Reaction ~ Days + (0 + dummy(factor(Days), c(8, 9)) | Subject)", data)
    names = ["dummy(factor(Days), c(8, 9))8", "dummy(factor(Days), c(8, 9))9"]
    assert list(model.design.random[0].names) == names


def test_new_rows_may_lack_levels(data):
    fit = mlm.lmm("Reaction ~ dummy(f, ['b', 'c']) + (1 | Subject)", data)
    for one in (fit, mlm.load(fit.to_json())):
        got = one.predict({"f": ["c"]}, ranef=False)
        assert_allclose(got, fit.params.iloc[0] + fit.params.iloc[2], rtol=1e-12)
    with pytest.raises(DataError, match="'d' is not one of the data of the fit"):
        fit.predict({"f": ["d"]}, ranef=False)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ("dummy(f, 'z')", DataError, "'z' is not a level; known are a, b, c"),
        ("dummy(f, 'b', 1)", FormulaError, "dummy takes"),
        ("dummy(f, c('b', 'b'))", FormulaError, "each once"),
        ("dummy(one)", DataError, "has one level"),
        ("dummy()", FormulaError, "dummy takes"),
    ],
)
def test_a_dummy_that_means_nothing_is_refused(data, call, error, message):
    with pytest.raises(error, match=message):
        mlm.lmm(f"Reaction ~ Days + ({call} | Subject)", data.assign(one="x"))


@pytest.mark.parametrize("dtype", ["bool", "boolean", object])
def test_a_logical_response_counts_as_0_and_1(data, dtype):
    # lme4 1.1-31: lmer(I(Reaction > 300) ~ Days + (1 | Subject), sleepstudy): logLik, fixef.
    fit = mlm.lmm("long ~ Days + (1 | Subject)", data.assign(long=_long(data).astype(dtype)))
    assert_allclose(fit.llf, -98.4312383967, rtol=1e-10)
    assert_allclose(fit.params, [0.0545454545455, 0.0841750841751], rtol=1e-9)


def test_a_logical_response_may_be_missing(data):
    long = _long(data).astype("boolean")
    long.iloc[3] = pd.NA
    fit = mlm.lmm("long ~ Days + (1 | Subject)", data.assign(long=long))
    assert fit.n_dropped == 1
    numbers = mlm.lmm("long ~ Days + (1 | Subject)", data.assign(long=long.astype("Float64")))
    assert fit.llf == numbers.llf


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_a_logical_response_may_come_from_any_library(data, library):
    module = pytest.importorskip(library)
    frame = data.assign(long=_long(data))
    own = module.from_pandas(frame) if library == "polars" else module.Table.from_pandas(frame)
    formula = "long ~ Days + (1 | Subject)"
    assert_allclose(mlm.lmm(formula, own).llf, mlm.lmm(formula, frame).llf, rtol=1e-12)


def test_text_is_no_logical_response(data):
    with pytest.raises(DataError, match="holds text or categories"):
        mlm.lmm("t ~ Days + (1 | Subject)", data.assign(t=np.where(_long(data), "TRUE", "FALSE")))


def _long(data):
    return data["Reaction"] > 300


@pytest.mark.parametrize(
    "text",
    [
        "ar1(factor(Days) | factor(Subject))",
        "ar1(C(Days) | as.factor(Subject))",
        "ar1(factor(Days) | factor(arm) / C(Subject))",
    ],
)
def test_labels_may_be_written_as_factors_in_the_residual(data, text):
    arm = data["Subject"].astype(int) % 2
    plain = text.replace("factor(Subject)", "Subject").replace("C(Subject)", "Subject")
    plain = (
        plain.replace("as.", "").replace("factor(arm)", "arm").replace("C(Days)", "factor(Days)")
    )
    fits = [mlm.lmm("Reaction ~ Days", data.assign(arm=arm), residual=one) for one in (text, plain)]
    assert fits[0].llf == fits[1].llf


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("us(factor(Days, levels=[0, 1]) | Subject)", FormulaError, "takes a column alone here"),
        ("ar1(Days | factor(Subject + 1))", FormulaError, "is not the name of a column"),
        ("sp_exp(factor(Days) | Subject)", DataError, "write Days alone"),
    ],
)
def test_factors_that_mean_nothing_in_the_residual_are_refused(data, text, error, message):
    with pytest.raises(error, match=message):
        mlm.lmm("Reaction ~ Days", data, residual=text)
