"""Imputation beside random effects, weights and a residual scale: V = Z G Z' + R written out."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

from ..cases import read_frame

FORMULA = "CHANGE ~ THERAPY * VISIT + BASVAL * VISIT"
JUMP = {"strategy": "J2R", "arm": "THERAPY", "reference": "PLACEBO"}


@pytest.fixture(scope="module")
def trial():
    """The antidepressant trial with a row for every visit, times and weights."""
    own = read_frame("antidepressant.csv", {"PATIENT": None, "VISIT": None, "THERAPY": None})
    wide = own.pivot(index="PATIENT", columns="VISIT", values="CHANGE")
    facts = own.drop_duplicates("PATIENT").set_index("PATIENT")[["THERAPY", "BASVAL"]]
    rows = wide.stack(future_stack=True).rename("CHANGE").reset_index()
    rows = rows.join(facts, on="PATIENT")
    return rows.assign(t=rows["VISIT"].astype(int) - 4.0, w=1.0 + 0.5 * (np.arange(len(rows)) % 3))


@pytest.fixture(scope="module")
def intercepts(trial):
    """The same marginal model, by a random intercept and by compound symmetry."""
    random = mlm.lmm(f"{FORMULA} + (1 | PATIENT)", trial, residual="homdiag(VISIT | PATIENT)")
    return random, mlm.lmm(FORMULA, trial, residual="cs(VISIT | PATIENT)")


@pytest.mark.parametrize("strategy", ["MAR", "J2R", "CR", "CIR"])
def test_a_random_intercept_is_compound_symmetry(intercepts, strategy):
    more = {} if strategy == "MAR" else {**JUMP, "strategy": strategy}
    for draws, n, tol in (("mean", 1, 1e-11), ("bootstrap", 3, 1e-7)):
        a, b = (fit.impute(n, 1, draws=draws, **more).responses for fit in intercepts)
        np.testing.assert_allclose(a, b, rtol=0, atol=tol)


def test_draws_of_both_have_one_distribution(intercepts):
    """Each is normal in coordinates of its own; the means agree within Monte Carlo's error."""
    a, b = (fit.impute(800, 2, **JUMP).responses for fit in intercepts)
    missing = a.std(axis=0) > 0.0
    assert missing.sum() == 80
    sd = b[:, missing].std(axis=0)
    away = (a[:, missing].mean(axis=0) - b[:, missing].mean(axis=0)) / (sd * np.sqrt(2 / 800))
    assert np.abs(away).max() < 5.0
    np.testing.assert_allclose(a[:, missing].std(axis=0), sd, rtol=0.15)


def covariances(fit, weights):
    """V of a subject's visits by arm, from what the fit reports."""
    values, lag = fit.residual_parameters, np.abs(np.subtract.outer(range(4), range(4)))
    Z = np.column_stack([np.ones(4), np.arange(4.0)])
    out = {}
    for arm, ratio in (("DRUG", 1.0), ("PLACEBO", values["SD(PLACEBO)/SD(DRUG)"])):
        G = fit.G(f"us(t | PATIENT, by=THERAPY) at {arm}").to_numpy()
        R = values["Variance"] * values["AR(1)"] ** lag * ratio**2
        out[arm] = Z @ G @ Z.T + R / np.sqrt(np.outer(weights, weights))
    return out


@pytest.mark.parametrize("strategy", ["MAR", "J2R", "CR"])
def test_slopes_by_arm_weights_and_scale_by_dense_matrices(trial, strategy):
    fit = mlm.lmm(
        f"{FORMULA} + us(t | PATIENT, by=THERAPY)",
        trial,
        residual="ar1(VISIT | PATIENT)",
        weights="w",
        residual_scale="THERAPY",
    )
    assert not fit.singular
    more = {} if strategy == "MAR" else {"reference": "PLACEBO"}
    imputed = fit.impute(strategy=strategy, arm="THERAPY", draws="mean", **more)
    X = {
        arm: fit.predict(trial.assign(THERAPY=arm), ranef=False).to_numpy().reshape(-1, 4)
        for arm in ("DRUG", "PLACEBO")
    }
    y = trial["CHANGE"].to_numpy().reshape(-1, 4)
    arms, weights = (trial[c].to_numpy().reshape(-1, 4) for c in ("THERAPY", "w"))
    checked = 0
    for i in np.flatnonzero(np.isnan(y).any(axis=1)):
        missing = np.isnan(y[i])
        own, event = arms[i, 0], 4 - int(np.argmin(missing[::-1]))
        V = covariances(fit, weights[i])
        mean, R = X[own][i].copy(), V["PLACEBO"]
        if strategy == "MAR":
            R = V[own]
        elif strategy == "CR" and event < 4:
            mean = X["PLACEBO"][i]
        elif event < 4:
            mean[event:] = X["PLACEBO"][i, event:]
        else:
            R = V[own]
        # The reference's regression on what was before the event; that is the own arm's.
        joined, a, b = R.copy(), slice(0, event), slice(event, 4)
        if strategy == "J2R" and event < 4:
            B = np.linalg.solve(R[a, a], R[a, b]).T
            joined[a, a] = V[own][a, a]
            joined[b, a] = B @ V[own][a, a]
            joined[a, b] = joined[b, a].T
            joined[b, b] = R[b, b] - B @ (R[a, a] - V[own][a, a]) @ B.T
        slope = joined[np.ix_(missing, ~missing)] @ np.linalg.inv(
            joined[np.ix_(~missing, ~missing)]
        )
        expected = mean[missing] + slope @ (y[i] - mean)[~missing]
        np.testing.assert_allclose(imputed.responses[0, i, missing], expected, rtol=1e-8)
        checked += 1
    assert checked == 44


