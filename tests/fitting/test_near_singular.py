"""Residual covariances that become singular: the infimum is reached, or it is said to be none."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import mlmfast as mlm
from mlmfast.covariance import STRUCTURES
from mlmfast.criterion.barrier import ResidualPart, barrier
from mlmfast.errors import ConvergenceWarning, SingularFitWarning, SpacingWarning
from mlmfast.fitting.minima import singular_ends

from .. import dense
from ..residual_models import trial

K = 4


@pytest.mark.parametrize("keyword", ["us", "cs", "toeph", "fa", "ad", "diag"])
@pytest.mark.parametrize("in_chart", [True, False])
def test_derivatives_of_the_barrier(keyword, in_chart):
    structure = STRUCTURES[keyword](K)
    rng = np.random.default_rng(3)
    root = rng.normal(size=(K, K))
    theta = structure.theta((root @ root.T + 0.5 * np.eye(K))[None])
    part = ResidualPart(structure, slice(0, structure.n_theta), in_chart)
    value, gradient, hessian = barrier(part, theta)
    step, n = 1e-4, structure.n_theta

    def at(*moves):
        away = np.zeros((1, n))
        for index, size in moves:
            away[0, index] += size
        moved = structure.move(theta, away) if in_chart else theta + away
        return barrier(part, moved)[0][0]

    for i in range(n):
        first = (at((i, step)) - at((i, -step))) / (2 * step)
        assert gradient[0, i] == pytest.approx(first, rel=1e-5, abs=1e-5)
        for j in range(n):
            pairs = [(s, t, at((i, s * step), (j, t * step))) for s in (1, -1) for t in (1, -1)]
            second = sum(s * t * v for s, t, v in pairs) / (4 * step**2)
            assert hessian[0, i, j] == pytest.approx(second, rel=1e-4, abs=1e-4 * abs(value[0]))


def test_the_barrier_is_zero_for_equal_variances_and_infinite_for_a_singular_matrix():
    us = STRUCTURES["us"](3)
    part = ResidualPart(us, slice(0, 6), True)
    assert barrier(part, us.theta(5.0 * np.eye(3)[None]))[0][0] == pytest.approx(0.0, abs=1e-12)
    assert barrier(part, us.theta(np.ones((1, 3, 3))))[0][0] > 60


def opposite(seed=3):
    """Subjects whose visits add up to nearly nothing beside their own level; weights."""
    frame = trial(seed=seed, n_subjects=50, missing=0.1, rho=0.0, site_sd=0.0)
    rng = np.random.default_rng(seed)
    codes = frame["subject"].str[1:].astype(int)
    means = frame["y"].groupby(codes).transform("mean")
    frame["y"] += 0.3 * rng.normal(size=50)[codes] - means + 2.0
    return frame


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_the_infimum_at_a_singular_covariance_is_that_of_a_dense_likelihood(method):
    frame = opposite()
    with pytest.warns(SingularFitWarning, match=r"covariance of residual='cs.*' is singular"):
        fit = mlm.lmm(
            "y ~ x + (1 | subject)", frame, residual="cs(visit | subject)", weights="w",
            method=method,
        )  # fmt: skip
    assert fit.converged
    assert fit.singular
    X, y = np.column_stack([np.ones(len(frame)), frame["x"]]), frame["y"].to_numpy()
    same = frame["subject"].to_numpy()[:, None] == frame["subject"].to_numpy()
    root = 1 / np.sqrt(frame["w"].to_numpy())

    def deviance(p):
        correlation = np.where(same, p[1], 0.0) + (1 - p[1]) * np.eye(len(y))
        V = np.exp(p[0]) * correlation * np.outer(root, root) + p[2] ** 2 * same
        return -2 * dense.log_likelihood(y, X, V, method)

    bounds = [(-5, 5), (-1 / (K - 1), 0.99), (0.05, 3)]
    starts = ((0.0, 0.0, 0.3), (0.3, -0.3, 0.5))
    best = min(
        minimize(deviance, s, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-14}).fun
        for s in starts
    )
    assert best - 1e-6 < fit.deviance < best + 1e-3
    assert fit.certificate.newton_decrement < 1e-8
    # PROC MIXED's parameters: CS = sigma^2 rho, Variance = sigma^2 (1 - rho), rho = -1 / (K - 1).
    ratio = fit.residual_parameters["CS"] / fit.residual_parameters["Variance"]
    assert ratio == pytest.approx(-1 / K, abs=1e-4)


def test_an_end_that_is_dear_to_reach_through_v_is_still_reported_by_it(monkeypatch):
    """An inverse of R had left a standard error of 1e-6, and degrees of freedom 6 % off."""
    frame, formula = opposite(), "y ~ x + (1 | subject)"
    arguments = {"residual": "cs(visit | subject)", "weights": "w"}
    with pytest.warns(SingularFitWarning):
        fit = mlm.lmm(formula, frame, **arguments)
    monkeypatch.setattr(singular_ends, "FEW_OPERATIONS", 0.0)
    with pytest.warns(SingularFitWarning):
        other = mlm.lmm(formula, frame, **arguments)
    assert other.certificate.engine == fit.certificate.engine == "dense V"
    np.testing.assert_allclose(other.df, fit.df, rtol=1e-4)
    np.testing.assert_allclose(other.covtest()["se"], fit.covtest()["se"], rtol=1e-4)

    # Along the singular matrices, by differences: sigma^2 (I - J / K) and a common variance.
    X, y = np.column_stack([np.ones(len(frame)), frame["x"]]), frame["y"].to_numpy()
    same = (frame["subject"].to_numpy()[:, None] == frame["subject"].to_numpy()).astype(float)
    root = 1 / np.sqrt(frame["w"].to_numpy())

    def covariance(p):
        return p[0] * same + p[1] * np.outer(root, root) * (np.eye(len(y)) - same / K)

    def deviance(p):
        return -2 * dense.log_likelihood(y, X, covariance(p), "REML")

    at = fit.covariance_parameters.to_numpy()[:2]
    h = np.diag(1e-4 * at)
    ends = [(a, b) for a in (1, -1) for b in (1, -1)]
    hessian = [[sum(a * b * deviance(at + a * h[i] + b * h[j]) for a, b in ends)
                / (4 * h[i, i] * h[j, j]) for j in (0, 1)] for i in (0, 1)]  # fmt: skip
    W = 2 * np.linalg.inv(np.array(hessian))
    Phi = dense.gls(y, X, covariance(at))[1]
    moved = [[dense.gls(y, X, covariance(at + s * h[i]))[1] for s in (1, -1)] for i in (0, 1)]
    slopes = np.array([(up - down) / (2 * h[i, i]) for i, (up, down) in enumerate(moved)])
    for k in (0, 1):
        expected = 2 * Phi[k, k] ** 2 / (slopes[:, k, k] @ W @ slopes[:, k, k])
        assert fit.df.iloc[k] == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(fit.covtest()["se"][:2], np.sqrt(np.diag(W)), rtol=1e-4)


def test_an_end_too_dear_to_be_reported_through_v_says_so(monkeypatch):
    """Its parameters had standard errors near 0."""
    frame, formula = opposite(), "y ~ x + (1 | subject)"
    arguments = {"residual": "cs(visit | subject)", "weights": "w"}
    with pytest.warns(SingularFitWarning):
        right = mlm.lmm(formula, frame, **arguments)
    monkeypatch.setattr(singular_ends, "FEW_OPERATIONS", 0.0)
    monkeypatch.setattr(singular_ends, "MANY_OPERATIONS", 0.0)
    with pytest.warns(SingularFitWarning, match=r"R is inverted .* some per cent off.*MLM420"):
        fit = mlm.lmm(formula, frame, **arguments)
    assert fit.certificate.engine == "nested elimination"
    assert fit.covtest()["se"].isna().all()
    np.testing.assert_allclose(fit.bse, right.bse, rtol=1e-3)
    np.testing.assert_allclose(fit.df, right.df, rtol=0.2)


def test_no_maximum_is_said_with_the_visits_and_the_subjects_that_have_them():
    frame = trial(seed=4, n_subjects=9, n_visits=7, missing=0.35)
    with pytest.warns(ConvergenceWarning, match="has no maximum") as caught:
        fit = mlm.lmm("y ~ visit", frame, residual="us(visit | subject)")
    assert not fit.converged
    assert "more parameters than the data can hold" in str(caught[0].message)
    (said,) = fit.certificate.boundary
    visits = said.split("covariance of ")[1].split(" becomes")[0].split(", ")
    seen = frame.groupby("subject")["visit"].agg(set)
    n = sum(set(visits) <= own for own in seen)
    assert f"({n} subject(s) have all of these)" in said
    assert n < len(visits) + len(fit.params)


def test_a_batch_of_responses_none_of_which_has_a_maximum_says_so_of_each():
    frame = trial(seed=2, n_subjects=5, n_visits=3, missing=0.3)
    model = mlm.LMM("y ~ visit", frame, residual="us(visit | subject)")
    y = frame["y"].to_numpy()
    batch = model.fit_many(np.column_stack([y, 1.0 - 2.0 * y]))
    assert list(batch.status) == ["not converged", "not converged"]


def test_a_single_fit_and_a_batch_end_alike():
    frame = opposite()
    y = frame["y"].to_numpy()
    arguments = {"residual": "cs(visit | subject)", "weights": "w"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        one = mlm.lmm("y ~ x + (1 | subject)", frame, **arguments)
        model = mlm.LMM("y ~ x + (1 | subject)", frame, **arguments)
        batch = model.fit_many(np.column_stack([y[::-1], y]))
    assert batch.deviance[1] == one.deviance
    assert batch.converged[1]


def edge_data():
    """A factor-analytic fit to it has a specific variance of 0; covariate z moves nothing."""
    rng = np.random.default_rng(3)
    n, k = 30, 4
    factor = rng.normal(size=(n, 1))
    noise = rng.normal(size=(n, k)) * np.array([1.0, 0.02, 0.8, 0.9])
    seen = (rng.random((n, k)) > 0.15).ravel()
    data = {
        "subject": np.repeat(np.arange(n), k)[seen],
        "visit": np.tile(np.arange(k), n)[seen],
        "z": rng.normal(size=n * k)[seen],
        "x": rng.normal(size=n * k)[seen],
        "y": (factor + noise).ravel()[seen],
    }
    walk = np.cumsum(rng.normal(size=(n, k)), axis=1).ravel()[seen]
    return data | {"walk": walk}


def test_a_specific_variance_of_0_is_named_and_stands_still():
    model = mlm.LMM("y ~ x + visit", edge_data(), residual="fa(visit | subject, 1)")
    with pytest.warns(SingularFitWarning, match=r"Var\(2\) of residual=.* is 0, an end"):
        fit = model.fit()
    with pytest.warns(SingularFitWarning, match=r"Var\(2\)"):
        held = model.fit(hold={"Var(2)": 0.0})
    assert fit.llf == pytest.approx(held.llf, abs=1e-8)
    np.testing.assert_allclose(fit.df, held.df, rtol=1e-6)
    table = fit.cov_theta()
    assert table["Var(2)"].isna().all()
    assert np.all(np.diag(table.drop(index="Var(2)", columns="Var(2)")) > 0)


@pytest.mark.parametrize(("seed", "name"), [(11, "Var(2)"), (15, "Var(2)"), (43, "Var(1)")])
def test_a_specific_variance_of_0_that_is_hardly_told_beside_its_loading(seed, name):
    """Its own standard error was 8.9, that of its loading 4.0: those of it held are 0.1."""
    rng = np.random.default_rng(seed)
    s, v = np.repeat(np.arange(60), 3), np.tile(np.arange(3), 60)
    y = 0.3 * rng.normal(size=60)[s] + rng.normal(size=180)
    model = mlm.LMM("y ~ 1", {"y": y, "s": s, "v": v}, residual="fa(1)(v | s)")
    with pytest.warns(SingularFitWarning, match=rf"{re.escape(name)} of residual=.* is 0, an end"):
        fit = model.fit()
    with pytest.warns(SingularFitWarning, match=re.escape(name)):
        held = model.fit(hold={name: 0.0})
    assert fit.llf == pytest.approx(held.llf, abs=1e-8)
    found, expected = (f.covtest().frame["se"].drop(name) for f in (fit, held))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.isnan(fit.covtest().frame["se"][name])
    np.testing.assert_allclose(fit.df, held.df, rtol=1e-4)


def test_a_correlation_of_1_leaves_the_structure_without_its_coordinate():
    data = edge_data()
    with pytest.warns(SingularFitWarning, match=r"SP\(POWA\) 2 of residual=.* is 1, an end"):
        fit = mlm.lmm("walk ~ x", data, residual="sp_powa(visit, z | subject)")
    one = mlm.lmm("walk ~ x", data, residual="sp_pow(visit | subject)")
    assert fit.llf == pytest.approx(one.llf, abs=1e-6)
    np.testing.assert_allclose(fit.df, one.df, rtol=1e-4)
    kenward_roger = [f.cov_params("kenward-roger") for f in (fit, one)]
    np.testing.assert_allclose(*kenward_roger, rtol=1e-4)


def test_a_correlation_that_does_not_fade_is_compound_symmetry():
    """arma11 with Rho at 1, along a series: named, and the same degrees of freedom as cs."""
    rng = np.random.default_rng(2)
    subjects, visits = 30, 5
    y = rng.normal(size=(subjects, 1)) + rng.normal(size=(subjects, visits))
    frame = pd.DataFrame(
        {
            "y": y.ravel(),
            "x": rng.normal(size=y.size),
            "visit": np.tile(np.arange(visits), subjects),
            "id": np.repeat(np.arange(subjects), visits),
        }
    )
    cs = mlm.lmm("y ~ x", frame, residual="cs(visit | id)", ddf="satterthwaite")
    with pytest.warns(SingularFitWarning, match="Rho of .* is 1, an end of its range"):
        fit = mlm.lmm("y ~ x", frame, residual="arma11(visit | id)", ddf="satterthwaite")
    assert fit.deviance == pytest.approx(cs.deviance, abs=1e-6)
    np.testing.assert_allclose(fit.bse, cs.bse, rtol=1e-5)
    np.testing.assert_allclose(fit.df, cs.df, rtol=1e-3)
    with np.errstate(invalid="ignore"):
        errors = np.sqrt(np.diag(fit.cov_theta()))
    assert np.isnan(errors).tolist() == [False, True, False]


@pytest.mark.parametrize("k", [2, 3, 5])
def test_a_long_step_shrinks_roots_by_a_factor(k):
    """Steps of log f lengths of a root multiply it by f, however long they are."""
    q = np.linalg.qr(np.random.default_rng(k).normal(size=(k, k)))[0]
    values, factors = np.linspace(3.0, 0.5, k), np.geomspace(0.9, 1e-6, k)
    rows, columns = np.tril_indices(k)
    step = np.zeros((1, len(rows)))
    step[0, rows == columns] = np.sqrt(values) * np.log(factors)
    us = STRUCTURES["us"](k)
    moved = us.matrix(us.move_far(us.theta((q * values @ q.T)[None]), step))[0]
    expected = (q * (values * factors**2)) @ q.T
    np.testing.assert_allclose(moved, expected, atol=1e-12)
    diag = STRUCTURES["diag"](k)
    theta = diag.theta(np.diag(values)[None])
    moved = diag.matrix(diag.move_far(theta, theta * np.log(factors)))[0]
    np.testing.assert_allclose(moved, np.diag(values * factors**2), rtol=1e-12)


def test_a_long_step_shrinks_specific_variances_of_either_sign_and_moves_loadings():
    """A straight one had led through 0, to where the variance is larger than before."""
    fa = STRUCTURES["fa"](3)
    theta, factors = np.array([[0.5, -0.2, 0.4, 0.3, -0.6, 0.2]]), np.array([0.1, 0.01, 1.5])
    step = np.concatenate([[[0.1, 0.2, -0.3]], theta[:, 3:] * np.log(factors)], axis=1)
    moved = fa.move_far(theta, step)
    np.testing.assert_allclose(moved[0, :3], theta[0, :3] + step[0, :3], rtol=1e-14)
    np.testing.assert_allclose(moved[0, 3:5], theta[0, 3:5] * factors[:2], rtol=1e-14)
    # One that grows does so straight, as a factor might overflow.
    np.testing.assert_allclose(moved[0, 5], theta[0, 5] + step[0, 5], rtol=1e-14)


@pytest.mark.parametrize("keyword", ["us", "fa0"])
def test_a_long_step_beside_a_residual_scale_is_of_the_factor_itself(keyword):
    """Steps are in theta there: in eigenvectors they led to another, far too singular, matrix."""
    structure = STRUCTURES[keyword](3)
    theta = np.array([[2.0, 0.5, 1.0, -0.3, 0.2, 0.1]])
    step = np.array([[0.1, 0.2, -0.1, 0.3, 0.4, 0.1 * np.log(1e-3)]])
    moved = structure.move_far_by_theta(theta, step)
    expected = [2.1, 0.7, np.exp(-0.1), 0.0, 0.6, 1e-4]
    np.testing.assert_allclose(moved[0], expected, rtol=1e-12, atol=1e-15)


def _one_subject_in_an_arm() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"s": np.repeat(np.arange(12), 3), "v": list("abc") * 12})
    frame["arm"] = np.where(frame["s"] < 1, "x", "z")
    frame["y"] = rng.normal(size=len(frame))
    return frame


@pytest.mark.parametrize("structure", ["homdiag", "ar1", "diag"])
def test_an_arm_that_fixed_effects_fit_exactly_is_named(structure):
    """Three rows with three effects of their own: -2 log-likelihood falls with their variance."""
    frame = _one_subject_in_an_arm()
    with pytest.warns(ConvergenceWarning, match="fixed effects fit exactly"):
        fit = mlm.lmm("y ~ v * arm", frame, residual=f"{structure}(v | arm / s)", method="ML")
    assert not fit.converged
    assert "no maximum" in fit.certificate.boundary[0]
    assert "residual variance of x goes to 0" in fit.certificate.boundary[0]


@pytest.mark.parametrize(("structure", "n"), [("homdiag", 1), ("diag", 3)])
def test_an_arm_that_reml_tells_nothing_of_gives_no_standard_errors(structure, n):
    """A variance of rounding, from which it began, gave errors of 1e-5 and p values of 0."""
    frame = _one_subject_in_an_arm()
    with pytest.warns(SingularFitWarning, match="the data do not determine x: "):
        fit = mlm.lmm("y ~ v * arm", frame, residual=f"{structure}(v | arm / s)")
    assert fit.converged
    assert len(fit.certificate.boundary) == n + 2
    assert fit.bse.isna().all()
    # The other arm is as by itself.
    z = mlm.lmm("y ~ v", frame[frame["arm"] == "z"], residual=f"{structure}(v | s)")
    assert fit.params["(Intercept)"] + fit.params["armz"] == pytest.approx(z.params["(Intercept)"])
    assert fit.deviance == pytest.approx(z.deviance, abs=1e-6)


def test_an_arm_that_reml_tells_nothing_of_is_named_where_no_end_is_reached():
    """It ended "not converged" without a reason."""
    frame = _one_subject_in_an_arm()
    with pytest.warns(ConvergenceWarning, match="residual covariance of x, whose rows the fixed"):
        fit = mlm.lmm("y ~ v * arm", frame, residual="ar1(v | arm / s)")
    assert "do not determine" in fit.certificate.boundary[0]
    assert len(fit.certificate.boundary) == 1


def test_a_way_whose_tangent_overflows_is_followed_without_it():
    """An overflow in NumPy, which is an error in these tests, was a warning of its own."""
    rng = np.random.default_rng([77, 500005])
    k, n = int(rng.integers(3, 7)), int(rng.integers(5, 25))
    subject, visit = np.repeat(np.arange(n), k), np.tile(np.arange(k), n)
    loadings = rng.normal(size=(k, int(rng.integers(1, k + 1)))) * rng.choice([1, 0.01])
    y = rng.normal(size=(n, loadings.shape[1])) @ loadings.T
    y = (y + rng.choice([0, 1e-3, 0.3, 1]) * rng.normal(size=(n, k))).ravel()
    y, x = y + 1e-6 * rng.normal(size=n * k), rng.normal(size=n * k)
    rng.integers(0, 4, n)
    data = pd.DataFrame({"y": y, "x": x, "visit": visit, "subject": subject})
    data = data[rng.random(len(data)) > rng.choice([0, 0.2, 0.4])]
    with pytest.warns(SpacingWarning), pytest.warns(SingularFitWarning):
        fit = mlm.lmm("y ~ x + (1 | subject)", data, residual="toep(visit | subject)")
    assert fit.converged


def _over_differenced(subjects=14, visits=6):
    """Moving averages with a root of almost 1, (frame, lags)."""
    rng = np.random.default_rng(5)
    noise = rng.normal(size=(subjects, visits + 1))
    frame = pd.DataFrame(
        {
            "y": (noise[:, 1:] - 0.98 * noise[:, :-1]).ravel(),
            "visit": np.tile(np.arange(visits), subjects),
            "id": np.repeat(np.arange(subjects), visits),
        }
    )
    return frame, np.abs(np.subtract.outer(np.arange(visits), np.arange(visits)))


def test_a_moving_average_without_inverse_is_named_and_its_errors_are_along_the_end():
    """Gamma is (Rho - 1) / 2 there: covariances of the others are by that, from a dense V."""
    frame, lag = _over_differenced()
    with pytest.warns(SingularFitWarning, match="Gamma of .*, an end of its range"):
        fit = mlm.lmm("y ~ 1", frame, residual="arma11(visit | id)")
    y = frame["y"].to_numpy().reshape(-1, len(lag))
    ones = np.ones(len(lag))

    def deviance(at):
        inverse = np.linalg.inv(
            at[0] * np.where(lag == 0, 1.0, 0.5 * (at[1] - 1) * at[1] ** np.maximum(lag - 1.0, 0))
        )
        told = len(y) * ones @ inverse @ ones
        e = y - ones @ inverse @ y.sum(axis=0) / told
        logdet = np.log(told) - len(y) * np.linalg.slogdet(inverse)[1]
        return logdet + ((e @ inverse) * e).sum() + (y.size - 1) * np.log(2 * np.pi)

    at = fit.covariance_parameters.to_numpy()[:2]
    assert deviance(at) == pytest.approx(fit.deviance, abs=1e-8)
    steps = np.diag(1e-4 * np.abs(at))
    second = [
        [
            sum(i * j * deviance(at + i * a + j * b) for i in (1, -1) for j in (1, -1))
            / (4 * a.sum() * b.sum())
            for a in steps
        ]
        for b in steps
    ]
    wanted = 2 * np.linalg.inv(second)
    np.testing.assert_allclose(fit.cov_theta().to_numpy()[:2, :2], wanted, rtol=1e-4)
    along = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.5]])
    np.testing.assert_allclose(fit.cov_theta(), along @ wanted @ along.T, rtol=1e-4)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_moving_average_without_inverse_is_named_by_arm(reverse):
    first, lag = _over_differenced()
    rng = np.random.default_rng(1)
    level = np.repeat(rng.normal(size=first["id"].nunique()), len(lag))
    second = first.assign(y=rng.normal(size=len(first)) + level, id=first["id"] + 100)
    frame = pd.concat([first, second], ignore_index=True)
    frame["arm"] = np.where((frame["id"] < 100) ^ reverse, "a", "b")
    with pytest.warns(SingularFitWarning, match="an end of its range"):
        fit = mlm.lmm("y ~ 0 + arm", frame, residual="arma11(visit | arm / id)")
    at = fit.covariance_parameters
    ends = [arm for arm in "ab" if abs(2 * at[f"{arm}: Gamma"] - at[f"{arm}: Rho"]) > 1 - 1e-6]
    assert ends == (["b"] if reverse else ["a"])
    (text,) = fit.certificate.boundary
    assert text.startswith(f"{ends[0]}: Gamma")
