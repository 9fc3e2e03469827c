"""Residual and cluster bootstraps: what is drawn, refits of it, intervals."""

import pickle

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.clusters.simulate import seed_sequence, stream
from mlmfast.errors import ModelError
from mlmfast.inference.resampling import refits_of_clusters
from mlmfast.inference.resampling.residual_parts import ResidualParts, reflated

from ..residual_models import trial

SLOPES = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def fit():
    return mlm.lmm(SLOPES, mlm.load_sleepstudy())


def _parts(fit):
    return ResidualParts.of(fit._source, fit._record, fit._effects)


def _drawn_frame(data, seed, i, group="Subject"):
    """The i-th sample of clusters, stacked by hand."""
    groups = sorted(set(data[group]))
    generator = np.random.default_rng(stream(seed_sequence(seed), i))
    chosen = generator.integers(len(groups), size=len(groups))
    parts = [data[data[group] == groups[k]].assign(drawn=j) for j, k in enumerate(chosen)]
    return pd.concat(parts, ignore_index=True)


def test_what_residuals_are_drawn_from_is_as_variable_as_the_model_says(fit):
    parts = _parts(fit)
    [effects] = parts.effects
    np.testing.assert_allclose(effects.mean(axis=0), 0.0, atol=1e-10)
    np.testing.assert_allclose(effects.T @ effects / 18, fit.varcorr["Subject"], rtol=1e-9)
    assert parts.residuals.mean() == pytest.approx(0.0, abs=1e-12)
    assert (parts.residuals**2).mean() == pytest.approx(1.0)
    # The map of Carpenter, Goldstein and Rasbash: by lower triangles.
    blups = fit.ranef["Subject"].to_numpy()
    blups = blups - blups.mean(axis=0)
    lower = np.linalg.cholesky(blups.T @ blups / 18)
    wanted = np.linalg.cholesky(fit.varcorr["Subject"]) @ np.linalg.solve(lower, blups.T)
    np.testing.assert_allclose(effects, wanted.T, rtol=1e-8)
    raw = fit.resid().to_numpy()
    centred = raw - raw.mean()
    np.testing.assert_allclose(parts.residuals, centred / centred.std(), rtol=1e-8)


def test_a_residual_sample_is_a_single_refit(fit):
    boot = fit.bootstrap(30, seed=4, kind="residual")
    response = _parts(fit).responses(1, seed_sequence(4), 7)[:, 0]
    one = mlm.lmm(SLOPES, mlm.load_sleepstudy().assign(Reaction=response))
    sample = boot.replicates.iloc[7]
    np.testing.assert_allclose(sample[["(Intercept)", "Days"]], one.params, rtol=1e-9)
    assert sample["sigma"] == pytest.approx(one.sigma, rel=1e-8)
    left = response - 251.4051 - 10.46729 * mlm.load_sleepstudy()["Days"]
    assert abs(left.mean()) < 30
    assert boot.kind == "residual"
    assert "Residual bootstrap of 30 samples" in repr(boot)


def test_singular_covariances_are_drawn_from_where_they_are_not_0():
    effects = np.array([[1.0, 2.0], [-2.0, -4.0], [4.0, 8.0], [0.5, 1.0]])
    for covariance in (
        [[1.0, 2.0], [2.0, 4.0]],
        [[0.0, 0.0], [0.0, 4.0]],
        [[0.0, 0.0], [0.0, 0.0]],
    ):
        out = reflated(effects, np.array(covariance))
        np.testing.assert_allclose(out.T @ out / 4, covariance, atol=1e-9)


def test_a_cluster_sample_is_a_fit_of_stacked_clusters(fit):
    data = mlm.load_sleepstudy()
    boot = fit.bootstrap(12, seed=9, kind="cluster")
    for i in (0, 5):
        one = mlm.lmm("Reaction ~ Days + (Days | drawn)", _drawn_frame(data, 9, i))
        sample = boot.replicates.iloc[i]
        np.testing.assert_allclose(sample[["(Intercept)", "Days"]], one.params, rtol=1e-9)
        assert sample["sigma"] == pytest.approx(one.sigma, rel=1e-8)
        assert sample["sd_Days|Subject"] == pytest.approx(
            np.sqrt(one.varcorr["drawn"].iloc[1, 1]), rel=1e-6
        )
    fewer = fit.bootstrap(4, seed=9, kind="cluster")
    np.testing.assert_array_equal(fewer.replicates, boot.replicates.iloc[:4])


