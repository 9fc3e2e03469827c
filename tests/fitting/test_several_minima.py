"""Fits end at the lowest minimum, where there are several."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.criterion.barrier import Barrier, residual_parts
from mlmfast.criterion.criterion import criterion_of
from mlmfast.criterion.some_fits import SomeFits
from mlmfast.fitting.minima import where_to_search
from mlmfast.fitting.minima.guarded import distinct_ends
from mlmfast.fitting.starts.moments import residual_start
from mlmfast.newton.iteration import NewtonResult

from .. import dense
from ..fits import lmm

DATA = Path(__file__).parents[1] / "reference" / "local_optima"
CASES = {
    "c411": ("y ~ t*arm + (1 | g)", "ar1h(t | g)", 180.3605),
    "c859": ("y ~ t*arm + (1 | g)", "csh(t | g)", 86.6797),
    "c157": ("y ~ t*arm", "fa(t | g)", 307.4222),
}
#: Best of several dense starts each (README.md there): data, formula, arguments, minimum.
SMALL_DESIGNS = {
    "d213": ("y ~ arm + (t || g)", {"residual": "csh(visit | g)", "method": "ML"}, 87.720601),
    "d231": ("y ~ t * arm", {"residual": "sp_sph(time | g)"}, 161.748447),
    "d430": (
        "y ~ arm + (1 | g)",
        {"residual": "sp_sph(time | arm / g)", "residual_scale": "exp(x)", "method": "ML"},
        390.674183,
    ),
    "d733": ("y ~ t * arm + (1 | site)", {"residual": "csh(visit | g)"}, 109.741593),
    "d787": ("y ~ t + (t || g)", {"residual": "sp_pow(time | g)", "method": "ML"}, 33.184272),
    "d1003": ("y ~ t + hf(0 + f | g)", {"method": "ML"}, 60.093914),
    "d1123": ("y ~ arm + (t || g)", {"residual": "adh(visit | g)"}, 81.151034),
    "d1372": ("y ~ t * arm + (t | g)", {"residual": "csh(visit | arm / g)"}, 241.700316),
    "d1913": ("y ~ arm + ar1h(0 + f | g)", {}, 348.359962),
    "s385": ("y ~ t * arm", {"residual": "sp_matern(time | g)", "method": "ML"}, 73.480488),
    "d1675": ("y ~ t + (t | g)", {"residual": "toeph(visit | g)"}, 29.876192),
}
#: Two arms, both singular at the infimum: minima of many dense starts, which are not the lowest.
TWO_ARMS = {
    "d1922": ("y ~ t * arm + (t | g)", "ML", 283.819323),
    "d1762": ("y ~ t + (1 | g)", "REML", 385.676508),
}
#: The same where R is singular at the infimum and random effects keep V regular.
SINGULAR_DESIGNS = {
    "d115": (
        "y ~ t * arm + (t | g)",
        {"residual": "toeph(visit | g)", "residual_scale": "exp(x)", "method": "ML"},
        -14.075377,
    ),
    "d1074": ("y ~ arm + (t || g)", {"residual": "toeph(visit | g)"}, 404.382281),
    "d1075": (
        "y ~ t + (t | g)",
        {"residual": "toeph(visit | g)", "residual_scale": "arm", "method": "ML"},
        47.203310,
    ),
    "d1235": ("y ~ arm + (t | g)", {"residual": "toeph(visit | g)"}, 60.169228),
    "d1315": ("y ~ t + (t || g)", {"residual": "toeph(visit | g)", "method": "ML"}, 73.689901),
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
    for found in (fit, mlm.load(fit.to_json())):
        assert found.residual_parameters["Var(4)"] == 0.0
        np.testing.assert_array_equal(found.residual_cov.to_numpy()[3], np.zeros(4))
        assert found.residual_corr.to_numpy()[:3, :3] == pytest.approx(
            fit.residual_parameters["CSH"] ** (np.eye(3) == 0.0)
        )
        assert np.isnan(found.residual_corr.to_numpy()[3]).all()
    assert fit.covtest().table.loc["Var(4)", "estimate"] == 0.0


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


def test_a_local_maximum_beside_a_likelihood_without_bound_says_so():
    """ar1h with strong correlations fits rows exactly: dense starts fall below -1e9."""
    fit = mlm.lmm("y ~ t * arm", pd.read_csv(DATA / "d1487.csv"), residual="ar1h(visit | g)")
    assert fit.converged
    (text,) = fit.certificate.boundary
    assert text.startswith("a local maximum: the likelihood of residual='ar1h(visit | g)' grows")


@pytest.mark.parametrize("name", ["d1922", pytest.param("d1762", marks=pytest.mark.slow)])
def test_arms_may_be_singular_together(name):
    """Neither is a way down alone; likelihood and V of what is found are those of a dense V."""
    formula, method, lowest = TWO_ARMS[name]
    frame = pd.read_csv(DATA / f"{name}.csv")
    model = mlm.LMM(formula, frame, residual="adh(visit | arm / g)")
    fit = model.fit(method)
    assert fit.converged
    assert fit.deviance < lowest + 1e-4
    assert fit.llf == pytest.approx(_dense_llf(model, fit, method), abs=1e-8)
    found = [text for text in fit.certificate.boundary if "is singular" in text]
    assert [text.split()[4] for text in found] == ["a", "b"]


def test_visits_that_fixed_effects_fit_say_so_beside_a_local_maximum():
    """A visit where all have one value: its variance may be as small as it likes."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"id": np.repeat(range(12), 4), "week": np.tile([0, 2, 4, 6], 12)})
    frame["y"] = np.where(frame["week"] == 0, 1.5, rng.normal(size=48))
    fit = mlm.lmm("y ~ 1", frame, residual="diag(week | id)", method="ML")
    (text,) = [text for text in fit.certificate.boundary if "local maximum" in text]
    assert "as the residual covariance of 0 becomes singular (12 subject(s)" in text
    X = np.ones((48, 1))
    sd = np.sqrt(np.diag(fit.residual_cov.to_numpy()))[np.tile(range(4), 12)]
    smaller = np.where(frame["week"] == 0, 1e-8, sd)
    y = frame["y"].to_numpy()
    assert dense.log_likelihood(y, X, np.diag(smaller**2), "ML") > fit.llf + 10


