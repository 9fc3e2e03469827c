"""Residual standard deviations that differ from row to row, direct products and known matrices."""

import collections
import sys
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm
from mlmfast.covariance import STRUCTURES
from mlmfast.covariance.base import lower_entries as lower_pairs
from mlmfast.covariance.log_scale import LogScale
from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.covariance.structures.direct_product import DirectProduct
from mlmfast.errors import SingularFitWarning

from ..dense import inverse, log_determinant
from ..fits import lmm
from ..residual_models import trial


def dense_deviance(fit, frame, method, group="subject"):
    """-2 log-likelihood from X, y and the V blocks that the fit shows."""
    X = fit.X(None).to_numpy()
    if fit.n_groups:
        order = [np.flatnonzero(frame[group] == label) for label in frame[group].unique()]
        blocks = [fit.V(label).to_numpy() for label in frame[group].unique()]
        V = np.zeros((len(frame), len(frame)))
        for rows, block in zip(order, blocks, strict=True):
            V[np.ix_(rows, rows)] = block
    else:
        V = fit.V(None).to_numpy()
    P, y = inverse(V), frame["y"].to_numpy()
    information = X.T @ P @ X
    beta = np.linalg.solve(information, X.T @ P @ y)
    r = y - X @ beta
    value = log_determinant(V) + r @ P @ r + len(y) * np.log(2 * np.pi)
    if method == "ML":
        return value
    return value + np.linalg.slogdet(information)[1] - X.shape[1] * np.log(2 * np.pi)


SCALES = ("arm", "exp(x)", "power(w)", "power(w | arm)", "arm * exp(x)", "site:arm")
MODELS = {
    "alone": ("y ~ x", None),
    "intercept": ("y ~ x + (1 | subject)", None),
    "nested": ("y ~ x + (1 | site/subject)", None),
    "ar1": ("y ~ x", "ar1(visit | subject)"),
    "ar1 and intercept": ("y ~ x + (1 | site)", "ar1(visit | subject)"),
    "us by arm": ("y ~ x", "us(visit | arm / subject)"),
    "points": ("y ~ x", "sp_exp(x, time | subject)"),
}


@pytest.fixture(scope="module")
def frame():
    return trial(seed=8, n_subjects=50, missing=0.2, subject_sd=1.2)


@pytest.fixture(scope="module")
def few():
    """Few visits: every unit has derivatives of its own by each pair of parameters of both arms."""
    return trial(seed=8, n_subjects=30, n_visits=2, missing=0.1, subject_sd=1.2)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("formula", "residual"), MODELS.values(), ids=MODELS)
def test_the_likelihood_is_that_of_the_covariance_shown(
    frame, few, formula, residual, scale, method
):
    if residual and "/" in residual:
        if "arm" in scale:
            pytest.skip("arms have covariances of their own, their ratio is not estimable")
        frame = few
    fit = lmm(formula, frame, residual=residual, residual_scale=scale, method=method, weights="w")
    assert fit.converged
    group = "site" if "site" in formula else "subject"
    assert fit.deviance == pytest.approx(dense_deviance(fit, frame, method, group), rel=1e-10)


@pytest.mark.parametrize("scale", ["arm", "exp(x)", "power(w)"])
@pytest.mark.parametrize(("formula", "residual"), MODELS.values(), ids=MODELS)
def test_the_optimum_is_stationary(frame, few, formula, residual, scale):
    if residual and "/" in residual:
        if scale == "arm":
            pytest.skip("not identified")
        frame = few
    fit = lmm(formula, frame, residual=residual, residual_scale=scale, method="ML")
    source = fit._source
    theta, fits = source.theta, np.zeros(1, dtype=np.intp)
    for k in range(theta.shape[1]):
        step = np.zeros_like(theta)
        step[0, k] = 1e-4
        up, down = (source.criterion.value(theta + s, fits)[0] for s in (step, -step))
        assert abs(up - down) / 2e-4 < 1e-4


