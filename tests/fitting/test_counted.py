"""Residual covariances that too few subjects hold, seen by counting."""

import numpy as np
import pandas as pd
import pytest

from mlmfast.errors import ConvergenceWarning

from ..fits import lmm

VISITS, OTHERS, COMPLETE = 5, 8, 2


def trial(seed):
    """8 subjects that miss two visits each, and two that miss none."""
    rng = np.random.default_rng(seed)
    n = OTHERS + COMPLETE
    errors = rng.normal(size=(n, VISITS)) + rng.normal(size=(n, 1))
    frame = pd.DataFrame(
        [
            {"subject": i, "visit": f"v{j}", "y": errors[i, j]}
            for i in range(n)
            for j in range(VISITS)
            if i >= OTHERS or j not in (i % VISITS, (i + 2) % VISITS)
        ]
    )
    frame["x"] = rng.normal(size=len(frame))
    return frame


def deviance(frame, mean, covariance):
    """-2 log-likelihood by each subject's own covariance, but for a constant."""
    out = 0.0
    for _, own in frame.groupby("subject"):
        at = own["visit"].str[1:].astype(int).to_numpy()
        v = covariance[np.ix_(at, at)]
        rest = own["y"].to_numpy() - mean
        out += np.linalg.slogdet(v)[1] + rest @ np.linalg.solve(v, rest)
    return out


def test_the_likelihood_falls_without_bound_where_counting_says_so():
    frame = trial(0)
    complete = frame[frame["subject"] >= OTHERS]["y"].to_numpy().reshape(COMPLETE, VISITS)
    u = np.linalg.svd(complete)[2][-1]
    assert np.abs(complete @ u).max() < 1e-12
    along = [
        deviance(frame, 0.0, np.eye(VISITS) + (variance - 1.0) * np.outer(u, u))
        for variance in (1e-8, 1e-9, 1e-10)
    ]
    np.testing.assert_allclose(np.diff(along), -COMPLETE * np.log(10.0), rtol=1e-3)


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_a_likelihood_without_a_maximum_is_told_early(seed):
    with pytest.warns(ConvergenceWarning, match="has no maximum"):
        fit = lmm("y ~ x", trial(seed), residual="us(visit | subject)", method="ML")
    assert not fit.converged
    (text,) = fit.certificate.boundary
    assert "has no maximum" in text
    assert f"({COMPLETE} subject(s) have all of these)" in text
    assert fit.certificate.n_evaluations <= 20
    # No end elsewhere is below what falls without bound.
    assert fit.certificate.n_elsewhere == 0
