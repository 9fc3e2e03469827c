"""Parametric bootstrap: samples are single refits; intervals; held parameters; structures."""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

from ..residual_models import trial

SLOPES = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def fit():
    return mlm.lmm(SLOPES, mlm.load_sleepstudy())


@pytest.fixture(scope="module")
def boot(fit):
    return fit.bootstrap(400, seed=11)


def test_a_sample_is_a_single_refit(fit, boot):
    response = fit.simulate(8, seed=11)[:, 7]
    data = mlm.load_sleepstudy().assign(Reaction=response)
    one = mlm.lmm(SLOPES, data)
    sample = boot.replicates.iloc[7]
    np.testing.assert_allclose(sample[["(Intercept)", "Days"]], one.params, rtol=1e-9)
    covariance = one.varcorr["Subject"].to_numpy()
    assert sample["sigma"] == pytest.approx(one.sigma, rel=1e-9)
    assert sample["sd_Days|Subject"] == pytest.approx(np.sqrt(covariance[1, 1]), rel=1e-6)


def test_the_same_samples_whatever_their_number(fit, boot):
    fewer = fit.bootstrap(20, seed=11)
    np.testing.assert_array_equal(fewer.replicates, boot.replicates.iloc[:20])
    assert not fit.bootstrap(20, seed=12).replicates.equals(fewer.replicates)


def test_figures(fit, boot):
    values = boot.replicates["Days"].to_numpy()
    assert boot.n_failed == 0
    assert boot.estimates["Days"] == pytest.approx(fit.params["Days"], rel=1e-12)
    assert boot.bse["Days"] == pytest.approx(values.std(ddof=1))
    assert boot.bias["Days"] == pytest.approx(values.mean() - fit.params["Days"])
    # The estimate of a fixed effect is unbiased, with the standard error of the model.
    assert abs(boot.bias["Days"]) < 4 * fit.bse["Days"] / 20
    assert boot.bse["Days"] == pytest.approx(fit.bse["Days"], rel=0.15)
    percentile = boot.conf_int(0.9)
    np.testing.assert_allclose(percentile.loc["Days"], np.quantile(values, [0.05, 0.95]))
    basic = boot.conf_int(0.9, "basic")
    np.testing.assert_allclose(
        basic.loc["Days"], 2 * fit.params["Days"] - np.quantile(values, [0.95, 0.05])
    )
    assert "0 failed" in repr(boot)


def test_bca_corrects_towards_the_profile(fit):
    # The percentile interval of a standard deviation lies too low; the profile interval does not.
    boot = fit.bootstrap(2000, seed=5)
    profile = fit.profile("covariance").conf_int()
    for name in ("sigma", "sd_Days|Subject", "sd_(Intercept)|Subject"):
        wide = profile.loc[name, "upper"] - profile.loc[name, "lower"]
        error = {
            kind: abs(boot.conf_int(kind=kind).loc[name] - profile.loc[name]).max() / wide
            for kind in ("percentile", "bca")
        }
        assert error["bca"] < 0.12
        assert error["bca"] < error["percentile"]


def test_normal_intervals(boot):
    normal = boot.conf_int(kind="normal").loc["sigma"]
    middle = 2 * boot.estimates["sigma"] - boot.replicates["sigma"].mean()
    np.testing.assert_allclose(normal.mean(), middle)


def test_conf_int_of_the_fit(fit, boot):
    limits = fit.conf_int(0.9, method="boot", n=400, seed=11)
    np.testing.assert_allclose(limits, boot.conf_int(0.9))


def test_statistic(fit):
    def figures(batch):
        return {"ratio": batch.params[:, 1] / batch.sigma, "both": batch.params}

    boot = fit.bootstrap(30, seed=1, statistic=figures)
    assert list(boot.replicates.columns) == ["ratio", "both 1", "both 2"]
    assert boot.estimates["ratio"] == pytest.approx(fit.params["Days"] / fit.sigma, rel=1e-9)
    alone = fit.bootstrap(30, seed=1, statistic=lambda batch: batch.llf)
    assert alone.estimates["statistic"] == pytest.approx(fit.llf, rel=1e-10)


