"""Starting values, values held, bounds and grids of covariance parameters."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

import mlmfast as mlm
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.criterion.scaled import ScaledCriterion
from mlmfast.errors import ModelError

from ..dense_inference import DenseInference
from ..model.test_units import fit_quietly, small_frame
from ..residual_models import trial

SLOPES = "Reaction ~ Days + (Days | Subject)"
COR = "cor_Days.(Intercept)|Subject"
STRUCTURES = [
    "us",
    "toep",
    "ar1",
    "ar1h",
    "cs",
    "csh",
    "ad",
    "adh",
    "hf",
    "un",
    "fa",
    "arma11",
    "diag",
]


@pytest.fixture(scope="module")
def sleep():
    return mlm.load_sleepstudy()


@pytest.fixture(scope="module")
def model(sleep):
    return mlm.LMM(SLOPES, sleep)


@pytest.fixture(scope="module")
def fit(model):
    return model.fit()


def functions_at(fit, step):
    functions = CovarianceFunctions(fit._source.model, fit._source.criterion)
    scaled = ScaledCriterion(functions)
    point = functions.point_at(fit._source.theta)
    size = functions.n_coordinates
    return functions, scaled, scaled.move(point, step * np.cos(np.arange(1.0, size + 1))[None])


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
@pytest.mark.parametrize("random", ["(1 | a)", "(x | a)", "(x || a)", "(x | a) + (1 | a:b)"])
@pytest.mark.parametrize("residual", [None, *STRUCTURES])
def test_derivatives_of_parameters_and_criterion(random, residual):
    data = trial(n_subjects=30, missing=0.1)
    data = data.assign(a=data["subject"].str[-1], b=data["subject"], x=data["time"])
    if residual is not None:
        if random != "(1 | a)":
            pytest.skip("one random part is enough there")
        residual = f"{residual}(visit | subject)"
    fit = mlm.lmm(f"y ~ x + {random}", data, residual=residual)
    functions, scaled, point = functions_at(fit, 0.3)
    fits, h = np.zeros(1, dtype=np.intp), 1e-5
    at, jet = scaled(point, fits), functions(point)
    for k in range(functions.n_coordinates):
        step = np.zeros((1, functions.n_coordinates))
        step[0, k] = h
        up, down = scaled.move(point, step), scaled.move(point, -step)
        slope = (functions(up).value - functions(down).value) / (2 * h)
        np.testing.assert_allclose(
            jet.first[..., k], slope, rtol=1e-5, atol=1e-6 * abs(slope).max()
        )
        bend = (functions(up).value + functions(down).value - 2 * jet.value) / h**2
        size = 1e-3 * (1 + np.abs(jet.second[..., k, k]).max() + np.abs(jet.value).max())
        np.testing.assert_allclose(jet.second[..., k, k], bend, atol=size)
        slope = (scaled(up, fits).value - scaled(down, fits).value) / (2 * h)
        np.testing.assert_allclose(at.gradient[:, k], slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_holding_the_estimate_changes_nothing(model, method):
    free = model.fit(method)
    covariance = free.varcorr["Subject"].to_numpy()
    held = model.fit(
        method, hold={"Residual": free.scale, "sd_Days|Subject": np.sqrt(covariance[1, 1])}
    )
    assert held.llf == pytest.approx(free.llf, abs=1e-9)
    np.testing.assert_allclose(held.params, free.params, rtol=1e-7)
    assert held.aic == pytest.approx(free.aic - 4)


def test_values_held_are_kept(model, fit):
    held = model.fit(hold={"sigma": 30.0, COR: 0.5, "var_Days|Subject": 25.0})
    covariance = held.varcorr["Subject"].to_numpy()
    assert held.converged
    assert held.llf < fit.llf
    np.testing.assert_allclose(
        [held.sigma, covariance[1, 1], covariance[0, 1] / np.sqrt(covariance[0, 0] * 25)],
        [30.0, 25.0, 0.5],
        rtol=1e-12,
    )
    assert held.held == {"sigma": 30.0, COR: 0.5, "sd_Days|Subject": 5.0}


def test_a_covariance_held_at_0_is_the_model_without_it(model, sleep):
    held = model.fit(hold={"cov_Days.(Intercept)|Subject": 0.0})
    without = mlm.lmm("Reaction ~ Days + (Days || Subject)", sleep)
    assert held.llf == pytest.approx(without.llf, abs=1e-9)
    assert held.bic == pytest.approx(without.bic, abs=1e-9)


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger", "kenward-roger-expected"])
def test_tests_of_a_held_fit_are_those_of_the_model_without_the_parameter(model, sleep, ddf):
    held = model.fit(hold={"cov_Days.(Intercept)|Subject": 0.0}, ddf=ddf)
    without = mlm.lmm("Reaction ~ Days + (Days || Subject)", sleep, ddf=ddf)
    np.testing.assert_allclose(held.df, without.df, rtol=1e-6)
    np.testing.assert_allclose(held.bse, without.bse, rtol=1e-7)
    for information in ("observed", "expected"):
        kept = held.cov_theta(information).drop(index="Cov((Intercept), Days) | Subject")
        kept = kept.drop(columns="Cov((Intercept), Days) | Subject")
        expected = without.cov_theta(information)
        np.testing.assert_allclose(kept, expected, rtol=1e-6)


def test_the_information_of_a_held_fit_conditions_on_what_is_held(model, fit):
    held = model.fit(hold={"Residual": fit.scale})
    information = np.linalg.inv(fit.cov_theta().to_numpy())
    covariance = held.cov_theta().to_numpy()
    np.testing.assert_allclose(covariance[:3, :3], np.linalg.inv(information[:3, :3]), rtol=1e-6)
    np.testing.assert_allclose(covariance[3], 0.0, atol=1e-9)


def test_degrees_of_freedom_away_from_the_estimate(sleep):
    # With all covariances known a test is normal.
    known = {"sigma": 30.0, "sd_Days|Subject": 5.0, "sd_(Intercept)|Subject": 20.0, COR: 0.2}
    fit = mlm.lmm(SLOPES, sleep, hold=known)
    assert np.isinf(fit.df).all()
    one = {"residual": "ar1(Days | Subject)", "hold": {"AR(1)": 0.0}}
    held = mlm.lmm("Reaction ~ Days", sleep, **one)
    independent = mlm.lmm("Reaction ~ Days", sleep, residual="homdiag(Days | Subject)")
    np.testing.assert_allclose(held.df, independent.df, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_a_variance_held_at_0_is_the_model_without_it(sleep):
    one = mlm.lmm("Reaction ~ Days + (1 | Subject)", sleep, hold={"sd_(Intercept)|Subject": 0})
    assert one.llf == pytest.approx(mlm.lmm("Reaction ~ Days", sleep).llf, abs=1e-9)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_residual_parameters_are_held(structure):
    data, residual = trial(n_subjects=60, missing=0.1), f"{structure}(visit | subject)"
    free = mlm.lmm("y ~ visit", data, residual=residual)
    name, value = free.residual_parameters.index[-1], free.residual_parameters.iloc[-1]
    same = mlm.lmm("y ~ visit", data, residual=residual, hold={name: value})
    assert same.llf == pytest.approx(free.llf, abs=1e-9)
    other = mlm.lmm("y ~ visit", data, residual=residual, hold={name: 0.9 * value})
    assert other.converged
    assert other.residual_parameters[name] == pytest.approx(0.9 * value, rel=1e-11)
    assert other.llf < free.llf


def test_a_known_residual_variance_against_the_dense_likelihood(sleep):
    held = mlm.lmm("Reaction ~ Days + (Days | Subject)", sleep, method="ML", hold={"Residual": 800})
    v = held.V().to_numpy()
    r = sleep["Reaction"] - held.params["(Intercept)"] - held.params["Days"] * sleep["Days"]
    deviance = np.linalg.slogdet(v)[1] + r @ np.linalg.solve(v, r) + 180 * np.log(2 * np.pi)
    assert held.deviance == pytest.approx(deviance, rel=1e-12)


@pytest.mark.parametrize(
    "bounds",
    [
        {"sigma": (30, 50), "Residual": (300, 600)},
        {"Residual": (300, 600), "sigma": (30, 50)},
        {"sd_Days|Subject": (1, 2), "var_Days|Subject": (None, 9)},
        {"var_Days|Subject": (None, None), "sd_Days|Subject": (1, 2)},
    ],
)
def test_bounds_of_a_parameter_are_given_by_one_of_its_names(model, bounds):
    with pytest.raises(ModelError, match=r"are one parameter, .*; give one of them"):
        model.fit(bounds=bounds)


def test_bounds(model, fit):
    inside = model.fit(bounds={"sd_Days|Subject": (0, 7), "sigma": (None, 26)})
    assert inside.llf == pytest.approx(fit.llf, abs=1e-9)
    assert inside.held == {}
    at = model.fit(bounds={"sd_Days|Subject": (0, 4), "sigma": (None, 24)})
    held = model.fit(hold={"sd_Days|Subject": 4, "sigma": 24})
    assert at.held == {"sd_Days|Subject": 4.0, "sigma": 24.0}
    assert at.llf == pytest.approx(held.llf, abs=1e-9)
    assert at.aic == pytest.approx(held.aic + 4)


def test_a_lower_bound_of_0_on_a_correlation_binds():
    data = trial(n_subjects=60, missing=0.1, rho=-0.4, site_sd=0.0)
    free = mlm.lmm("y ~ visit", data, residual="ar1(visit | subject)")
    assert free.residual_parameters["AR(1)"] < -0.2
    arguments = {"residual": "ar1(visit | subject)", "bounds": {"AR(1)": (0, 0.9)}}
    bounded = mlm.lmm("y ~ visit", data, **arguments)
    assert bounded.held == {"AR(1)": 0.0}
    assert bounded.llf == pytest.approx(
        mlm.lmm("y ~ visit", data, residual="homdiag(visit | subject)").llf, abs=1e-9
    )


def test_a_bound_is_released_where_the_criterion_falls_inside(model, sleep):
    # sigma alone would rise above 26.5 with the slopes' SD held down; both bounds cannot bind.
    fit = model.fit(bounds={"sd_Days|Subject": (None, 5.5), "sigma": (25.5, 25.65)})
    assert fit.held["sd_Days|Subject"] == 5.5
    only = model.fit(bounds={"sd_Days|Subject": (None, 5.5)})
    assert fit.llf == pytest.approx(only.llf, abs=1e-9)


def test_named_start_and_grid(model, fit):
    started = model.fit(start={"sd_Days|Subject": 40, COR: 0.9})
    assert started.llf == pytest.approx(fit.llf, abs=1e-9)
    assert fit.parms is None
    chosen = model.fit(grid={"sd_Days|Subject": [1, 5, 10], "sigma": [20, 30]})
    assert chosen.llf == pytest.approx(fit.llf, abs=1e-9)
    assert chosen.parms.shape == (6, 3)
    best = chosen.parms.loc[chosen.parms["-2 logLik"].idxmin()]
    assert (best["sd_Days|Subject"], best["sigma"]) == (5, 30)
    listed = model.fit(grid=[{COR: 0.0}, {COR: 0.3}])
    assert (listed.parms["-2 logLik"] >= fit.deviance).all()


def test_grid_values_are_those_of_the_held_model(model):
    chosen = model.fit(
        grid=[{"sd_Days|Subject": 5, "sd_(Intercept)|Subject": 20, COR: 0.1, "sigma": 26}]
    )
    held = model.fit(
        hold={"sd_Days|Subject": 5, "sd_(Intercept)|Subject": 20, COR: 0.1, "sigma": 26}
    )
    assert chosen.parms["-2 logLik"][0] == pytest.approx(held.deviance, abs=1e-9)


BAD = {
    "unknown name": ({"hold": {"sd_Day|Subject": 1}}, r"did you mean 'sd_Days\|Subject'"),
    "text": ({"hold": {"sigma": "much"}}, r"'sigma'.*finite number"),
    "negative variance": ({"hold": {"Residual": -1}}, r"'Residual'.*negative"),
    "correlation above 1": ({"start": {COR: 1.5}}, r"1\.5.*range"),
    "variance of 0 beside a correlation": ({"hold": {"sd_Days|Subject": 0}}, r"leave the effect"),
    "impossible": (
        {"hold": {COR: 0.5, "cov_Days.(Intercept)|Subject": -3}},
        r"no covariance matrix",
    ),
    "bounds that are no pair": ({"bounds": {"sigma": 3}}, r"lower, upper"),
    "bounds in the wrong order": ({"bounds": {"sigma": (5, 3)}}, r"not below"),
    "held outside its bounds": (
        {"hold": {"sigma": 30}, "bounds": {"Residual": (1, 4)}},
        r"outside its bounds",
    ),
    "grid that is a number": ({"grid": 3}, r"dict of lists"),
    "empty grid": ({"grid": []}, r"no points"),
    "grid with other names": ({"grid": [{"sigma": 1}, {COR: 0.1}]}, r"same parameters"),
    "grid too large": ({"grid": {"sigma": range(1, 400), COR: np.zeros(300)}}, r"119700"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_refusals(model, arguments, message):
    with pytest.raises(ModelError, match=message):
        model.fit(**arguments)


def test_a_meta_analysis_has_known_residual_variances():
    """One row a study, its sampling variance known: REML of the variance between studies."""
    rng = np.random.default_rng(8)
    v = rng.uniform(0.05, 0.5, 14)
    y = 0.3 + rng.normal(0.0, 0.6, 14) + rng.normal(0.0, np.sqrt(v))
    studies = {"y": y, "study": [f"s{k}" for k in range(14)], "w": 1.0 / v}
    fit = mlm.lmm("y ~ 1 + (1 | study)", studies, weights="w", hold={"Residual": 1.0})

    def criterion(tau2):
        w = 1.0 / (v + tau2)
        r = y - (w @ y) / w.sum()
        return 13 * np.log(2 * np.pi) - np.log(w).sum() + np.log(w.sum()) + w @ (r * r)

    best = optimize.minimize_scalar(criterion, bounds=(0, 9), method="bounded")
    assert fit.deviance == pytest.approx(best.fun, abs=1e-9)
    tau2 = fit.varcorr["study"].iloc[0, 0]
    assert tau2 == pytest.approx(best.x, rel=1e-4)
    assert fit.bse.iloc[0] == pytest.approx(1.0 / np.sqrt((1.0 / (v + tau2)).sum()), rel=1e-12)


def near_one(seed=3, n=30, k=5):
    """Visits that hardly differ within a subject: correlations of neighbours near 1."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, 1)) + np.cumsum(0.05 * rng.normal(size=(n, k)), axis=1)
    rows = [(i, t, "ab"[i % 2], y[i, t]) for i in range(n) for t in range(k)]
    return pd.DataFrame(rows, columns=["id", "t", "arm", "y"])


