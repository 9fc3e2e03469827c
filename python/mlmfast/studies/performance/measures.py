"""Measures of performance of one method for one estimand, with Monte Carlo standard errors.

Formulas of Morris, White and Crowther (2019, Statistics in Medicine 38:2074-2102), table 6, as
rsimsum computes them; sums over the n replicates that have an estimate. Measures that table 6 has
not: relative bias (the mean of (estimate - truth) / truth), RMSE (by the delta method), the
correlation with another method's estimates ((1 - r^2) / sqrt(n - 1)), and shares of replicates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.power_analysis.binomial import exact_interval

#: A value and its Monte Carlo standard error.
Measured = tuple[float, float]

_NONE: Measured = (float("nan"), float("nan"))
#: Standard errors to both sides of a 95 % interval.
_Z = 1.959964


@dataclass(frozen=True)
class Sample:
    """What one method says of one estimand in the replicates of a condition.

    Attributes
    ----------
    estimate, se, lower, upper, p : shape (n,), of the replicates that count
    truth
        True value; NaN where unknown.
    alpha
        Level of the tests that `power` counts.
    reference : shape (n,), estimates of the reference method in the same replicates; NaN where
        there is none.
    spread_of_reference
        Empirical standard error of the reference over all of its own estimates.
    converged, singular : shape (N,), of all replicates that have data
    """

    estimate: FloatArray
    se: FloatArray
    lower: FloatArray
    upper: FloatArray
    p: FloatArray
    truth: float
    alpha: float
    reference: FloatArray
    spread_of_reference: float
    converged: BoolArray
    singular: BoolArray

    @property
    def n(self) -> int:
        """Replicates that count."""
        return len(self.estimate)

    @property
    def empirical_se(self) -> float:
        """Standard deviation of the estimates."""
        return float(self.estimate.std(ddof=1)) if self.n > 1 else float("nan")


def _mean(sample: Sample) -> Measured:
    return float(sample.estimate.mean()), _error(sample.estimate)


def _error(values: FloatArray) -> float:
    """Standard error of a mean."""
    n = len(values)
    return float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def _median(sample: Sample) -> Measured:
    return float(np.median(sample.estimate)), float("nan")


def _mean_variance(sample: Sample) -> Measured:
    return float(np.mean(sample.se**2)), float("nan")


def _median_variance(sample: Sample) -> Measured:
    return float(np.median(sample.se**2)), float("nan")


def _bias(sample: Sample) -> Measured:
    return float((sample.estimate - sample.truth).mean()), _error(sample.estimate)


def _relative_bias(sample: Sample) -> Measured:
    if sample.truth == 0:
        return _NONE
    relative = (sample.estimate - sample.truth) / sample.truth
    return float(relative.mean()), _error(relative)


def _empirical_se(sample: Sample) -> Measured:
    value = sample.empirical_se
    return value, value / np.sqrt(2.0 * (sample.n - 1)) if sample.n > 1 else float("nan")


def _mse(sample: Sample) -> Measured:
    squares = (sample.estimate - sample.truth) ** 2
    return float(squares.mean()), _error(squares)


def _rmse(sample: Sample) -> Measured:
    value, mcse = _mse(sample)
    root = float(np.sqrt(value))
    return root, mcse / (2.0 * root) if root > 0 else float("nan")


def _model_se(sample: Sample) -> Measured:
    variances = sample.se**2
    value = float(np.sqrt(variances.mean()))
    if sample.n < 2 or value == 0:
        return value, float("nan")
    return value, float(np.sqrt(variances.var(ddof=1) / (4.0 * sample.n * value**2)))


def _relative_error(sample: Sample) -> Measured:
    """Of the model's standard errors, per cent."""
    model, _ = _model_se(sample)
    empirical, n = sample.empirical_se, sample.n
    if n < 2 or not empirical > 0 or not model > 0:
        return _NONE
    ratio = model / empirical
    spread = (sample.se**2).var(ddof=1) / (4.0 * n * model**4)
    return 100.0 * (ratio - 1.0), float(100.0 * ratio * np.sqrt(spread + 0.5 / (n - 1)))


def _relative_precision(sample: Sample) -> Measured:
    """Gain over the reference method, per cent."""
    empirical, rho = sample.empirical_se, _correlation(sample)[0]
    if sample.n < 2 or not empirical > 0 or np.isnan(rho):
        return _NONE
    ratio = (sample.spread_of_reference / empirical) ** 2
    left = np.sqrt(max(0.0, 1.0 - rho**2) / (sample.n - 1))
    return 100.0 * (ratio - 1.0), float(200.0 * ratio * left)


def _correlation(sample: Sample) -> Measured:
    """Of the estimates with those of the reference method in the same replicates."""
    both = np.isfinite(sample.reference)
    one, other = sample.estimate[both], sample.reference[both]
    if len(one) < 3 or not one.std() > 0 or not other.std() > 0:
        return _NONE
    r = float(np.clip(np.corrcoef(one, other)[0, 1], -1.0, 1.0))
    return r, (1.0 - r**2) / float(np.sqrt(len(one) - 1))


