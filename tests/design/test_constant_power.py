"""Residual variances of a constant beside a power, as nlme's varConstPower has them."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm
from mlmfast.errors import DataError, FormulaError, ModelError

from ..dense import log_likelihood

REFERENCE = Path(__file__).parents[1] / "reference"
TOLD = json.loads((REFERENCE / "constant_power.json").read_text(encoding="utf-8"))
CALLS = {
    "chick": "gls(weight ~ Time * Diet, d, weights = varConstPower(form = ~ Time))",
    "dialyzer": "lme(rate ~ (pressure + I(pressure^2) + I(pressure^3)) * QB, d, "
    "~ pressure | Subject, weights = varConstPower(form = ~ pressure))",
    "orthodont": "lme(distance ~ age * Sex, d, ~ 1 | Subject, "
    "weights = varConstPower(form = ~ age | Sex))",
    "own_gls": "gls(y ~ x, d, weights = varConstPower(0.7, 0.7, form = ~ v), method = 'ML')",
    "own_lme": "lme(y ~ x, d, ~ 1 | id, weights = varConstPower(form = ~ v))",
    "own_ar1": "gls(y ~ x, d, correlation = corAR1(0.2, form = ~ t | id), "
    "weights = varConstPower(form = ~ v))",
    "own_comb": "lme(y ~ x, d, ~ 1 | id, weights = varComb(varIdent(form = ~ 1 | arm), "
    "varConstPower(form = ~ v)), method = 'ML')",
}
FILES = {"chick": "chickweight.csv", "dialyzer": "dialyzer_t.csv", "orthodont": "orthodont.csv"}


@pytest.fixture(scope="module")
def own():
    return pd.DataFrame(TOLD["data"])


def data_of(name, own):
    if name not in FILES:
        return own
    frame = pd.read_csv(REFERENCE / "data" / FILES[name])
    return frame.astype({c: str for c in ("Diet", "QB") if c in frame})


@pytest.mark.parametrize("name", CALLS)
def test_fits_of_nlme(name, own):
    told = TOLD[name]
    fit = mlm.from_r(CALLS[name])(data_of(name, own))
    assert fit.converged
    assert fit.llf == pytest.approx(told["llf"], abs=2e-7)
    assert fit.llf > told["llf"] - 1e-9
    assert_allclose(fit.params, told["beta"], rtol=2e-5)
    found = fit.residual_parameters
    scale = found[[name for name in found.index if name[:3] in {"con", "SD("}]].to_numpy()
    # nlme lists constants before powers, and stops where the likelihood is nearly flat.
    expected = np.array(list(told["scale"].values()))
    expected = expected.reshape(2, 2).T.ravel() if name == "orthodont" else expected
    assert_allclose(scale, expected, rtol=2e-3 if name == "orthodont" else 2e-5)
    assert fit.sigma == pytest.approx(told["sigma"], rel=1e-3 if name == "orthodont" else 1e-5)
    if fit.method == "REML":
        assert_allclose(fit.bse, told["se"], rtol=2e-5)


def test_the_likelihood_by_its_definition(own):
    fit = mlm.lmm("y ~ x + (1 | id)", own, residual_scale="constpower(v)")
    c, p = fit.residual_parameters[["constpower(v) constant", "constpower(v) power"]]
    sd = fit.sigma * (c + own["v"].to_numpy() ** p)
    between = fit.varcorr["id"].iloc[0, 0]
    id = own["id"].to_numpy()
    V = np.diag(sd**2) + between * (id[:, None] == id)
    X = np.column_stack([np.ones(len(own)), own["x"]])
    assert log_likelihood(own["y"].to_numpy(), X, V, "REML") == pytest.approx(fit.llf, abs=1e-8)
    raw, pearson = fit.resid("raw"), fit.resid("pearson")
    assert_allclose(pearson, raw / sd, rtol=1e-10)


def test_standard_errors_by_differences(own):
    """The information of (variance, c, p) is half the second differences of the deviance."""
    fit = mlm.lmm("y ~ x", own, residual_scale="constpower(v)", method="ML")
    at = np.array(fit.covtest().iloc[:, 0], dtype=float)
    X = np.column_stack([np.ones(len(own)), own["x"]])
    v, y = own["v"].to_numpy(), own["y"].to_numpy()

    def deviance(values):
        variance = values[0] * (values[1] + v ** values[2]) ** 2
        root = 1.0 / np.sqrt(variance)
        beta = np.linalg.lstsq(X * root[:, None], y * root, rcond=None)[0]
        return np.log(variance).sum() + ((y - X @ beta) ** 2 / variance).sum()

    h = 1e-4 * at
    steps = np.diag(h)
    hessian = np.array([
        [(deviance(at + a + b) - deviance(at + a - b) - deviance(at - a + b) + deviance(at - a - b))
         / (4 * h[i] * h[j]) for j, b in enumerate(steps)] for i, a in enumerate(steps)
    ])  # fmt: skip
    expected = np.sqrt(np.diag(np.linalg.inv(hessian / 2)))
    assert_allclose(fit.covtest()["se"], expected, rtol=1e-4)


def test_a_vanishing_constant_is_a_power(own):
    """c at 0 is varPower; a large c with p known is a scale that is linear in |v|^p."""
    frame = own[own["v"] > 0]
    power = mlm.lmm("y ~ x", frame, residual_scale="power(v)")
    beside = mlm.LMM("y ~ x", frame, residual_scale="constpower(v)")
    near = beside.fit(hold={"constpower(v) constant": 1e-12})
    assert near.llf == pytest.approx(power.llf, abs=1e-6)
    assert beside.fit().llf >= power.llf - 1e-8


def test_few_and_many_values_are_one_model(own):
    """Templates that units share, and matrices of their own."""
    few = own.head(90).assign(v=lambda d: d["v"].round(0))
    many = few.assign(v=few["v"] + 1e-13 * np.arange(len(few)) * (few["v"] > 0))
    a, b = (
        mlm.lmm("y ~ x", d, residual="ar1(t | id)", residual_scale="constpower(v)")
        for d in (few, many)
    )
    assert a._source.model.design.residual.by_unit != b._source.model.design.residual.by_unit
    assert a.llf == pytest.approx(b.llf, abs=1e-8)
    assert_allclose(a.residual_parameters, b.residual_parameters, rtol=1e-5)


def test_what_a_fit_offers(own):
    fit = mlm.lmm("y ~ x", own, residual_scale="constpower(v | arm)")
    assert mlm.load(fit.to_json()).residual_parameters.equals(fit.residual_parameters)
    assert "c and p for each level of arm" in str(fit.summary())
    lower, upper = fit.predict(own, interval="prediction")[["lower", "upper"]].to_numpy().T
    wide = pd.Series(upper - lower).corr(own["v"], method="spearman")
    assert wide > 0.95
    drawn = np.asarray(fit.simulate(1_000, seed=2))
    sd = np.sqrt(np.diag(fit.V(None)))
    assert_allclose(drawn.std(axis=1), sd, rtol=0.12)


def test_a_batch_and_responses_of_other_scales(own):
    model = mlm.LMM("y ~ x", own, residual_scale="constpower(v)")
    batch = model.fit_many(np.column_stack([own["y"], 1e3 * own["y"]]))
    alone = mlm.lmm("y ~ x", own, residual_scale="constpower(v)")
    assert batch.llf[0] == alone.llf
    assert batch.sigma[1] == pytest.approx(1e3 * alone.sigma, rel=1e-6)


def test_comparisons_say_where_the_constant_is(own):
    frame = own[own["v"] > 0]
    fits = [
        mlm.lmm("y ~ x", frame, residual_scale=scale, method="ML")
        for scale in (None, "power(v)", "constpower(v)")
    ]
    text = str(mlm.compare(*fits[1:]))
    assert "lies on the boundary" in text
    assert mlm.compare(*fits[1:])["Chisq"].iloc[1] == pytest.approx(2 * (fits[2].llf - fits[1].llf))
    assert "not determined where there is no power" in " ".join(
        str(mlm.compare(*fits[::2])).split()
    )


def test_refusals(own):
    with pytest.raises(FormulaError, match=r"takes constpower\(v\) twice"):
        mlm.LMM("y ~ x", own, residual_scale="constpower(v) * constpower(v)")
    with pytest.raises(FormulaError, match="takes one column"):
        mlm.LMM("y ~ x", own, residual_scale="constpower(v, x)")
    with pytest.raises(DataError, match="needs numbers, and column 'arm' holds none"):
        mlm.LMM("y ~ x", own, residual_scale="constpower(arm)")
    with pytest.raises(ModelError, match="three values"):
        mlm.LMM("y ~ x", own.assign(v=own["t"] % 2), residual_scale="constpower(v)")
    with pytest.raises(ModelError, match=r"has constpower\(v\) constant = -1; "):
        mlm.lmm("y ~ x", own, residual_scale="constpower(v)", hold={"constpower(v) constant": -1.0})
    with pytest.raises(DataError, match=r"write constpower\(v\), whose constant is theirs"):
        mlm.LMM("y ~ x", own, residual_scale="power(v)")
    with pytest.raises(FormulaError, match="goes by the fitted values"):
        mlm.from_r("gls(y ~ x, d, weights = varConstPower())")
    falling = own.assign(v=own["v"] + 1.0, y=own["x"] + (own["y"] - own["x"]) / (1 + own["v"]) ** 2)
    fit = mlm.lmm("y ~ x", falling, residual_scale="constpower(v)")
    assert fit.residual_parameters["constpower(v) power"] < 0
    with pytest.raises(DataError, match="its power is negative, and its covariate 0 there"):
        fit.predict(falling.head(3).assign(v=0.0), interval="prediction")


def test_data_without_a_scale_say_so():
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"y": rng.normal(size=60), "v": np.tile(np.arange(1.0, 7.0), 10)})
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        fit = mlm.lmm("y ~ 1", frame, residual_scale="constpower(v)")
    plain = mlm.lmm("y ~ 1", frame)
    assert fit.llf >= plain.llf - 1e-8
    assert np.isfinite(fit.bse).all()
