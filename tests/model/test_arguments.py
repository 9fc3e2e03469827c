"""Arguments of wrong kinds are refused by name; what ended in tracebacks or warnings of NumPy."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import MlmError, ModelError, SpacingWarning

from ..fits import fit_case

F = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleep():
    return mlm.load_sleepstudy()


@pytest.fixture(scope="module")
def fit(sleep):
    return mlm.lmm(F, sleep)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (3, "options is 3; give a dict"),
        ("max_iter", "options is 'max_iter'; give a dict"),
        ({"max_iter": "a"}, "option 'max_iter' is 'a'; a whole number from 1 on"),
        ({"max_iter": 2.5}, "option 'max_iter' is 2.5; a whole number from 1 on"),
        ({"max_iter": 0}, "option 'max_iter' is 0; a whole number from 1 on"),
        ({"tolerance": -1}, "option 'tolerance' is -1; a positive number"),
        ({"tolerance": float("nan")}, "option 'tolerance' is nan; a positive number"),
    ],
)
def test_options(options, message, sleep):
    with pytest.raises(ModelError, match=message):
        mlm.lmm(F, sleep, options=options)


@pytest.mark.parametrize("level", [[0.9, 0.95], "a", None, 0, 1.0])
@pytest.mark.parametrize(
    "ask",
    [
        lambda fit, level: fit.conf_int(level=level),
        lambda fit, level: fit.covtest(level=level),
        lambda fit, level: fit.predict(interval="confidence", level=level),
        lambda fit, level: fit.robust().conf_int(level=level),
    ],
)
def test_levels(ask, level, fit):
    with pytest.raises(ModelError, match="must lie between 0 and 1"):
        ask(fit, level)


@pytest.mark.parametrize("ask", [
    lambda fit: fit.conf_int(0.05),
    lambda fit: fit.predict(interval="confidence", level=0.05),
    lambda fit: fit.robust().conf_int(0.05),
])  # fmt: skip
def test_alpha_is_no_level(ask, fit):
    with pytest.raises(ModelError, match=r"not alpha: give level=0.95 for alpha = 0.05"):
        ask(fit)


def test_the_only_random_effect_needs_no_name(sleep, fit):
    one = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep)
    named = one.test_variance("sd_(Intercept)|Subject", "mixture")
    assert one.test_variance(method="mixture").pvalue == named.pvalue
    with pytest.raises(ModelError, match="and the model has none"):
        mlm.lmm("Reaction ~ Days", sleep).test_variance()
    with pytest.raises(ModelError, match=r"several random effects; name one of sd_\(Intercept\)"):
        fit.test_variance()


@pytest.mark.parametrize("structure", ["cs", "csh", "ar1", "toep", "homdiag"])
def test_ranova_tests_structured_terms_whole(structure, sleep):
    data = sleep.assign(half=np.where(sleep.Days < 5, "early", "late"))
    fit = mlm.lmm(f"Reaction ~ Days + {structure}(0 + half | Subject)", data)
    table = fit.ranova()
    assert len(table) == 2
    without = mlm.lmm("Reaction ~ Days", data)
    last = table.iloc[1]
    assert last["LRT"] == pytest.approx(2 * (fit.llf - without.llf), abs=1e-7)
    assert last["npar"] == without._record.n_parameters


def test_a_constant_response_among_many(sleep):
    Y = np.column_stack([sleep.Reaction, np.ones(len(sleep))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = mlm.LMM(F, sleep).fit_many(Y)
    assert batch.llf[0] == pytest.approx(mlm.lmm(F, sleep).llf)
    assert batch.converged[0]


def test_a_profile_whose_trials_go_far():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        limits = fit_case("oxboys_slope_ar1_reml").profile("covariance").conf_int()
    assert (limits["lower"] <= limits["upper"]).all()


def test_steps_of_unequal_length_are_said(sleep):
    uneven = sleep.assign(time=np.array([1.5, 2, 4, 8, 9, 11, 12, 15, 16, 20])[sleep.Days])
    with pytest.warns(SpacingWarning, match=r"'time' .* not equally spaced.*car1 \(sp_exp\)"):
        halves = mlm.lmm("Reaction ~ Days", uneven, residual="ar1(time | Subject)")
    # One step is half a unit.
    by_distance = mlm.lmm("Reaction ~ Days", uneven, residual="sp_pow(time | Subject)")
    assert halves.llf == pytest.approx(by_distance.llf, rel=1e-10)
    ranks = mlm.lmm("Reaction ~ Days", uneven, residual="ar1(factor(time) | Subject)")
    assert ranks.llf == mlm.lmm("Reaction ~ Days", sleep, residual="ar1(Days | Subject)").llf
    # Halves of equal length are steps.
    mlm.lmm("Reaction ~ Days", sleep.assign(time=sleep.Days / 2), residual="ar1(time | Subject)")


def test_visits_in_the_order_of_the_alphabet():
    rng = np.random.default_rng(3)
    labels = [f"d{k}" for k in (1, 2, 8, 10)]
    frame = pd.DataFrame(
        {
            "y": rng.normal(size=80),
            "visit": labels * 20,
            "id": np.repeat([f"s{k}" for k in range(20)], 4),
        }
    )
    with pytest.warns(
        SpacingWarning, match=r"alphabet \(d1, d10, d2, d8, ...\).*\(d1, d2, d8, d10"
    ):
        mlm.lmm("y ~ 1", frame, residual="ar1(visit | id)")
    # Their order given, or without meaning: nothing to say.
    mlm.lmm("y ~ 1", frame, residual="cs(visit | id)")
    ordered = frame.assign(visit=pd.Categorical(frame["visit"], categories=labels))
    mlm.lmm("y ~ 1", ordered, residual="ar1(visit | id)")


# -- arguments of other types ---------------------------------------------------------------------

ODD = ["text", [], ["text"], {"a": 1}, -1, 0.5, np.ones(3), object()]
WORDS = {
    "anova": ("definition", "type"),
    "caic": ("method",),
    "conf_int": ("method", "level"),
    "cov_params": ("kind",),
    "cov_theta": ("information",),
    "covtest": ("information",),
    "icc": ("interval", "level"),
    "information_criteria": ("n", "count", "convention"),
    "predict": ("ranef", "new_levels", "interval", "level", "conditional", "nonestimable"),
    "r2": ("method", "interval"),
    "resid": ("kind",),
    "robust": ("kind", "square_root"),
    "tidy": ("effects",),
}


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(
    ("name", "argument"), [(name, argument) for name, all_ in WORDS.items() for argument in all_]
)
def test_a_word_of_another_type_is_refused_with_what_was_found(name, argument, value, fit):
    # The one that is a level.
    if argument == "level" and isinstance(value, float):
        return
    with pytest.raises(MlmError, match=rf"{argument}|{name}|kind|method|type|ranef|definition"):
        getattr(fit, name)(**{argument: value})


@pytest.mark.parametrize("value", ["text", None, ["text"], {}, -1, np.ones(3)], ids=repr)
def test_derived_takes_a_function(value, fit):
    with pytest.raises(MlmError, match=r"^function is .*; give a function of the parameters"):
        fit.derived(value)


@pytest.mark.parametrize("value", ["text", ["text"], {}, -1, np.ones(3)], ids=repr)
def test_a_statistic_of_a_bootstrap_is_a_function(value, fit):
    with pytest.raises(MlmError, match=r"^statistic is .*; give a function of a FitBatch"):
        fit.bootstrap(n=2, statistic=value)


@pytest.mark.parametrize("value", ["text", ["text"], -1, np.ones(3)], ids=repr)
def test_what_is_given_by_name_is_a_dict(value, sleep, fit):
    with pytest.raises(MlmError, match=r"^random is .*\{'Subject': \{'308': 1\}\}"):
        fit.estimate("Days", random=value)
    with pytest.raises(MlmError, match=r"contrasts is .*give the contrast of each factor"):
        mlm.lmm(F, sleep, contrasts=value)
    for argument in ("hold", "bounds"):
        with pytest.raises(MlmError, match=rf"{argument}"):
            mlm.LMM(F, sleep).fit(**{argument: value})


@pytest.mark.parametrize("value", [-1, 0.5, [1], object()], ids=lambda value: repr(value)[:8])
def test_names_are_texts(value, sleep, fit):
    with pytest.raises(MlmError, match=r"^which is .*give the name of a parameter"):
        fit.profile(value)
    with pytest.raises(MlmError, match=r"^visit is .*give the name of a column"):
        mlm.compare_structures("Reaction ~ 1", sleep, value, "Subject")
    with pytest.raises(MlmError, match=r"^by is .*give the name of a column"):
        mlm.fit_each("Reaction ~ Days", sleep, by=value)
    with pytest.raises(MlmError, match="rows of numbers are needed"):
        fit.robust().contrast("text")
    with pytest.raises(MlmError, match=r"^na_action is"):
        mlm.lmm(F, sleep, na_action=[value])
