"""Arguments that other programs have are answered by what says the same here."""

import inspect
import pickle

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.guessed_arguments import ELSEWHERE, OF_FUNCTION

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def data():
    return mlm.load_sleepstudy()


@pytest.fixture(scope="module")
def fit(data):
    return mlm.lmm(FORMULA, data)


CALLS = {
    "lmm": lambda data, fit: mlm.lmm(FORMULA, data, reml=False),
    "fit": lambda data, fit: mlm.LMM(FORMULA, data).fit(reml=False),
    "fit_many": lambda data, fit: mlm.LMM(FORMULA, data).fit_many(data[["Reaction"]], reml=False),
    "fit_each": lambda data, fit: mlm.fit_each("Reaction ~ Days", data, "Subject", reml=False),
    "fit of a reduction": lambda data, fit: mlm.reduce(FORMULA, data).fit(reml=False),
    "Method": lambda data, fit: mlm.Method(FORMULA, reml=False),
    "power": lambda data, fit: mlm.power(fit, "Days", reml=False),
    "compare_structures": lambda data, fit: mlm.compare_structures(
        "Reaction ~ Days", data, "Days", "Subject", reml=False
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_way_to_fit_says_what_reml_is_here(call, data, fit):
    with pytest.raises(mlm.ModelError, match=r"no argument 'reml'; write method='ML' for False"):
        call(data, fit)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda d, fit: mlm.lmm(FORMULA, d, groups="Subject"), r"in the formula, \(1 \| g\)"),
        (lambda d, fit: mlm.lmm(FORMULA, d, family="poisson"), "Gaussian"),
        (lambda d, fit: mlm.lmm(FORMULA, d, subset="Days > 1"), "give the rows themselves"),
        (lambda d, fit: mlm.lmm(FORMULA, d, **{"na.action": "drop"}), "na_action="),
        (lambda d, fit: mlm.lmm(FORMULA, d, wieghts="Days"), "did you mean 'weights'"),
        (lambda d, fit: mlm.lmm(FORMULA, d, "ML"), "takes formula and data by position"),
        (lambda d, fit: mlm.LMM(FORMULA, d, method="ML"), r"LMM\(...\).fit\(\) takes it"),
        (lambda d, fit: mlm.reduce(FORMULA, d, REML=False), r"reduce\(...\).fit\(\) takes it"),
        (
            lambda d, fit: mlm.LMM.from_arrays(np.ones(2), np.ones((2, 1)), re_formula="1"),
            "write Z=",
        ),
        (lambda d, fit: mlm.power(fit, "Days", nsim=10), "write n=1000"),
        (lambda d, fit: mlm.design(FORMULA, beta=[1, 2]), "write params="),
        (lambda d, fit: fit.conf_int(alpha=0.05), "write level=0.95"),
        (lambda d, fit: fit.predict(re_form=None), "write ranef=False"),
        (lambda d, fit: fit.simulate(nsim=2), "write n=1000"),
        (lambda d, fit: fit.anova(typ=2), "write type=3"),
        (lambda d, fit: fit.resid(type="pearson"), "write kind="),
        (lambda d, fit: fit.bootstrap(type="parametric"), "write kind='parametric'"),
        (lambda d, fit: fit.bootstrap(R=10), "write n=1000"),
        (lambda d, fit: fit.cov_params(type="CR2"), "write kind='CR2'"),
        (lambda d, fit: fit.influence(groups="Subject"), "write cluster='g'"),
        (lambda d, fit: fit.summary(ddf="Kenward-Roger"), "the fit has it"),
        (lambda d, fit: fit.predict(d, use_rfx=False), "write ranef=False"),
        (lambda d, fit: mlm.lmm(FORMULA, d, type="un"), r"write residual='us\("),
        (lambda d, fit: mlm.lmm(FORMULA, d, solution=True), r"summary\(\) has the coefficients"),
        (lambda d, fit: mlm.lmm(FORMULA, d, pedigree=1), r"write cov=\{'animal': mlm.pedigree"),
        (lambda d, fit: mlm.pedigree(d, mother="x"), "write dam='mother'"),
        (lambda d, fit: mlm.precision(["a"], Q=[[1.0]]), "it has labels and matrix"),
        (lambda d, fit: mlm.power(fit, "Days", along="Subject", breaks=[20]), "write values="),
        (lambda d, fit: fit.resid("raw", 1), "takes kind by position"),
        (lambda d, fit: mlm.lmm(FORMULA, d, method="lbfgs"), "every fit is by Newton-Raphson"),
        (lambda d, fit: mlm.lmm(FORMULA, d, method="kenward-roger"), "chosen by ddf="),
        (lambda d, fit: mlm.lmm(d, FORMULA), "it comes before the data"),
        (lambda d, fit: mlm.fit_each(d, FORMULA, by="Subject"), "it comes before the data"),
    ],
)
def test_what_was_meant_is_said(call, text, data, fit):
    with pytest.raises(mlm.MlmError, match=text):
        call(data, fit)


def test_it_is_the_error_of_python_too(data):
    with pytest.raises(TypeError):
        mlm.lmm(FORMULA, data, reml=False)


def test_signatures_stay_and_functions_are_pickled():
    assert list(inspect.signature(mlm.lmm).parameters)[:3] == ["formula", "data", "residual"]
    assert "weights" in inspect.signature(mlm.LMM).parameters
    assert pickle.loads(pickle.dumps(mlm.lmm)) is mlm.lmm


def test_no_hint_names_an_argument_that_no_function_has():
    public = [mlm.lmm, mlm.LMM.fit, mlm.LMM.from_arrays, mlm.fit_each, mlm.power, mlm.design]
    public += [mlm.Method, mlm.LMMResult.predict, mlm.LMMResult.resid, mlm.LMMResult.anova]
    public += [mlm.pedigree]
    own = {name for function in public for name in inspect.signature(function).parameters}
    hints = [text for texts in ELSEWHERE.values() for text in texts if not text.startswith(" ")]
    assert {text.partition("=")[0] for text in hints} <= own


def test_hints_of_one_function_name_its_arguments(fit):
    for place, text in OF_FUNCTION.items():
        function, _ = place.split(".")
        if not text.startswith(" "):
            own = inspect.signature(getattr(mlm.LMMResult, function)).parameters
            assert text.partition("=")[0] in own, place


@pytest.mark.parametrize("name", ["lmer", "MixedLM", "mmrm", "lme", "gls"])
def test_functions_of_other_programs_are_named(name):
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; use mlm.lmm"):
        getattr(mlm, name)


def test_differences_the_other_way_round_are_named(data):
    data = data.assign(half=np.where(data["Days"] > 4, "b", "a"))
    means = mlm.lmm("Reaction ~ half + (1 | Subject)", data).emmeans("half")
    with pytest.raises(mlm.ModelError, match="revpairwise"):
        means.pairs(reverse=True)
    assert means.contrast("revpairwise").to_frame()["estimate"].iloc[0] > 0
