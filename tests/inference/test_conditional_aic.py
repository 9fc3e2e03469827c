"""Conditional AIC: its degrees of freedom are the trace of the derivative of the fitted values."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError

from ..residual_models import trial

pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")


def clustered(seed=2):
    rng = np.random.default_rng(seed)
    group, x = np.repeat(np.arange(12), 4), rng.normal(size=48)
    y = rng.normal(size=48) + x * rng.normal(size=12)[group]
    weight = rng.uniform(0.5, 2.0, 48)
    return pd.DataFrame({"x": x, "g": group.astype(str), "y": y, "w": weight, "o": x**2})


CASES = {
    "intercepts": ("y ~ x + (1 | g)", {}),
    "slopes": ("y ~ x + (x | g)", {}),
    "slopes, weights and offset": ("y ~ x + (x | g)", {"weights": "w", "offset": "o"}),
    "uncorrelated": ("y ~ 1 + (x || g)", {}),
    "nested": ("y ~ x + (1 | h/g)", {}),
}


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize(("formula", "arguments"), CASES.values(), ids=CASES)
def test_degrees_of_freedom_are_the_trace_of_the_fitted_values_derivative(
    formula, arguments, method
):
    data = clustered().assign(h=lambda d: (d["g"].astype(int) // 3).astype(str))
    fit = mlm.lmm(formula, data, method=method, **arguments)
    trace, h = 0.0, 1e-4
    for i in range(len(data)):
        moved = [data["y"].where(np.arange(48) != i, data["y"] + s) for s in (h, -h)]
        up, down = (
            mlm.lmm(formula, data.assign(y=y), method=method, **arguments).fittedvalues.iloc[i]
            for y in moved
        )
        trace += (up - down) / (2 * h)
    assert fit.caic()["df"] == pytest.approx(trace, abs=1e-5)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_known_covariances_and_the_likelihood_by_dense_matrices(method):
    data = clustered()
    fit = mlm.lmm("y ~ x + (x | g)", data, method=method, weights="w")
    v, x = fit.V().to_numpy(), np.column_stack([np.ones(48), data["x"]])
    inverse = np.linalg.inv(v)
    p = inverse - inverse @ x @ np.linalg.solve(x.T @ inverse @ x, x.T @ inverse)
    r = fit.scale / data["w"].to_numpy()
    found = fit.caic("vaida-blanchard")
    assert found["df"] == pytest.approx(48 - np.trace(r[:, None] * p), rel=1e-8)
    residual = data["y"] - fit.fittedvalues.to_numpy()
    llf = -0.5 * (np.log(2 * np.pi * r) + residual**2 / r).sum()
    assert found["llf"] == pytest.approx(llf, rel=1e-9)
    assert found["caic"] == pytest.approx(-2 * llf + 2 * (found["df"] + 1), rel=1e-9)


def test_without_random_effects_it_is_the_aic_by_ml():
    fit = mlm.lmm("y ~ x", clustered(), method="ML")
    assert fit.caic()["caic"] == pytest.approx(fit.aic, rel=1e-12)


def test_refusals():
    fit = mlm.lmm("y ~ x + (x | g)", clustered())
    with pytest.raises(ModelError, match="'greven-kneib' or 'vaida-blanchard'"):
        fit.caic("akaike")
    structured = mlm.lmm("y ~ x", trial(), residual="ar1(visit | subject)")
    with pytest.raises(ModelError, match="independent residuals"):
        structured.caic()
    held = mlm.lmm("y ~ x + (1 | g)", clustered(), hold={"sigma": 1.0})
    with pytest.raises(ModelError, match="holds"):
        held.caic()