def best_with(data, correlation):
    """-2 restricted log-likelihood of y ~ 1, this correlation within subjects, best variance."""
    n, k = data.id.nunique(), len(correlation)
    y = data.y.to_numpy().reshape(n, k)
    inverse = np.linalg.inv(correlation)
    weight = inverse.sum()
    beta = (y @ inverse).sum() / (n * weight)
    rss = np.einsum("ij,jk,ik->", y - beta, inverse, y - beta)
    df = n * k - 1
    return (
        n * np.linalg.slogdet(correlation)[1]
        + np.log(n * weight)
        + df * (1.0 + np.log(2.0 * np.pi * rss / df))
    )


@pytest.mark.parametrize(
    ("keyword", "hold", "rho"),
    [
        ("ar1", {"AR(1)": -0.9}, -0.9),
        ("ar1", {"AR(1)": -0.2}, -0.2),
        ("ar1", {"AR(1)": 0.0}, 0.0),
        ("sp_pow", {"SP(POW)": 0.5}, 0.5),
        ("car1", {"SP(EXP)": -1.0 / np.log(0.1)}, 0.1),
        ("arma11", {"Rho": -0.9, "Gamma": -0.9}, -0.9),
    ],
)
def test_an_autocorrelation_is_held_far_from_the_data(keyword, hold, rho):
    data = near_one()
    lags = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    fit = mlm.lmm("y ~ 1", data, residual=f"{keyword}(t | id)", hold=hold)
    assert fit.converged
    assert fit.deviance == pytest.approx(best_with(data, np.power(rho, lags)), abs=1e-7)


@pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")
@pytest.mark.parametrize("how", ["hold", "start"])
@pytest.mark.parametrize(
    ("residual", "name", "value"),
    [
        ("ar1h(t | id)", "ARH(1)", -0.9),
        ("toeph(t | id)", "TOEPH(1)", -0.9),
        ("csh(t | id)", "CSH", -0.2),
        ("ad(t | id)", "Rho(2)", -0.9),
        ("adh(t | id)", "Rho(4)", -0.9),
        ("arma11(t | id)", "Gamma", -0.9),
        ("ar1(t | arm / id)", "b: AR(1)", -0.9),
    ],
)
def test_a_value_that_the_data_speak_against_is_taken(residual, name, value, how):
    model = mlm.LMM("y ~ t", near_one(), residual=residual)
    fit = model.fit(**{how: {name: value}})
    if how == "hold":
        assert fit.residual_parameters[name] == pytest.approx(value, rel=1e-8)
        assert fit.deviance > model.fit().deviance
    else:
        assert fit.deviance == pytest.approx(model.fit().deviance, abs=1e-6)


@pytest.mark.parametrize(
    ("residual", "hold", "message"),
    [
        ("csh(t | id)", {"CSH": -0.9}, "no covariance matrix of this model has CSH = -0.9"),
        ("sp_pow(t | id)", {"SP(POW)": 3.0}, "no covariance matrix .* has SP"),
        ("sp_gau(at | id)", {"SP(GAU)": 300.0}, "singular to rounding"),
    ],
)
def test_values_without_a_covariance_are_refused(residual, hold, message):
    data = near_one()
    data["at"] = data.t + np.random.default_rng(1).uniform(0.0, 0.3, len(data))
    with pytest.raises(ModelError, match=message):
        mlm.LMM("y ~ t", data, residual=residual).fit(hold=hold)


