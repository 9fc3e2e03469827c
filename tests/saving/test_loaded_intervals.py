"""Intervals around random effects by a loaded fit are those of the fit that was saved."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

from ..fits import lmm
from ..residual_models import trial

MODELS = {
    "intercepts": ("y ~ x + time + (1 | site)", {}),
    "slopes": ("y ~ x + time + (1 + x | site)", {}),
    "two terms": ("y ~ x * time + (1 | site) + (0 + x | site)", {}),
    "autoregressive": ("y ~ x + (1 | site)", {"residual": "ar1(time | subject)"}),
    "scaled": ("y ~ x + (1 | site)", {"residual_scale": "arm"}),
}


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger", "containment"])
@pytest.mark.parametrize("name", MODELS)
def test_intervals_are_those_of_the_fit(name, ddf):
    formula, arguments = MODELS[name]
    frame = trial(seed=3, n_subjects=20)
    fit = lmm(formula, frame, ddf=ddf, **arguments)
    new = frame.head(6).assign(x=[-1.0, 0.0, 0.5, 100.0, 2.0, 3.0])
    new.loc[new.index[1], "site"] = "unseen"
    once = mlm.load(fit.to_json())
    for loaded in (once, mlm.load(once.to_json())):
        for interval in ("confidence", "prediction"):
            for method in (None, "asymptotic"):
                how = {"interval": interval, "new_levels": "population", "ddf": method}
                expected, found = fit.predict(new, **how), loaded.predict(new, **how)
                pd.testing.assert_frame_equal(found, expected, rtol=1e-8)


def test_what_is_kept_is_the_inverse_of_the_mixed_model_equations():
    """Var(g-hat - g) and its covariance with beta-hat, by Henderson's equations."""
    frame = trial(seed=3, n_subjects=20)
    loaded = mlm.load(lmm("y ~ x + (1 + x | site)", frame).to_json())
    sites = loaded.ranef["site"].index
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    at = frame["site"].to_numpy()[:, None] == sites.to_numpy()[None]
    Z = (at[:, :, None] * X[:, None, :]).reshape(len(frame), -1)
    T = np.hstack([X, Z])
    equations = T.T @ T / loaded.scale
    equations[2:, 2:] += np.kron(np.eye(len(sites)), np.linalg.inv(loaded.varcorr["site"]))
    C = np.linalg.inv(equations)
    known = loaded._level_errors
    for k in range(len(sites)):
        own = slice(2 + 2 * k, 4 + 2 * k)
        expected = np.hstack([C[own, own], C[own, :2]])
        np.testing.assert_allclose(known.by_level[k, 0], expected, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(known.of_beta[0], C[:2, :2], rtol=1e-8)


def test_what_is_not_kept_is_said():
    frame = trial(seed=3, n_subjects=20)
    how = {"interval": "confidence"}
    loaded = mlm.load(lmm("y ~ x + (1 | site)", frame).to_json())
    with pytest.raises(ModelError, match="say ddf='satterthwaite' or 'asymptotic'"):
        loaded.predict(frame.head(2), **how, ddf="kenward-roger")
    old = mlm.load(loaded.to_json().replace('"level_errors"', '"something_else"'))
    two = mlm.load(lmm("y ~ x + (1 | site) + (1 | visit)", frame).to_json())
    y = np.random.default_rng(1).normal(size=(2_500, 2))
    pairs = pd.DataFrame({"site": np.repeat(np.arange(2_500), 2), "y": (y + y[:, :1]).ravel()})
    pairs["x"] = pairs["site"] % 7
    many = mlm.load(mlm.lmm("y ~ x + (1 | site)", pairs).to_json())
    for other, rows in ((old, frame), (two, frame), (many, pairs)):
        with pytest.raises(ModelError, match="one grouping factor of few levels"):
            other.predict(rows.head(2), **how)
    text = loaded.to_json().replace('"by_level": [', '"by_level": [[', 1)
    with pytest.raises(DataError, match="is not a saved fit"):
        mlm.load(text)
