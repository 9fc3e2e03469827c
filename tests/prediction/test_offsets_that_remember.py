"""An offset that goes by all rows of the fit is not made anew from a few others."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(2)
    g = np.arange(80) % 8
    z, e = rng.normal(3.0, 2.0, size=80), rng.normal(size=80)
    frame = pd.DataFrame({"g": g, "z": z, "y": z + rng.normal(size=8)[g] + e})
    frame["f"] = np.where(np.arange(80) % 3 == 0, "a", "b")
    return frame.assign(own=(z - z.mean()) / z.std(ddof=1))


def test_of_new_rows_and_of_a_grid(data):
    fit = mlm.lmm("y ~ f + offset(scale(z)) + (1 | g)", data)
    same = mlm.lmm("y ~ f + offset(own) + (1 | g)", data)
    np.testing.assert_allclose(fit.predict(), same.predict(), rtol=1e-9)
    for ask in (lambda: fit.predict(data[:5]), lambda: fit.emmeans("f")):
        with pytest.raises(DataError, match=r"goes by all rows of the fit through scale\(\)"):
            ask()
    np.testing.assert_allclose(same.predict(data[:5]), fit.fittedvalues[:5], rtol=1e-9)


def test_a_response_of_new_rows_given_others(data):
    pairs = data.assign(i=data.index // 2, v=np.tile(["u", "w"], 40))
    fit = mlm.lmm("scale(y) ~ f", pairs, residual="us(v | i)")
    with pytest.raises(DataError, match="the response, scale"):
        fit.predict(pairs[:4], conditional=True)
