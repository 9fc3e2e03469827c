"""Every fit of a random model ends at an optimum, and says by a certificate how near it is.

The trial over 10,000 models is `benches/convergence.py`; these are its first few.
"""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.newton.iteration import Derivatives, newton_raphson
from mlmfast.newton.options import NewtonOptions

from ..fits import lmm
from ..random_models import dense_deviance, random_model, trusted_deviance

SEEDS = range(200)
SMALL = {"max_effects": 3, "max_clusters": 16, "max_rows": 6}


@pytest.fixture(scope="module")
def fits():
    methods = ("REML", "ML")
    models = [random_model(seed) for seed in SEEDS]
    return [lmm(model.formula, model.data, method=methods[k % 2]) for k, model in enumerate(models)]


def failing(fits, condition):
    return [seed for seed, fit in zip(SEEDS, fits, strict=True) if not condition(fit)]


def test_every_fit_converges(fits):
    assert failing(fits, lambda fit: fit.converged) == []


def test_every_decrement_is_small(fits):
    assert failing(fits, lambda fit: 0 <= fit.certificate.newton_decrement < 1e-8) == []


def test_every_hessian_is_positive_semidefinite(fits):
    assert failing(fits, lambda fit: fit.certificate.min_hessian_eigenvalue >= -1e-6) == []


def test_no_fit_needs_more_than_forty_evaluations(fits):
    assert failing(fits, lambda fit: fit.certificate.n_evaluations <= 40) == []


def test_the_median_fit_needs_at_most_six_evaluations(fits):
    assert np.median([fit.certificate.n_evaluations for fit in fits]) <= 6


def test_singular_fits_name_their_boundary(fits):
    assert failing(fits, lambda fit: fit.singular == bool(len(fit.certificate.boundary))) == []
    n_singular = sum(fit.singular for fit in fits)
    assert 40 <= n_singular <= 160


def test_singular_means_a_covariance_without_full_rank(fits):
    assert failing(fits, lambda fit: fit.singular == lacks_rank(fit)) == []


def lacks_rank(fit):
    """Whether G, in units in which no variance exceeds 1, has an eigenvalue of 0."""
    G = fit.varcorr["g"].to_numpy()
    # m se^2 is about the least variance of an effect that the data could tell from 0.
    resolution = len(fit.ranef["g"]) * fit.bse.to_numpy() ** 2
    unit = np.sqrt(np.maximum(np.diag(G), resolution))
    return bool(np.linalg.eigvalsh(G / np.outer(unit, unit)).min() < 1e-8)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("method", ["ML", "REML"])
