"""Tails and quantiles of the distributions of tests.

SciPy's special functions, called as its distributions call them (the same bits): its distributions
alone take longer to import than most fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.confidence_level import check_level
from mlmfast.running.scipy_on_use import special

if TYPE_CHECKING:
    pass

#: A number or an array of them.
Numbers: TypeAlias = float | FloatArray


def normal_cdf(z: Numbers) -> FloatArray:
    """P(Z <= z).

    Examples
    --------
    >>> float(normal_cdf(0.0))
    0.5
    """
    return np.asarray(special.ndtr(z), dtype=np.float64)


def normal_tail(z: Numbers) -> FloatArray:
    """P(Z > z).

    Examples
    --------
    >>> round(float(normal_tail(1.96)), 4)
    0.025
    """
    return np.asarray(special.ndtr(-np.asarray(z)), dtype=np.float64)


def normal_quantile(p: Numbers) -> FloatArray:
    """The value that a standard normal variable stays below with probability p.

    Examples
    --------
    >>> round(float(normal_quantile(0.975)), 4)
    1.96
    """
    return np.asarray(special.ndtri(p), dtype=np.float64)


def two_sided_normal(level: float) -> float:
    """The z that a standard normal variable exceeds in size with probability 1 - level.

    Examples
    --------
    >>> round(two_sided_normal(0.95), 4)
    1.96
    """
    check_level(level)
    return float(special.ndtri(0.5 + level / 2))


def t_tail(t: Numbers, df: Numbers) -> FloatArray:
    """P(T > t) with finite degrees of freedom.

    Examples
    --------
    >>> round(float(t_tail(2.0, 17.0)), 4)
    0.0309
    """
    return np.asarray(special.stdtr(df, -np.asarray(t)), dtype=np.float64)


def t_quantile(p: Numbers, df: Numbers) -> FloatArray:
    """The value that a t variable stays below with probability p.

    Examples
    --------
    >>> round(float(t_quantile(0.975, 10.0)), 4)
    2.2281
    """
    return np.asarray(special.stdtrit(df, p), dtype=np.float64)


def f_tail(f: Numbers, df_num: Numbers, df_den: Numbers) -> FloatArray:
    """P(F > f).

    Examples
    --------
    >>> round(float(f_tail(4.0, 2, 10.0)), 4)
    0.0529
    """
    return np.asarray(special.fdtrc(df_num, df_den, f), dtype=np.float64)


def chi2_tail(x: Numbers, df: Numbers) -> FloatArray:
    """P(X > x), 1 below 0.

    Examples
    --------
    >>> round(float(chi2_tail(3.841, 1)), 4), float(chi2_tail(-1.0, 2))
    (0.05, 1.0)
    """
    return np.asarray(special.chdtrc(df, np.maximum(x, 0.0)), dtype=np.float64)


def chi2_quantile(p: Numbers, df: Numbers) -> FloatArray:
    """The value that a chi-square variable stays below with probability p.

    Examples
    --------
    >>> round(float(chi2_quantile(0.95, 1)), 3)
    3.841
    """
    return np.asarray(2.0 * special.gammaincinv(np.asarray(df) / 2.0, p), dtype=np.float64)


def quantile(df: FloatArray, level: float) -> FloatArray:
    """Two-sided quantile of t; normal where df is infinite.

    Examples
    --------
    >>> quantile(np.array([10.0, np.inf]), 0.95).round(3).tolist()
    [2.228, 1.96]
    """
    check_level(level)
    return np.asarray(_by_df(df, normal_quantile, t_quantile, 0.5 + level / 2))


def two_sided(statistic: FloatArray, df: FloatArray) -> FloatArray:
    """Two-sided p-values of t; normal where df is infinite.

    Examples
    --------
    >>> two_sided(np.array([2.0, 2.0]), np.array([10.0, np.inf])).round(4).tolist()
    [0.0734, 0.0455]
    """
    return np.asarray(2.0 * _by_df(df, normal_tail, t_tail, np.abs(statistic)))


def two_sided_of(statistic: Sequence[float], df: Sequence[float]) -> list[float]:
    """`two_sided` of a few numbers with finite degrees of freedom, to the bit.

    Examples
    --------
    >>> [round(p, 4) for p in two_sided_of([2.0, -2.0], [10.0, 10.0])]
    [0.0734, 0.0734]
    """
    tail = special.stdtr
    return [2.0 * float(tail(k, -abs(t))) for t, k in zip(statistic, df, strict=True)]


def lower_tail(statistic: FloatArray, df: FloatArray) -> FloatArray:
    """P(T <= t) of t; normal where df is infinite.

    Examples
    --------
    >>> lower_tail(np.array([-2.0, -2.0]), np.array([10.0, np.inf])).round(4).tolist()
    [0.0367, 0.0228]
    """
    return _by_df(df, normal_tail, t_tail, -np.asarray(statistic))


def upper_quantile(p: float, df: FloatArray) -> FloatArray:
    """The value that t exceeds with probability p; normal where df is infinite.

    Examples
    --------
    >>> upper_quantile(0.05, np.array([10.0, np.inf])).round(3).tolist()
    [1.812, 1.645]
    """
    return -_by_df(df, normal_quantile, t_quantile, p)


def _by_df(df: FloatArray, normal: Any, student: Any, argument: Any) -> FloatArray:
    finite = np.isfinite(df)
    if finite.all():
        if np.shape(argument) != df.shape:
            argument = np.broadcast_to(argument, df.shape)
        return np.asarray(student(argument, df), dtype=np.float64)
    out = np.asarray(normal(np.broadcast_to(argument, df.shape)), dtype=np.float64)
    if finite.any():
        at = np.broadcast_to(argument, df.shape)[finite]
        out = out.copy()
        out[finite] = student(at, df[finite])
    return out
