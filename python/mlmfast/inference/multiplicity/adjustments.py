"""Adjustment of p-values and intervals for the number of comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import ModelError
from mlmfast.inference.multiplicity import studentized_range
from mlmfast.inference.multiplicity.maximum_t import MaximumT, SimulatedMaximumT
from mlmfast.running.scipy_on_use import special

#: Adjustments by name.
ADJUSTMENTS = (
    *("none", "tukey", "dunnett", "mvt", "simulation", "sidak", "bonferroni", "scheffe"),
    *("holm", "hochberg", "hommel", "BH", "fdr", "BY"),
)
#: Those that go step by step, from one-sided p-values too.
STEPWISE = frozenset({"holm", "hochberg", "hommel", "BH", "fdr", "BY"})
_SPELLINGS = {"dunnettx": "dunnett", "simulate": "simulation", "bh": "BH", "by": "BY", "FDR": "fdr"}


class _MaximumDistribution(Protocol):
    def upper_tail(self, c: float, df: float) -> float: ...

    def critical_value(self, p: float, df: float) -> float: ...


@dataclass(frozen=True, eq=False)
class TestFamily:
    """Tests that are adjusted together.

    Attributes
    ----------
    t, df : shape (m,)
        Statistics and their degrees of freedom, none of them NaN.
    correlation : shape (m, m)
        Correlation of the estimates.
    n_means
        Number of means of which these are all the pairwise differences; None for other families.
    rank
        Rank of the contrasts.
    """

    __test__ = False

    t: FloatArray
    df: FloatArray
    correlation: FloatArray
    n_means: int | None
    rank: int


def adjustment_name(adjust: str) -> str:
    """Name of an adjustment as it is kept.

    Raises
    ------
    ModelError
        For a word that is none.

    Examples
    --------
    >>> adjustment_name("dunnettx")
    'dunnett'
    """
    name = _SPELLINGS.get(adjust, adjust) if isinstance(adjust, str) else ""
    if name in ADJUSTMENTS:
        return name
    near = get_close_matches(str(adjust), ADJUSTMENTS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ModelError(f"adjust is {adjust!r}{hint} (known: {', '.join(ADJUSTMENTS)})")


def adjusted(
    family: TestFamily, adjust: str, level: float, seed: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Adjusted p-values, and half-widths of simultaneous intervals in standard errors.

    Step-wise methods (holm, hochberg, hommel, BH, BY) define no intervals; as in R these are then
    Bonferroni's.

    Raises
    ------
    ModelError
        For "tukey" where the family is not all pairwise differences of one set of means.

    Examples
    --------
    >>> family = TestFamily(np.array([2.0, 2.5]), np.full(2, 9.0), np.eye(2), None, 2)
    >>> p, width = adjusted(family, "bonferroni", 0.95)
    >>> p.round(4).tolist(), width.round(4).tolist()
    ([0.1531, 0.0677], [2.685, 2.685])
    """
    m = len(family.t)
    p = two_sided(family.t, family.df)
    if m == 1 and adjust != "scheffe":
        adjust = "none"
    if adjust == "tukey":
        return _tukey(family, level)
    if adjust in {"mvt", "dunnett", "simulation"}:
        return _maximum(family, adjust, level, seed)
    if adjust == "scheffe":
        return _scheffe(family, level)
    if adjust == "sidak":
        return sidak(p, m), quantile(-np.expm1(np.log(level) / m), family.df)
    if adjust == "bonferroni":
        return np.minimum(m * p, 1.0), quantile((1 - level) / m, family.df)
    if adjust in STEPWISE:
        return stepwise(p, adjust), quantile((1 - level) / m, family.df)
    return p, quantile(1 - level, family.df)


def two_sided(t: FloatArray, df: FloatArray) -> FloatArray:
    """P(|T| > |t|); normal where df is infinite."""
    normal = 2 * special.ndtr(-np.abs(t))
    finite = np.where(np.isinf(df), 1.0, df)
    return np.where(np.isinf(df), normal, 2 * special.stdtr(finite, -np.abs(t)))


def quantile(p: float, df: FloatArray) -> FloatArray:
    """t with P(|T| > t) = p; normal where df is infinite."""
    finite = np.where(np.isinf(df), 1.0, df)
    t = -special.stdtrit(finite, p / 2)
    return np.where(np.isinf(df), -special.ndtri(p / 2), t)


def sidak(p: FloatArray, m: int) -> FloatArray:
    """1 - (1 - p)^m, of p-values that may be 1.

    Examples
    --------
    >>> sidak(np.array([0.5, 1.0]), 2).tolist()
    [0.75, 1.0]
    """
    with np.errstate(divide="ignore"):
        return np.asarray(-special.expm1(m * np.log1p(-p)))


