"""A normal vector and linear functions of it with noise: their joint distribution."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from mlmfast.mvn import factor as _factor
from mlmfast.mvn import input as _input
from mlmfast.mvn.distribution import MVN


def normal(mean: ArrayLike, cov: ArrayLike, names: str | Iterable[str] | None = None) -> MVN:
    """Return N(mean, cov), the same as `MVN(mean, cov, names)`; see there.

    Examples
    --------
    >>> normal(0, 4).std()
    array([2.])
    """
    return MVN(mean, cov, names)


def joint_linear_gaussian(
    mean: ArrayLike,
    cov: ArrayLike,
    A: ArrayLike,
    b: ArrayLike,
    noise_cov: ArrayLike,
    *,
    names: Iterable[str] | None = None,
) -> MVN:
    """Joint distribution of (g, y) with g ~ N(mean, cov), y = A g + b + e, e ~ N(0, noise_cov).

    e is independent of g, so that y has mean A mean + b and covariance A cov A' + noise_cov, and
    Cov(g, y) = cov A'. In a mixed model A = Z_i, b = X_i beta, cov = G and noise_cov = R_i; the
    mean of g given y is then the BLUP of g (Henderson 1975, Biometrics 31, 423-447).

    Parameters
    ----------
    mean, cov : shapes (q,) and (q, q).
    A : shape (n, q).
    b : shape (n,), or one number for all.
    noise_cov : shape (n, n), positive semi-definite.
    names : q + n names; g0, g1, ..., y0, y1, ... by default.

    Raises
    ------
    DataError
        Shapes that disagree, entries that are not finite real numbers, or a covariance matrix
        that is not symmetric and positive semi-definite.

    Examples
    --------
    Three responses 1, 2, 3 of one cluster, with random-intercept variance 2 and residual
    variance 3: the BLUP shrinks their mean by 2 / (2 + 3 / 3).

    >>> joint = joint_linear_gaussian(0, 2, np.ones((3, 1)), 0, 3 * np.eye(3))
    >>> joint.conditional(["y0", "y1", "y2"], [1, 2, 3])
    MVN with 1 component
            mean     SD
    g0     1.333  0.816
    """
    g = MVN(mean, cov)
    q = len(g)
    design = _input.matrix("A", A, q)
    n = len(design)
    noise = _input.covariance_matrix("noise_cov", noise_cov, n)
    _factor.factorise("noise_cov", noise)
    stacked = g.linear(
        np.vstack([np.eye(q), design]),
        np.concatenate([np.zeros(q), np.zeros(n) + _input.offset("b", b, n)]),
    )
    total = stacked.cov.copy()
    total[q:, q:] += noise
    default = _input.component_names(None, q, "g") + _input.component_names(None, n, "y")
    return MVN(stacked.mean, total, default if names is None else names)