def test_periods_within_subjects_have_effects_of_their_own(trial):
    """``(1 | PATIENT:half)``: two visits share an effect, others none."""
    halves = trial.assign(half=np.where(trial["t"] < 2, "a", "b"))
    fit = mlm.lmm(
        "CHANGE ~ VISIT + (1 | PATIENT:half)", halves, residual="homdiag(VISIT | PATIENT)"
    )
    found = fit.impute(draws="mean").responses[0]
    g = float(fit.G("PATIENT:half").iloc[0, 0])
    r = float(fit.residual_parameters["Variance"])
    mean = fit.params["(Intercept)"] + np.array([0.0, *(fit.params[f"VISIT{v}"] for v in "567")])
    y = halves["CHANGE"].to_numpy().reshape(-1, 4)
    last = np.isnan(y[:, 3]) & ~np.isnan(y[:, 2])
    expected = mean[3] + g / (g + r) * (y[last, 2] - mean[2])
    np.testing.assert_allclose(found[last, 3], expected, rtol=1e-9)
    both = np.isnan(y[:, 2]) & np.isnan(y[:, 3])
    np.testing.assert_allclose(found[both, 2:], np.tile(mean[2:], (both.sum(), 1)), rtol=1e-9)
    assert last.sum() > 5
    assert both.sum() > 5


def test_what_is_held_is_held_in_refits(trial):
    """Independent residuals of variance 4: conditional means are the means, spread is 2."""
    fit = mlm.lmm("CHANGE ~ 1", trial, residual="homdiag(VISIT | PATIENT)", hold={"Variance": 4.0})
    drawn = fit.impute(60, 1, draws="bootstrap").responses
    spread = drawn[:, np.isnan(trial["CHANGE"].to_numpy().reshape(-1, 4))]
    assert spread.std() == pytest.approx(2.0, rel=0.05)
    free = mlm.lmm("CHANGE ~ 1", trial, residual="homdiag(VISIT | PATIENT)")
    assert float(free.residual_parameters["Variance"]) > 20.0


def test_refusals(trial):
    residual = "homdiag(VISIT | PATIENT)"
    site = trial.assign(site=pd.factorize(trial["PATIENT"])[0] % 9)
    with pytest.raises(ModelError, match="level '0' of 'site' has several subjects"):
        mlm.lmm("CHANGE ~ VISIT + (1 | site)", site, residual=residual).impute()
    with pytest.raises(ModelError, match="weights of rows without a response"):
        mlm.lmm("CHANGE ~ VISIT", trial, residual=residual, weights=trial["w"].to_numpy()).impute()
    lacking = trial.dropna(subset="CHANGE")
    with pytest.raises(DataError, match="'w' changes within subjects"):
        mlm.lmm("CHANGE ~ VISIT", lacking, residual=residual, weights="w").impute()
    with pytest.raises(DataError, match="'t' changes within subjects"):
        mlm.lmm("CHANGE ~ VISIT + (0 + t | PATIENT)", lacking, residual=residual).impute()
    with pytest.raises(ModelError, match="has no place for the smooth term"):
        mlm.lmm("CHANGE ~ s(BASVAL, k=5)", trial, residual=residual).impute()
    blank = trial.assign(w=trial["w"].where(trial["CHANGE"].notna()))
    with pytest.raises(DataError, match="w has missing values"):
        mlm.lmm("CHANGE ~ VISIT", blank, residual=residual, weights="w").impute()
