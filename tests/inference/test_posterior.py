"""Posteriors of two parameters against quadrature of the dense restricted likelihood."""

import itertools

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError
from mlmfast.information.information import Information

N = 2_000


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(9), 4)[:33]
    frame = pd.DataFrame({"g": g, "t": np.tile(np.arange(4.0), 9)[:33], "x": rng.normal(size=33)})
    frame["y"] = 1.0 + 0.5 * frame["x"] + rng.normal(size=9)[g] + rng.normal(size=33)
    return frame


def intercepts(data, a, b):
    """V of a random intercept and its derivatives, by its variance and the residual's."""
    same = np.equal.outer(*[data["g"].to_numpy()] * 2).astype(float)
    return a * same + b * np.eye(len(data)), [same, np.eye(len(data))]


def autoregressive(data, a, b):
    """V of an autoregression, by its variance and correlation."""
    same = np.equal.outer(*[data["g"].to_numpy()] * 2)
    lag = np.abs(np.subtract.outer(*[data["t"].to_numpy()] * 2))
    R = np.where(same, b**lag, 0.0)
    return a * R, [R, np.where(same, a * lag * b ** np.maximum(lag - 1.0, 0.0), 0.0)]


MODELS = {
    "intercepts": ("y ~ x + (1 | g)", {}, intercepts, (True, True)),
    "ar1": ("y ~ x", {"residual": "ar1(t | g)"}, autoregressive, (True, False)),
}


def by_quadrature(data, covariance, axes, logs, prior, free=(0, 1)):
    """Weights of the grid, and E and Var of beta there, dense; of a prior of the ``free`` ones."""
    X, y = np.column_stack([np.ones(len(data)), data["x"]]), data["y"].to_numpy()
    weight = np.full((len(axes[0]), len(axes[1])), -np.inf)
    beta, spread = np.zeros((*weight.shape, 2)), np.zeros((*weight.shape, 2, 2))
    for i, first in enumerate(axes[0]):
        for j, second in enumerate(axes[1]):
            values = [np.exp(v) if log else v for v, log in zip((first, second), logs, strict=True)]
            V, slopes = covariance(data, *values)
            inverse = np.linalg.inv(V)
            M = np.linalg.inv(X.T @ inverse @ X)
            P = inverse - inverse @ X @ M @ X.T @ inverse
            dev = np.linalg.slogdet(V)[1] - np.linalg.slogdet(M)[1] + y @ P @ y
            own = -0.5 * dev + sum(v for v, log in zip((first, second), logs, strict=True) if log)
            if prior == "jeffreys":
                products = [P @ slopes[k] for k in free]
                information = [[(a * b.T).sum() for b in products] for a in products]
                own += 0.5 * np.linalg.slogdet(np.array(information))[1]
            weight[i, j], spread[i, j] = own, M
            beta[i, j] = M @ X.T @ inverse @ y
    weight = np.exp(weight - weight.max())
    return weight / weight.sum(), beta, spread


@pytest.mark.parametrize("prior", ["flat", "jeffreys"])
@pytest.mark.parametrize("name", MODELS)
def test_moments_are_those_of_quadrature(data, name, prior):
    formula, arguments, covariance, logs = MODELS[name]
    fit = mlm.lmm(formula, data, **arguments)
    found = fit.posterior(N, seed=2, prior=prior)
    axes = [np.linspace(-5.5, 5.0, 50) if log else np.linspace(-0.97, 0.97, 40) for log in logs]
    axes[-1] = np.linspace(-1.3, 1.6, 30) if all(logs) else axes[-1]
    weight, beta, spread = by_quadrature(data, covariance, axes, logs, prior)
    assert max(weight[0].sum(), weight[-1].sum(), weight[:, -1].sum()) < 1e-3
    drawn = found.draws.to_numpy()
    effective = N * found.acceptance / 2.0
    for k, (axis, log) in enumerate(zip(axes, logs, strict=True)):
        values = np.log(drawn[:, 2 + k]) if log else drawn[:, 2 + k]
        check_moments(values, axis, weight.sum(axis=1 - k), effective)
    for k in range(2):
        mean = (weight * beta[..., k]).sum()
        sd = np.sqrt((weight * (spread[..., k, k] + (beta[..., k] - mean) ** 2)).sum())
        assert drawn[:, k].mean() == pytest.approx(mean, abs=4.0 * sd / np.sqrt(effective))
        assert drawn[:, k].std() == pytest.approx(sd, rel=4.0 / np.sqrt(effective))


def check_moments(drawn, axis, own, effective):
    """Mean and spread of draws against weights of a grid."""
    mean = own @ axis
    sd = np.sqrt(own @ (axis - mean) ** 2)
    assert drawn.mean() == pytest.approx(mean, abs=4.0 * sd / np.sqrt(effective))
    assert drawn.std() == pytest.approx(sd, rel=4.0 / np.sqrt(effective))


