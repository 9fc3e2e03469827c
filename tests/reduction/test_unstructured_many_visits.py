"""Unstructured covariances over many visits: closed forms, a dense likelihood, and their steps."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.covariance.structures.unstructured import Unstructured
from mlmfast.criterion.criterion import criterion_of
from mlmfast.errors import ModelError
from mlmfast.fitting.starts import em
from mlmfast.newton import large_step, step

from .. import dense

VISITS, SUBJECTS = 21, 48  # 231 parameters


def frame_of(visits, subjects, seed=2):
    rng = np.random.default_rng(seed)
    lag = np.abs(np.subtract.outer(np.arange(visits), np.arange(visits)))
    sd = np.exp(0.3 * np.sin(np.arange(visits)))
    y = rng.normal(size=(subjects, visits)) @ np.linalg.cholesky(0.9**lag).T * sd
    return pd.DataFrame(
        {
            "y": y.ravel(),
            "x": rng.normal(size=y.size),
            "visit": np.tile(np.arange(visits), subjects),
            "subject": np.repeat(np.arange(subjects), visits),
            "arm": np.repeat(np.where(np.arange(subjects) % 2, "a", "b"), visits),
        }
    )


@pytest.fixture(scope="module")
def frame():
    return frame_of(VISITS, SUBJECTS)


@pytest.fixture(scope="module")
def incomplete(frame):
    """Some drop out, and some miss a visit or two."""
    rng = np.random.default_rng(5)
    last = np.where(rng.random(SUBJECTS) < 0.2, rng.integers(8, VISITS, SUBJECTS), VISITS)
    missed = (rng.random(len(frame)) < 0.1) & (frame["subject"] % 6 == 0)
    seen = (frame["visit"] < last[frame["subject"]]) & ~missed
    return frame[seen].reset_index(drop=True)


@pytest.mark.parametrize(("method", "lost"), [("REML", 1), ("ML", 0)])
def test_balanced_data_have_the_sample_covariance(frame, method, lost):
    fit = mlm.lmm("y ~ 0 + factor(visit)", frame, residual="us(visit | subject)", method=method)
    y = frame["y"].to_numpy().reshape(SUBJECTS, VISITS)
    centred = y - y.mean(axis=0)
    sample = centred.T @ centred / (SUBJECTS - lost)
    np.testing.assert_allclose(fit.residual_cov, sample, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fit.params, y.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(fit.bse, np.sqrt(np.diag(sample) / SUBJECTS), rtol=1e-9)
    # The moments of all visits are near the maximum, and one Newton step leads there.
    assert fit.certificate.n_evaluations <= 4


@pytest.mark.slow
@pytest.mark.parametrize("visits", [66, 70])
def test_more_than_64_visits_have_the_sample_covariance(visits):
    frame = frame_of(visits, 90)
    fit = mlm.lmm("y ~ 0 + factor(visit)", frame, residual="us(visit | subject)")
    centred = frame["y"].to_numpy().reshape(90, visits)
    centred = centred - centred.mean(axis=0)
    sample = centred.T @ centred / 89
    np.testing.assert_allclose(fit.residual_cov, sample, rtol=1e-8, atol=1e-11)


@pytest.mark.slow
def test_more_than_100_visits_of_csh_by_a_dense_likelihood():
    visits, subjects = 102, 30
    frame = frame_of(visits, subjects)
    fit = mlm.lmm("y ~ 1", frame, residual="csh(visit | subject)", method="ML")
    R = fit.residual_cov.to_numpy()
    y, ones = frame["y"].to_numpy().reshape(subjects, visits), np.ones(visits)
    sd = np.sqrt(np.diag(R))
    np.testing.assert_allclose(
        R / np.outer(sd, sd) - np.eye(visits),
        (R[1, 0] / sd[1] / sd[0]) * (1 - np.eye(visits)),
        rtol=1e-10,
        atol=1e-12,
    )

    def deviance(R):
        precision = np.linalg.inv(R)
        mean = (y @ precision @ ones).sum() / (subjects * ones @ precision @ ones)
        left = y - mean
        quadratic = np.einsum("ij,jk,ik->", left, precision, left)
        return y.size * np.log(2 * np.pi) + subjects * np.linalg.slogdet(R)[1] + quadratic

    assert fit.deviance == pytest.approx(deviance(R), rel=1e-12)
    for k in (0, 40, 101):
        for factor in (0.99, 1.01):
            scale = np.ones(visits)
            scale[k] = factor
            assert deviance(scale[:, None] * R * scale) > fit.deviance


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_missing_visits_by_a_dense_likelihood(incomplete, method):
    fit = mlm.lmm("y ~ x", incomplete, residual="us(visit | subject)", method=method)
    assert fit.converged
    X = np.column_stack([np.ones(len(incomplete)), incomplete["x"]])
    visit, subject = incomplete["visit"].to_numpy(), incomplete["subject"].to_numpy()
    y, same = incomplete["y"].to_numpy(), subject[:, None] == subject

    def deviance(R):
        V = np.where(same, R[np.ix_(visit, visit)], 0.0)
        return -2 * dense.log_likelihood(y, X, V, method)

    R = fit.residual_cov.to_numpy()
    assert fit.deviance == pytest.approx(deviance(R), rel=1e-12)
    rng = np.random.default_rng(9)
    root = np.linalg.cholesky(R)
    for _ in range(3):
        way = rng.normal(size=R.shape)
        way = root @ (way + way.T) @ root.T
        up, down = deviance(R + 1e-4 * way), deviance(R - 1e-4 * way)
        assert abs(up - down) / 2e-4 < 1e-3
        assert min(up, down) > fit.deviance


def test_the_steps_end_where_steps_by_eigenvalues_do(incomplete, monkeypatch):
    few = incomplete[incomplete["visit"] < 7]
    residuals = ["us(visit | subject)", "us(visit | arm / subject)"]
    by_values = [mlm.lmm("y ~ x", few, residual=residual) for residual in residuals]
    monkeypatch.setattr(step, "MANY", 10)
    monkeypatch.setattr(em, "_MANY", 10)
    monkeypatch.setattr(Unstructured, "pulls", True)
    by_factor = [mlm.lmm("y ~ x", few, residual=residual) for residual in residuals]
    for new, old in zip(by_factor, by_values, strict=True):
        assert new.deviance == pytest.approx(old.deviance, abs=1e-8)
        np.testing.assert_allclose(new.params, old.params, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(new.bse, old.bse, rtol=1e-6)
        smallest = [fit.certificate.min_hessian_eigenvalue for fit in (new, old)]
        assert smallest[0] == pytest.approx(smallest[1], rel=1e-4)
        assert new.certificate.n_evaluations < old.certificate.n_evaluations


def test_products_with_the_jacobian_are_those_of_the_chart():
    structure = Unstructured(20)
    rng = np.random.default_rng(3)
    theta = rng.normal(size=(2, structure.n_theta))
    rows = rng.normal(size=(2, 5, structure.n_theta))
    weight = rng.normal(size=(2, structure.n_theta))
    jacobian, curvature = structure.chart(theta, weight)
    np.testing.assert_allclose(structure.pull(theta, rows), rows @ jacobian, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(structure.bend(theta, weight), curvature, rtol=1e-12)


@pytest.mark.parametrize("terms", ["", " + (x | arm/subject)"])
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_the_gradient_alone_is_that_of_the_evaluation(incomplete, terms, method):
    few = incomplete[incomplete["visit"] < 6]
    model = mlm.LMM("y ~ x" + terms, few, residual="us(visit | subject)")
    criterion = criterion_of(model._reduced(None), method)
    theta = 0.3 * np.random.default_rng(1).normal(size=(1, criterion.n_theta))
    asked = criterion.covariances(theta), [0], criterion.entries, criterion.reml
    value, gradient = criterion.reduction.gradient(*asked)
    whole = criterion.reduction.evaluate(*asked, True)
    np.testing.assert_allclose(value, whole[0], rtol=1e-14)
    np.testing.assert_allclose(gradient, whole[1], rtol=1e-11, atol=1e-11)


def symmetric(values, seed=0):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))))
    return (q * values) @ q.T


@pytest.mark.parametrize("smallest", [-2.0, 1e-6, 0.3])
def test_a_large_step_is_that_of_the_eigenvalues(smallest):
    n = 240
    hessian = symmetric(np.concatenate([[smallest], np.linspace(0.5, 4.0, n - 1)]))
    expected = symmetric(np.linspace(0.5, 3.0, n), 1)
    gradient = np.random.default_rng(2).normal(size=n)
    found = large_step.large_step(gradient, hessian, expected, 1e-9)
    assert found is not None
    way, slope, lowest = found
    curvature = hessian if smallest > 0 else expected
    np.testing.assert_allclose(way, -np.linalg.solve(curvature, gradient), rtol=1e-7)
    scale = np.sqrt(np.maximum(np.diag(expected), np.abs(np.diag(hessian))))
    exact = np.linalg.eigvalsh(hessian / np.outer(scale, scale))[0]
    assert lowest == pytest.approx(exact, rel=1e-6 if smallest > 0 else 1e-2)
    assert slope == pytest.approx(gradient @ way)


def test_a_row_of_many_parameters_has_its_step_alone_and_in_a_batch():
    """Also beside one that eigenvalues must tell: a Hessian without a slope along something."""
    n = 210
    flat = symmetric(np.concatenate([[0.0], np.linspace(0.5, 4.0, n - 1)]))
    hessian = np.stack([symmetric(np.linspace(0.5, 4.0, n), 1), flat])
    gradient = np.random.default_rng(2).normal(size=(2, n))
    rest = (np.stack([np.eye(n)] * 2), gradient, hessian, hessian)
    at = step.Derivatives(np.zeros(2), gradient, hessian, *rest)
    both = step.newton_step(at, 1e-9)
    for k in range(2):
        alone = step.newton_step(at.rows(np.array([k])), 1e-9)
        for whole, part in zip(both, alone, strict=True):
            assert np.array_equal(whole[[k]], part)


def test_a_likelihood_without_maximum_is_found_out_beforehand(frame):
    gone = np.random.default_rng(5).random(len(frame)) < 0.2
    with pytest.raises(ModelError, match=r"no maximum.*the \d+ visits .*subject\(s\) have all"):
        mlm.lmm("y ~ x", frame[~gone], residual="us(visit | subject)")


def test_what_does_not_fit_into_memory_is_refused(monkeypatch):
    frame = frame_of(66, 70)
    monkeypatch.setattr("mlmfast.design.residual.checks.memory_left", lambda: 0.5e9)
    message = r"66 distinct visits.*2,211 parameters.*take 0.8 GB \(0.4 are left\)"
    with pytest.raises(ModelError, match=message):
        mlm.LMM("y ~ x", frame, residual="us(visit | subject)")
    monkeypatch.setattr("mlmfast.design.residual.checks.memory_left", lambda: 1.5e9)
    assert mlm.LMM("y ~ x", frame, residual="us(visit | subject)") is not None
