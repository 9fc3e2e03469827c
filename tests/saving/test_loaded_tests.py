"""A loaded fit answers what it can answer without rows as the fit did that was saved."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError

from ..fits import lmm
from ..residual_models import trial

MODELS = {
    "random slopes": ("y ~ x + time + (1 + x | site)", {}),
    "crossed": ("y ~ x + (1 | site) + (1 | visit)", {}),
    "unstructured": ("y ~ x + visit", {"residual": "us(visit | subject)"}),
    "autoregressive": ("y ~ x + time + (1 | site)", {"residual": "ar1(time | subject)"}),
    "scaled": ("y ~ x + (1 | site)", {"residual_scale": "arm"}),
}


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
@pytest.mark.parametrize("name", MODELS)
def test_intervals_of_new_responses(name, ddf):
    formula, arguments = MODELS[name]
    frame = trial(seed=3, n_subjects=20)
    fit = lmm(formula, frame, ddf=ddf, **arguments)
    new = frame.head(6).assign(x=[-1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
    how = {"ranef": False, "interval": "prediction"}
    expected = fit.predict(new, **how)
    once = mlm.load(fit.to_json())
    for loaded in (once, mlm.load(once.to_json())):
        pd.testing.assert_frame_equal(loaded.predict(new, **how), expected, rtol=1e-9)


def test_tests_by_the_usual_methods():
    frame = trial(seed=3, n_subjects=20)
    fit = lmm("y ~ x * arm + (1 | site)", frame)
    loaded = mlm.load(fit.to_json())
    L = np.eye(4)[1:]
    for ddf in ("satterthwaite", "kenward-roger", "containment", "between-within", "residual", 9):
        own, other = (f.contrast(L, ddf=ddf) for f in (fit, loaded))
        for part in ("estimate", "se", "df", "pvalue"):
            np.testing.assert_array_equal(getattr(other, part), getattr(own, part))
        means = [f.emmeans("arm", ddf=ddf).frame for f in (fit, loaded)]
        pd.testing.assert_frame_equal(means[1], means[0], rtol=1e-12)
    with pytest.raises(ModelError, match="used before it was saved"):
        loaded.contrast(L, ddf="kenward-roger-2009")
    fit.contrast(L, ddf="kenward-roger-2009")
    again = mlm.load(fit.to_json())
    assert np.isfinite(again.contrast(L, ddf="kenward-roger-2009").df).all()


def test_what_needs_rows_is_refused():
    frame = trial(seed=3, n_subjects=20)
    loaded = mlm.load(lmm("y ~ x + (1 | site)", frame).to_json())
    with pytest.raises(ModelError, match="holds no rows"):
        loaded.predict(frame.head(2), conditional=True)
    with pytest.raises(ModelError, match="say ddf='asymptotic'"):
        loaded.predict(frame.head(2), ranef=False, interval="prediction", ddf="kenward-roger")
    # Files of before have no derivatives.
    old = loaded.to_json().replace('"marginal_slopes"', '"something_else"')
    with pytest.raises(ModelError, match="say ddf='asymptotic'"):
        mlm.load(old).predict(frame.head(2), ranef=False, interval="prediction")