def test_values_are_reached_from_a_singular_start():
    """A moment estimate of 0 leaves correlations undefined, from which no step leads away."""
    rng = np.random.default_rng(0)
    g = np.arange(160) // 8
    x = rng.normal(size=160)
    data = {"y": rng.normal(size=160) + rng.normal(size=20)[g], "x": x, "g": g}
    held = {"var_(Intercept)|g": 1.0, "cov_x.(Intercept)|g": 0.2, "var_x|g": 1.0, "Residual": 2.0}
    fit = mlm.lmm("y ~ x + (x | g)", data, hold=held)
    z = np.column_stack([np.ones(160), x]) * 1.0
    v = 2.0 * np.eye(160)
    for k in range(20):
        own = np.flatnonzero(g == k)
        v[np.ix_(own, own)] += z[own] @ np.array([[1.0, 0.2], [0.2, 1.0]]) @ z[own].T
    inverse = np.linalg.inv(v)
    information = z.T @ inverse @ z
    r = data["y"] - z @ np.linalg.solve(information, z.T @ inverse @ data["y"])
    expected = 158 * np.log(2 * np.pi) + np.linalg.slogdet(v)[1] + r @ inverse @ r
    expected += np.linalg.slogdet(information)[1]
    assert fit.deviance == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("formula", "residual", "held"),
    [
        ("y ~ x", "sp_exp(time | g)", "Variance"),
        ("y ~ x", "sp_gau(time | g)", "SP(GAU)"),
        ("y ~ x + (1 | g)", "sp_pow(time | g)", "SP(POW)"),
        ("y ~ x", "sp_sph(time | g)", "Variance"),
        ("y ~ x", "arma11(visit | g)", "Gamma"),
        ("y ~ x", "adh(visit | g)", "Var(2)"),
        ("y ~ x", "toep(visit | g)", "TOEP(2)"),
    ],
)
def test_the_expected_information_beside_what_is_held(formula, residual, held):
    """1/2 tr(P V_i P V_j) of the parameters that are free, inverted: nothing of how they bend."""
    rng = np.random.default_rng(4)
    time = np.cumsum(rng.uniform(0.4, 2.5, 5))
    data = {"g": np.repeat(range(12), 5), "time": np.tile(time, 12), "visit": np.tile(range(5), 12)}
    root = np.linalg.cholesky(np.exp(-np.abs(np.subtract.outer(time, time)) / 2))
    data["x"] = rng.normal(size=60)
    data["y"] = (rng.normal(size=(12, 5)) @ root.T + rng.normal(size=(12, 1))).ravel()
    model = mlm.LMM(formula, data, residual=residual)
    value = model.fit().covariance_parameters[held]
    fit = model.fit(hold={held: 0.9 * float(value)})
    names = fit.covariance_parameters.index
    free = np.flatnonzero(names != held)
    right = np.sqrt(np.diag(np.linalg.inv(DenseInference(fit).expected[np.ix_(free, free)])))
    found = fit.covtest(information="expected").table["se"]
    np.testing.assert_allclose(found[names[free]], right, rtol=1e-4)


@pytest.mark.parametrize(
    ("random", "hold"),
    [
        ("cs(0 + f | g)", {"CS | g": 0.3}),
        ("fa0(0 + f | g)", {"FA(2,1) | g": 0.3}),
        ("rr(0 + f | g, 1)", {"FA(2,1) | g": 0.3}),
        ("ar1(0 + f | g)", {"AR(1) | g": 0.4}),
        ("(z | g)", {"Residual": 1.0}),
        ("(z | g)", {"sd_z|g": 0.5}),
    ],
)
def test_what_is_held_has_no_standard_error(random, hold):
    """Nor what rounding leaves of one, and no z of 1e8 with it."""
    fit = fit_quietly(f"y ~ f + {random}", small_frame(3, 60, 8), hold=hold)
    table = fit.covtest()
    (name, value), aliases = next(iter(hold.items())), {"sd_z|g": "Var(z) | g"}
    row = table.loc[aliases.get(name, name)]
    assert row["estimate"] == pytest.approx(value**2 if name in aliases else value, rel=1e-9)
    assert row[["se", "z", "p_value"]].isna().all()
    assert table["se"].drop(index=row.name).notna().any()
