"""Deletion diagnostics against models computed without the rows, and studentised residuals."""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

from ..cases import data_of

MODELS = {
    "random slopes": ("sleepstudy_slope_corr_reml", "Reaction ~ Days + (Days | Subject)", {}),
    "weights and offset": (
        "sleepstudy_slope_corr_reml",
        "Reaction ~ Days + offset(Days) + (1 | Subject)",
        {"weights": np.linspace(0.5, 2.0, 180)},
    ),
    "nested": ("pastes_nested_reml", "strength ~ 1 + (1 | batch/cask)", {}),
    "residual structure": (
        "orthodont_slope_reml",
        "distance ~ age * Sex",
        {"residual": "ar1(age | Subject)"},
    ),
}


def fitted(name):
    case_id, formula, arguments = MODELS[name]
    return mlm.lmm(formula, data_of(case_id), **arguments)


def dense(fit):
    """X, V, y - offset of all rows."""
    return (
        fit.X(None).to_numpy(),
        fit.V(None).to_numpy(),
        fit.resid("marginal").to_numpy() + fit.X(None).to_numpy() @ fit.params.to_numpy(),
    )


def gls(x, v, y):
    information = x.T @ np.linalg.solve(v, x)
    m = np.linalg.inv(information)
    return m @ x.T @ np.linalg.solve(v, y), m


def without(fit, rows):
    """beta and M of the rows that are left, V held."""
    x, v, y = dense(fit)
    keep = np.setdiff1d(np.arange(len(y)), rows)
    return gls(x[keep], v[np.ix_(keep, keep)], y[keep])


def check(fit, statistics, change, dfbetas, rows):
    beta, m = gls(*dense(fit))
    beta_u, m_u = without(fit, rows)
    delta, p = beta - beta_u, len(beta)
    np.testing.assert_allclose(change, delta, rtol=1e-7, atol=1e-9 * np.sqrt(np.diag(m)).max())
    np.testing.assert_allclose(dfbetas, delta / np.sqrt(np.diag(m_u)), rtol=1e-7, atol=1e-9)
    assert statistics["cooks_distance"] == pytest.approx(delta @ np.linalg.solve(m, delta) / p)
    assert statistics["mdffits"] == pytest.approx(delta @ np.linalg.solve(m_u, delta) / p)
    ratio = np.linalg.solve(m, m_u)
    assert statistics["covratio"] == pytest.approx(np.linalg.det(ratio))
    assert statistics["covtrace"] == pytest.approx(abs(np.trace(ratio) - p), abs=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_leaving_a_cluster_out(name):
    fit = fitted(name)
    influence = fit.influence()
    group = next(iter(fit.n_groups))
    labels = fit._source.design.factors[fit._record.levels[0]]
    for position, label in list(enumerate(labels.labels))[:4]:
        rows = np.flatnonzero(labels.codes == position)
        table = influence.clusters.loc[label]
        assert table["n_rows"] == len(rows)
        check(
            fit,
            table,
            influence.cluster_changes.loc[label],
            influence.cluster_dfbetas.loc[label],
            rows,
        )
    assert influence.clusters.index.name == group


@pytest.mark.parametrize("name", MODELS)
def test_leaving_an_observation_out(name):
    fit = fitted(name)
    influence = fit.influence()
    for row in (0, 7, 30):
        check(
            fit,
            influence.observations.iloc[row],
            influence.observation_changes.iloc[row],
            influence.observation_dfbetas.iloc[row],
            [row],
        )


@pytest.mark.parametrize("name", MODELS)
def test_leverage_is_the_derivative_of_the_fitted_values(name):
    fit = fitted(name)
    x, v, y = dense(fit)
    _, m = gls(x, v, y)
    influence = fit.influence()
    fixed = x @ m @ x.T @ np.linalg.inv(v)
    np.testing.assert_allclose(influence.observations["leverage_fixed"], np.diag(fixed), rtol=1e-8)
    assert influence.clusters["leverage"].sum() == pytest.approx(fit.rank)
    # y_hat = y - R P y; fitted values at these covariance parameters are linear in y.
    p = np.linalg.inv(v) @ (np.eye(len(y)) - fixed)
    r = fit.R(None).to_numpy()
    np.testing.assert_allclose(influence.observations["leverage"], 1 - np.diag(r @ p), rtol=1e-7)
    np.testing.assert_allclose(
        influence.observations["studentised"], p @ y / np.sqrt(np.diag(p)), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("name", MODELS)
def test_studentised_residuals_have_their_variances(name):
    fit = fitted(name)
    x, v, y = dense(fit)
    beta, m = gls(x, v, y)
    p = np.linalg.inv(v) - np.linalg.solve(v, x @ m @ x.T) @ np.linalg.inv(v)
    r = fit.R(None).to_numpy()
    np.testing.assert_allclose(
        fit.resid("studentised"), r @ p @ y / np.sqrt(np.diag(r @ p @ r)), rtol=1e-6, atol=1e-7
    )
    np.testing.assert_allclose(
        fit.resid("studentized-marginal"),
        (y - x @ beta) / np.sqrt(np.diag(v - x @ m @ x.T)),
        rtol=1e-6,
        atol=1e-7,
    )
    np.testing.assert_array_equal(fit.resid("conditional"), fit.resid("raw"))


def test_independent_rows_have_textbook_diagnostics(sleepstudy):
    """Leverage, Cook's D and COVRATIO of ordinary least squares with sigma^2 known."""
    fit = mlm.lmm("Reaction ~ Days", sleepstudy)
    labels = np.arange(180)
    influence = fit.influence(labels)
    x, e = np.column_stack([np.ones(180), sleepstudy["Days"]]), fit.resid().to_numpy()
    h = np.einsum("ia,ab,ib->i", x, np.linalg.inv(x.T @ x), x)
    table = influence.observations
    np.testing.assert_allclose(table["leverage"], h, rtol=1e-9)
    np.testing.assert_allclose(
        table["cooks_distance"], e**2 * h / (2 * fit.scale * (1 - h) ** 2), rtol=1e-9
    )
    np.testing.assert_allclose(table["covratio"], 1 / (1 - h), rtol=1e-9)
    np.testing.assert_allclose(fit.resid("studentised"), e / np.sqrt(fit.scale * (1 - h)))


def test_what_cannot_be_left_out_is_missing_and_said():
    data = {
        "y": [1.0, 2.0, 2.5, 4.0, 3.0, 5.0, 1.5, 2.0],
        "only": [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        "g": list("aabbccdd"),
    }
    fit = mlm.lmm("y ~ only + (1 | g)", data)
    influence = fit.influence()
    assert list(influence.clusters["cooks_distance"].isna()) == [True, False, False, False]
    assert "1 cluster(s) cannot be left out" in str(influence)


def test_largest_come_first_in_print():
    text = str(fitted("random slopes").influence())
    assert text.splitlines()[0] == "Most influential clusters of 18"
    assert "Most influential observations of 180" in text


def test_refusals(sleepstudy):
    fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", sleepstudy)
    with pytest.raises(DataError, match="did you mean 'Subject'"):
        fit.influence("subject")
    with pytest.raises(ModelError, match="no grouping factor"):
        mlm.lmm("Reaction ~ Days", sleepstudy).influence()
