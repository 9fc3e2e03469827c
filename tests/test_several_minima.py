"""Fits end at the lowest minimum, where there are several."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm

from .fitting import lmm

DATA = Path(__file__).parent / "reference" / "local_optima"
CASES = {
    "c411": ("y ~ t*arm + (1 | g)", "ar1h(t | g)", 180.3605),
    "c859": ("y ~ t*arm + (1 | g)", "csh(t | g)", 86.6797),
    "c157": ("y ~ t*arm", "fa(t | g)", 307.4222),
}
pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")


@pytest.fixture(scope="module", params=CASES)
def case(request):
    formula, residual, lowest = CASES[request.param]
    frame = pd.read_csv(DATA / f"{request.param}.csv")
    return mlm.LMM(formula, frame, residual=residual), lowest


@pytest.fixture(scope="module")
def fit(case):
    return case[0].fit()


def test_the_lowest_of_ten_dense_starts_is_reached(case, fit):
    assert fit.deviance == pytest.approx(case[1], abs=1e-4)
    assert fit.converged


def test_evaluations_from_other_starts_are_counted_apart(fit):
    assert fit.certificate.n_elsewhere > fit.certificate.n_evaluations > 0
    assert f"{fit.certificate.n_elsewhere} evaluations more" in str(fit.summary())


def test_a_batch_finds_the_same_minimum_to_the_bit(case, fit):
    model = case[0]
    Y = np.column_stack([fit.simulate(1, seed=3)[:, 0], model._design.y])
    np.testing.assert_array_equal(model.fit_many(Y).llf[1], fit.llf)


def test_a_specific_variance_of_0_is_named():
    formula, residual, _ = CASES["c157"]
    fit = lmm(formula, pd.read_csv(DATA / "c157.csv"), residual=residual)
    assert any("Var(1)" in text and "is 0" in text for text in fit.certificate.boundary)


def test_a_residual_variance_of_0_is_named():
    formula, residual, _ = CASES["c859"]
    fit = lmm(formula, pd.read_csv(DATA / "c859.csv"), residual=residual)
    assert any("residual variance of 3 is 0" in text for text in fit.certificate.boundary)


def test_a_gaussian_correlation_starts_from_every_range():
    frame = pd.read_csv(DATA / "wheat2.csv").assign(field=1)
    fit = lmm(
        "yield ~ variety",
        frame,
        residual="sp_gau(latitude, longitude | field)",
    )
    assert fit.deviance == pytest.approx(1182.618, abs=5e-4)


def test_growth_keeps_its_random_effects_beside_an_autocorrelation():
    """Not G = 0 and a correlation near 1, 1.30 in log-likelihood below."""
    frame = pd.read_csv(DATA / "bodyweight.csv")
    frame["t"] = frame.groupby("Rat").cumcount()
    fit = lmm(
        "weight ~ Time * C(Diet) + (Time | Rat)",
        frame,
        residual="ar1(t | Rat)",
        residual_scale="Diet",
    )
    assert fit.residual_parameters["AR(1)"] == pytest.approx(0.54, abs=0.005)
    assert np.linalg.matrix_rank(fit.varcorr["Rat"].to_numpy()) == 2
    assert not fit.singular


def test_random_effects_beside_factors_are_not_held_at_0():
    """Three visits: one factor holds any covariance, but for its variances of 0 or more."""
    rng = np.random.default_rng(5)
    root = np.linalg.cholesky(
        np.array([[1.0, 0.9, 0.2], [0.9, 1.0, 0.9], [0.2, 0.9, 2.0]]) + 0.5 * np.eye(3)
    )
    y = (rng.normal(size=(12, 3)) @ root.T).ravel()
    frame = pd.DataFrame({"y": y, "t": np.tile([0, 1, 2], 12), "g": np.repeat(range(12), 3)})
    held = lmm("y ~ 1", frame, residual="fa(t | g)")
    free = lmm("y ~ 1 + (t | g)", frame, residual="fa(t | g)")
    full = lmm("y ~ 1", frame, residual="us(t | g)")
    assert full.deviance - 1e-6 <= free.deviance <= held.deviance + 1e-6
