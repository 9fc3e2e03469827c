"""Rows of a batch whose adjusted covariance is none say so, as the single fit does."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.batch.tests import with_ddf
from mlmfast.errors import ModelError

from ..residual_models import trial

ARGUMENTS = {"residual": "us(visit | subject)"}
FORMULA = "y ~ arm*visit"


@pytest.fixture(scope="module")
def frame():
    return trial(0, 6, 3, 0.2)


@pytest.fixture(scope="module")
def responses(frame):
    rng = np.random.default_rng(0)
    draws = [frame["y"] + 2.0 * rng.normal(size=len(frame)) for _ in range(3)]
    return np.stack(draws[1:], axis=1)


@pytest.fixture(scope="module")
def batch(frame, responses):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = mlm.LMM(FORMULA, frame, **ARGUMENTS)
        return model.fit_many(responses, ddf="kenward-roger")


def test_the_status_says_why_there_is_no_standard_error(batch):
    lost = np.isnan(batch.bse).all(axis=1)
    assert lost.tolist() == [False, True]
    assert "not positive definite" in batch.status[1]
    assert np.isfinite(batch.params[1]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = batch[1]
    with pytest.raises(ModelError) as alone:
        _ = one.bse
    assert str(alone.value) == batch.status[1]


def test_another_method_says_nothing_of_it(batch):
    again = with_ddf(batch, "satterthwaite")
    assert again.status[0] == batch.status[0]
    assert again.status[1] in {"converged", "singular", "not converged"}


def test_data_sets_say_the_same(batch, frame, responses):
    parts = [frame.assign(y=responses[:, k], part=k) for k in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        each = mlm.fit_each(FORMULA, pd.concat(parts), by="part", ddf="kenward-roger", **ARGUMENTS)
    assert each.status.tolist() == batch.status.tolist()
    np.testing.assert_array_equal(each.bse, batch.bse)
