"""Shares of replicates with their exact intervals."""

from __future__ import annotations

import numpy as np

from mlmfast.running.scipy_on_use import special


def exact_interval(count: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of Clopper and Pearson (1934, Biometrika 26:404) for a binomial probability.

    Examples
    --------
    >>> low, high = exact_interval(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.3085)
    """
    tail = (1.0 - level) / 2.0
    lower = 0.0 if count == 0 else float(special.betaincinv(count, n - count + 1, tail))
    upper = 1.0 if count == n else float(special.betaincinv(count + 1, n - count, 1.0 - tail))
    return lower, upper


def monte_carlo_error(share: float, n: int) -> float:
    """Standard error of a share of n replicates."""
    return float(np.sqrt(share * (1.0 - share) / n))
