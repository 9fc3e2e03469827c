"""Chains of visits: against the template over visits, the dense covariance, and their limits."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.covariance import STRUCTURES
from mlmfast.criterion.barrier import barrier, residual_parts
from mlmfast.criterion.criterion import criterion_of
from mlmfast.design.residual import read as residual_read
from mlmfast.errors import ModelError
from mlmfast.fitting.starts.moments import residual_start
from mlmfast.information.series import SeriesInformation

from .. import dense
from ..fits import lmm
from ..threads import output_for_any_number_of_threads

KEYWORDS = ["ad", "adh", "ar1h"]
RANDOM = ["", " + (1 | subject)", " + (x | subject)", " + (1 | site)", " + (x || site/subject)"]


def chain_frame(n_subjects, n_visits, missing=0.15, seed=3):
    """Rows in random order, correlations and standard deviations that differ by visit."""
    rng = np.random.default_rng(seed)
    visit = np.tile(np.arange(n_visits), n_subjects)
    subject = np.repeat(np.arange(n_subjects), n_visits)
    sd = np.exp(0.4 * np.sin(np.arange(n_visits)))
    rho = 0.5 + 0.35 * np.cos(np.arange(n_visits))
    e = np.empty((n_subjects, n_visits))
    e[:, 0] = rng.normal(size=n_subjects)
    for k in range(1, n_visits):
        room = np.sqrt(1.0 - rho[k] ** 2)
        e[:, k] = rho[k] * e[:, k - 1] + room * rng.normal(size=n_subjects)
    x, weight = rng.normal(size=visit.size), rng.uniform(0.5, 2.0, visit.size)
    site = subject % 5
    y = 1.0 + 0.5 * x + 0.02 * visit + (sd * e).ravel() / np.sqrt(weight)
    y += (0.6 * rng.normal(size=n_subjects))[subject] + (0.8 * rng.normal(size=5))[site]
    y += (0.5 * rng.normal(size=n_subjects))[subject] * x
    frame = pd.DataFrame(
        {
            "y": y,
            "x": x,
            "visit": visit,
            "subject": [f"s{k:03d}" for k in subject],
            "site": [f"c{k}" for k in site],
            "arm": np.where((subject // 5) % 2, "active", "placebo"),
            "w": weight,
        }
    )
    kept = rng.permutation(len(frame))[: round((1 - missing) * len(frame))]
    return frame.iloc[kept].reset_index(drop=True)


@pytest.fixture(scope="module")
def frame():
    return chain_frame(40, 14)


@pytest.fixture(scope="module")
def long_frame():
    return chain_frame(24, 70)


def chain_of(fit):
    return fit._needs_source("a test").design.residual.chain


def by_template(monkeypatch):
    monkeypatch.setattr(residual_read, "FEW_VISITS", 1000)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("keyword", KEYWORDS)
def test_chains_are_the_template_over_visits(keyword, random, method, frame, monkeypatch):
    part = frame[frame["visit"] < 9]
    arguments = {"residual": f"{keyword}(visit | subject)", "method": method, "weights": "w"}
    monkeypatch.setattr(residual_read, "FEW_VISITS", 4)
    fit = lmm(f"y ~ x + visit{random}", part, **arguments)
    assert chain_of(fit) is not None
    by_template(monkeypatch)
    template = lmm(f"y ~ x + visit{random}", part, **arguments)
    assert chain_of(template) is None
    assert fit.converged
    assert template.converged
    assert fit.llf == pytest.approx(template.llf, rel=1e-12)
    np.testing.assert_allclose(fit.params, template.params, rtol=1e-6)
    np.testing.assert_allclose(fit.bse, template.bse, rtol=1e-7)
    np.testing.assert_allclose(fit.df, template.df, rtol=1e-5)
    np.testing.assert_allclose(fit.residual_cov, template.residual_cov, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fit.cov_theta(), template.cov_theta(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_the_criterion_is_that_of_the_template(keyword, frame, monkeypatch):
    """At one theta, with arms: value and derivatives to rounding."""
    arguments = {"residual": f"{keyword}(visit | arm / subject)", "weights": "w"}
    model = mlm.LMM("y ~ x + (1 | subject)", frame, **arguments)._reduced(None)
    by_template(monkeypatch)
    template = mlm.LMM("y ~ x + (1 | subject)", frame, **arguments)._reduced(None)
    assert model.blocks[-1].along_rows
    first, second = (criterion_of(m, "REML") for m in (model, template))
    fits = np.array([0])
    theta = residual_start(model, first, fits)
    at, expected = first(theta, fits), second(theta, fits)
    assert at.value[0] == pytest.approx(expected.value[0], rel=1e-12)
    scale = np.abs(expected.hessian).max()
    np.testing.assert_allclose(at.gradient, expected.gradient, rtol=1e-10, atol=1e-11 * scale)
    np.testing.assert_allclose(at.hessian, expected.hessian, rtol=1e-9, atol=1e-10 * scale)


@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("keyword", KEYWORDS)
def test_derivatives_are_those_of_differences(keyword, random, frame):
    sparse = frame[frame["subject"].str[-1].astype(int) + 3 * frame["visit"] % 7 > 3]
    model = mlm.LMM(f"y ~ x{random}", sparse, residual=f"{keyword}(visit | subject)", weights="w")
    reduced = model._reduced(None)
    criterion, fits = criterion_of(reduced, "REML"), np.array([0])
    theta = residual_start(reduced, criterion, fits) + 0.05
    at = criterion(theta, fits)
    scale = np.abs(np.diag(at.hessian[0])).max()
    # Those of a term of correlated effects are by coordinates around theta.
    own = np.arange(criterion.n_theta)
    own = own[criterion.theta_slices[-1]] if "(x |" in random else own
    for k in own:
        step = np.zeros_like(theta)
        step[0, k] = 1e-5
        up, down = criterion(theta + step, fits), criterion(theta - step, fits)
        slope = (up.value - down.value)[0] / 2e-5
        assert at.gradient[0, k] == pytest.approx(slope, abs=1e-6 * scale)
        bend = (up.gradient - down.gradient)[0] / 2e-5
        np.testing.assert_allclose(at.hessian[0, k, own], bend[own], atol=1e-6 * scale)


@pytest.mark.parametrize("eta", [np.array([0.0, 0.7, -1.2, 0.0, 9.0]), np.full(5, -0.3)])
@pytest.mark.parametrize("keyword", KEYWORDS)
def test_steps_have_exact_derivatives(keyword, eta):
    structure = STRUCTURES[keyword](6)
    before, at = np.array([0, 1, 0, 2, 0, 4]), np.array([1, 2, 2, 5, 5, 5])
    eta = eta[: structure.n_theta - structure.n_scales]
    offsets, which = structure.step_parameters(before, at)
    steps = structure.visit_steps(eta, before, at)
    np.testing.assert_allclose(steps.room, 1.0 - steps.f**2, atol=1e-15)
    correlation = structure.visit_correlations(eta, 6)
    np.testing.assert_allclose(steps.f, correlation[before, at], atol=1e-15)
    assert (steps.room > 0).all()
    matrix = structure.matrix(np.concatenate([np.zeros(structure.n_scales), eta])[None])[0]
    np.testing.assert_allclose(correlation, matrix, atol=1e-14)
    pair = 0
    for c in range(len(before)):
        own = which[offsets[c] : offsets[c + 1]]
        for k, p in enumerate(own):
            up, down = eta.copy(), eta.copy()
            up[p], down[p] = eta[p] + 1e-6, eta[p] - 1e-6
            ahead = structure.visit_steps(up, before, at)
            behind = structure.visit_steps(down, before, at)
            slope = (ahead.f[c] - behind.f[c]) / 2e-6
            assert steps.first[offsets[c] + k] == pytest.approx(slope, abs=1e-8)
            bends = (ahead.first - behind.first)[offsets[c] : offsets[c + 1]] / 2e-6
            for el in range(k + 1):
                assert steps.second[pair] == pytest.approx(bends[el], abs=1e-8)
                pair += 1
    assert pair == len(steps.second)


def deviance_of(fit, frame, columns, method="REML"):
    """-2 log-likelihood and standard errors from V, cluster by cluster."""
    outer = fit._record.groups[fit._record.levels[0]].columns[0]
    x = np.column_stack([np.ones(len(frame)), *(frame[c] for c in columns)])
    p = x.shape[1]
    xx, xy, yy, logdet = np.zeros((p, p)), np.zeros(p), 0.0, 0.0
    for label, part in frame.groupby(outer):
        v, y = fit.V(label).to_numpy(), part["y"].to_numpy()
        solved = np.linalg.solve(v, np.column_stack([x[part.index], y]))
        xx, xy = xx + x[part.index].T @ solved[:, :p], xy + x[part.index].T @ solved[:, p]
        yy, logdet = yy + y @ solved[:, p], logdet + dense.log_determinant(v)
    beta = np.linalg.solve(xx, xy)
    degrees = len(frame) - (p if method == "REML" else 0)
    deviance = degrees * np.log(2 * np.pi) + logdet + yy - xy @ beta
    deviance += np.linalg.slogdet(xx)[1] if method == "REML" else 0.0
    return deviance, beta, np.sqrt(np.diag(np.linalg.inv(xx)))


@pytest.mark.parametrize("random", RANDOM)
@pytest.mark.parametrize("keyword", KEYWORDS)
def test_long_chains_have_the_likelihood_of_the_dense_covariance(keyword, random, long_frame):
    fit = lmm(f"y ~ x{random}", long_frame, residual=f"{keyword}(visit | subject)", weights="w")
    assert fit.converged
    assert fit.certificate.engine == "nested elimination, chain of visits"
    assert fit.residual_cov.shape == (70, 70)
    deviance, beta, se = deviance_of(fit, long_frame, ["x"])
    assert fit.deviance == pytest.approx(deviance, rel=1e-11)
    np.testing.assert_allclose(fit.params, beta, rtol=1e-7)
    np.testing.assert_allclose(fit.bse, se, rtol=1e-9)


def test_300_visits_with_a_variance_and_a_correlation_each():
    frame = chain_frame(60, 300, missing=0.05)
    fit = lmm("y ~ x", frame, residual="adh(visit | subject)", method="ML")
    assert fit.converged
    assert len(fit.residual_parameters) == 599
    deviance, beta, se = deviance_of(fit, frame, ["x"], "ML")
    assert fit.deviance == pytest.approx(deviance, rel=1e-11)
    np.testing.assert_allclose(fit.params, beta, rtol=1e-7)
    np.testing.assert_allclose(fit.bse, se, rtol=1e-9)
    assert (fit.df > 100).all()


def criterion_at(frame, residual, theta):
    model = mlm.LMM("y ~ x + (1 | subject)", frame, residual=residual)._reduced(None)
    criterion = criterion_of(model, "REML")
    assert criterion.n_theta == len(theta)
    return criterion.value(np.array([theta]), np.array([0]))[0]


def test_nested_structures_agree_in_the_limit(frame):
    """The same log standard deviation everywhere, the same correlation of all neighbours."""
    n = frame["visit"].nunique()
    sd, eta, effect = -0.2, 0.4, 0.5
    ar1 = criterion_at(frame, "ar1(visit | subject)", [effect, sd, eta])
    equal = {
        "ar1h": [effect, *[sd] * n, eta],
        "ad": [effect, sd, *[eta] * (n - 1)],
        "adh": [effect, *[sd] * n, *[eta] * (n - 1)],
    }
    for keyword, theta in equal.items():
        found = criterion_at(frame, f"{keyword}(visit | subject)", theta)
        assert found == pytest.approx(ar1, rel=1e-13)
    log_sd = np.linspace(-0.5, 0.3, n)
    ar1h = criterion_at(frame, "ar1h(visit | subject)", [effect, *log_sd, eta])
    adh = criterion_at(frame, "adh(visit | subject)", [effect, *log_sd, *[eta] * (n - 1)])
    assert adh == pytest.approx(ar1h, rel=1e-13)


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_arms_have_parameters_of_their_own(keyword, long_frame):
    fit = lmm(
        "y ~ arm * visit", long_frame, residual=f"{keyword}(visit | arm / subject)", method="ML"
    )
    parts = [
        lmm("y ~ visit", part, residual=f"{keyword}(visit | subject)", method="ML")
        for _, part in long_frame.groupby("arm")
    ]
    assert fit.llf == pytest.approx(sum(part.llf for part in parts), rel=1e-10)
    together = np.concatenate([part.residual_parameters.to_numpy() for part in parts])
    np.testing.assert_allclose(fit.residual_parameters, together, rtol=1e-4, atol=1e-5)
    assert fit.cov_theta().shape == (len(together), len(together))


def test_the_order_of_rows_does_not_matter(long_frame):
    residual = "adh(visit | subject)"
    fit = lmm("y ~ x + (1 | subject)", long_frame, residual=residual)
    moved = lmm(
        "y ~ x + (1 | subject)", long_frame.sample(frac=1.0, random_state=1), residual=residual
    )
    assert moved.llf == pytest.approx(fit.llf, rel=1e-12)
    np.testing.assert_allclose(moved.residual_cov, fit.residual_cov, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_a_row_of_a_batch_is_the_single_fit(keyword, frame):
    model = mlm.LMM("y ~ x + (1 | subject)", frame, residual=f"{keyword}(visit | subject)")
    y = model.fit().simulate(2, seed=2)
    batch = model.fit_many(y)
    for k in range(2):
        single = model.fit_many(y[:, k : k + 1])
        assert single.llf[0] == batch.llf[k]
        assert (single.params[0] == batch.params[k]).all()


THREADS = """
import numpy as np, pandas as pd, mlmfast as mlm
rng = np.random.default_rng(1)
d = pd.DataFrame({"y": rng.normal(size=4000), "x": rng.normal(size=4000),
                  "t": np.tile(np.arange(20), 200), "g": np.repeat(np.arange(200), 20)})