@pytest.mark.parametrize("structure", ["ar1", "us", "cs"])
def test_residual_structures(structure):
    data, residual = trial(n_subjects=40, missing=0.1), f"{structure}(visit | subject)"
    fit = mlm.lmm("y ~ x", data, residual=residual)
    boot = fit.bootstrap(60, seed=3)
    names = list(fit.residual_parameters.index)
    np.testing.assert_allclose(boot.estimates[names], fit.residual_parameters, rtol=1e-7)
    one = mlm.lmm("y ~ x", data.assign(y=fit.simulate(1, seed=3)[:, 0]), residual=residual)
    np.testing.assert_allclose(boot.replicates[names].iloc[0], one.residual_parameters, rtol=1e-5)
    limits = boot.conf_int(kind="bca")
    assert (limits["lower"] < boot.estimates).all()
    assert (boot.estimates < limits["upper"]).all()


def test_what_is_held_stays_held():
    fit = mlm.lmm(SLOPES, mlm.load_sleepstudy(), hold={"sigma": 26.0})
    boot = fit.bootstrap(5, seed=1)
    np.testing.assert_allclose(boot.replicates["sigma"], 26.0, rtol=1e-10)
    assert boot.replicates["Days"].nunique() == 5


def test_an_offset_is_not_counted_twice():
    data = mlm.load_sleepstudy().assign(shift=100.0)
    fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", data, offset="shift")
    boot = fit.bootstrap(50, seed=2)
    assert boot.estimates["(Intercept)"] == pytest.approx(fit.params["(Intercept)"], rel=1e-9)
    assert abs(boot.bias["(Intercept)"]) < 10


def test_refusals(fit, boot):
    with pytest.raises(DataError, match=r"integer >= 2"):
        fit.bootstrap(1)
    with pytest.raises(DataError, match="seed"):
        fit.bootstrap(10, seed="today")
    with pytest.raises(DataError, match="statistic must return numbers"):
        fit.bootstrap(10, statistic=lambda batch: "large")
    with pytest.raises(ModelError, match="'bca'"):
        boot.conf_int(kind="studentized")
    with pytest.raises(ModelError, match="between 0 and 1"):
        boot.conf_int(1.0)


def test_refits_stay_within_bounds_that_the_fit_does_not_reach():
    bounds = {"sigma": (25.0, 26.2)}
    fit = mlm.lmm(SLOPES, mlm.load_sleepstudy(), bounds=bounds)
    assert not fit.held
    boot = fit.bootstrap(6, seed=1)
    assert boot.estimates["sigma"] == pytest.approx(fit.sigma, rel=1e-9)
    drawn = fit.simulate(6, seed=1)
    for i in range(6):
        one = mlm.lmm(SLOPES, mlm.load_sleepstudy().assign(Reaction=drawn[:, i]), bounds=bounds)
        np.testing.assert_allclose(boot.replicates["sigma"].iloc[i], one.sigma, rtol=1e-7)
    sigma = boot.replicates["sigma"]
    assert sigma.between(25.0 - 1e-9, 26.2 + 1e-9).all()
    assert sigma.isin([sigma.min(), sigma.max()]).any()


def test_a_bound_that_the_fit_reaches_holds_no_refit():
    bounds = {"sigma": (None, 24.0)}
    fit = mlm.lmm(SLOPES, mlm.load_sleepstudy(), bounds=bounds)
    assert fit.held == {"sigma": pytest.approx(24.0)}
    sigma = fit.bootstrap(12, seed=1).replicates["sigma"]
    assert (sigma <= 24.0 + 1e-9).all()
    assert sigma.nunique() > 2


def test_an_ml_refit_for_a_comparison_stays_within_the_bounds():
    data, bounds = mlm.load_sleepstudy(), {"sd_Days|Subject": (5.8, None)}
    formulas = (SLOPES, "Reaction ~ Days + I(Days^2) + (Days | Subject)")
    fits = [mlm.lmm(text, data, bounds=bounds) for text in formulas]
    assert not fits[0].held
    found = mlm.compare(*fits, refit=True)
    wanted = [mlm.lmm(text, data, method="ML", bounds=bounds).llf for text in formulas]
    np.testing.assert_allclose(found["logLik"], wanted, rtol=1e-10)
    free = mlm.lmm(SLOPES, data, method="ML").llf
    assert free > wanted[0] + 1e-4
