"""Profile likelihood: limits of the reference fits, identities, edges of the parameter space."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import mlmfast as mlm
from mlmfast.errors import ModelError

from ..cases import cases_with, data_of, reference
from ..residual_models import trial

mpl.use("Agg")

DATA = Path(__file__).parents[1] / "reference" / "data"

SLOPES = "Reaction ~ Days + (Days | Subject)"
COR = "cor_Days.(Intercept)|Subject"


@pytest.fixture(scope="module")
def sleep():
    return mlm.load_sleepstudy()


@pytest.fixture(scope="module")
def fit(sleep):
    return mlm.lmm(SLOPES, sleep)


@pytest.mark.parametrize("case_id", cases_with("confint_profile"))
def test_reference_limits(case_id):
    case = reference(case_id)
    fit = mlm.lmm(case["formula"], data_of(case_id), method="ML")
    expected = pd.DataFrame(case["expect"]["confint_profile"], index=["lower", "upper"]).T
    limits = fit.conf_int(method="profile")
    assert set(limits.index) == set(expected.index)
    # The references give 6 digits; they agree to more.
    np.testing.assert_allclose(limits, expected.loc[limits.index], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_limits_are_roots_of_the_held_fits_deviance(sleep, method):
    fit = mlm.lmm(SLOPES, sleep, method=method)
    limits = fit.profile("covariance").conf_int(0.9)
    rise = stats.chi2.ppf(0.9, 1)
    for name, row in limits.iterrows():
        for value in row:
            held = mlm.lmm(SLOPES, sleep, method=method, hold={name: value})
            assert held.deviance - fit.deviance == pytest.approx(rise, abs=1e-7)


def test_a_fixed_effect_of_a_reml_fit_is_profiled_by_ml(fit, sleep):
    profile = fit.profile()
    by_criterion = profile.table.groupby("parameter")["criterion"].first()
    assert by_criterion["Days"] == "ML"
    assert by_criterion["sigma"] == "REML"
    ml = mlm.lmm(SLOPES, sleep, method="ML").profile("fixed")
    np.testing.assert_allclose(profile.conf_int().loc[["Days"]], ml.conf_int().loc[["Days"]])


def test_a_limit_of_a_fixed_effect_against_an_offset(sleep):
    fit = mlm.lmm(SLOPES, sleep, method="ML")
    upper = fit.profile("Days").conf_int().loc["Days", "upper"]
    offset = upper * np.asarray(sleep["Days"], dtype=float)
    without = mlm.lmm("Reaction ~ 1 + (Days | Subject)", sleep, method="ML", offset=offset)
    assert without.deviance - fit.deviance == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-8)


def test_zeta_passes_through_the_estimate_and_rises(fit):
    table = fit.profile().table
    for name, rows in table.groupby("parameter"):
        ordered = rows.sort_values("value")
        assert (np.diff(ordered["zeta"]) > 0).all(), name
        assert (ordered["zeta"] == 0).sum() == 1
        assert ordered["zeta"].iloc[-1] > 2.5


def test_one_parameter_and_its_level(fit):
    profile = fit.profile(COR)
    assert list(profile.estimates.index) == [COR]
    wide, narrow = profile.conf_int(0.99).loc[COR], profile.conf_int(0.5).loc[COR]
    assert wide["lower"] < narrow["lower"] < profile.estimates[COR]
    assert profile.estimates[COR] < narrow["upper"] < wide["upper"] < 1
    assert repr(profile) == f"Profile of {COR}"


def few_clusters(seed, slope_sd=0.0):
    rng = np.random.default_rng(seed)
    group, x = np.repeat(np.arange(12), 5), np.random.default_rng(99).normal(size=60)
    y = 1 + x + rng.normal(size=60) + slope_sd * rng.normal(size=12)[group] * x
    return pd.DataFrame({"y": y, "x": x, "g": group.astype(str)})


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
@pytest.mark.parametrize("seed", range(6))
def test_edges_of_the_parameter_space(seed):
    data = few_clusters(seed, 0.3 if seed % 2 else 0.0)
    fit = mlm.lmm("y ~ x + (x | g)", data)
    limits = fit.conf_int(method="profile")
    assert np.isfinite(limits.to_numpy()).all()
    assert (limits["lower"] < limits["upper"]).all()
    without = mlm.lmm("y ~ x + (1 | g)", data)
    rise = without.deviance - fit.deviance
    assert (limits.loc["sd_x|g", "lower"] == 0) == (rise < stats.chi2.ppf(0.95, 1))
    if rise < stats.chi2.ppf(0.95, 1):
        # With a variance of 0 the correlation may be anything.
        assert limits.loc["cor_x.(Intercept)|g"].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("structure", ["ar1", "cs", "us", "arma11", "hf"])
def test_residual_parameters(structure):
    data, residual = trial(n_subjects=60, missing=0.1), f"{structure}(visit | subject)"
    fit = mlm.lmm("y ~ x", data, residual=residual)
    limits = fit.profile("covariance").conf_int()
    assert list(limits.index) == list(fit.residual_parameters.index)
    name = limits.index[-1]
    held = mlm.lmm("y ~ x", data, residual=residual, hold={name: limits.loc[name, "lower"]})
    assert held.deviance - fit.deviance == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-7)


def test_a_held_parameter_stays_held(sleep):
    fit = mlm.lmm(SLOPES, sleep, hold={"sigma": 26.0})
    limits = fit.conf_int(method="profile")
    assert "sigma" not in limits.index
    upper = limits.loc["sd_Days|Subject", "upper"]
    held = mlm.lmm(SLOPES, sleep, hold={"sigma": 26.0, "sd_Days|Subject": upper})
    assert held.deviance - fit.deviance == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-7)
    with pytest.raises(ModelError, match=r"'sigma' is held"):
        fit.profile("sigma")


def test_plot(fit):
    figure = fit.profile(["Days", "sigma"]).plot()
    assert [panel.get_xlabel() for panel in figure.axes if panel.get_visible()] == ["Days", "sigma"]
    mpl.pyplot.close(figure)
    one, axes = mpl.pyplot.subplots()
    with pytest.raises(ModelError, match="2 axes"):
        fit.profile(["Days", "sigma"]).plot(ax=axes)
    mpl.pyplot.close(one)


ITERATIVE = {
    "profile": lambda fit: fit.profile(),
    "bootstrap": lambda fit: fit.bootstrap(10),
    "test": lambda fit: fit.test_variance("a"),
    "ranova": lambda fit: fit.ranova(),
    "icc": lambda fit: fit.icc(),
    "caic": lambda fit: fit.caic(),
    "derived": lambda fit: fit.derived(lambda p: p["sigma"]),
}


@pytest.mark.parametrize("ask", ITERATIVE.values(), ids=ITERATIVE)
def test_the_iterative_engine_lacks_derivatives(ask):
    rng = np.random.default_rng(1)
    a, b = np.repeat(np.arange(8), 8), np.tile(np.arange(8), 8)
    y = rng.normal(size=8)[a] + rng.normal(size=8)[b] + rng.normal(size=64)
    data = pd.DataFrame({"y": y, "a": a.astype(str), "b": b.astype(str)})
    fit = mlm.lmm("y ~ 1 + (1 | a) + (1 | b)", data, options={"engine": "iterative"})
    with pytest.raises(ModelError, match=r"exact derivatives.*'engine': 'crossed'"):
        ask(fit)


def test_refusals(fit):
    with pytest.raises(ModelError, match=r"did you mean 'sd_Days\|Subject'"):
        fit.profile("sd_Day|Subject")
    with pytest.raises(ModelError, match="names no parameter"):
        fit.profile([])
    with pytest.raises(ModelError, match="between 0 and 1"):
        fit.profile("sigma").conf_int(95)
    with pytest.raises(ModelError, match="'wald', 'profile' or 'boot'"):
        fit.conf_int(method="likelihood")


def perfectly_correlated(data):
    """Least -2 log-likelihood of distance ~ age with random effects (a, b) u, u ~ N(0, 1)."""
    x = np.column_stack([np.ones(4), [8.0, 10.0, 12.0, 14.0]])
    y = data.sort_values(["Subject", "age"]).distance.to_numpy().reshape(-1, 4)

    def deviance(parameters):
        a, b, log_sigma = parameters
        half = x @ [a, b]
        V = np.outer(half, half) + np.exp(2.0 * log_sigma) * np.eye(4)
        weighted = np.linalg.solve(V, x)
        r = y - x @ np.linalg.solve(weighted.T @ x, weighted.T @ y.mean(axis=0))
        quadratic = np.einsum("ij,ji->", r, np.linalg.solve(V, r.T))
        return len(y) * (np.linalg.slogdet(V)[1] + 4.0 * np.log(2.0 * np.pi)) + quadratic

    starts = ([1.0, 0.1, 0.3], [0.3, 0.2, 0.3])
    options = {"xatol": 1e-9, "fatol": 1e-10, "maxiter": 20_000, "maxfev": 20_000}
    return min(
        optimize.minimize(deviance, s, method="Nelder-Mead", options=options).fun for s in starts
    )


def test_a_flat_profile_of_a_correlation_reaches_its_end():
    """The curve of a correlation that stays low has knots all the way, and its end is the fit's."""
    name, formula = "cor_age.(Intercept)|Subject", "distance ~ age + (age | Subject)"
    data = pd.read_csv(DATA / "orthodont.csv")
    fit = mlm.lmm(formula, data, method="ML")
    profile = fit.profile(name)
    curve, limits = profile.table, profile.conf_int().loc[name]
    assert curve.value.min() <= limits["lower"]
    assert curve.value.max() >= limits["upper"] == 1.0
    assert np.diff(curve.value).max() < 0.35
    assert (np.diff(curve.zeta) >= -1e-9).all()
    end = np.sqrt(perfectly_correlated(data) - fit.deviance)
    assert curve.zeta.iloc[-1] == pytest.approx(end, abs=1e-5)
    for value, zeta in zip(curve.value, curve.zeta, strict=True):
        if 0.0 < value < 1.0:
            held = mlm.lmm(formula, data, method="ML", hold={name: value})
            assert np.sqrt(held.deviance - fit.deviance) == pytest.approx(zeta, abs=1e-6)
