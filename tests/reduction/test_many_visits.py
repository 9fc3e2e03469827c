"""More than 64 visits: structures of few parameters, against models that are the same."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.covariance import STRUCTURES
from mlmfast.criterion.criterion import criterion_of
from mlmfast.errors import ModelError
from mlmfast.reduction import residual_blocks

from .. import dense

VISITS, SUBJECTS = 90, 12


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(8)
    own, steps = rng.normal(size=SUBJECTS), rng.normal(size=(SUBJECTS, VISITS + 1))
    y = own[:, None] + steps[:, 1:] + 0.5 * steps[:, :-1]
    return pd.DataFrame(
        {
            "y": y.ravel(),
            "x": rng.normal(size=y.size),
            "visit": [f"v{k:03d}" for k in range(VISITS)] * SUBJECTS,
            "subject": np.repeat(np.arange(SUBJECTS), VISITS),
        }
    )


def test_compound_symmetry_is_a_random_intercept(frame):
    cs = mlm.lmm("y ~ x", frame, residual="cs(visit | subject)")
    intercept = mlm.lmm("y ~ x + (1 | subject)", frame)
    assert cs.deviance == pytest.approx(intercept.deviance, abs=1e-8)
    np.testing.assert_allclose(cs.params, intercept.params, rtol=1e-7)
    np.testing.assert_allclose(cs.bse, intercept.bse, rtol=1e-6)
    np.testing.assert_allclose(cs.df, intercept.df, rtol=1e-4)
    assert cs.residual_cov.shape == (VISITS, VISITS)


def test_a_band_of_a_toeplitz_matrix_by_a_dense_likelihood(frame):
    fit = mlm.lmm("y ~ x", frame, residual="toep(visit | subject, 2)", method="ML")
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    lag = np.abs(np.subtract.outer(np.arange(VISITS), np.arange(VISITS)))
    variance, first = fit.residual_cov.iloc[0, :2]

    def deviance(a, b):
        R = np.where(lag == 0, a, np.where(lag == 1, b, 0.0))
        V = np.kron(np.eye(SUBJECTS), R)
        return -2 * dense.log_likelihood(frame["y"].to_numpy(), X, V, "ML")

    assert fit.deviance == pytest.approx(deviance(variance, first), abs=1e-7)
    for a, b in ((1.01, 1.0), (0.99, 1.0), (1.0, 1.01), (1.0, 0.99)):
        assert deviance(a * variance, b * first) > fit.deviance


def test_a_variance_for_each_of_many_visits(frame):
    fit = mlm.lmm("y ~ visit", frame, residual="diag(visit | subject)")
    by_visit = frame.groupby("visit")["y"].var()
    np.testing.assert_allclose(np.diag(fit.residual_cov), by_visit, rtol=1e-6)


def test_structures_of_many_parameters_say_what_is_available(monkeypatch):
    monkeypatch.setattr("mlmfast.design.residual.checks.memory_left", lambda: 2e9)
    many = pd.DataFrame(
        {
            "y": np.arange(420) % 11.0,
            "visit": np.arange(420) % 140,
            "subject": np.arange(420) // 140,
        }
    )
    with pytest.raises(ModelError, match=r"9,870 distinct.*279 parameters.*6.2 GB \(1.9 are left"):
        mlm.lmm("y ~ 1", many, residual="toeph(visit | subject)")
    with pytest.raises(ModelError, match=r"has 9870 parameters; found 3 subject"):
        mlm.lmm("y ~ 1", many, residual="us(visit | subject)")


def test_toeplitz_over_many_visits_by_a_dense_likelihood():
    rng = np.random.default_rng(3)
    visits, subjects = 66, 150
    lag = np.abs(np.subtract.outer(np.arange(visits), np.arange(visits)))
    y = rng.normal(size=(subjects, visits)) @ np.linalg.cholesky(0.6**lag).T
    frame = pd.DataFrame(
        {
            "y": y.ravel(),
            "visit": np.tile(np.arange(visits), subjects),
            "subject": np.repeat(np.arange(subjects), visits),
        }
    )
    fit = mlm.lmm("y ~ 1", frame, residual="toep(visit | subject)", method="ML")
    by_lag = fit.residual_cov.to_numpy()[0]

    def deviance(by_lag):
        precision = np.linalg.inv(by_lag[lag])
        ones = np.ones(visits)
        mean = (y @ precision @ ones).sum() / (subjects * ones @ precision @ ones)
        left = y - mean
        logdet = np.linalg.slogdet(by_lag[lag])[1]
        return (
            y.size * np.log(2 * np.pi)
            + subjects * logdet
            + np.einsum("ij,jk,ik->", left, precision, left)
        )

    assert fit.deviance == pytest.approx(deviance(by_lag), rel=1e-12)
    # At the maximum the deviance has no slope by any lag, and other members are worse.
    for direction in np.eye(visits)[[0, 1, 2, 30, 65]]:
        step = 1e-5 * by_lag[0] * direction
        slope = (deviance(by_lag + step) - deviance(by_lag - step)) / 2e-5
        assert abs(slope) < 1e-3
        assert deviance(by_lag + 30 * step) > fit.deviance


@pytest.mark.parametrize("keyword", ["cs", "toep", "csh", "ad", "sp_exp", "arma11"])
def test_derivatives_of_all_entries_at_once(keyword):
    """They are those of one entry at a time."""
    kind = STRUCTURES[keyword]
    points = {"coordinates": np.arange(5.0) ** 1.5} if kind.needs == "coordinates" else {}
    structure = kind(5, **points)
    theta = np.random.default_rng(1).normal(size=(2, structure.n_theta)) * 0.3
    value, first, second = structure.entry_derivatives(theta)
    n = len(structure.entries)
    rows, columns = np.array(structure.entries).T
    np.testing.assert_allclose(value, structure.matrix(theta)[:, rows, columns], rtol=1e-14)
    np.testing.assert_allclose(first, structure.jacobian(theta), rtol=1e-13, atol=1e-15)
    i, j = np.tril_indices(structure.n_theta)
    for row, own in enumerate(theta):
        one_by_one = structure.curvature(np.repeat(own[None], n, axis=0), np.eye(n))
        np.testing.assert_allclose(second[row], one_by_one[:, i, j], rtol=1e-12, atol=1e-14)


def test_one_field_of_more_than_500_points_by_a_dense_likelihood():
    rng = np.random.default_rng(4)
    n = 520
    points = rng.uniform(0, 10, size=(n, 2))
    gap = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    noise = np.linalg.cholesky(np.exp(-gap) + 1e-10 * np.eye(n)) @ rng.normal(size=n)
    frame = pd.DataFrame({"y": 3 + noise, "a": points[:, 0], "b": points[:, 1], "field": 1})
    fit = mlm.lmm("y ~ 1", frame, residual="sp_exp(a, b | field)")
    assert fit.converged
    variance, reach = fit.residual_parameters

    def deviance(v, r):
        V = v * np.exp(-gap / r)
        return -2 * dense.log_likelihood(frame["y"].to_numpy(), np.ones((n, 1)), V, "REML")

    assert fit.deviance == pytest.approx(deviance(variance, reach), abs=1e-7)
    for v, r in ((1.02, 1.0), (0.98, 1.0), (1.0, 1.02), (1.0, 0.98)):
        assert deviance(v * variance, r * reach) > fit.deviance


def test_units_too_large_for_memory_say_how_large():
    n = 12_000
    frame = {"y": np.arange(n) % 7.0, "a": np.arange(n) * 1.0, "b": np.arange(n) % 90, "g": [1] * n}
    with pytest.raises(ModelError, match=r"12,000 rows would take 6.9 GB \(the limit is 4.0\)"):
        mlm.lmm("y ~ 1", frame, residual="sp_exp(a, b | g)")


@pytest.mark.parametrize("keyword", ["ad", "csh"])
def test_few_parameters_beside_effects_across_subjects(keyword, monkeypatch):
    """By parameters, which costs the dense engine less, as by entries."""
    rng = np.random.default_rng(6)
    visits, subjects = 16, 7
    noise = (
        rng.normal(size=(subjects, visits))
        @ np.linalg.cholesky(
            0.6 ** np.abs(np.subtract.outer(np.arange(visits), np.arange(visits)))
        ).T
    )
    rater = np.tile(np.arange(visits) % 4, subjects)
    frame = pd.DataFrame(
        {
            "y": noise.ravel() + rng.normal(size=4)[rater],
            "visit": np.tile(np.arange(visits), subjects),
            "subject": np.repeat(np.arange(subjects), visits),
            "rater": rater,
        }
    )
    model = {"formula": "y ~ 1 + (1 | rater)", "residual": f"{keyword}(visit | subject)"}
    by_parameters = mlm.LMM(data=frame, **model)._reduced("dense")
    assert by_parameters.blocks[-1].by_theta
    monkeypatch.setattr(residual_blocks, "_has_fewer_parameters", lambda structure: False)
    by_entries = mlm.LMM(data=frame, **model)._reduced("dense")
    assert not by_entries.blocks[-1].by_theta
    criteria = [criterion_of(reduced, "REML") for reduced in (by_parameters, by_entries)]
    theta = 0.2 * rng.normal(size=(1, criteria[0].n_theta))
    ours, theirs = (criterion(theta, np.zeros(1, dtype=np.intp)) for criterion in criteria)
    np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-12)
    np.testing.assert_allclose(ours.gradient, theirs.gradient, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(ours.hessian, theirs.hessian, rtol=1e-7, atol=1e-7)
