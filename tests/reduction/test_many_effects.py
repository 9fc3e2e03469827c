"""Models of many random effects, or many visits and means: other kernels, the same numbers."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.criterion.criterion import criterion_of
from mlmfast.reduction.reduce import reduce_design

pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")


def check_engines_agree(formula, data, **arguments):
    """Exact derivatives by elimination, near the optimum, against those of V held whole."""
    source = mlm.lmm(formula, data, **arguments)._source
    dense = reduce_design(source.design, [source.design.working_response], engine="dense")
    theta, fit = source.theta * 1.1, np.zeros(1, dtype=np.intp)
    found, expected = (at(theta, fit) for at in (source.criterion, criterion_of(dense, "REML")))
    assert found.value[0] == pytest.approx(expected.value[0], abs=1e-8)
    size = np.sqrt(np.diag(expected.expected[0]))
    np.testing.assert_allclose(found.gradient[0] / size, expected.gradient[0] / size, atol=1e-9)
    for name in ("hessian", "expected"):
        a, b = (getattr(side, name)[0] / np.outer(size, size) for side in (found, expected))
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("bar", ["|", "||"])
def test_nine_slopes(bar):
    rng = np.random.default_rng(5)
    n, q = 300, 9 if bar == "||" else 8
    data = pd.DataFrame(rng.normal(size=(n, q)), columns=[f"x{k}" for k in range(q)])
    data["g"] = np.arange(n) % 20
    effects = rng.normal(size=(20, q)) * np.linspace(0.6, 1.4, q)
    data["y"] = rng.normal(size=n) + (effects[data["g"]] * data.iloc[:, :q]).sum(axis=1)
    slopes = " + ".join(f"x{k}" for k in range(q))
    check_engines_agree(f"y ~ x0 + (0 + {slopes} {bar} g)", data)


def test_means_by_visit_and_arm_beside_an_unstructured_covariance():
    """78 covariance parameters and 60 means: more than units can go through one by one."""
    rng = np.random.default_rng(6)
    n, k = 60, 12
    lag = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    y = rng.normal(size=(n, k)) @ np.linalg.cholesky(0.7**lag).T
    data = pd.DataFrame({"y": y.ravel(), "v": np.tile(np.arange(k), n)})
    data["s"] = np.repeat(np.arange(n), k)
    data["arm"] = data["s"] % 5
    data = data[rng.random(len(data)) > 0.1].reset_index(drop=True)
    check_engines_agree("y ~ C(v) * C(arm)", data, residual="us(v | s)")
