"""Rubin's rules for estimates of m imputed data sets.

Rubin (1987) Multiple Imputation for Nonresponse in Surveys; Barnard and Rubin (1999) Biometrika 86,
948; Li, Raghunathan and Rubin (1991) Journal of the American Statistical Association 86, 1065;
Reiter (2007) Biometrika 94, 502; von Hippel (2020) Sociological Methods and Research 49, 699.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray

#: Differences between data sets, as a share of the estimates, that are rounding.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class Pooled:
    """k estimates over m data sets.

    Attributes
    ----------
    estimate : shape (k,), means over the data sets.
    within, between : shapes (k, k), mean covariance W and covariance B of the estimates.
    m
        Number of data sets.
    df_complete : shape (k,), degrees of freedom that complete data would give.
    """

    estimate: FloatArray
    within: FloatArray
    between: FloatArray
    m: int
    df_complete: FloatArray

    @classmethod
    def of(cls, estimates: FloatArray, covariances: FloatArray, df_complete: FloatArray) -> Pooled:
        """Of estimates (m, k) with covariances (m, k, k).

        Examples
        --------
        >>> pooled = Pooled.of(np.array([[1.0], [3.0]]), np.ones((2, 1, 1)), np.array([np.inf]))
        >>> pooled.estimate.tolist(), pooled.total.tolist(), pooled.df().tolist()
        ([2.0], [[4.0]], [1.7777777777777777])
        """
        m = len(estimates)
        mean = estimates.mean(axis=0)
        away = estimates - mean
        # What no missing value touches differs by rounding, if at all.
        away[np.abs(away) <= _ROUNDING * np.abs(estimates).max(axis=0)] = 0.0
        between = away.T @ away / (m - 1)
        return cls(mean, covariances.mean(axis=0), between, m, df_complete)

    @property
    def total(self) -> FloatArray:
        """T = W + (1 + 1/m) B."""
        return np.asarray(self.within + (1.0 + 1.0 / self.m) * self.between)

    @property
    def share_missing(self) -> FloatArray:
        """lambda = (1 + 1/m) B / T, the share of the variance that is between data sets."""
        added = (1.0 + 1.0 / self.m) * np.diag(self.between)
        total = np.diag(self.total)
        return np.asarray(np.divide(added, total, out=np.zeros_like(added), where=total > 0))

    @property
    def relative_increase(self) -> FloatArray:
        """r = (1 + 1/m) B / W."""
        added = (1.0 + 1.0 / self.m) * np.diag(self.between)
        own = np.diag(self.within)
        out = np.where(added > 0, np.inf, 0.0)
        return np.asarray(np.divide(added, own, out=out, where=own > 0))

    def df(self) -> FloatArray:
        """Barnard and Rubin's degrees of freedom; Rubin's (1987) where complete data had infinite.

        1 / (1 / v_old + 1 / v_obs) with v_old = (m - 1) / lambda^2 and v_obs = (v + 1) v (1 -
        lambda) / (v + 3). NaN where that is 0: no analysis has a standard error of its own, and
        of v degrees of freedom none is observed.
        """
        share, v = self.share_missing, self.df_complete
        with np.errstate(divide="ignore", invalid="ignore"):
            old = (self.m - 1) / share**2
            seen = np.where(np.isinf(v), np.inf, (v + 1) / (v + 3) * v * (1 - share))
            return np.asarray(np.where(seen > 0, 1.0 / (1.0 / old + 1.0 / seen), np.nan))

    def missing_information(self) -> FloatArray:
        """Fraction of missing information, (r + 2 / (df + 3)) / (r + 1)."""
        r = self.relative_increase
        with np.errstate(invalid="ignore"):
            fraction = (r + 2.0 / (self.df() + 3.0)) / (r + 1.0)
        return np.asarray(np.where(np.isinf(r), 1.0, np.where(r > 0, fraction, 0.0)))

    def linear(self, L: FloatArray) -> Pooled:
        """Of the functions L theta; complete data's degrees of freedom the smallest involved."""
        degrees = np.where(L != 0, self.df_complete, np.inf).min(axis=1)
        return Pooled(
            L @ self.estimate, L @ self.within @ L.T, L @ self.between @ L.T, self.m, degrees
        )

    def joint(self, null: FloatArray) -> tuple[float, float]:
        """Li, Raghunathan and Rubin's F (D1) that all estimates are `null`, and its denominator.

        D1 = d'W^-1 d / (k (1 + r)) with d the difference and r = (1 + 1/m) tr(B W^-1) / k. The
        denominator is theirs for infinite degrees of freedom of complete data, else Reiter's; for
        one estimate, whose D1 is its t ratio squared, that of its row.
        """
        k, d = len(self.estimate), self.estimate - null
        inverse = np.linalg.inv(self.within)
        r = float((1.0 + 1.0 / self.m) * np.trace(self.between @ inverse) / k)
        statistic = float(d @ inverse @ d / (k * (1.0 + r)))
        return statistic, joint_df(k, self.m, r, float(self.df_complete.min()))


