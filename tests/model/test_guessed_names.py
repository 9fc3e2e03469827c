"""Names that people guess: of parameters, methods, arguments and attributes."""

import inspect

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.degrees_of_freedom import METHODS
from mlmfast.errors import DataError, FormulaError, ModelError
from mlmfast.fitted.guessed_names import ELSEWHERE
from mlmfast.typed_calls import TypedCalls

SLEEP = "Reaction ~ Days + (Days | Subject)"

#: What is held, and all ways to say it.
SPELLINGS = {
    5.0: ["sd_Days|Subject", "sd_Days | Subject", "sd__Days", "sd__Days|Subject",
          "SD(Days) | Subject"],
    25.0: ["var_Days|Subject", "Var(Days) | Subject", "Var(Days)|Subject", "var__Days|Subject",
           "UN(2,2)", "un(2, 2)|Subject"],
    0.2: [
        *("cor_Days.(Intercept)|Subject", "cor_(Intercept).Days|Subject"),
        *("cor__(Intercept).Days", "Cor(Days, (Intercept)) | Subject"),
        "Corr((Intercept),Days)|Subject",
    ],
    40.0: ["Cov((Intercept), Days) | Subject", "cov_(Intercept).Days|Subject",
           "Cov(Days,(Intercept))|Subject", "UN(2,1)", "un(1, 2)", "UN(1,2) | Subject"],
    26.0: ["sigma", "sd__Observation", "sd_Residual", "sd__Observation|Residual"],
    700.0: ["Residual", "var_Residual", "Var(Residual)"],
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return mlm.LMM(SLEEP, mlm.load_sleepstudy())


@pytest.fixture(scope="module")
def fit(model):
    return model.fit()


@pytest.mark.parametrize("value", SPELLINGS)
def test_every_spelling_of_a_parameter_is_held(model, value):
    fits = [model.fit(hold={name: value}) for name in SPELLINGS[value]]
    assert len({(fit.llf, *fit.held) for fit in fits}) == 1
    assert next(iter(fits[0].held.values())) == pytest.approx(
        value**0.5 if value in {25.0, 700.0} else value
    )


def test_every_spelling_starts_bounds_and_profiles(model, fit):
    for name in ("Var(Days) | Subject", "var__Days|Subject"):
        bounded = model.fit(bounds={name: (None, 16.0)})
        assert bounded.held["sd_Days|Subject"] == pytest.approx(4.0)
        assert model.fit(start={name: 30.0}).llf == pytest.approx(fit.llf, abs=1e-9)
        assert len(model.fit(grid={name: [10.0, 40.0]}).parms) == 2
    own = fit.profile("sd_Days|Subject").conf_int()
    for name in ("sd__Days", "Var(Days) | Subject"):
        assert fit.profile(name).conf_int().equals(own)
    assert fit.profile(["cor_(Intercept).Days|Subject"]).estimates.index.tolist() == [
        "cor_Days.(Intercept)|Subject"
    ]
    with pytest.raises(ModelError, match=r"profile its correlation, 'cor_Days.\(Intercept\)"):
        fit.profile("Cov(Days, (Intercept)) | Subject")


def test_every_spelling_is_read_by_functions_of_parameters(fit):
    def ratio(p):
        return {
            "sd": p["sd__Days"] / p["sd__Observation"],
            "var": p["Var(Days) | Subject"] / p["Var(Residual)"],
            "cov": p["Cov(Days, (Intercept)) | Subject"],
        }

    table = fit.derived(ratio)
    assert table.loc["var", "estimate"] == pytest.approx(table.loc["sd", "estimate"] ** 2)
    assert table.loc["cov", "estimate"] == pytest.approx(fit.varcorr["Subject"].iloc[0, 1])


def test_a_parameter_named_twice_is_refused(model):
    with pytest.raises(ModelError, match=r"are one parameter, sd_Days.Subject; give one"):
        model.fit(hold={"sd_Days|Subject": 5.0, "Var(Days) | Subject": 25.0})
    with pytest.raises(ModelError, match="are one parameter"):
        model.fit(start={"sigma": 5.0, "Var(Residual)": 25.0, "sd_Days|Subject": 1.0})


def test_pairs_of_levels_in_either_order():
    data = mlm.load_sleepstudy()
    data["early"] = np.where(data.Days < 5, "yes", "no")
    data = data[data.Days.isin([0, 3, 6])]
    model = mlm.LMM("Reaction ~ Days", data, residual="us(Days | Subject)")
    fits = [model.fit(hold={name: 300.0}) for name in ("UN(2,1)", "un(1, 2)", "UN(1,2)")]
    assert len({fit.llf for fit in fits}) == 1
    assert fits[0].residual_parameters["UN(2,1)"] == pytest.approx(300.0)


def test_a_name_of_two_groups_needs_its_group():
    """Without the group, which `tidy` has in a column of its own, a name may be several's."""
    rng = np.random.default_rng(4)
    a, b = np.arange(60) % 6, np.arange(60) // 10
    y = rng.normal(size=60) + rng.normal(0, 2, 6)[a] + rng.normal(0, 2, 6)[b]
    data = {"y": y, "a": a, "b": b}
    model = mlm.LMM("y ~ (1 | a) + (1 | b)", data)
    with pytest.raises(ModelError, match="no covariance parameter"):
        model.fit(hold={"sd__(Intercept)": 1.0})
    with pytest.raises(ModelError, match="no covariance parameter"):
        model.fit(hold={"UN(1,1)": 1.0})
    assert model.fit(hold={"sd__(Intercept)|a": 1.0}).held == {"sd_(Intercept)|a": 1.0}


def test_names_of_other_programs_say_what_to_use(fit):
    for name in (
        "fixef",
        "vcov",
        "VarCorr",
        "logLik",
        "confint",
        "refit",
        "update",
        "augment",
        "t_test",
    ):
        assert name in ELSEWHERE
        assert not hasattr(fit, name)
        with pytest.raises(AttributeError, match=f"no attribute {name!r}; use "):
            getattr(fit, name)
    with pytest.raises(AttributeError, match="did you mean 'tvalues'"):
        _ = fit.tvalue
    with pytest.raises(AttributeError, match=r"no attribute 'nothing_like_it'$"):
        _ = fit.nothing_like_it


def test_what_a_guessed_name_points_to_exists(fit):
    """The first name of each hint is an attribute of a fit, or of the package."""
    for name, hint in ELSEWHERE.items():
        assert not hasattr(type(fit), name)
        first = hint.split("(")[0].split(" ")[0].split("[")[0].split(",")[0].split(".")[0]
        assert hasattr(fit, first) or first in {"model", "mlm", "the"}, hint


DDF = {
    "KR": "kenward-roger",
    "kr": "kenward-roger",
    "Kenward-Roger": "kenward-roger",
    "DDFM=KR(LINEAR)": "kenward-roger-linear",
    "kr(firstorder)": "kenward-roger-linear",
    "KR2": "kenward-roger-2009",
    "sat": "satterthwaite",
    "SATTERTH": "satterthwaite",
    "bw": "between-within",
    "BETWITHIN": "between-within",
    "con": "containment",
    "contain": "containment",
    "res": "residual",
    "z": "asymptotic",
}


@pytest.mark.parametrize("word", DDF)
def test_degrees_of_freedom_by_other_names(model, fit, word):
    named = model.fit(ddf=word)
    assert named.ddf == DDF[word]
    assert DDF[word] in METHODS
    own = model.fit(ddf=DDF[word])
    assert named.df.equals(own.df)
    assert named.bse.equals(own.bse)
    assert fit.contrast("Days", ddf=word).table.equals(fit.contrast("Days", ddf=DDF[word]).table)
    assert str(named.summary()) == str(own.summary())


def test_covariances_by_other_names(fit):
    assert fit.cov_params("KR").equals(fit.cov_params("kenward-roger"))


def test_methods_by_other_names(fit):
    assert fit.conf_int("profile").equals(fit.conf_int(method="profile"))
    boot = fit.conf_int(method="bootstrap", n=20, seed=1)
    assert boot.equals(fit.conf_int("boot", n=20, seed=1))
    assert fit.conf_int("Wald").equals(fit.conf_int())
    with pytest.raises(ModelError, match="level is 'profile'"):
        fit.conf_int("profile", "boot")
    with pytest.raises(ModelError, match="'wald', 'profile' or 'boot'"):
        fit.conf_int(method="jackknife")


def test_reml_as_r_says_it(model, fit):
    data = mlm.load_sleepstudy()
    by_ml = model.fit("ML")
    for ml in (model.fit(REML=False), mlm.lmm(SLEEP, data, REML=False)):
        assert (ml.method, ml.llf) == ("ML", by_ml.llf)
    assert mlm.lmm(SLEEP, data, REML=True).llf == fit.llf
    batch = model.fit_many(data[["Reaction"]], REML=False)
    assert batch.llf[0] == by_ml.llf
    each = mlm.fit_each("Reaction ~ Days", data, by="Subject", REML=False)
    assert each.llf.sum() == mlm.fit_each("Reaction ~ Days", data, "Subject", "ML").llf.sum()
    with pytest.raises(ModelError, match="contradict each other"):
        model.fit("ML", REML=True)
    with pytest.raises(ModelError, match="method='REML' and REML=False contradict each other"):
        mlm.lmm(SLEEP, data, method="REML", REML=False)
    with pytest.raises(ModelError, match="contradict each other"):
        model.fit_many(data[["Reaction"]], "reml", REML=np.False_)
    assert model.fit(REML=np.bool_(False)).llf == model.fit("ml", REML=False).llf == by_ml.llf
    assert mlm.lmm(SLEEP, data, method="REML", REML=np.True_).llf == fit.llf
    with pytest.raises(ModelError, match="REML is 0; use True or False"):
        model.fit(REML=0)


def test_a_residual_structure_in_a_formula_is_pointed_to_residual():
    data = mlm.load_sleepstudy()
    data["visit"] = data["Days"].astype(str)
    for kind in ("us", "cs", "ar1", "toep"):
        with pytest.raises(FormulaError, match=rf"residual='{kind}\(visit \| Subject\)'"):
            mlm.lmm(f"Reaction ~ Days + {kind}(visit | Subject)", data)
    # Numbers, lme4's own spelling and glmmTMB's mean random effects.
    assert mlm.LMM("Reaction ~ Days + us(Days | Subject)", data).fit().n_groups == {"Subject": 18}
    for term in ("(visit | Subject)", "us(0 + visit | Subject)", "us(1 + visit | Subject)"):
        assert len(mlm.LMM(f"Reaction ~ Days + {term}", data)._design.random[0].names) == 10


def test_signatures_for_editors_have_every_argument():
    source = inspect.getsource(TypedCalls)
    for name in inspect.signature(mlm.LMMResult.predict).parameters:
        assert name in {"fit", "interval"} or source.count(f"{name}: ") >= 4
    for name in ("type", "ddf", "definition", "chisq"):
        assert name in inspect.signature(mlm.LMMResult.anova).parameters
        assert source.count(f"{name}: ") >= 2


def test_bad_progress_is_refused(fit):
    for call in (
        lambda: fit.bootstrap(4, 1, progress="yes"),
        lambda: fit.profile("sigma", progress=1),
        lambda: fit.influence(progress="no"),
    ):
        with pytest.raises((ModelError, DataError), match="progress is"):
            call()