def proportion(hits: BoolArray) -> Measured:
    """A share and its binomial standard error.

    Examples
    --------
    >>> proportion(np.array([True, True, True, False]))[0]
    0.75
    """
    n = len(hits)
    if n == 0:
        return _NONE
    share = float(hits.mean())
    return share, float(np.sqrt(share * (1.0 - share) / n))


def _covered(sample: Sample, value: float) -> BoolArray:
    known = np.isfinite(sample.lower) | np.isfinite(sample.upper)
    return np.asarray(((sample.lower <= value) & (value <= sample.upper))[known])


def _rejected(sample: Sample) -> BoolArray:
    return np.asarray((sample.p <= sample.alpha)[~np.isnan(sample.p)])


#: Measures that are shares: whether each of the replicates that are counted is among the hits.
#: Where the true value is 0 the power is the type I error.
SHARES: dict[str, Callable[[Sample], BoolArray]] = {
    "convergence": lambda sample: sample.converged,
    "singular": lambda sample: sample.singular,
    "coverage": lambda sample: _covered(sample, sample.truth),
    "bias_eliminated_coverage": lambda sample: _covered(sample, float(sample.estimate.mean())),
    "power": _rejected,
}


def _share(name: str) -> Callable[[Sample], Measured]:
    return lambda sample: proportion(SHARES[name](sample))


def _n(sample: Sample) -> Measured:
    return float(sample.n), float("nan")


@dataclass(frozen=True)
class Measure:
    """A measure: what makes it, what it needs, and what it is called in R's rsimsum."""

    function: Callable[[Sample], Measured]
    needs: tuple[str, ...] = ()
    rsimsum: str = ""
    ideal: str = ""


#: In the order of the tables.
MEASURES: dict[str, Measure] = {
    "n": Measure(_n, (), "nsim"),
    "convergence": Measure(_share("convergence"), ("any",)),
    "singular": Measure(_share("singular"), ("any",)),
    "mean": Measure(_mean, ("estimate",), "thetamean"),
    "median": Measure(_median, ("estimate",), "thetamedian"),
    "bias": Measure(_bias, ("estimate", "truth"), "bias", "0"),
    "relative_bias": Measure(_relative_bias, ("estimate", "truth"), "rbias", "0"),
    "empirical_se": Measure(_empirical_se, ("estimate",), "empse"),
    "mse": Measure(_mse, ("estimate", "truth"), "mse", "0"),
    "rmse": Measure(_rmse, ("estimate", "truth"), "", "0"),
    "relative_precision": Measure(_relative_precision, ("estimate", "reference"), "relprec"),
    "correlation": Measure(_correlation, ("estimate", "reference")),
    "mean_variance": Measure(_mean_variance, ("estimate", "se"), "se2mean"),
    "median_variance": Measure(_median_variance, ("estimate", "se"), "se2median"),
    "model_se": Measure(_model_se, ("estimate", "se"), "modelse"),
    "relative_error": Measure(_relative_error, ("estimate", "se"), "relerror", "0"),
    "coverage": Measure(_share("coverage"), ("estimate", "se", "truth"), "cover"),
    "bias_eliminated_coverage": Measure(
        _share("bias_eliminated_coverage"), ("estimate", "se"), "becover"
    ),
    "power": Measure(_share("power"), ("estimate", "p"), "power"),
}


def measured(sample: Sample, name: str) -> Measured:
    """One measure; NaN where the replicates do not have what it needs.

    Relative error and precision are per cent; shares and relative bias are not.
    """
    return MEASURES[name].function(sample) if _can_be(sample, name) else _NONE


def monte_carlo_interval(sample: Sample, name: str) -> tuple[float, float]:
    """What a measure may be for as many other replicates, at 95 %; NaN where that is not known.

    Shares have their exact binomial interval, which has a width at 0 and 1 too; other measures 1.96
    Monte Carlo standard errors to both sides.
    """
    if not _can_be(sample, name):
        return _NONE
    if name not in SHARES:
        value, mcse = measured(sample, name)
        return value - _Z * mcse, value + _Z * mcse
    hits = SHARES[name](sample)
    return exact_interval(int(hits.sum()), len(hits)) if len(hits) else _NONE


def _can_be(sample: Sample, name: str) -> bool:
    has = {
        "any": len(sample.converged) > 0,
        "estimate": sample.n > 0,
        "se": bool(np.isfinite(sample.se).any()),
        "p": bool(np.isfinite(sample.p).any()),
        "truth": bool(np.isfinite(sample.truth)),
        "reference": bool(np.isfinite(sample.reference).any()),
    }
    return all(has[need] for need in MEASURES[name].needs)