def stepwise(p: FloatArray, method: str) -> FloatArray:
    """Step-wise adjusted p-values.

    holm: Holm (1979); hochberg: Hochberg (1988); hommel: Hommel (1988), by the algorithm of Wright
    (1992); BH (fdr): Benjamini and Hochberg (1995); BY: Benjamini and Yekutieli (2001).

    Examples
    --------
    >>> stepwise(np.array([0.01, 0.02, 0.04]), "holm").tolist()
    [0.03, 0.04, 0.04]
    """
    m = len(p)
    order = np.argsort(p, kind="stable")
    ranked = p[order]
    rank = np.arange(1, m + 1)
    if method == "holm":
        values = np.maximum.accumulate((m - rank + 1) * ranked)
    elif method == "hommel":
        values = _hommel(ranked)
    else:
        factor = {
            "hochberg": m - rank + 1.0,
            "BH": m / rank,
            "fdr": m / rank,
            "BY": np.sum(1.0 / rank) * m / rank,
        }[method]
        values = np.minimum.accumulate((factor * ranked)[::-1])[::-1]
    out = np.empty(m)
    out[order] = np.minimum(values, 1.0)
    return out


def _hommel(ranked: FloatArray) -> FloatArray:
    m = len(ranked)
    rank = np.arange(1, m + 1)
    bound = np.full(m, np.min(m * ranked / rank))
    best = bound.copy()
    for size in range(m - 1, 1, -1):
        head, tail = slice(0, m - size + 1), slice(m - size + 1, m)
        smallest = np.min(size * ranked[tail] / np.arange(2, size + 1))
        bound[head] = np.minimum(size * ranked[head], smallest)
        bound[tail] = bound[m - size]
        best = np.maximum(best, bound)
    return np.maximum(best, ranked)


def _tukey(family: TestFamily, level: float) -> tuple[FloatArray, FloatArray]:
    k = family.n_means
    if k is None:
        raise ModelError(
            "adjust='tukey' is for all pairwise differences of one set of means; use 'mvt' (exact "
            "for any contrasts), 'sidak' or 'holm'"
        )
    root2 = np.sqrt(2)
    p = [
        studentized_range.upper_tail(root2 * abs(t), k, df)
        for t, df in zip(family.t.tolist(), family.df.tolist(), strict=True)
    ]
    widths = {
        df: studentized_range.critical_value(1 - level, k, df) / root2
        for df in set(family.df.tolist())
    }
    return np.array(p), np.array([widths[df] for df in family.df.tolist()])


def _scheffe(family: TestFamily, level: float) -> tuple[FloatArray, FloatArray]:
    r, infinite = family.rank, np.isinf(family.df)
    finite = np.where(infinite, 1.0, family.df)
    square = family.t**2
    p = np.where(infinite, special.chdtrc(r, square), special.fdtrc(r, finite, square / r))
    f = np.where(infinite, special.chdtri(r, 1 - level) / r, special.fdtri(r, finite, level))
    return p, np.sqrt(r * f)


# With more distinct degrees of freedom than this, critical values are interpolated.
_MOST_SOLVED = 6


def _maximum(
    family: TestFamily, adjust: str, level: float, seed: int
) -> tuple[FloatArray, FloatArray]:
    distribution: _MaximumDistribution = (
        SimulatedMaximumT(family.correlation, seed)
        if adjust == "simulation"
        else MaximumT(family.correlation)
    )
    pairs = zip(np.abs(family.t).tolist(), family.df.tolist(), strict=True)
    p = np.array([distribution.upper_tail(t, df) for t, df in pairs])
    distinct = np.unique(family.df)
    if len(distinct) <= _MOST_SOLVED:
        widths = np.array([distribution.critical_value(1 - level, df) for df in distinct])
        return p, widths[np.searchsorted(distinct, family.df)]
    return p, _interpolated_widths(distribution, 1 - level, family.df)


def _interpolated_widths(
    distribution: _MaximumDistribution, p: float, df: FloatArray
) -> FloatArray:
    """Critical values by a polynomial in 1 / df through Chebyshev nodes; they are smooth in it."""
    from scipy.interpolate import BarycentricInterpolator

    low, high = float(np.min(1 / df)), float(np.max(1 / df))
    angles = (2 * np.arange(_MOST_SOLVED) + 1) * np.pi / (2 * _MOST_SOLVED)
    nodes = 0.5 * (low + high) + 0.5 * (high - low) * np.cos(angles)
    values = [distribution.critical_value(p, 1 / x) for x in nodes.tolist()]
    return np.asarray(BarycentricInterpolator(nodes, values)(1 / df))