@pytest.mark.parametrize("statistic", [None, lambda fits: {"t": fits.tvalues[:, 1], "df": fits.df}])
def test_clusters_are_refitted_together_as_each_is_alone(fit, statistic, monkeypatch):
    together = fit.bootstrap(25, seed=9, kind="cluster", statistic=statistic)
    limits = together.conf_int(kind="bca")
    alone: list[object] = []

    def one_by_one(refits, clusters, samples):
        alone.extend(samples)
        return iter(())

    monkeypatch.setattr(refits_of_clusters, "_together", one_by_one)
    each = fit.bootstrap(25, seed=9, kind="cluster", statistic=statistic)
    np.testing.assert_array_equal(together.replicates, each.replicates)
    np.testing.assert_array_equal(limits, each.conf_int(kind="bca"))
    assert (together.n_failed, together.n_singular) == (each.n_failed, each.n_singular)
    assert len(alone) == 25 + 18


def test_clusters_of_several_shapes_are_refitted_together(monkeypatch):
    data = mlm.load_sleepstudy().iloc[3:].reset_index(drop=True)
    data = data.drop(index=[40, 41, 90, 130]).reset_index(drop=True)
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", data)
    boot = fit.bootstrap(12, seed=9, kind="cluster")
    alone: list[object] = []
    refit = refits_of_clusters._put

    def put(out, at, found):
        alone.extend([at] if len(at) == 1 else [])
        refit(out, at, found)

    monkeypatch.setattr(refits_of_clusters, "_put", put)
    limits = boot.conf_int(kind="bca")
    assert not alone, "none of the jackknife's samples"
    monkeypatch.setattr(refits_of_clusters, "_together", lambda *parts: iter(()))
    each = fit.bootstrap(12, seed=9, kind="cluster")
    np.testing.assert_array_equal(boot.replicates, each.replicates)
    np.testing.assert_array_equal(limits, each.conf_int(kind="bca"))
    assert len(alone) == 12 + 18
    one = mlm.lmm("Reaction ~ Days + (Days | drawn)", _drawn_frame(data, 9, 2))
    np.testing.assert_allclose(boot.replicates.iloc[2, :2], one.params, rtol=1e-9)


@pytest.mark.parametrize("residual", ["us(visit | drawn)", "ar1(visit | drawn)"])
def test_clusters_with_a_residual_structure(residual):
    data = trial(n_subjects=30, missing=0.1)
    fit = mlm.lmm("y ~ x", data, residual=residual.replace("drawn", "subject"))
    boot = fit.bootstrap(3, seed=2, kind="cluster")
    one = mlm.lmm("y ~ x", _drawn_frame(data, 2, 2, "subject"), residual=residual)
    np.testing.assert_allclose(
        boot.replicates[list(one.params.index)].iloc[2], one.params, rtol=1e-7
    )
    names = list(fit.residual_parameters.index)
    np.testing.assert_allclose(boot.replicates[names].iloc[2], one.residual_parameters, rtol=1e-4)


@pytest.mark.parametrize("residual", ["us(visit | subject)", "ar1(visit | subject)"])
def test_residuals_of_a_structure_are_drawn_with_its_covariance(residual):
    data = trial(n_subjects=30, missing=0.1)
    fit = mlm.lmm("y ~ x", data, residual=residual)
    parts, n = _parts(fit), 4000
    drawn = parts.responses(n, seed_sequence(2), 0)
    boot = fit.bootstrap(3, seed=2, kind="residual")
    one = mlm.lmm("y ~ x", data.assign(y=drawn[:, 2]), residual=residual)
    wanted = pd.concat([one.params, one.residual_parameters])
    np.testing.assert_allclose(boot.replicates[list(wanted.index)].iloc[2], wanted, rtol=1e-7)
    # beta at the true V is a sum of independent draws of mean 0 and variance 1, by weights w: its
    # variance is (X'V^-1 X)^-1 exactly, and that of its square follows from the fourth moment.
    subject = data["subject"].to_numpy()
    V = fit.residual_cov.loc[data["visit"], data["visit"]].to_numpy()
    V = V * (subject[:, None] == subject)
    X = np.column_stack([np.ones(len(data)), data["x"]])
    C = np.linalg.inv(X.T @ np.linalg.solve(V, X))
    gls = C @ np.linalg.solve(V, X).T
    w2 = (gls @ np.linalg.cholesky(V)) ** 2
    excess = ((parts.residuals**4).mean() - 3.0) * (w2**2).sum(axis=1) / w2.sum(axis=1) ** 2
    error = (gls @ drawn - fit.params.to_numpy()[:, None]) / np.sqrt(np.diag(C))[:, None]
    assert (np.abs(error.mean(axis=1)) < 4.0 / np.sqrt(n)).all()
    assert (np.abs((error**2).mean(axis=1) - 1.0) < 4.0 * np.sqrt((2.0 + excess) / n)).all()
    # Of the two at once: correlated as C says.
    product = (error[0] * error[1]).mean()
    assert abs(product - C[0, 1] / np.sqrt(C[0, 0] * C[1, 1])) < 4.0 * np.sqrt(2.0 / n)