def test_no_optimiser_finds_a_better_optimum(seed, method):
    model = random_model(seed, **SMALL)
    fit = lmm(model.formula, model.data, method=method)
    assert fit.deviance <= trusted_deviance(model, method) + 1e-6


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_the_trusted_optimiser_has_the_right_gradient(method):
    y, X, codes = random_model(3, **SMALL).matrices
    scale = np.sqrt((X**2).mean(axis=0))
    deviance = dense_deviance(y / y.std(), X / scale, codes, method)
    theta = np.random.default_rng(1).normal(size=X.shape[1] * (X.shape[1] + 1) // 2)
    steps = 1e-5 * np.eye(len(theta))
    numeric = [(deviance(theta + h)[0] - deviance(theta - h)[0]) / 2e-5 for h in steps]
    np.testing.assert_allclose(deviance(theta)[1], numeric, rtol=1e-6, atol=1e-6)


# Some of the other minima that the starts lead to are singular.
@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_the_lowest_of_several_minima_is_found():
    # Uncorrelated effects of an intercept and of a covariate far from 0 say nearly the same; from
    # moments alone the iteration ends 276 units of deviance too high.
    rng = np.random.default_rng(2)
    code = np.repeat(np.arange(30), 10)
    x = rng.standard_normal(300) + 60
    y = 1 + x + 3 * rng.standard_normal(30)[code] * (x - 60)
    y += 2 * rng.standard_normal(30)[code] + rng.standard_normal(300)
    model = mlm.LMM("y ~ x + (x || g)", {"y": y, "x": x, "g": code})
    fit = model.fit()
    assert fit.certificate.is_minimum
    for sd in (0.1, 1.0, 10.0, 100.0):
        start = {"g": np.diag([(60 * sd) ** 2, sd**2])}
        assert fit.deviance <= model.fit(start=start).deviance + 1e-6


def test_derivatives_that_overflow_end_their_row_alone():
    """A row gone beyond all numbers is given up, uncertified; the others go on."""

    def criterion(theta, fits):
        value = ((theta - 1.0) ** 2).sum(axis=1)
        hessian = np.repeat(2.0 * np.eye(2)[None], len(theta), axis=0)
        hessian[fits == 1] = np.nan
        empty = np.zeros((len(theta), 0))
        return Derivatives(
            value, 2.0 * (theta - 1.0), hessian, np.abs(hessian), empty, empty, empty
        )

    class Plane:
        def __call__(self, theta, fits):
            return criterion(theta, fits)

        def move(self, theta, step):
            return theta + step

    found = newton_raphson(
        Plane(), np.zeros((3, 2)), NewtonOptions(), lambda theta: np.full(len(theta), 10.0)
    )
    assert found.converged.tolist() == [True, False, True]
    np.testing.assert_allclose(found.theta[[0, 2]], 1.0, atol=1e-12)


class Tail:
    """f(t) + (u - 1)^2 of a function f and its first two derivatives."""

    def __init__(self, *derivatives):
        self.derivatives = derivatives

    def __call__(self, theta, fits):
        value, slope, bend = (f(theta[:, 0]) for f in self.derivatives)
        u = theta[:, 1] - 1.0
        gradient = np.stack([slope, 2.0 * u], axis=1)
        hessian = np.zeros((len(theta), 2, 2))
        hessian[:, 0, 0], hessian[:, 1, 1] = bend, 2.0
        empty = np.zeros((len(theta), 0))
        return Derivatives(value + u * u, gradient, hessian, hessian, empty, empty, empty)

    def move(self, theta, step):
        return theta + step


TAILS = {
    "exponential": (lambda t: np.exp(-t), lambda t: -np.exp(-t), lambda t: np.exp(-t)),
    "power": (lambda t: t**-2.0, lambda t: -2.0 * t**-3.0, lambda t: 6.0 * t**-4.0),
}


@pytest.mark.parametrize("name", TAILS)
def test_a_limit_at_infinity_is_reached_in_few_steps(name):
    """Newton's own steps fall by a factor of e, or of 16 / 9: 21 or 35 of them to 1e-9."""
    start = np.array([[1.0, 3.0], [1.0, -4.0]])
    found = newton_raphson(
        Tail(*TAILS[name]), start, NewtonOptions(), lambda theta: np.full(len(theta), np.inf)
    )
    assert found.converged.all()
    assert found.n_evaluations.max() <= 16
    np.testing.assert_allclose(found.theta[:, 1], 1.0, atol=1e-12)


def test_rows_that_leave_are_given_up_where_they_are():
    def leaves(before, after, progress):
        return after[:, 0] > 4.0

    start = np.array([[1.0, 1.0], [1.0, 3.0]])
    found = newton_raphson(
        Tail(*TAILS["exponential"]),
        start,
        NewtonOptions(),
        lambda theta: np.full(len(theta), np.inf),
        None,
        leaves,
    )
    assert not found.converged.any()
    assert (found.theta[:, 0] > 4.0).all()
    assert (found.theta[:, 0] < 20.0).all()
    np.testing.assert_allclose(found.value, np.exp(-found.theta[:, 0]), rtol=1e-12)


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_a_residual_variance_that_goes_to_0_ends_and_is_named(method):
    frame = mlm.load_sleepstudy()
    frame["f"] = frame["Days"].astype(int).astype(str)
    fit = lmm("Reaction ~ Days + toeph(0 + f | Subject)", frame, method=method)
    assert fit.converged
    assert fit.certificate.n_evaluations <= 60
    assert "the residual variance goes to 0: toeph" in fit.certificate.boundary[0]
    # Nothing is lost: without a residual beside it the structure has the same likelihood.
    alone = lmm("Reaction ~ Days", frame, residual="toeph(f | Subject)", method=method)
    assert fit.deviance == pytest.approx(alone.deviance, abs=1e-4)
