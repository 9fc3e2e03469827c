"""Distribution of the studentized range, by quadrature: what Tukey's method needs.

With R(w) the distribution of the range of k standard normals,
P(Q > q) = E[1 - R(q s)], s^2 ~ chi^2(df) / df, and
R(w) = k int phi(z) (Phi(z) - Phi(z - w))^(k-1) dz.
Copenhaver and Holland (1988), Journal of Statistical Computation and Simulation 30, 1-15.
"""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.inference.multiplicity.scale_mixture import scale_nodes
from mlmfast.running.scipy_on_use import special

# Trapezoidal sums of such smooth integrands converge faster than any power of the step.
_Z = np.linspace(-8.5, 8.5, 201)
_DENSITY = np.exp(-0.5 * _Z**2) / np.sqrt(2 * np.pi) * (_Z[1] - _Z[0])


def upper_tail(q: float, k: int, df: float) -> float:
    """P(Q > q) for k means and df degrees of freedom, which may be infinite.

    Examples
    --------
    >>> round(upper_tail(3.5, 3, 20.0), 6)
    0.055892
    """
    if not q > 0:
        return 1.0
    nodes, weights = scale_nodes(df)
    return min(float(weights @ _range_exceeds(q * nodes, k)), 1.0)


def critical_value(p: float, k: int, df: float) -> float:
    """q with P(Q > q) = p.

    Examples
    --------
    >>> round(critical_value(0.05, 3, 20.0), 4)
    3.5779
    """
    root2 = np.sqrt(2)
    # Between the quantiles of one comparison and of Bonferroni's.
    low, high = (
        float(-root2 * (special.ndtri(tail) if np.isinf(df) else special.stdtrit(df, tail)))
        for tail in (p / 2, p / (k * (k - 1)))
    )
    if k == 2:
        return low
    from scipy import optimize

    return float(optimize.brentq(lambda q: upper_tail(q, k, df) - p, low, high, xtol=1e-12))


def _range_exceeds(w: FloatArray, k: int) -> FloatArray:
    """1 - R(w), to full relative accuracy, shape of w."""
    below, beyond = special.ndtr(_Z), special.ndtr(_Z - w[:, None])
    power = k - 1
    # a^m - (a - b)^m, with b small against a in the tail.
    with np.errstate(divide="ignore"):
        lost = -special.expm1(power * np.log1p(-np.minimum(beyond / below, 1.0)))
    return np.asarray(k * (below**power * lost) @ _DENSITY)