def test_nested_factors_move_with_their_cluster():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"a": np.repeat(np.arange(12), 8), "b": np.tile(np.repeat([0, 1], 4), 12)})
    effects = rng.normal(size=12)[data["a"]] + rng.normal(size=24)[data["a"] * 2 + data["b"]]
    data["y"] = effects + rng.normal(size=len(data))
    data = data.drop(index=[0, 1, 50, 51, 52])
    fit = mlm.lmm("y ~ 1 + (1 | a/b)", data)
    boot = fit.bootstrap(2, seed=1, kind="cluster")
    one = mlm.lmm("y ~ 1 + (1 | drawn/b)", _drawn_frame(data, 1, 1, "a"))
    assert boot.replicates["(Intercept)"].iloc[1] == pytest.approx(one.params.iloc[0], rel=1e-8)
    sample = boot.replicates.iloc[1]
    assert sample["sd_(Intercept)|a"] ** 2 == pytest.approx(
        one.varcorr["drawn"].iloc[0, 0], rel=1e-5
    )
    assert sample["sigma"] == pytest.approx(one.sigma, rel=1e-7)


def test_intervals_of_drawn_clusters(fit):
    boot = fit.bootstrap(100, seed=1, kind="cluster")
    values, estimate = boot.replicates["Days"], fit.params["Days"]
    np.testing.assert_allclose(boot.conf_int().loc["Days"], np.quantile(values, [0.025, 0.975]))
    data = mlm.load_sleepstudy()
    left = [
        mlm.lmm(SLOPES, data[data["Subject"] != s]).params["Days"] for s in data["Subject"].unique()
    ]
    influence = np.mean(left) - np.array(left)
    a = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    from scipy.stats import norm

    z0 = norm.ppf((values < estimate).mean())
    z = z0 + norm.ppf([0.025, 0.975])
    limits = np.quantile(values, norm.cdf(z0 + z / (1 - a * z)))
    np.testing.assert_allclose(boot.conf_int(kind="bca").loc["Days"], limits, rtol=1e-7)
    again = pickle.loads(pickle.dumps(boot))
    np.testing.assert_array_equal(again.conf_int(kind="bca"), boot.conf_int(kind="bca"))


@pytest.mark.parametrize("kind", ["residual", "cluster"])
@pytest.mark.parametrize("interval", ["percentile", "basic", "bca"])
def test_conf_int_agrees(fit, kind, interval):
    boot = fit.bootstrap(50, seed=3, kind=kind)
    found = fit.conf_int(0.9, method="boot", n=50, seed=3, kind=kind, interval=interval)
    pd.testing.assert_frame_equal(found, boot.conf_int(0.9, interval))


def test_a_sample_without_an_arm_fails_and_is_counted():
    data = mlm.load_sleepstudy()
    data = data[data["Subject"].isin(list(dict.fromkeys(data["Subject"]))[:4])]
    data = data.assign(arm=(data["Subject"] == data["Subject"].iloc[0]).astype(float))
    fit = mlm.lmm("Reaction ~ arm + (1 | Subject)", data)
    boot = fit.bootstrap(60, seed=1, kind="cluster")
    # The one subject of an arm is in none of the four draws with probability (3 / 4)^4.
    assert 8 <= boot.n_failed <= 32
    assert int(boot.replicates["arm"].isna().sum()) == boot.n_failed


def test_refusals(fit):
    with pytest.raises(ModelError, match="'parametric', 'residual' or 'cluster'"):
        fit.bootstrap(10, kind="cases")
    with pytest.raises(ModelError, match="cluster= goes with kind='cluster'"):
        fit.bootstrap(10, cluster="Subject")
    with pytest.raises(ModelError, match="go with method='boot'"):
        fit.conf_int(kind="residual")
    with pytest.raises(ModelError, match="stand in several clusters"):
        fit.bootstrap(10, kind="cluster", cluster="Days")
