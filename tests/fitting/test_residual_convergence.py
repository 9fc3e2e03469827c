"""Fits with residual structures of random designs end at an optimum and say so."""

import warnings

import numpy as np
import pytest

from mlmfast.errors import ConvergenceWarning

from ..fits import lmm
from ..residual_models import FIXED, KEYWORDS, residual_of, trial

SEEDS = range(100)


def random_fit(seed):
    """A structure, a share of visits missed and a true correlation by seed; random effects."""
    rng = np.random.default_rng([61, seed])
    keyword = KEYWORDS[seed % len(KEYWORDS)]
    random = ["", " + (1 | site)", " + (1 | subject)"][rng.integers(0, 3)]
    if keyword not in ("ar1", "ar1h", "diag", "homdiag", "sp_exp", "sp_gau", "car1"):
        # An intercept of subjects is a part of compound symmetry and of what contains it.
        random = random.replace("subject", "site")
    frame = trial(
        seed=[62, seed],
        n_subjects=int(rng.integers(24, 70)),
        n_visits=int(rng.integers(3, 7)),
        missing=rng.choice([0.0, 0.15, 0.35]),
        rho=rng.uniform(0.0, 0.8),
        subject_sd=float(rng.choice([0.0, 0.8])),
    )
    method, weights = ("REML", "ML")[seed % 2], (None, "w")[rng.integers(0, 2)]
    return lmm(FIXED + random, frame, residual=residual_of(keyword), method=method, weights=weights)


@pytest.fixture(scope="module")
def fits():
    # What does not converge is for the tests to name, not for the first warning.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return [random_fit(seed) for seed in SEEDS]


def failing(fits, condition):
    return [
        (seed, KEYWORDS[seed % len(KEYWORDS)], fit.formula)
        for seed, fit in zip(SEEDS, fits, strict=True)
        if not condition(fit)
    ]


def has_no_maximum(fit):
    """Whether the fit says that its likelihood grows without bound."""
    return any("has no maximum" in text for text in fit.certificate.boundary)


def test_every_fit_converges_or_has_no_maximum(fits):
    assert failing(fits, lambda fit: fit.converged != has_no_maximum(fit)) == []


def test_hardly_any_has_no_maximum(fits):
    """Fewer subjects have certain visits together than those visits are."""
    assert sum(map(has_no_maximum, fits)) <= 2


def test_every_decrement_is_small(fits):
    def small(fit):
        return 0 <= fit.certificate.newton_decrement < 1e-8 or has_no_maximum(fit)

    assert failing(fits, small) == []


def test_every_hessian_is_positive_semidefinite(fits):
    def convex(fit):
        return fit.certificate.min_hessian_eigenvalue > -1e-6 or has_no_maximum(fit)

    assert failing(fits, convex) == []


def test_no_fit_needs_more_than_sixty_evaluations(fits):
    def few(fit):
        return fit.certificate.n_evaluations <= 60 or has_no_maximum(fit)

    assert failing(fits, few) == []


def test_every_covariance_is_positive_definite(fits):
    assert failing(fits, lambda fit: np.linalg.eigvalsh(fit.residual_cov).min() > 0) == []
