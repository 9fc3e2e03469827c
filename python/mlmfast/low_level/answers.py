"""What a `Reduction` answers with."""

from __future__ import annotations

from typing import NamedTuple

from mlmfast.arrays import FloatArray


class GLS(NamedTuple):
    """Generalised least squares at given covariances.

    Attributes
    ----------
    beta : shape (p,), NaN for a column of X that depends on earlier ones
    covariance : shape (p, p), (X'V^-1 X)^-1
    rss
        (y - X beta)'V^-1 (y - X beta).
    """

    beta: FloatArray
    covariance: FloatArray
    rss: float


class RandomEffect(NamedTuple):
    """Random effects of a grouping factor given y.

    Attributes
    ----------
    levels
        Labels, n of them.
    mean : shape (n, q), the BLUPs
    covariance : shape (n, q, q), given y and beta
    """

    levels: tuple[str, ...]
    mean: FloatArray
    covariance: FloatArray


class Estimate(NamedTuple):
    """Estimates by maximum likelihood.

    Attributes
    ----------
    theta : shape (n_theta,), as `Reduction.names` names it
    beta : shape (p,), covariance : shape (p, p)
        As `GLS` has them.
    deviance
        -2 log-likelihood, restricted for "REML", with all constants.
    converged, singular
        Whether this is proven to be a minimum; whether it lies on the boundary.
    """

    theta: FloatArray
    beta: FloatArray
    covariance: FloatArray
    deviance: float
    converged: bool
    singular: bool