def test_ratio_of_two_separate_fits(frame):
    """Without fixed effects in common the arms are fitted apart: the ratio is that of the SDs."""
    fit = mlm.lmm("y ~ 0 + arm + arm:x", frame, residual_scale="arm")
    sigma = {arm: mlm.lmm("y ~ x", own).sigma for arm, own in frame.groupby("arm")}
    ratio = fit.residual_parameters["SD(placebo)/SD(active)"]
    # REML divides by the rows less the columns of each arm only where both are alike in size.
    free = {arm: (frame["arm"] == arm).sum() - 2 for arm in sigma}
    assert fit.sigma == pytest.approx(sigma["active"], rel=1e-9)
    assert ratio == pytest.approx(sigma["placebo"] / sigma["active"], rel=1e-8)
    assert sum(free.values()) == len(frame) - 4


def test_a_scale_alone_is_a_diagonal_structure(frame):
    scale = mlm.lmm("y ~ x + (1 | subject)", frame, residual_scale="visit")
    diagonal = mlm.lmm("y ~ x + (1 | subject)", frame, residual="diag(visit | subject)")
    assert scale.llf == pytest.approx(diagonal.llf, abs=1e-9)
    sd = scale.sigma * np.append(1.0, scale.residual_parameters.iloc[1:])
    assert_allclose(sd, np.sqrt(np.diag(diagonal.residual_cov)), rtol=1e-7)


@pytest.mark.parametrize(
    ("plain", "heterogeneous"), [("ar1", "ar1h"), ("cs", "csh"), ("ad", "adh")]
)
def test_a_scale_by_visit_makes_a_structure_heterogeneous(frame, plain, heterogeneous):
    scaled = mlm.lmm("y ~ x", frame, residual=f"{plain}(visit | subject)", residual_scale="visit")
    other = mlm.lmm("y ~ x", frame, residual=f"{heterogeneous}(visit | subject)")
    assert scaled.llf == pytest.approx(other.llf, abs=1e-8)
    assert_allclose(scaled.bse, other.bse, rtol=1e-7)


def test_a_shift_of_the_covariate_changes_sigma_alone(frame):
    near = mlm.lmm("y ~ x", frame, residual_scale="exp(x)")
    far = mlm.lmm("y ~ x", frame.assign(z=frame["x"] + 2000.0), residual_scale="exp(z)")
    delta = near.residual_parameters["exp(x)"]
    assert far.residual_parameters["exp(z)"] == pytest.approx(delta, rel=1e-7)
    assert far.llf == pytest.approx(near.llf, abs=1e-9)
    assert np.log(far.sigma) == pytest.approx(np.log(near.sigma) - 2000.0 * delta, rel=1e-6)


def test_few_and_many_distinct_covariates_are_one_model(frame):
    """Shared templates and matrices of each unit give the same fit."""
    few = frame.assign(z=frame["x"].round(0))
    many = few.assign(z=few["z"] + 1e-13 * np.arange(len(few)))
    for formula, residual in (("y ~ x + (1 | subject)", None), ("y ~ x", "us(visit | subject)")):
        a, b = (lmm(formula, d, residual=residual, residual_scale="exp(z)") for d in (few, many))
        assert a._source.model.design.residual.by_unit != b._source.model.design.residual.by_unit
        assert a.llf == pytest.approx(b.llf, abs=1e-8)
        assert_allclose(a.bse, b.bse, rtol=1e-6)
        assert_allclose(a.fittedvalues, b.fittedvalues, rtol=1e-6)


