"""Parameters by arm where subjects have points or times of their own, and covariances at points."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitting.starts import moments as moment_starts

from .. import dense
from ..fits import lmm

ARMS = ("a", "b")


@pytest.fixture(scope="module")
def frame():
    """Subjects in two arms, whose errors fade over three units of distance or over one."""
    rng = np.random.default_rng(12)
    n_subjects, n_rows = 20, 7
    subject = np.repeat(np.arange(n_subjects), n_rows)
    n = len(subject)
    data = pd.DataFrame(
        {
            "subject": subject,
            "arm": np.where(subject % 2, "b", "a"),
            "t": rng.uniform(0, 10, n),
            "u": rng.normal(size=n),
            "step": np.tile(np.arange(n_rows), n_subjects) + subject // 2 * n_rows,
            "x": rng.normal(size=n),
            "w": rng.uniform(0.5, 2.0, n),
            "item": rng.integers(0, 6, n),
        }
    )
    y = np.empty(n)
    for code, rows in data.groupby("subject"):
        gap = np.abs(np.subtract.outer(rows["t"].to_numpy(), rows["t"].to_numpy()))
        root = np.linalg.cholesky(np.exp(-gap / (1.0 if code % 2 else 3.0)))
        y[rows.index] = (1.5 if code % 2 else 1.0) * root @ rng.normal(size=len(rows))
    data["y"] = 2.0 + 0.5 * data["x"] + y / np.sqrt(data["w"])
    return data.iloc[rng.permutation(n)].reset_index(drop=True)


def distances(frame, names):
    points = frame[list(names)].to_numpy()
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))


KERNELS = {
    "sp_exp": lambda d, r: np.exp(-d / r),
    "sp_gau": lambda d, r: np.exp(-((d / r) ** 2)),
    "sp_pow": lambda d, r: r**d,
    "sp_sph": lambda d, r: np.where(d < r, 1 - 1.5 * d / r + 0.5 * (d / r) ** 3, 0.0),
}


def covariance(frame, keyword, names, parameters):
    """R from the four parameters of two arms."""
    d, out = distances(frame, names), np.zeros((len(frame),) * 2)
    subject = frame["subject"].to_numpy()
    same = subject[:, None] == subject
    for k, arm in enumerate(ARMS):
        own = (frame["arm"] == arm).to_numpy()
        variance, reach = parameters[2 * k : 2 * k + 2]
        inside = own[:, None] & own & same
        out += np.where(inside, variance * KERNELS[keyword](d, reach), 0.0)
    return out / np.sqrt(np.outer(frame["w"], frame["w"]))


# residual=, its coordinates, whether items lie across the subjects
MODELS = [
    ("sp_exp(t, u | arm / subject)", ("t", "u"), False),
    ("sp_gau(t | arm / subject)", ("t",), False),
    ("sp_sph(t, u | arm / subject)", ("t", "u"), True),
    ("car1(t | arm / subject)", ("t",), True),
    ("sp_exp(t | arm / subject)", ("t",), False),
]


@pytest.fixture(scope="module", params=MODELS, ids=lambda case: f"{case[0]}-{case[2]}")
def fitted(request, frame):
    residual, names, items = request.param
    formula = "y ~ x + arm" + (" + (1 | item)" if items else "")
    method = "ML" if items else "REML"
    fit = lmm(formula, frame, residual=residual, weights="w", method=method)
    keyword = residual.split("(")[0].replace("car1", "sp_exp")
    return fit, keyword, names


def dense_deviance(fit, frame, keyword, names, parameters):
    X, y = fit.X().to_numpy(), frame["y"].to_numpy()
    V = covariance(frame, keyword, names, parameters)
    for group, matrix in fit.varcorr.items():
        codes = frame[group].to_numpy()
        V = V + matrix.iloc[0, 0] * (codes[:, None] == codes)
    return -2.0 * dense.log_likelihood(y, X, V, fit.method)


def test_the_likelihood_is_that_of_the_dense_covariance(fitted, frame):
    fit, keyword, names = fitted
    parameters = fit.residual_parameters.to_numpy()
    assert fit.converged
    assert_allclose(fit.R(), covariance(frame, keyword, names, parameters), rtol=1e-9, atol=1e-12)
    assert fit.deviance == pytest.approx(
        dense_deviance(fit, frame, keyword, names, parameters), rel=1e-11
    )
    beta, vcov = dense.gls(frame["y"].to_numpy(), fit.X().to_numpy(), fit.V().to_numpy())
    assert_allclose(fit.params, beta, rtol=1e-8)
    assert_allclose(fit.cov_params(), vcov, rtol=1e-8)


def test_gradient_and_hessian_are_differences_of_the_dense_likelihood(fitted, frame):
    """Away from the estimates, in theta of the residual; random effects stay."""
    fit, keyword, names = fitted
    model, criterion = fit._source.model, fit._source.criterion
    block, own = criterion.terms[-1], criterion.theta_slices[-1]
    structure = block.structure.structure
    theta = fit._source.theta.copy()
    theta[0, own] += np.array([0.1, -0.2, -0.15, 0.1])

    def natural(t):
        parts = [structure.natural(half[None])[0] for half in np.split(t, 2)]
        out = np.concatenate(parts)
        out[::2] *= model.response_unit
        return out

    held = fit._source.theta[:, : own.start]
    whole = np.concatenate([held, theta[:, own]], axis=1)
    at = criterion(whole, np.zeros(1, dtype=np.intp))

    def value(t):
        return dense_deviance(fit, frame, keyword, names, natural(t))

    def slope(t):
        point = np.concatenate([held[0], t])[None]
        return criterion(point, np.zeros(1, dtype=np.intp)).gradient[0, own]

    found = dense.finite_difference(value, whole[0, own], 1e-4)
    assert_allclose(at.gradient[0, own], found, rtol=1e-5, atol=1e-5)
    steps = 1e-5 * np.eye(4)
    bend = [(slope(whole[0, own] + s) - slope(whole[0, own] - s)) / 2e-5 for s in steps]
    assert_allclose(at.hessian[0, own, own], np.array(bend), rtol=1e-5, atol=1e-5)


ALONE = [
    ("sp_exp(t, u | {})", {}),
    ("sp_gau(t | {})", {"weights": "w"}),
    ("sp_powa(t, u | {})", {}),
    ("sp_matern(t, u | {})", {"weights": "w"}),
    ("sp_sph(t | {})", {}),
    ("car1(t | {})", {"options": {"engine": "dense"}}),
    ("ar1(step | {})", {"options": {"engine": "dense"}}),
    ("arma11(step | {})", {"options": {"engine": "dense"}}),
]


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize(("residual", "arguments"), ALONE, ids=[case[0] for case in ALONE])
def test_two_arms_that_share_nothing_are_two_fits(residual, arguments, method, frame):
    both = lmm(
        "y ~ 0 + arm + arm:x", frame, residual=residual.format("arm / subject"), method=method,
        **arguments,
    )  # fmt: skip
    single = {
        arm: lmm(
            "y ~ x", frame[frame["arm"] == arm], residual=residual.format("subject"),
            method=method, **arguments,
        )
        for arm in ARMS
    }  # fmt: skip
    assert both.llf == pytest.approx(sum(fit.llf for fit in single.values()), abs=1e-7)
    for arm, fit in single.items():
        alone = fit.residual_parameters
        together = both.residual_parameters[[f"{arm}: {name}" for name in alone.index]]
        # A parameter along which the likelihood is flat is as uncertain as its flatness.
        assert_allclose(together, alone, rtol=1e-4, atol=1e-6)
        assert both.params[f"arm{arm}"] == pytest.approx(fit.params["(Intercept)"], rel=1e-4)


def test_a_scale_on_top_of_arms_has_the_dense_likelihood(frame):
    both = lmm(
        "y ~ 0 + arm + arm:x", frame, residual="sp_exp(t, u | arm / subject)", method="ML",
        residual_scale="exp(x)",
    )  # fmt: skip
    values = both.residual_parameters
    R = both.R().to_numpy()
    base = covariance(frame.assign(w=1.0), "sp_exp", ("t", "u"), values.to_numpy()[:4])
    scale = np.exp(values.iloc[4] * frame["x"].to_numpy())
    assert_allclose(R, base * np.outer(scale, scale), rtol=1e-9, atol=1e-12)
    X, y = both.X().to_numpy(), frame["y"].to_numpy()
    assert both.llf == pytest.approx(dense.log_likelihood(y, X, R, "ML"), rel=1e-11)
    assert both.converged


def test_the_same_parameters_in_both_arms_have_the_likelihood_of_one(frame):
    one = lmm("y ~ x", frame, residual="sp_gau(t | subject)")
    two = lmm("y ~ x", frame, residual="sp_gau(t | arm / subject)")
    assert two.llf > one.llf
    model, criterion = two._source.model, two._source.criterion
    theta = np.tile(one._source.theta, 2)
    assert float(estimates_of(model, criterion, theta).deviance[0]) == pytest.approx(
        one.deviance, rel=1e-12
    )


@pytest.mark.parametrize("residual", ["sp_gau(t | arm / subject)", "car1(t | arm / subject)"])
def test_draws_have_the_covariance_of_the_arms(residual, frame):
    fit = lmm("y ~ x", frame, residual=residual, weights="w")
    draws = fit.simulate(400, seed=3) - fit.fittedvalues.to_numpy()[:, None]
    for subject in (4, 7):
        rows = np.flatnonzero(frame["subject"] == subject)
        R = fit.R(subject).to_numpy()
        sd = np.sqrt((np.outer(np.diag(R), np.diag(R)) + R**2) / draws.shape[1])
        assert (np.abs(draws[rows] @ draws[rows].T / draws.shape[1] - R) < 5 * sd).all()


def test_a_saved_fit_answers_as_before(frame):
    fit = lmm("y ~ x", frame, residual="sp_exp(t, u | arm / subject)", weights="w")
    loaded = mlm.load(fit.to_json())
    pd.testing.assert_series_equal(loaded.residual_parameters, fit.residual_parameters)
    points = [[0.0, 0.0], [1.0, 0.5]]
    for arm in ARMS:
        assert_allclose(loaded.residual_cov_at(points)[arm], fit.residual_cov_at(points)[arm])


@pytest.mark.parametrize("ddf", ["kenward-roger", "satterthwaite"])
def test_inference_of_long_series_by_arm_is_that_of_matrices(ddf, frame):
    series = lmm("y ~ x + arm", frame, residual="sp_exp(t | arm / subject)", weights="w")
    # A second coordinate that never changes: the same distances, held as matrices.
    flat = frame.assign(zero=0.0)
    matrices = lmm("y ~ x + arm", flat, residual="sp_exp(t, zero | arm / subject)", weights="w")
    assert matrices.llf == pytest.approx(series.llf, abs=1e-9)
    a, b = (fit.contrast("x = 0.1", ddf=ddf).table for fit in (series, matrices))
    assert_allclose(a.to_numpy(float), b.to_numpy(float), rtol=1e-5)


@pytest.mark.parametrize(
    ("residual", "arguments"),
    [
        ("sp_exp(t, u | arm / subject)", {}),
        ("car1(t | arm / subject)", {}),
        ("ar1(step | arm / subject)", {"residual_scale": "exp(x)"}),
        ("sp_gau(t | arm / subject)", {"residual_scale": "exp(x)"}),
    ],
)
def test_parameters_of_arms_are_profiled_held_and_resampled(residual, arguments, frame):
    """Whichever way the arms are held: by blocks, in one, along series, with a scale."""
    data = frame.assign(step=frame.groupby("subject").cumcount())
    fit = lmm("y ~ x", data, residual=residual, **arguments)
    name, value = fit.residual_parameters.index[2], fit.residual_parameters.iloc[2]
    assert name == "b: Variance"
    held = lmm("y ~ x", data, residual=residual, hold={name: value}, **arguments)
    assert held.llf == pytest.approx(fit.llf, abs=1e-7)
    moved = lmm("y ~ x", data, residual=residual, hold={name: 1.5 * value}, **arguments)
    profile = fit.profile(name)
    curve = moved.deviance - fit.deviance
    lower, upper = profile.conf_int().iloc[0][["lower", "upper"]]
    assert lower < value < upper
    assert (upper < 1.5 * value) == (curve > 3.841458820694124)
    assert len(fit.bootstrap(3, seed=1).replicates) == 3


def test_the_mean_residual_variance_weighs_arms_by_their_rows(frame):
    few = frame[(frame["arm"] == "a") | (frame["subject"] < 12)]
    fit = lmm("y ~ x + (1 | subject)", few, residual="sp_exp(t, u | arm / subject)")
    rows = (few["arm"] == "b").mean()
    values = fit.residual_parameters
    residual = (1 - rows) * values["a: Variance"] + rows * values["b: Variance"]
    assert np.diag(fit.R()).mean() == pytest.approx(residual, rel=1e-9)
    fixed = np.var(fit.X().to_numpy() @ fit.params.to_numpy(), ddof=1)
    group = fit.varcorr["subject"].iloc[0, 0]
    assert fit.r2()["estimate"]["marginal"] == pytest.approx(
        fixed / (fixed + group + residual), rel=1e-9
    )


@pytest.mark.parametrize("keyword", ["sp_gau", "sp_exp", "sp_pow"])
def test_few_points_that_hardly_two_subjects_share_are_no_other_model(keyword, frame, monkeypatch):
    """Held as one matrix over all points, or unit by unit; most pairs of points are never met."""
    few = frame[frame["subject"] < 8]
    residual = f"{keyword}(t, u | subject)"
    one = lmm("y ~ x", few, residual=residual)
    monkeypatch.setattr("mlmfast.design.residual.read.LARGEST_ORDER", 10)
    by_unit = lmm("y ~ x", few, residual=residual)
    assert len(one._record.residual.visits) == 56
    assert len(by_unit._record.residual.visits) == 0
    assert one.llf == pytest.approx(by_unit.llf, abs=1e-8)
    assert_allclose(one.residual_parameters, by_unit.residual_parameters, rtol=1e-5)


def test_an_arm_of_too_few_rows_is_refused(frame):
    alone = frame[(frame["arm"] == "b") | (frame.index == frame.index[frame["arm"] == "a"][0])]
    with pytest.raises(ModelError, match=r"no subject with arm = 'a' with several levels"):
        mlm.lmm("y ~ x", alone, residual="sp_gau(t | arm / subject)")


# -- covariances at points -----------------------------------------------------------------------


def test_covariances_at_points_are_those_of_the_rows(fitted, frame):
    fit, _, names = fitted
    rows = frame[frame["subject"] == 8]
    found = fit.residual_cov_at(rows[list(names)])["a"]
    weights = np.sqrt(np.outer(rows["w"], rows["w"]))
    R = fit.R().to_numpy()[np.ix_(rows.index, rows.index)]
    assert_allclose(found, R * weights, rtol=1e-9, atol=1e-12)
    with pytest.raises(ModelError, match=r"too many points.*residual_cov_at\(points\).*R\(cluster"):
        _ = fit.residual_cov


@pytest.mark.parametrize("residual", ["ar1(step | subject)", "arma11(step | subject)"])
def test_covariances_at_steps_are_those_of_the_rows(residual, frame):
    fit = lmm("y ~ x", frame, residual=residual)
    rows = frame[frame["subject"] == 8]
    at = fit.residual_cov_at(rows["step"])
    assert at.index.name == "step"
    assert_allclose(at, fit.R(8), rtol=1e-9)


def test_points_that_are_none_are_refused(frame):
    fit = lmm("y ~ x", frame, residual="sp_exp(t, u | subject)")
    with pytest.raises(DataError, match=r"2 number\(s\) each"):
        fit.residual_cov_at([0.0, 1.0])
    with pytest.raises(DataError, match="no column 'u'"):
        fit.residual_cov_at(frame[["t"]])
    with pytest.raises(DataError, match="numbers are needed"):
        fit.residual_cov_at([["a", "b"]])
    with pytest.raises(DataError, match="missing or infinite"):
        fit.residual_cov_at([[0.0, np.nan]])
    short = frame.assign(visit=frame.groupby("subject").cumcount())
    steps = lmm("y ~ x", short, residual="ar1(visit | subject)")
    with pytest.raises(DataError, match="whole numbers"):
        steps.residual_cov_at([0.0, 0.5])
    by_visit = lmm("y ~ x", short, residual="toep(visit | subject)")
    with pytest.raises(ModelError, match=r"over visits.*residual_cov has"):
        by_visit.residual_cov_at([0, 1])
    with pytest.raises(ModelError, match="no residual structure"):
        lmm("y ~ x + (1 | item)", frame).residual_cov_at([0, 1])


@pytest.mark.parametrize("keyword", ["sp_gau", "sp_sph"])
def test_a_range_below_all_distances_is_left_for_a_better_one(keyword, frame, monkeypatch):
    """From a start where the likelihood does not depend on the range."""
    residual = f"{keyword}(t | subject)"
    fit = lmm("y ~ x", frame, residual=residual)
    start = moment_starts.residual_start

    def without_reach(model, criterion, *rest):
        theta = start(model, criterion, *rest)
        theta[:, 1] = criterion.terms[-1].structure.structure.from_natural([[1.0, 1e-5]])[0, 1]
        return theta

    monkeypatch.setattr(moment_starts, "residual_start", without_reach)
    again = lmm("y ~ x", frame, residual=residual)
    assert again.llf >= fit.llf - 1e-7
    assert again.residual_parameters.iloc[1] > 0.1