fit = mlm.lmm("y ~ x + (1 | g)", d[d.index % 7 > 0], residual="adh(t | g)")
print(fit.llf.hex(), fit.bse.iloc[1].hex())
"""


def test_the_number_of_threads_does_not_matter():
    assert output_for_any_number_of_threads(THREADS)


def test_what_a_long_chain_is_asked_for(long_frame, tmp_path):
    residual = "adh(visit | subject)"
    fit = lmm("y ~ x + (1 | subject)", long_frame, residual=residual)
    # V's block and the conditional mean of a random effect, G Z'V^-1 (y - X beta).
    part = long_frame[long_frame["subject"] == "s003"]
    v, r = fit.V("s003").to_numpy(), fit.R("s003").to_numpy()
    own = part["visit"].to_numpy()
    np.testing.assert_allclose(r, fit.residual_cov.to_numpy()[np.ix_(own, own)], rtol=1e-12)
    g = fit.varcorr["subject"].to_numpy()[0, 0]
    away = part["y"].to_numpy() - fit.params.iloc[0] - fit.params.iloc[1] * part["x"].to_numpy()
    assert fit.ranef["subject"].loc["s003"].iloc[0] == pytest.approx(
        g * np.linalg.solve(v, away).sum(), rel=1e-7
    )
    scaled = fit.resid("scaled").to_numpy()[part.index]
    np.testing.assert_allclose(scaled, np.linalg.solve(np.linalg.cholesky(v), away), rtol=1e-6)
    draws = fit.simulate(3000, seed=3)[part.index] - fit.params.iloc[0]
    draws = draws - fit.params.iloc[1] * part["x"].to_numpy()[:, None]
    noise = np.sqrt((v**2 + np.outer(np.diag(v), np.diag(v))) / 3000)
    assert (np.abs(np.cov(draws) - v) < 5 * noise).all()
    new = long_frame.head(3)
    interval = fit.predict(new, interval="prediction")
    assert (interval["lower"] < interval["fit"]).all()
    fit.to_json(tmp_path / "fit.json")
    again = mlm.load(tmp_path / "fit.json")
    assert again.llf == fit.llf
    assert again.residual_cov.equals(fit.residual_cov)


@pytest.mark.parametrize("residual", ["ar1h(visit | arm / subject)", "ar1(visit | arm / subject)"])
def test_parameters_of_arms_are_held_and_drawn_again(residual, long_frame):
    """Of series too, whose arms stand in one block."""
    name = "active: " + ("ARH(1)" if "ar1h" in residual else "AR(1)")
    arguments = {"residual": residual}
    free = lmm("y ~ x + (1 | site)", long_frame, **arguments)
    held = lmm("y ~ x + (1 | site)", long_frame, hold={name: 0.3}, **arguments)
    assert held.residual_parameters[name] == pytest.approx(0.3, rel=1e-9)
    assert held.llf < free.llf
    bound = lmm("y ~ x + (1 | site)", long_frame, bounds={name: (None, 0.2)}, **arguments)
    assert bound.residual_parameters[name] == pytest.approx(0.2, rel=1e-9)
    assert bound.llf < held.llf
    again = free.bootstrap(2, seed=1)
    assert name in again.replicates
    assert np.isfinite(again.replicates.to_numpy()).all()


def test_explained_variance_counts_the_visits_that_rows_have(frame, monkeypatch):
    residual = "adh(visit | arm / subject)"
    found = lmm("y ~ x + (1 | site)", frame, residual=residual).r2()
    by_template(monkeypatch)
    expected = lmm("y ~ x + (1 | site)", frame, residual=residual).r2()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("residual", ["ar1h(visit | subject)", "adh(visit | arm / subject)"])
def test_kenward_roger_goes_by_the_template(residual, frame, monkeypatch):
    arguments = {"residual": residual, "ddf": "kenward-roger"}
    fit = lmm("y ~ x + (1 | subject)", frame, **arguments)
    assert isinstance(fit._rows.information, SeriesInformation)
    by_template(monkeypatch)
    template = lmm("y ~ x + (1 | subject)", frame, **arguments)
    np.testing.assert_allclose(fit.df, template.df, rtol=1e-6)
    kind = "kenward-roger"
    np.testing.assert_allclose(fit.cov_params(kind), template.cov_params(kind), rtol=1e-6)


def test_a_chain_ends_at_a_singular_covariance_as_its_template_does(monkeypatch):
    frame = chain_frame(12, 8, missing=0.2, seed=5)
    frame["y"] = frame.groupby("subject")["x"].transform("mean") + 1e-3 * frame["y"]
    monkeypatch.setattr(residual_read, "FEW_VISITS", 4)
    model = mlm.LMM("y ~ visit", frame, residual="ar1h(visit | subject)")._reduced(None)
    criterion = criterion_of(model, "REML")
    parts = residual_parts(criterion)
    assert [part.theta for part in parts] == [slice(0, 9)]
    by_template(monkeypatch)
    other = mlm.LMM("y ~ visit", frame, residual="ar1h(visit | subject)")._reduced(None)
    expected = residual_parts(criterion_of(other, "REML"))
    theta = residual_start(model, criterion, np.array([0]))
    for ours, theirs in zip(
        barrier(parts[0], theta),
        barrier(expected[0], theta),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_parameters_that_no_data_tell_are_named(long_frame):
    alone = long_frame[(long_frame["visit"] != 30) | (long_frame["subject"] == "s003")]
    with pytest.raises(ModelError, match="fewer than two subjects are met at 30;"):
        mlm.lmm("y ~ x", alone, residual="adh(visit | subject)")
    assert mlm.lmm("y ~ x", alone, residual="ad(visit | subject)").converged
    arm = long_frame[(long_frame["visit"] != 30) | (long_frame["arm"] == "active")]
    with pytest.raises(ModelError, match="no subjects of arm = 'placebo' are met at 30;"):
        mlm.lmm("y ~ x", arm, residual="ar1h(visit | arm / subject)")
    number = long_frame["subject"].str[1:].astype(int)
    apart = long_frame[(long_frame["visit"] < 40) == (number % 2 == 0)]
    with pytest.raises(ModelError, match="do not tell that of 39 and 40 from others"):
        mlm.lmm("y ~ x", apart, residual="ad(visit | subject)")
    assert mlm.lmm("y ~ x", apart, residual="ar1h(visit | subject)").converged
    single = long_frame.drop_duplicates("subject")
    with pytest.raises(ModelError, match="no subject with several levels of visit"):
        mlm.lmm("y ~ x", single, residual="ad(visit | subject)")


@pytest.mark.slow
def test_kenward_roger_over_more_than_64_visits(long_frame, monkeypatch):
    along = lmm("y ~ x", long_frame, residual="ad(visit | subject)")
    assert chain_of(along) is not None
    by_template(monkeypatch)
    whole = lmm("y ~ x", long_frame, residual="ad(visit | subject)")
    assert chain_of(whole) is None
    adjusted = [fit.cov_params("kenward-roger") for fit in (along, whole)]
    np.testing.assert_allclose(*adjusted, rtol=1e-6, atol=1e-10)
    assert (np.diag(adjusted[0]) > np.diag(along.cov_params())).all()


def test_what_needs_matrices_over_many_visits_is_refused(long_frame, monkeypatch):
    fit = lmm("y ~ x", long_frame, residual="ad(visit | subject)")
    monkeypatch.setattr("mlmfast.criterion.series_matrices.memory_left", lambda: 0.3e9)
    with pytest.raises(ModelError, match="spans series too long for them"):
        fit.cov_params("kenward-roger")
    inside = long_frame.assign(half=long_frame["subject"] + (long_frame["visit"] % 2).astype(str))
    with pytest.raises(ModelError, match="take at most 64 visits"):
        mlm.lmm("y ~ x + (1 | half)", inside, residual="ad(visit | subject)")
    many = pd.DataFrame({"y": np.arange(3000) % 7.0, "t": np.arange(3000) // 2, "g": [0, 1] * 1500})
    with pytest.raises(ModelError, match="at most 1,000 are available"):
        mlm.lmm("y ~ 1", many, residual="ad(t | g)")
