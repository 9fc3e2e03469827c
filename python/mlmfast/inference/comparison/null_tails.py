"""P-values of a statistic whose null distribution is a mixture of chi-squares or a sample."""

from __future__ import annotations

from mlmfast.arrays import FloatArray
from mlmfast.distributions import chi2_tail


def mixture_tail(statistic: float, df: int) -> float:
    """P-value by half chi-square with df - 1 and half with df degrees of freedom."""
    if statistic <= 0:
        return 1.0
    lower = float(chi2_tail(statistic, df - 1)) if df > 1 else 0.0
    return 0.5 * (lower + float(chi2_tail(statistic, df)))


def sample_tail(sample: FloatArray, statistic: float) -> float:
    """Share of the null distribution at or above the statistic.

    The observed one counts as a draw of it, so p is never 0 (Davison and Hinkley 1997, 4.11).
    """
    if statistic <= 0:
        return 1.0
    return (1 + int((sample >= statistic - 1e-9).sum())) / (1 + len(sample))
