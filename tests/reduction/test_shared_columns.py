"""Subjects with the same visits and the same fixed effects stand for one another."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.criterion.criterion import criterion_of
from mlmfast.reduction.blocks import structure_of

from .. import dense

#: Visits that subjects come to; the last subjects come to one of their own.
COMES_TO = ([0, 1, 2, 3], [0, 1, 2], [0, 2, 3], [0, 1, 2, 3], [0, 1], [0, 1, 2, 3])


def trial(n_subjects=34, with_age=False):
    """Arms, visits and a few drop-outs: few different matrices X, some met once, some often."""
    rng = np.random.default_rng(8)
    root = np.tril(rng.uniform(0.2, 0.8, (4, 4))) + np.eye(4)
    rows = []
    for subject in range(n_subjects):
        errors = root @ rng.normal(size=4)
        come = COMES_TO[subject % len(COMES_TO)] if subject < n_subjects - 1 else [1, 3]
        age = rng.uniform(20, 70)
        rows += [(subject, v, "ab"[subject % 2], age, 50.0 + v + errors[v]) for v in come]
    frame = pd.DataFrame(rows, columns=["id", "visit", "arm", "age", "y"])
    return frame, "y ~ arm * factor(visit)" + (" + age" if with_age else "")


def dense_parts(frame, formula):
    model = mlm.LMM(formula, frame, residual="us(visit | id)")
    design = model._design
    return model, design.y, design.fixed_matrix


def covariance(frame, R):
    visit, subject = frame.visit.to_numpy(), frame.id.to_numpy()
    return R[np.ix_(visit, visit)] * (subject[:, None] == subject)


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("residual", ["us", "toeph", "cs"])
@pytest.mark.parametrize("with_age", [False, True], ids=["X shared", "X of their own"])
def test_likelihood_and_its_maximum_are_dense_ones(residual, method, with_age):
    frame, formula = trial(with_age=with_age)
    _, y, X = dense_parts(frame, formula)
    fit = mlm.lmm(formula, frame, residual=f"{residual}(visit | id)", method=method)
    R = fit.residual_cov.to_numpy()

    def deviance(R):
        return -2.0 * dense.log_likelihood(y, X, covariance(frame, R), method)

    assert fit.deviance == pytest.approx(deviance(R), rel=1e-12)
    np.testing.assert_allclose(fit.params, dense.gls(y, X, covariance(frame, R))[0], rtol=1e-9)
    if residual == "us":
        for i, j in zip(*np.tril_indices(4), strict=True):
            step = np.zeros((4, 4))
            step[i, j] = step[j, i] = 1e-5
            assert abs(deviance(R + step) - deviance(R - step)) / 2e-5 < 1e-4


@pytest.mark.parametrize("method", ["ML", "REML"])
@pytest.mark.parametrize("residual", ["us", "toeph"])
def test_derivatives_are_those_of_differences(residual, method):
    """First and second ones, away from the maximum."""
    frame, formula = trial()
    model = mlm.LMM(formula, frame, residual=f"{residual}(visit | id)")
    criterion = criterion_of(model._reduced(None), method)
    rng, fits = np.random.default_rng(2), np.zeros(1, dtype=np.intp)
    theta = structure_of(criterion.terms[-1]).theta(np.eye(4)[None] + 0.3)
    theta = theta + 0.1 * rng.normal(size=theta.shape)
    at = criterion(theta, fits)
    for k in range(theta.shape[1]):
        step = np.zeros_like(theta)
        step[0, k] = 1e-5
        up, down = (criterion(criterion.move(theta, s * step), fits) for s in (1.0, -1.0))
        assert (up.value - down.value)[0] / 2e-5 == pytest.approx(at.gradient[0, k], abs=1e-5)
        second = (up.value - 2 * at.value + down.value)[0] / 1e-10
        assert second == pytest.approx(at.hessian[0, k, k], abs=1e-1)


def test_responses_beside_each_other_have_the_bits_they_have_alone():
    frame, formula = trial()
    model = mlm.LMM(formula, frame, residual="us(visit | id)")
    Y = np.column_stack([frame.y, np.sqrt(frame.y) + np.arange(len(frame)) % 7])
    together = model.fit_many(Y)
    for k in range(2):
        alone = model.fit_many(Y[:, [k]])
        assert together.deviance[k] == alone.deviance[0]