@pytest.mark.parametrize(
    ("name", "formula", "residual", "method"),
    [
        ("d807", "y ~ t * arm + (1 | g)", "ar1h(visit | arm / g)", "ML"),
        ("d659", "y ~ arm + (1 | site)", "hf(visit | arm / g)", "REML"),
    ],
)
def test_a_fall_that_is_no_way_to_an_end_says_so_too(name, formula, residual, method):
    """Differences of two visits that fixed effects fit; what is lost in rounding far below."""
    frame = pd.read_csv(DATA / f"{name}.csv")
    fit = mlm.lmm(formula, frame, residual=residual, method=method)
    assert fit.converged
    assert any("local maximum" in text for text in fit.certificate.boundary)


def test_a_range_does_not_hold_a_random_intercept():
    """Second derivatives by a range are no information, below 0 as they may be."""
    frame = pd.read_csv(DATA / "d787.csv")
    fit = mlm.lmm("y ~ t + (1 | g)", frame, residual="sp_pow(time | g)", method="ML")
    assert fit.varcorr["g"].to_numpy()[0, 0] > 1.0
    assert not any("told apart" in text for text in fit.certificate.boundary)


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


@pytest.mark.parametrize("name", SMALL_DESIGNS)
def test_a_small_design_ends_at_the_lowest_of_several_dense_starts(name):
    formula, arguments, lowest = SMALL_DESIGNS[name]
    fit = mlm.lmm(formula, pd.read_csv(DATA / f"{name}.csv"), **arguments)
    assert lowest - 1e-4 < fit.deviance < lowest + 1e-3
    assert fit.converged


def _whole(model, fit):
    """y, X and V from the matrices of the subjects that are reported."""
    y, subject = model._design.y, model._design.factors[0]
    X, V = np.zeros((len(y), len(fit.params))), np.zeros((len(y), len(y)))
    for code, label in enumerate(subject.labels):
        own = subject.codes == code
        X[own], V[np.ix_(own, own)] = fit.X(label), fit.V(label)
    return y, X, V


def _dense_llf(model, fit, method):
    return dense.log_likelihood(*_whole(model, fit), method)


@pytest.fixture(scope="module", params=SINGULAR_DESIGNS)
def singular(request):
    formula, arguments, lowest = SINGULAR_DESIGNS[request.param]
    arguments = dict(arguments)
    method = arguments.pop("method", "REML")
    model = mlm.LMM(formula, pd.read_csv(DATA / f"{request.param}.csv"), **arguments)
    return model, method, lowest, model.fit(method)


def test_a_singular_residual_covariance_is_the_infimum_of_a_dense_likelihood(singular):
    *_, lowest, fit = singular
    assert lowest - 1e-5 < fit.deviance < lowest + 1e-4
    assert fit.converged
    assert fit.certificate.engine == "dense V"
    assert any("is 0" in text or "is singular" in text for text in fit.certificate.boundary)