def test_everything_a_fit_offers(frame):
    fit = mlm.lmm("y ~ x + (1 | site)", frame, residual="ar1(visit | subject)",
                  residual_scale="arm * exp(x)", weights="w")  # fmt: skip
    label = frame["site"].iloc[0]
    rows = np.flatnonzero(frame["site"] == label)
    R = fit.R(label).to_numpy()
    sd = np.sqrt(np.diag(R))
    ratio, delta = fit.residual_parameters.iloc[-2:]
    placebo = (frame["arm"] == "placebo").to_numpy()[rows]
    expected = (
        fit.sigma * np.where(placebo, ratio, 1.0) * np.exp(delta * frame["x"].to_numpy()[rows])
    )
    assert_allclose(sd, expected / np.sqrt(frame["w"].to_numpy()[rows]), rtol=1e-10)
    raw, pearson = fit.resid("raw").to_numpy()[rows], fit.resid("pearson").to_numpy()[rows]
    assert_allclose(pearson, raw / sd, rtol=1e-10)
    marginal = fit.resid("marginal").to_numpy()[rows]
    whitened = np.linalg.solve(np.linalg.cholesky(fit.V(label)), marginal)
    assert_allclose(fit.resid("scaled").to_numpy()[rows], whitened, rtol=1e-8)
    again = mlm.load(fit.to_json())
    assert_allclose(again.residual_parameters, fit.residual_parameters, rtol=0)
    assert str(again.summary()).splitlines()[:3] == str(fit.summary()).splitlines()[:3]
    assert "SD(placebo)/SD(active)" in str(fit.summary())
    assert "SD(placebo)/SD(active)" in fit._repr_html_()
    assert list(fit.tidy()["term"])[-2:] == ["SD(placebo)/SD(active)", "exp(x)"]


def test_simulated_responses_have_the_covariance_of_the_fit():
    frame = trial(seed=2, n_subjects=4, missing=0.0)
    fit = lmm("y ~ 1", frame, residual="ar1(visit | subject)", residual_scale="arm")
    label = frame["subject"].iloc[0]
    rows = np.flatnonzero(frame["subject"] == label)
    sample = np.cov(np.asarray(fit.simulate(20_000, seed=1))[rows])
    V = fit.V(label).to_numpy()
    assert_allclose(sample, V, atol=0.05 * V.max())


def test_prediction_intervals_of_new_rows(frame):
    fit = mlm.lmm("y ~ x", frame, residual="us(visit | subject)", residual_scale="arm * exp(x)")
    own, new = fit.predict(interval="prediction"), fit.predict(frame, interval="prediction")
    assert_allclose(own, new, rtol=1e-10)
    with pytest.raises(mlm.errors.DataError, match=r"visit = 'v9' was not seen"):
        fit.predict(frame.head(2).assign(visit="v9"), interval="prediction")
    with pytest.raises(mlm.errors.DataError, match=r"'arm' has missing values"):
        fit.predict(frame.head(2).assign(arm=None), interval="prediction")


def test_scales_fit_in_a_batch_as_alone(frame):
    model = mlm.LMM("y ~ x + (1 | subject)", frame, residual_scale="arm")
    Y = np.column_stack([frame["y"], frame["y"] * 3.0, np.asarray(model.fit().simulate(1, seed=3))])
    batch = model.fit_many(Y)
    for k in range(3):
        alone = mlm.lmm("y ~ x + (1 | subject)", frame.assign(y=Y[:, k]), residual_scale="arm")
        assert batch.llf[k] == alone.llf
        assert_allclose(batch.sigma[k], alone.sigma, rtol=1e-15)