def joint_df(k: int, m: int, r: float, complete: float) -> float:
    """Denominator degrees of freedom of D1.

    Reiter's approximation divides by t - 4, t = k (m - 1). Where t is 4 or less, and for one
    function, that of large samples and that of what is observed are joined as Barnard and Rubin do.

    Examples
    --------
    >>> joint_df(2, 5, 0.0, 30.0), round(joint_df(3, 20, 0.5, np.inf), 4)
    (28.181818181818183, 458.9452)
    >>> round(joint_df(1, 5, 0.5, 30.0), 4) == round(1 / (1 / 36 + 1.5 / (31 / 33 * 30)), 4)
    True
    """
    t = k * (m - 1)
    small = np.inf if np.isinf(complete) else (complete + 1.0) / (complete + 3.0) * complete
    if r == 0.0:
        return float(small)
    if t <= 4 or k == 1:
        large = t * (1.0 + 1.0 / k) * (1.0 + 1.0 / r) ** 2 / 2.0
        return float(1.0 / (1.0 / large + (1.0 + r) / small))
    if np.isinf(small):
        return float(4.0 + (t - 4.0) * (1.0 + (1.0 - 2.0 / t) / r) ** 2)
    a = r * t / (t - 2.0)
    c0, c1, c2 = 1.0 / (t - 4.0), small - 2.0 * (1.0 + a), small - 4.0 * (1.0 + a)
    if c2 <= 0.0:
        # Fewer degrees of freedom than the approximation is made for.
        return float(min(4.0 + (t - 4.0) * (1.0 + 1.0 / a) ** 2, small))
    inverse = (
        1.0 / c2
        + c0 * a**2 * c1 / ((1.0 + a) ** 2 * c2)
        + c0 * (8.0 * a**2 * c1 / ((1.0 + a) * c2**2) + 4.0 * a**2 / ((1.0 + a) * c2))
        + c0 * (4.0 * a**2 / (c1 * c2) + 16.0 * a**2 * c1 / c2**3)
        + c0 * 8.0 * a**2 / c2**2
    )
    return float(4.0 + 1.0 / inverse)


def needed(share: FloatArray, m: int, cv: float, level: float = 0.95) -> FloatArray:
    """Imputations for standard errors that repeat within a coefficient of variation.

    1 + (fraction / cv)^2 / 2, with the upper limit of the fraction of missing information:
    logit(fraction) + z sqrt(2 / m) (von Hippel 2020).

    Examples
    --------
    >>> needed(np.array([0.3]), 20, 0.05).round(1).tolist()
    [40.3]
    """
    from mlmfast.distributions import two_sided_normal

    with np.errstate(divide="ignore"):
        logit = np.log(share) - np.log1p(-share)
        upper = 1.0 / (1.0 + np.exp(-(logit + two_sided_normal(level) * np.sqrt(2.0 / m))))
    return np.asarray(1.0 + 0.5 * (upper / cv) ** 2)