def test_beside_a_singular_residual_covariance_estimates_are_those_of_v_itself(singular):
    """No digits are lost to an inverse of R: V is formed from the matrices that are reported."""
    model, method, _, fit = singular
    y, X, V = _whole(model, fit)
    assert fit.llf == pytest.approx(dense.log_likelihood(y, X, V, method), abs=1e-8)
    beta, vcov = dense.gls(y, X, V)
    np.testing.assert_allclose(fit.params, beta, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(fit.bse, np.sqrt(np.diag(vcov)), rtol=1e-7)


def test_a_batch_reports_a_singular_residual_covariance_as_a_single_fit_does(singular):
    model, method, _, fit = singular
    y = model._design.y
    batch = pickle.loads(pickle.dumps(model.fit_many(np.column_stack([y[::-1], y]), method)))
    assert batch.llf[1] == fit.llf
    np.testing.assert_array_equal(batch.bse[1], fit.bse)
    np.testing.assert_array_equal(batch.df[1], fit.df)


def test_a_singular_minimum_behind_others_is_found_to_the_bit_in_a_batch():
    formula, arguments, _ = SMALL_DESIGNS["d213"]
    frame = pd.read_csv(DATA / "d213.csv")
    method = arguments["method"]
    model = mlm.LMM(formula, frame, residual=arguments["residual"])
    fit, y = model.fit(method), frame["y"].to_numpy()
    batch = model.fit_many(np.column_stack([y[::-1], y, 2 * y]), method)
    assert batch.llf[1] == fit.llf


def test_a_limit_on_the_steps_does_not_take_the_search_away():
    formula, arguments, _ = SMALL_DESIGNS["d213"]
    frame = pd.read_csv(DATA / "d213.csv")
    whole = mlm.lmm(formula, frame, **arguments)
    few = mlm.lmm(formula, frame, **arguments, options={"max_iter": 20})
    assert few.certificate.n_elsewhere == whole.certificate.n_elsewhere > 0
    assert few.deviance == whole.deviance


def test_a_search_that_would_take_too_long_is_left_out_and_that_is_said(monkeypatch):
    formula, arguments, _ = SMALL_DESIGNS[next(iter(SMALL_DESIGNS))]
    frame = pd.read_csv(DATA / f"{next(iter(SMALL_DESIGNS))}.csv")
    searched = mlm.lmm(formula, frame, **arguments)
    assert searched.certificate.n_elsewhere > 0
    assert not searched.certificate.unsearched
    monkeypatch.setattr(where_to_search, "_MOST_OPERATIONS", 0.0)
    fit = mlm.lmm(formula, frame, **arguments)
    assert fit.certificate.unsearched
    assert fit.certificate.n_elsewhere < searched.certificate.n_elsewhere
    assert "a lower minimum was not looked for" in str(fit.summary())
    assert mlm.load(fit.to_json()).certificate == fit.certificate


def test_a_search_is_left_out_by_what_the_design_costs():
    """Residual structures over a hundred visits beside random effects, and not over ten."""
    rng = np.random.default_rng(3)
    dear = []
    for n_visits in (10, 90):
        n = 8 * n_visits
        frame = pd.DataFrame({"y": rng.normal(size=n), "t": np.tile(np.arange(n_visits), 8)})
        frame["g"] = np.repeat(np.arange(8), n_visits)
        reduced = mlm.LMM("y ~ 1 + (1 | g)", frame, residual="toeph(t | g)")._reduced(None)
        dear.append(where_to_search.is_too_dear(reduced, criterion_of(reduced, "ML")))
    assert dear == [False, True]


def test_a_barrier_has_the_bits_of_a_row_whatever_the_others_are():
    model = mlm.LMM("y ~ t", pd.read_csv(DATA / "d1372.csv"), residual="ar1h(visit | g)")
    reduced = model._reduced(None)
    criterion = criterion_of(reduced, "REML")
    start = residual_start(reduced, criterion, np.array([0]))
    theta = start + 0.1 * np.random.default_rng(1).normal(size=(9, criterion.n_theta))
    barrier = Barrier(SomeFits(criterion, np.zeros(9, dtype=int)), residual_parts(criterion), 0.1)
    together = barrier(theta, np.arange(9))
    for row in range(9):
        alone = barrier(theta[[row]], np.array([row]))
        np.testing.assert_array_equal(together.value[row], alone.value[0])
        np.testing.assert_array_equal(together.gradient[row], alone.gradient[0])
        np.testing.assert_array_equal(together.hessian[row], alone.hessian[0])


def test_rows_that_come_to_rest_at_one_end_are_one():
    """Ends told apart by their values; on the way, by the curvature of the lower one too."""
    n = 5
    newton = NewtonResult(
        theta=np.array([[0.0], [5.0], [0.1], [9.0], [3.0]]),
        value=np.array([1.0, 1.0 + 1e-5, 1.1, 1.3, np.nan]),
        decrement=np.zeros(n),
        min_eigenvalue=np.ones(n),
        curvature=np.ones((n, 1)),
        converged=np.array([True, True, False, False, False]),
        n_iterations=np.ones(n, dtype=int),
        n_evaluations=np.ones(n, dtype=int),
    )
    np.testing.assert_array_equal(distinct_ends(newton, np.zeros(n, dtype=int), 8), [0, 3])
    np.testing.assert_array_equal(distinct_ends(newton, np.array([0, 1, 0, 0, 1]), 1), [0, 1])
