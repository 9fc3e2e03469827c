"""Quadrature over s with s^2 ~ chi^2(df) / df, the scale that t, q and multivariate t share."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.running.scipy_on_use import special

_N_NODES = 320
_TAIL = 1e-17


@lru_cache(maxsize=256)
def scale_nodes(df: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of E f(s); a single node at 1 for infinite df.

    A trapezoidal sum over log s, where the density is smooth and falls fast on both sides.

    Examples
    --------
    >>> nodes, weights = scale_nodes(7.0)
    >>> round(float(weights @ nodes**2), 12)
    1.0
    """
    if np.isinf(df):
        return np.ones(1), np.ones(1)
    low = special.gammaincinv(df / 2, _TAIL)
    high = special.gammainccinv(df / 2, _TAIL)
    log_s = np.linspace(0.5 * np.log(2 * low / df), 0.5 * np.log(2 * high / df), _N_NODES)
    # Density of log s, up to a factor that the sum fixes; its largest value is at s = 1.
    density = np.exp(df * (log_s + 0.5 - 0.5 * np.exp(2 * log_s)))
    return np.exp(log_s), density / density.sum()
