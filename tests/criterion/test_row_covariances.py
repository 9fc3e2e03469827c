"""Derivatives of V by the covariance parameters against differences of V itself."""

import warnings

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.clusters.covariance import marginal_covariances
from mlmfast.clusters.moved_parameters import MovedCovariances


def trial(n=12):
    """Subjects in 2 arms, 4 visits at uneven times, a few rows missing."""
    rng = np.random.default_rng(5)
    k = 4
    subject, visit = np.repeat(np.arange(n), k), np.tile(np.arange(k), n)
    time = visit + rng.uniform(0, 0.4, n * k).round(3)
    smooth = np.exp(-((time[:, None] - time) ** 2)) * (subject[:, None] == subject)
    noise = np.linalg.cholesky(smooth + 0.1 * np.eye(n * k)) @ rng.standard_normal(n * k)
    data = {
        "y": noise + 0.5 * rng.standard_normal(n)[subject] + 0.3 * visit,
        "id": subject.astype(str),
        "arm": np.array(["a", "b"])[subject % 2],
        "visit": visit.astype(str),
        "half": np.array(["early", "late"])[visit // 2],
        "time": time,
        "x": rng.uniform(1, 2, n * k),
        "w": rng.uniform(0.5, 2, n * k),
    }
    kept = rng.uniform(size=n * k) > 0.1
    return {name: values[kept] for name, values in data.items()}


MODELS = {
    "diag effects": ("y ~ x + (x || id)", {}),
    "cs effects": ("y ~ visit + cs(0 + half | id)", {"weights": "w"}),
    "toep": ("y ~ visit", {"residual": "toep(visit | id)"}),
    "csh by arm": ("y ~ visit", {"residual": "csh(visit | arm / id)"}),
    "adh with weights": ("y ~ visit", {"residual": "adh(visit | id)", "weights": "w"}),
    "scattered": ("y ~ time", {"residual": "sp_gau(time | id)"}),
    "series by arm": ("y ~ time", {"residual": "sp_exp(time | id)"}),
    "scale by factor": ("y ~ visit + (1 | id)", {"residual_scale": "arm"}),
    "power of a covariate": (
        "y ~ visit",
        {"residual": "cs(visit | id)", "residual_scale": "power(x)"},
    ),
}


#: So many points that each subject has matrices of its own.
SUBJECTS = {"scattered": 60}


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_are_those_of_v(name):
    formula, arguments = MODELS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = mlm.lmm(formula, trial(SUBJECTS.get(name, 12)), **arguments)
    about = fit._rows.information.with_covariances()
    moves = MovedCovariances(about)
    rows = np.arange(fit.nobs)[None]
    first, bends = moves.derivatives(rows)
    # As the fit reports it.
    own = moves.elsewhere(about.theta, np.array([about.scale]), rows)[0]
    reported = marginal_covariances(fit._source.design, fit._record, rows)[0]
    np.testing.assert_allclose(own, reported, rtol=1e-9, atol=1e-12)
    r = first.shape[1]
    # Steps by which V itself moves little.
    sizes = 1e-4 * np.abs(own).max() / np.maximum(np.abs(first[0]).max(axis=(1, 2)), 1e-12)

    def v(step):
        moved = moves.moved(step)
        assert moved.share == 1.0
        return moves.elsewhere(moved.theta[None], np.array([moved.sigma2]), rows)[0]

    for k in range(r):
        h = sizes[k] * np.eye(r)[k]
        slope = (v(h) - v(-h)) / (2 * sizes[k])
        scale = np.abs(first[0, k]).max()
        np.testing.assert_allclose(first[0, k], slope, atol=1e-6 * scale)
        for el in range(k + 1):
            g = sizes[el] * np.eye(r)[el]
            bend = (v(h + g) - v(h - g) - v(g - h) + v(-h - g)) / (4 * sizes[k] * sizes[el])
            found = bends[k, el][0] if (k, el) in bends else np.zeros_like(bend)
            size = max(np.abs(bend).max(), 1e-3 * scale / sizes[el])
            np.testing.assert_allclose(found, bend, atol=1e-4 * size)
