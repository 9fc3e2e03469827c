"""Residual covariances by arm: each arm may have several minima, and the best of each is found."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import SingularFitWarning

VISITS, SUBJECTS = 5, 24


def trial(seed):
    """Two arms whose means do not follow the visits, as a model without them takes them."""
    rng = np.random.default_rng(seed)
    subject = rng.normal(size=(SUBJECTS, 1)) * np.array([1, 2, 1, 0.5, 1.5])
    y = subject + 0.4 * rng.normal(size=(SUBJECTS, VISITS)) + np.arange(VISITS)
    frame = pd.DataFrame(
        {
            "y": y.ravel(),
            "visit": np.tile(np.arange(VISITS), SUBJECTS),
            "id": np.repeat(np.arange(SUBJECTS), VISITS),
        }
    )
    return frame.assign(arm=np.where(frame["id"] % 2, "a", "b"))


@pytest.mark.parametrize(("structure", "seed"), [("ar1h", 1), ("ar1h", 2), ("fa", 0)])
def test_the_best_of_each_arm_is_the_best_of_both(structure, seed):
    """With a mean for each arm the likelihood is the product of those of the arms alone."""
    frame = trial(seed)
    joint = mlm.LMM("y ~ arm", frame, residual=f"{structure}(visit | arm / id)")
    alone = [
        mlm.LMM("y ~ 1", frame[frame["arm"] == arm], residual=f"{structure}(visit | id)")
        for arm in "ab"
    ]
    with warnings.catch_warnings():
        # fa ends at a specific variance of 0, of which both warn.
        warnings.simplefilter("ignore", SingularFitWarning)
        fits = [model.fit("ML") for model in (joint, *alone)]
    assert fits[0].deviance == pytest.approx(fits[1].deviance + fits[2].deviance, abs=1e-6)
    assert fits[0].certificate.min_hessian_eigenvalue > 0