def test_a_large_scale_by_a_factor_takes_work_in_proportion_to_rows():
    """Rows are their own units: neither memory nor calls grow with the square of the rows."""

    def work(n):
        rng = np.random.default_rng(n)
        data = {"g": rng.integers(0, n // 10, n), "s": rng.integers(0, 2, n).astype(str)}
        data["y"] = rng.normal(size=n) * (1.0 + (data["s"] == "1"))
        calls = collections.Counter()
        tracemalloc.start()
        sys.setprofile(lambda frame, event, function: calls.update([event]))
        try:
            fit = lmm("y ~ 1 + (1 | g)", data, residual_scale="s")
        finally:
            sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert fit.residual_parameters.iloc[-1] == pytest.approx(2.0, rel=0.2)
        return peak, calls.total()

    work(500)
    small, large = work(1_000), work(40_000)
    assert large[0] < 80 * small[0]
    assert large[1] < 10 * small[1]


# -- structures -----------------------------------------------------------------------------------


LINEAR = LogScale(
    ("ratio", "delta"), ("ratio", "slope"), np.array([0.0, 0.4]), np.array([1.0, 0.7])
)
SLOPE = LogScale(("delta",), ("slope",), np.array([0.5]), np.array([0.5]))


def composites():
    """Scaled and product structures with their number of natural parameters."""
    exponents = np.array([[0.0, 0.3], [1.0, -0.2], [1.0, 0.8], [0.0, 1.1]])
    for keyword in ("us", "ar1", "csh", "toep", "fa"):
        base = STRUCTURES[keyword](2)
        yield (
            f"scaled {keyword}",
            ScaledCovariance(
                4,
                (base,),
                np.array([0, 0, 1, 1]),
                exponents,
                LINEAR,
                lower_pairs(4),
            ),
        )
    for power in ("power", "positive power"):
        columns = np.array([[1.0, 0.3], [1.0, -0.2], [1.0, 0.8], [1.0, -np.inf]])
        columns = columns if power == "positive power" else np.where(columns < -9, 1.3, columns)
        beside = LogScale(("c", "p"), ("constant", power), np.array([1.0, 0.2]), np.array([1, 0.7]))
        yield (
            f"scaled by a constant and a {power}",
            ScaledCovariance(
                4, (STRUCTURES["us"](2),), np.array([0, 0, 1, 1]), columns, beside, lower_pairs(4)
            ),
        )
    kinds = ("ratio", *("constant", "power") * 2)
    columns = np.array(
        [[0, 1, 0.3, 0, 0], [1, 0, 0, 1, -0.4], [1, 1, 0.9, 0, 0], [0, 0, 0, 1, 2.0]]
    )
    own = LogScale(
        tuple("rcpcp"), kinds, np.array([0, 0.6, 0.2, 0.4, 0.3]), np.array([1, 1, 0.7, 1, 1.2])
    )
    yield (
        "a constant and a power by level",
        ScaledCovariance(
            4, (STRUCTURES["ar1"](2),), np.array([0, 0, 1, 1]), columns, own, lower_pairs(4)
        ),
    )
    arms = (STRUCTURES["us"](2), STRUCTURES["us"](2))
    yield (
        "scaled arms",
        ScaledCovariance(
            4, arms, np.arange(4), exponents[:, 1:], SLOPE, lower_pairs(4), ("a", "b")
        ),
    )
    for outer in ("us", "csh", "fa", "hf"):
        for inner in ("ar1", "us", "un", "cs", "diag", "toeph"):
            pair = STRUCTURES[outer](2), STRUCTURES[inner](3)
            yield f"{outer} @ {inner}", DirectProduct(6, *pair)


COMPOSITES = dict(composites())
every_composite = pytest.mark.parametrize("structure", COMPOSITES.values(), ids=COMPOSITES)


def some_theta(structure):
    return 0.5 * np.random.default_rng(structure.n_theta).standard_normal((3, structure.n_theta))


def entries_of(structure, theta):
    rows, columns = np.array(structure.entries).T
    return structure.matrix(theta)[:, rows, columns]


def differences(function, theta, h=1e-5):
    steps = h * np.eye(theta.shape[1])
    return np.stack([(function(theta + s) - function(theta - s)) / (2 * h) for s in steps], axis=-1)


@every_composite
def test_derivatives_match_differences(structure):
    theta = some_theta(structure)
    expected = differences(lambda t: entries_of(structure, t), theta)
    assert_allclose(structure.jacobian(theta), expected, rtol=1e-6, atol=1e-8)
    weight = np.random.default_rng(1).standard_normal((3, len(structure.entries)))

    def gradient(t):
        return np.einsum("ae,aet->at", weight, structure.jacobian(t))

    curvature = differences(gradient, theta)
    assert_allclose(structure.curvature(theta, weight), curvature, rtol=1e-6, atol=1e-7)


@every_composite
def test_local_coordinates_match_differences(structure):
    theta = some_theta(structure)
    weight = np.random.default_rng(2).standard_normal((3, len(structure.entries)))
    first, second = structure.chart(theta, weight)

    def local(step):
        return entries_of(structure, structure.move(theta, np.broadcast_to(step, theta.shape)))

    zero = np.zeros((1, structure.n_theta))
    assert_allclose(first, differences(local, zero), rtol=1e-5, atol=1e-7)
    h = 1e-4
    for k in range(structure.n_theta):
        step = np.zeros((1, structure.n_theta))
        step[0, k] = h
        bend = (local(step) - 2.0 * local(zero) + local(-step)) / h**2
        expected = (bend * weight).sum(axis=1)
        assert_allclose(second[:, k, k], expected, rtol=1e-4, atol=1e-5)


@every_composite
def test_natural_parameters_round_trip(structure):
    theta = some_theta(structure)
    natural = structure.natural(theta)
    assert natural.shape[1] == len(structure.parameter_names) == structure.n_theta
    again = structure.from_natural(natural)
    assert_allclose(structure.matrix(again), structure.matrix(theta), rtol=1e-9, atol=1e-12)
    expected = differences(structure.natural, theta)
    assert_allclose(structure.natural_jacobian(theta), expected, rtol=1e-6, atol=1e-8)
    expected = differences(structure.natural_jacobian, theta)
    assert_allclose(structure.natural_hessian(theta), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("inner", ["ar1", "us", "cs"])
def test_a_product_starts_at_its_own_members(inner):
    product = DirectProduct(6, STRUCTURES["us"](2), STRUCTURES[inner](3))
    matrix = product.matrix(some_theta(product))
    assert_allclose(product.matrix(product.theta(matrix)), matrix, rtol=1e-8)


def test_a_product_is_the_kronecker_product():
    outer, inner = STRUCTURES["us"](2), STRUCTURES["ar1"](3)
    product = DirectProduct(6, outer, inner)
    theta = some_theta(product)
    a, b = outer.matrix(theta[:, :3]), inner.matrix(np.insert(theta[:, 3:], 0, 0.0, axis=1))
    assert_allclose(product.matrix(theta), [np.kron(*pair) for pair in zip(a, b, strict=True)])


# -- products and numbers in models ---------------------------------------------------------------


@pytest.fixture(scope="module")
def outcomes():
    """Two outcomes at three visits; covariance us x ar1."""
    rng = np.random.default_rng(3)
    a, b = np.array([[1.0, 0.5], [0.5, 2.0]]), 0.6 ** np.abs(np.subtract.outer(range(3), range(3)))
    noise = rng.normal(size=(60, 6)) @ np.linalg.cholesky(np.kron(a, b)).T
    frame = pd.DataFrame({
        "y": noise.ravel(),
        "subject": np.repeat([f"s{k}" for k in range(60)], 6),
        "outcome": np.tile(np.repeat(["a", "b"], 3), 60),
        "visit": np.tile(["v1", "v2", "v3"], 120),
        "time": np.tile([0.0, 1.0, 2.5], 120),
    })  # fmt: skip
    return frame.sample(frac=0.85, random_state=1).reset_index(drop=True)


MEAN = "y ~ outcome * visit"
PRODUCTS = ("us(outcome) @ ar1(visit | subject)", "us(outcome) @ cs(visit | subject)",
            "us(outcome) @ us(visit | subject)", "csh(outcome) @ toep(visit | subject)",
            "us(outcome) @ sp_exp(time | subject)", "fa(outcome) @ un(visit | subject, 2)",
)  # fmt: skip


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("residual", PRODUCTS)
def test_products_have_the_likelihood_of_their_covariance(outcomes, residual, method):
    fit = lmm(MEAN, outcomes, residual=residual, method=method)
    assert fit.converged
    assert fit.deviance == pytest.approx(dense_deviance(fit, outcomes, method), rel=1e-10)


def test_spellings_of_a_product_are_one_model(outcomes):
    texts = ("us(outcome) @ ar1(visit | subject)", "us(outcome) @ ar1(visit) | subject",
             "(us(outcome) @ ar1(visit)) | subject", "us(outcome)@ar1(visit|subject)")  # fmt: skip
    assert len({lmm(MEAN, outcomes, residual=text).llf for text in texts}) == 1


def test_factors_of_an_unstructured_product_commute(outcomes):
    left = lmm(MEAN, outcomes, residual="us(outcome) @ us(visit | subject)")
    right = lmm(MEAN, outcomes, residual="us(visit) @ us(outcome | subject)")
    assert left.llf == pytest.approx(right.llf, abs=1e-8)
    order = [f"{a}:{b}" for b in ("v1", "v2", "v3") for a in "ab"]
    swapped = [f"{b}:{a}" for b in ("v1", "v2", "v3") for a in "ab"]
    expected = left.residual_cov.loc[order, order]
    assert_allclose(right.residual_cov.loc[swapped, swapped], expected, rtol=1e-6)


def test_a_product_within_arms_and_with_random_effects(outcomes):
    frame = outcomes.assign(arm=outcomes["subject"].str[-1] < "5", site=outcomes["subject"].str[-1])
    fit = lmm(MEAN + " + (1 | site)", frame, residual="us(outcome) @ ar1(visit | arm / subject)")
    assert fit.converged
    assert set(fit.residual_cov) == {"FALSE", "TRUE"} or len(fit.residual_cov) == 2
    assert fit.deviance == pytest.approx(dense_deviance(fit, frame, "REML", "site"), rel=1e-10)


LIMITS = {
    "toep(1) = homdiag": ("toep(visit | subject, 1)", "homdiag(visit | subject)"),
    "toep(K) = toep": ("toep(4)(visit | subject)", "toep(visit | subject)"),
    "un(K) = us": ("un(visit | subject)", "us(visit | subject)"),
    "un(1) = diag": ("un(visit | subject, q=1)", "diag(visit | subject)"),
    "un(2) of one outcome": ("diag(one) @ un(visit | subject, 2)", "un(visit | subject, 2)"),
    "sp_powa = sp_pow": ("sp_powa(time | subject)", "sp_pow(time | subject)"),
    "matern(1/2) = exp": ("sp_matern(time | subject, nu=0.5)", "sp_exp(time | subject)"),
    "ad(1) = ad": ("ad(1)(visit | subject)", "ad(visit | subject)"),
    "product with one outcome": ("homdiag(one) @ ar1(visit | subject)", "ar1(visit | subject)"),
}


@pytest.mark.parametrize(("special", "general"), LIMITS.values(), ids=LIMITS)
def test_structures_that_are_the_same(frame, special, general):
    one = frame.assign(one="all")
    a, b = (lmm("y ~ x + visit", one, residual=text) for text in (special, general))
    assert a.llf == pytest.approx(b.llf, abs=1e-8)
    assert_allclose(a.bse, b.bse, rtol=1e-7)


def test_factors_as_many_as_visits_are_unstructured(frame):
    with pytest.warns(SingularFitWarning, match=r"Var\(1\), .* and \d+ more cannot be told apart"):
        full = mlm.lmm("y ~ x", frame, residual="fa(visit | subject, 4)")
    unstructured = mlm.lmm("y ~ x", frame, residual="us(visit | subject)")
    assert full.llf == pytest.approx(unstructured.llf)
    assert full.aic == pytest.approx(unstructured.aic)


def test_known_matrices(frame):
    lag = np.abs(np.subtract.outer(range(4), range(4)))
    bands = [(lag == k).astype(float) for k in range(4)]
    lin = mlm.lmm("y ~ x", frame, residual="lin(visit | subject)", lin=bands)
    toep = mlm.lmm("y ~ x", frame, residual="toep(visit | subject)")
    assert lin.llf == pytest.approx(toep.llf, abs=1e-8)
    assert_allclose(lin.residual_parameters, toep.residual_parameters, rtol=1e-6)


def test_known_matrices_follow_their_labels(frame):
    names = ["v1", "v2", "v3", "v4"]
    matrix = np.diag([1.0, 2.0, 3.0, 4.0])
    shuffled = pd.DataFrame(matrix, names, names).loc[names[::-1], names[1:] + names[:1]]
    ones = np.ones((4, 4))
    a = mlm.lmm("y ~ x", frame, residual="lin(visit | subject)", lin=[matrix, ones])
    b = mlm.lmm("y ~ x", frame, residual="lin(visit | subject)", lin=[shuffled, ones])
    assert a.llf == b.llf


def test_anisotropic_power_tells_coordinates_apart():
    rng = np.random.default_rng(6)
    times, depth = np.tile(np.arange(3.0), 3), np.repeat(np.arange(3.0), 3)
    gaps = np.abs(np.subtract.outer(times, times)), np.abs(np.subtract.outer(depth, depth))
    root = np.linalg.cholesky(0.8 ** gaps[0] * 0.3 ** gaps[1])
    n = 400
    frame = pd.DataFrame({"y": (rng.normal(size=(n, 9)) @ root.T).ravel(),
                          "time": np.tile(times, n), "depth": np.tile(depth, n),
                          "id": np.repeat(np.arange(n), 9)})  # fmt: skip
    fit = mlm.lmm("y ~ 1", frame, residual="sp_powa(time, depth | id)")
    assert_allclose(fit.residual_parameters, [1.0, 0.8, 0.3], atol=0.05)
    jittered = frame.assign(time=frame["time"] + 1e-9 * rng.normal(size=len(frame)))
    own = mlm.lmm("y ~ 1", jittered, residual="sp_powa(time, depth | id)")
    assert own.llf == pytest.approx(fit.llf, abs=1e-4)


def test_smoothness_can_be_set_and_freed(frame):
    free = lmm("y ~ x", frame, residual="sp_matern(time | subject, nu=free)")
    assert list(free.residual_parameters.index) == ["Variance", "Range", "Smoothness"]
    for nu in (0.5, 1.5, 2.5):
        fixed = lmm("y ~ x", frame, residual=f"sp_matern(time | subject, nu={nu})")
        assert fixed.llf <= free.llf + 1e-7


# -- what cannot be told apart --------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["cs", "us", "toep", "hf", "un"])
def test_an_intercept_beside_a_structure_that_holds_it(frame, structure):
    residual = f"{structure}(visit | subject)"
    with pytest.warns(SingularFitWarning, match=r"\(1 \| subject\) cannot be told apart"):
        both = mlm.lmm("y ~ x + (1 | subject)", frame, residual=residual)
    alone = mlm.lmm("y ~ x", frame, residual=residual)
    assert both.converged
    assert both.llf == pytest.approx(alone.llf, abs=1e-8)
    assert_allclose(both.bse, alone.bse, rtol=1e-7)


@pytest.mark.parametrize("structure", ["ar1", "ar1h", "sp_exp", "diag"])
def test_an_intercept_beside_a_structure_that_does_not(structure):
    frame = trial(seed=8, n_subjects=80, n_visits=6, rho=0.3, subject_sd=1.5)
    coordinate = "time" if structure == "sp_exp" else "visit"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = mlm.lmm(
            "y ~ x + (1 | subject)", frame, residual=f"{structure}({coordinate} | subject)"
        )
    assert fit.varcorr["subject"].iloc[0, 0] > 0


def test_scales_that_the_structure_holds_already(frame):
    with pytest.warns(SingularFitWarning, match=r"UN\(2,1\), .* cannot be told apart"):
        fit = mlm.lmm("y ~ x", frame, residual="us(visit | subject)", residual_scale="visit")
    alone = mlm.lmm("y ~ x", frame, residual="us(visit | subject)")
    assert fit.llf == pytest.approx(alone.llf)
    assert fit.aic == pytest.approx(alone.aic)


def test_visits_that_no_subject_has_together(frame):
    odd = frame["subject"].str[-1].astype(int) % 2 == 1
    apart = frame[~((frame["visit"] == "v1") & odd) & ~((frame["visit"] == "v4") & ~odd)]
    with pytest.warns(SingularFitWarning, match=r"visits v1 and v4 are never seen in one subject"):
        mlm.lmm("y ~ x", apart, residual="us(visit | subject)")
