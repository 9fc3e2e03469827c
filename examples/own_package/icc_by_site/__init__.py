"""Shares of variance between sites: a package built on `mlmfast.Reduction`."""

import numpy as np

from mlmfast import MlmError, Reduction

__all__ = ["share_of_variance", "shares_of_variance"]


def share_of_variance(y, site, covariates=None):
    """Estimate and standard error of var(site) / (var(site) + var(residual)).

    The standard error is by the delta method, from the observed information.

    >>> rng = np.random.default_rng(0)
    >>> site = np.repeat(np.arange(40), 10)
    >>> share, error = share_of_variance(rng.normal(size=40)[site] + rng.normal(size=400), site)
    >>> bool(abs(share - 0.5) < 3 * error)
    True
    """
    ones = np.ones((len(y), 1))
    X = ones if covariates is None else np.column_stack([ones, covariates])
    rows = Reduction(y, X, groups=np.asarray(site))
    found = rows.estimate()
    between, within = found.theta
    if found.singular:
        return 0.0, np.nan
    gradient = np.array([within, -between]) / (between + within) ** 2
    information = rows.hessian(found.theta) / 2.0
    variance = gradient @ np.linalg.solve(information, gradient)
    return between / (between + within), np.sqrt(variance)


def shares_of_variance(Y, site, covariates=None):
    """The share of each column of Y; NaN where a column has nothing to estimate."""
    return np.array([_share_or_nan(y, site, covariates) for y in Y.T])


def _share_or_nan(y, site, covariates):
    try:
        return share_of_variance(y, site, covariates)[0]
    except MlmError:
        return np.nan
