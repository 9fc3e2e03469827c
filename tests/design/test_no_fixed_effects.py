"""Models without fixed effects: all that a fit is asked for, and what is refused by name."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import mlmfast as mlm
from mlmfast.degrees_of_freedom import METHODS
from mlmfast.errors import ModelError

from .. import dense


@pytest.fixture(scope="module")
def data():
    sleep = mlm.load_sleepstudy()
    return sleep.assign(Reaction=sleep.Reaction - 298.5)


@pytest.fixture(scope="module")
def fit(data):
    return mlm.lmm("Reaction ~ 0 + (1 | Subject)", data)


def dense_deviance(data, V):
    y = data.Reaction.to_numpy()
    return len(y) * np.log(2 * np.pi) + dense.log_determinant(V) + y @ np.linalg.solve(V, y)


def test_the_likelihood_is_that_of_the_response_alone(fit, data):
    codes = np.unique(data.Subject, return_inverse=True)[1]
    term = dense.Term(np.ones((len(data), 1)), fit.varcorr["Subject"].to_numpy(), codes)
    V = dense.marginal_covariance([term], dense.residual_covariance(fit.scale, len(data)))
    assert fit.deviance == pytest.approx(dense_deviance(data, V), rel=1e-12)
    ml = mlm.lmm("Reaction ~ 0 + (1 | Subject)", data, method="ML")
    assert ml.llf == pytest.approx(fit.llf, rel=1e-12)


@pytest.mark.parametrize("structure", ["ar1", "car1", "cs", "us"])
def test_with_residual_covariances_alone(structure, data):
    fit = mlm.lmm("Reaction ~ 0", data, residual=f"{structure}(Days | Subject)")
    V = np.zeros((len(data),) * 2)
    for subject in data.Subject.unique():
        rows = np.flatnonzero(data.Subject == subject)
        V[np.ix_(rows, rows)] = fit.R(subject)
    assert fit.converged
    assert fit.deviance == pytest.approx(dense_deviance(data, V), rel=1e-10)


def test_tables_are_empty_and_reports_complete(fit):
    for part in (fit.params, fit.bse, fit.df, fit.tvalues, fit.pvalues):
        assert len(part) == 0
    assert fit.conf_int().shape == (0, 2)
    assert fit.cov_params().shape == (0, 0)
    assert "Subject" in str(fit.summary())
    assert set(fit.tidy()["effect"]) == {"ran_pars"}
    again = mlm.load(fit.to_json())
    assert again.llf == fit.llf
    assert "Subject" in str(again.summary())


@pytest.mark.parametrize("ddf", METHODS)
def test_every_method_of_degrees_of_freedom(ddf, data):
    fit = mlm.lmm("Reaction ~ 0 + (1 | Subject)", data, ddf=ddf)
    assert len(fit.df) == 0
    assert str(fit.summary())


def test_predictions_are_those_of_the_random_effects(fit, data):
    found = fit.ranef["Subject"].iloc[:, 0].reindex(data.Subject.astype(str)).to_numpy()
    assert_allclose(fit.predict(), found)


@pytest.mark.parametrize(
    "ask", [lambda fit: fit.anova(), lambda fit: fit.emmeans("Days"), lambda fit: fit.influence()]
)
def test_refusals(ask, fit):
    with pytest.raises(ModelError, match="no fixed effects"):
        ask(fit)