@pytest.fixture(scope="module")
def without_groups(data):
    """The same rows; the variance of the groups is estimated at 0."""
    rng = np.random.default_rng(2)
    return data.assign(y=1.0 + 0.5 * data["x"] + rng.normal(size=len(data)))


@pytest.mark.parametrize("prior", ["flat", "jeffreys"])
def test_a_variance_at_zero_is_drawn_from_the_positive_ones(without_groups, prior):
    with pytest.warns(mlm.SingularFitWarning):
        fit = mlm.lmm("y ~ x + (1 | g)", without_groups)
    assert fit.singular
    found = fit.posterior(N, seed=5, prior=prior)
    assert found.acceptance > 0.3
    drawn = found.draws.to_numpy()
    assert (drawn[:, 2:] > 0.0).all()
    axes = [np.linspace(-13.0, 4.0, 80), np.linspace(-1.3, 1.6, 26)]
    weight, beta, _ = by_quadrature(without_groups, intercepts, axes, (True, True), prior)
    assert max(weight[0].sum(), weight[-1].sum(), weight[:, -1].sum()) < 1e-3
    effective = N * found.acceptance / 2.0
    for k, axis in enumerate(axes):
        check_moments(np.log(drawn[:, 2 + k]), axis, weight.sum(axis=1 - k), effective)
    # The share below a value, where the density of the variance is highest.
    share, small = weight[axes[0] < np.log(0.1)].sum(), (drawn[:, 2] < 0.1).mean()
    assert small == pytest.approx(share, abs=0.02 + 4.0 * np.sqrt(share / effective))
    assert drawn[:, 1].mean() == pytest.approx((weight * beta[..., 1]).sum(), abs=0.03)


@pytest.mark.parametrize("prior", ["flat", "jeffreys"])
def test_what_is_held_is_known(data, prior):
    for formula, arguments, covariance, axes, logs, free in (
        (
            "y ~ x + (1 | g)", {"hold": {"sigma": 1.2}}, intercepts,
            [np.linspace(-6.0, 5.0, 90), np.array([np.log(1.44)])], (True, True), 0,
        ),
        (
            "y ~ x + (1 | g)", {"hold": {"var_(Intercept)|g": 0.7}}, intercepts,
            [np.array([np.log(0.7)]), np.linspace(-1.5, 1.8, 60)], (True, True), 1,
        ),
        (
            "y ~ x", {"residual": "ar1(t | g)", "hold": {"AR(1)": 0.3}}, autoregressive,
            [np.linspace(-1.5, 2.0, 60), np.array([0.3])], (True, False), 0,
        ),
    ):  # fmt: skip
        found = mlm.lmm(formula, data, **arguments).posterior(800, seed=6, prior=prior)
        weight, _, _ = by_quadrature(data, covariance, axes, logs, prior, (free,))
        drawn = found.draws.to_numpy()[:, 2:]
        known = np.exp(axes[1 - free][0]) if logs[1 - free] else axes[1 - free][0]
        np.testing.assert_allclose(drawn[:, 1 - free], known, rtol=1e-9)
        effective = 400 * found.acceptance
        check_moments(np.log(drawn[:, free]), axes[free], weight.ravel(), effective)


def test_a_variance_near_zero_is_drawn_down_to_it(data):
    """An estimate that is positive, and less than its standard error."""
    near = data.assign(y=1.0 + 0.5 * data["x"] + np.random.default_rng(7).normal(size=len(data)))
    fit = mlm.lmm("y ~ x + (1 | g)", near)
    variance = float(fit.varcorr["g"].iloc[0, 0])
    assert 0.0 < variance < 0.02
    found = fit.posterior(N, seed=5)
    assert found.acceptance > 0.3
    axes = [np.linspace(-13.0, 4.0, 80), np.linspace(-1.3, 1.6, 26)]
    weight, _, _ = by_quadrature(near, intercepts, axes, (True, True), "jeffreys")
    for k, axis in enumerate(axes):
        drawn = np.log(found.draws.iloc[:, 2 + k])
        check_moments(drawn, axis, weight.sum(axis=1 - k), N * found.acceptance / 2.0)


