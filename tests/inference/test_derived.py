"""Functions of parameters, intraclass correlations, R2: formulas, derivatives, intervals."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError
from mlmfast.inference.intervals.second_order import Differentiable

from ..fits import lmm
from ..residual_models import trial

SLOPES = "Reaction ~ Days + (Days | Subject)"
VAR, COV = "var_(Intercept)|Subject", "cov_Days.(Intercept)|Subject"


@pytest.fixture(scope="module")
def sleep():
    return mlm.load_sleepstudy()


@pytest.fixture(scope="module")
def slopes(sleep):
    return mlm.lmm(SLOPES, sleep)


@pytest.fixture(scope="module")
def intercepts(sleep):
    return mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep)


FUNCTIONS = {
    "arithmetic": lambda x, y: (2 + x * y - x / y) / (1 - y) + 3 * abs(-x) - y**2 + 2.0**y - x**y,
    "numpy": lambda x, y: np.sqrt(x) * np.exp(-y) + np.log(x + y) - np.tanh(y) + np.square(x),
    "more": lambda x, y: np.log1p(x) - np.expm1(y) + np.arctanh(y / 3) + 1 / x - np.abs(-y),
    "arrays": lambda x, y: np.float64(2.0) * x - np.float64(3.0) / y + np.power(x, 1.5),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_second_order_arithmetic(function):
    point = np.array([1.7, 0.6])

    def numbers(at):
        return [Differentiable(float(v), np.eye(2)[k], np.zeros((2, 2))) for k, v in enumerate(at)]

    found, h = function(*numbers(point)), 1e-5
    assert found.value == pytest.approx(function(*point), rel=1e-14)
    for k in range(2):
        up, down = point + h * np.eye(2)[k], point - h * np.eye(2)[k]
        slope = (function(*up) - function(*down)) / (2 * h)
        assert found.first[k] == pytest.approx(slope, rel=1e-7)
        bend = (function(*numbers(up)).first - function(*numbers(down)).first) / (2 * h)
        np.testing.assert_allclose(found.second[k], bend, rtol=1e-6, atol=1e-8)


def test_a_number_with_derivatives_does_not_lose_them():
    x = Differentiable(1.0, np.ones(1), np.zeros((1, 1)))
    with pytest.raises(TypeError, match="derivatives"):
        float(x)
    with pytest.raises(TypeError):
        np.sin(x)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_delta_standard_errors_are_those_of_the_information(sleep, method):
    fit = mlm.lmm(SLOPES, sleep, method=method)
    found = fit.derived(lambda p: {"v": p[VAR], "c": p[COV], "r": p["Residual"], "d": p["Days"]})
    theta = fit.cov_theta()
    se = np.sqrt(np.diag(theta))
    names = list(theta.index)
    at = [
        names.index(n)
        for n in ("Var((Intercept)) | Subject", "Cov((Intercept), Days) | Subject", "Residual")
    ]
    np.testing.assert_allclose(found["se"].iloc[:3], se[at], rtol=1e-6)
    assert found.loc["d", "se"] == pytest.approx(fit.bse["Days"], rel=1e-10)
    assert found.loc["v", "estimate"] == pytest.approx(fit.varcorr["Subject"].iloc[0, 0], rel=1e-10)


def test_profile_of_a_parameter_is_its_profile(slopes):
    by_function = slopes.derived(lambda p: p["sd_Days|Subject"], "profile", 0.9)
    own = slopes.profile("sd_Days|Subject").conf_int(0.9)
    np.testing.assert_allclose(by_function[["lower", "upper"]], own, rtol=1e-7)


def test_profile_is_equivariant(intercepts):
    def share(p):
        return p[VAR] / (p[VAR] + p["Residual"])

    one = intercepts.derived(share, "profile").iloc[0]
    two = intercepts.derived(lambda p: np.log(share(p) / (1 - share(p))), "profile").iloc[0]
    back = 1 / (1 + np.exp(-two[["lower", "upper"]].astype(float)))
    np.testing.assert_allclose(one[["lower", "upper"]].astype(float), back, rtol=1e-7)
    rise = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    assert one["lower"] < one["estimate"] < one["upper"]
    assert rise.llf == intercepts.llf


def test_scales_and_bootstrap(intercepts):
    def total(p):
        return p[VAR] + p["Residual"]

    plain = intercepts.derived(total).iloc[0]
    log = intercepts.derived(total, scale="log").iloc[0]
    assert log["lower"] * log["upper"] == pytest.approx(log["estimate"] ** 2)
    assert plain["upper"] - plain["estimate"] == pytest.approx(plain["estimate"] - plain["lower"])
    boot = intercepts.derived(total, "bootstrap", n=400, seed=2).iloc[0]
    assert boot["estimate"] == plain["estimate"]
    assert boot["se"] == pytest.approx(plain["se"], rel=0.2)
    covariance = mlm.lmm(SLOPES, mlm.load_sleepstudy()).derived(
        lambda p: p[COV], "bootstrap", n=50, seed=2
    )
    assert np.isfinite(covariance.to_numpy()).all()


def test_what_is_held_has_no_error(sleep):
    fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep, hold={"sigma": 31.0})
    found = fit.derived(lambda p: {"sigma": p["sigma"], "v": p[VAR]})
    assert found.loc["sigma", "se"] == pytest.approx(0.0, abs=1e-9)
    assert found.loc["v", "se"] > 0


def test_nakagawa_by_hand(slopes, sleep):
    days = sleep["Days"].to_numpy(dtype=float)
    g = slopes.varcorr["Subject"].to_numpy()
    z = np.column_stack([np.ones(180), days])
    fixed = slopes.params["Days"] ** 2 * days.var(ddof=1)
    random = np.trace(z @ g @ z.T) / 180
    total = fixed + random + slopes.scale
    found = slopes.r2()["estimate"]
    assert found["marginal"] == pytest.approx(fixed / total, rel=1e-10)
    assert found["conditional"] == pytest.approx((fixed + random) / total, rel=1e-10)
    # performance::r2_nakagawa prints 0.279 and 0.799, performance::icc 0.722 and 0.521.
    np.testing.assert_allclose(found, [0.279, 0.799], atol=5e-4)
    np.testing.assert_allclose(slopes.icc()["estimate"], [0.722, 0.521], atol=5e-4)


def clustered(seed=3):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(30), 6)
    x = rng.normal(size=180) + rng.normal(size=30)[group]
    w = rng.normal(size=30)[group]
    effects = rng.normal(size=(30, 2)) * [1.0, 0.5]
    y = 1 + 0.8 * x + w + effects[group, 0] + effects[group, 1] * x + rng.normal(size=180)
    return pd.DataFrame({"y": y, "x": x, "w": w, "g": group.astype(str)})


def test_rights_and_sterba_parts_add_up():
    data = clustered()
    fit = mlm.lmm("y ~ x + w + (x | g)", data)
    found = fit.r2("rights-sterba")["estimate"]
    assert found["total: f1"] + found["total: f2"] == pytest.approx(found["total: f"])
    assert found["total: fvm"] == pytest.approx(fit.r2()["estimate"]["conditional"], rel=5e-3)
    between = found[["between: f2", "between: v2", "between: m"]].sum()
    assert between == pytest.approx(1.0)
    assert found["total: v2"] > 0


def test_rights_and_sterba_with_covariates_centred_by_cluster():
    # The formulas of the 2019 paper: T Sigma for slopes, tau_00 for the clusters' means.
    data = clustered()
    data["mean"] = data.groupby("g")["x"].transform("mean")
    data["c"] = data["x"] - data["mean"]
    fit = mlm.lmm("y ~ c + mean + w + (c | g)", data)
    found = fit.r2("rights-sterba")["estimate"]
    g, b = fit.varcorr["g"].to_numpy(), fit.params
    f1 = b["c"] ** 2 * data["c"].var()
    f2 = np.var(b["mean"] * data["mean"] + b["w"] * data["w"], ddof=1)
    v = g[1, 1] * data["c"].var(ddof=0)
    total = f1 + f2 + v + g[0, 0] + fit.scale
    parts = {"f1": f1, "f2": f2, "v1": v, "m": g[0, 0], "v2": 0.0}
    for name, part in parts.items():
        assert found.get(f"total: {name}", 0.0) == pytest.approx(part / total, rel=1e-9, abs=1e-12)
    assert found["within: f1v1"] == pytest.approx((f1 + v) / (f1 + v + fit.scale), rel=1e-9)


def test_intervals_of_shares(slopes):
    for table in (slopes.icc(), slopes.r2(), slopes.icc("bootstrap", n=200, seed=1)):
        assert ((table["lower"] < table["estimate"]) & (table["estimate"] < table["upper"])).all()
        assert ((table["lower"] > 0) & (table["upper"] < 1)).all()


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_several_grouping_factors():
    data = clustered().assign(h=lambda d: (d["g"].astype(int) // 5).astype(str))
    fit = lmm("y ~ x + (1 | h/g)", data)
    table = fit.icc()["estimate"]
    assert table["adjusted, h"] + table["adjusted, h:g"] == pytest.approx(table["adjusted"])
    with pytest.raises(ModelError, match="one grouping factor"):
        fit.r2("rights-sterba")


def test_residual_structures():
    data = trial(n_subjects=60, missing=0.1)
    fit = mlm.lmm("y ~ x + (1 | site)", data, residual="diag(visit | subject)")
    variances = np.diag(fit.residual_cov)
    share = data["visit"].value_counts(normalize=True).sort_index()
    random = fit.varcorr["site"].iloc[0, 0]
    expected = random / (random + variances @ share)
    assert fit.icc().loc["adjusted", "estimate"] == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ModelError, match="differs between visits"):
        fit.icc("bootstrap", n=5)


REFUSALS = {
    "unknown parameter": (lambda p: p["sd_Day|Subject"], {}, r"did you mean 'sd_Days\|Subject'"),
    "constant": (lambda p: 3.0, {}, "depends on the parameters"),
    "unknown method": (lambda p: p["sigma"], {"method": "wald"}, "delta, profile, bootstrap"),
    "unknown scale": (lambda p: p["sigma"], {"scale": "root"}, "identity, log, logit"),
    "profile of a fixed effect": (lambda p: p["Days"], {"method": "profile"}, "fixed effects"),
    "level": (lambda p: p["sigma"], {"level": 95}, "between 0 and 1"),
}


@pytest.mark.parametrize(("function", "arguments", "message"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(slopes, function, arguments, message):
    with pytest.raises(ModelError, match=message):
        slopes.derived(function, **arguments)


def test_refusals_of_shares(slopes, sleep):
    with pytest.raises(ModelError, match="'nakagawa', 'rights-sterba'"):
        slopes.r2("cox-snell")
    with pytest.raises(ModelError, match="depend on fixed effects"):
        slopes.icc("profile")
    with pytest.raises(ModelError, match="no random effects"):
        mlm.lmm("Reaction ~ Days", sleep).icc()