@pytest.mark.parametrize(
    ("formula", "levels", "least"),
    [
        ("y ~ x + (1 | g)", 3, 2),
        ("y ~ x + (1 | g)", 4, None),
        ("y ~ 0 + x + (1 | g)", 3, None),
        ("y ~ t + (1 + t || g)", 3, 2),
        # One eigenvalue v alone: a volume v dv, and a likelihood v^(-4 / 2).
        ("y ~ t + (1 + t | g)", 5, 4),
        ("y ~ t + (1 + t | g)", 6, None),
        ("y ~ 0 + t + (1 | g) + (1 | t)", 3, None),
    ],
)
def test_flat_priors_need_levels(formula, levels, least):
    """More than 2 dimensions a parameter beyond the fixed effects; 4 groups and a mean have 3."""
    generator = np.random.default_rng(levels + 90)
    g, t = np.repeat(np.arange(levels), 6), np.tile(np.arange(6.0), levels)
    y = 3.0 * generator.normal(size=levels)[g] + generator.normal(size=levels)[g] * t
    y += generator.normal(size=6)[t.astype(int)] + generator.normal(size=len(g))
    data = pd.DataFrame({"g": g, "t": t, "x": generator.normal(size=len(g)), "y": y})
    fit = mlm.lmm(formula, data)
    if least is None:
        assert len(fit.posterior(200, seed=1, prior="flat").draws) == 200
    else:
        match = f"{least} dimensions beyond the fixed ones, and more than {least} are needed"
        with pytest.raises(ModelError, match=match):
            fit.posterior(200, seed=1, prior="flat")
    assert len(fit.posterior(200, seed=1).draws) == 200


def test_chains_that_hardly_move_are_refused():
    generator = np.random.default_rng(0)
    data = pd.DataFrame({"g": np.repeat(np.arange(20), 6), "t": np.tile(np.arange(6), 20)})
    data["y"] = generator.normal(size=120) + generator.normal(size=20)[data["g"]]
    fit = mlm.lmm("y ~ 1", data, residual="us(t | g)")
    with pytest.raises(ModelError, match=r"the chain took [0-9]+ of 500 candidates, too few"):
        fit.posterior(300, seed=1, prior="flat")


def test_draws_are_of_the_seed_and_named_as_the_parameters(data):
    fit = mlm.lmm("y ~ x + (1 | g)", data)
    one, other = (fit.posterior(50, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(one.draws, other.draws)
    assert list(one.draws.columns) == ["(Intercept)", "x", *fit.cov_theta().index]
    assert "jeffreys prior: 50 draws" in repr(one)
    slopes = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    drawn = slopes.posterior(300, seed=1).draws
    assert list(drawn.columns[2:]) == list(slopes.cov_theta().index)
    a, c, b = (drawn.iloc[:, k] for k in (2, 3, 4))
    assert (a * b > c**2).all()


def test_what_has_no_such_posterior(data):
    fit = mlm.lmm("y ~ x + (1 | g)", data)
    for arguments, message in (({"prior": "wide"}, "prior is 'wide'"), ({"n": 0}, "n is 0")):
        with pytest.raises(ModelError, match=message):
            fit.posterior(**arguments)
    with pytest.raises(ModelError, match="fit with method='REML'"):
        mlm.lmm("y ~ x + (1 | g)", data, method="ML").posterior()
    with pytest.raises(ModelError, match="bounds= are no part of the prior"):
        mlm.lmm("y ~ x + (1 | g)", data, bounds={"sigma": (None, 5.0)}).posterior()
    with pytest.raises(ModelError, match="bounded=False lets variances be negative"):
        mlm.lmm("y ~ x + (1 | g)", data, bounded=False).posterior()
    sleep = mlm.load_sleepstudy()
    slopes = mlm.lmm(
        "Reaction ~ Days + (Days | Subject)", sleep, hold={"cor_Days.(Intercept)|Subject": 0.2}
    )
    with pytest.raises(ModelError, match=r"'cor_Days.*' is held, which is no variance"):
        slopes.posterior()
    with pytest.raises(ModelError, match="holds no rows"):
        mlm.load(fit.to_json()).posterior()
    with pytest.raises(ModelError, match="type1"):
        mlm.lmm("y ~ x + (1 | g)", data, method="type1").posterior()


def test_more_draws_than_memory_holds_are_refused():
    fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    with pytest.raises(MemoryError, match=r"a posterior of 1,000,000,000,000 draws needs .*; draw"):
        fit.posterior(10**12)
    with pytest.raises(MemoryError, match=r"array of 1,000,000,000,000 responses needs .*; draw"):
        fit.simulate(10**12)


def test_candidates_whose_information_overflows_are_not_taken(monkeypatch):
    """They have no prior; warnings are errors here."""
    calls = itertools.count()
    expected = Information.expected.func

    def at_times(self):
        found = expected(self)
        return found if next(calls) % 3 else np.full_like(found, np.nan)

    fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    free = fit.posterior(100, seed=1)
    monkeypatch.setattr(Information, "expected", property(at_times))
    found = fit.posterior(100, seed=1)
    assert np.isfinite(found.draws.to_numpy()).all()
    assert 0.3 < found.acceptance < free.acceptance
