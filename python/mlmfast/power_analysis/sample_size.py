"""`mlmfast.sample_size`: the smallest number of levels, or rows, that has a power."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import Ddf
from mlmfast.distributions import normal_quantile, two_sided_normal
from mlmfast.errors import DataError, MlmError, ModelError
from mlmfast.guessed_arguments import told
from mlmfast.power_analysis.binomial import monte_carlo_error
from mlmfast.power_analysis.curve import PowerCurve
from mlmfast.power_analysis.power import (
    Plan,
    Progress,
    check_progress,
    check_share,
    described,
    plan_of,
    row_of,
)

#: How many times the present number is tried, unless ``high`` says otherwise.
_MOST_TIMES = 128


class SampleSize:
    """The smallest number with a power.

    Attributes
    ----------
    value
        The smallest number whose share of rejections reaches the target, with one less below it.
    lower, upper
        Numbers at which the power curve crosses the target less and plus the Monte Carlo error of
        ``value``'s share: an approximate interval for the number that an infinite simulation finds.
    power
        Share of rejections at ``value``; ``power_lower``, ``power_upper`` its exact interval.
    target
        The power asked for.
    """

    def __init__(
        self, value: int, interval: tuple[int, int], target: float, curve: PowerCurve
    ) -> None:
        self.value, (self.lower, self.upper) = value, interval
        self.target, self._curve = target, curve
        own = curve[curve["value"] == value].iloc[0]
        self.power = float(own["power"])
        self.power_lower, self.power_upper = float(own["lower"]), float(own["upper"])

    @property
    def curve(self) -> PowerCurve:
        """All numbers that were tried."""
        return copy.deepcopy(self._curve)

    def __int__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        what = self.curve.title.removeprefix("Power of ")
        return (
            f"Smallest number for power {self.target:g} of {what}\n"
            f"{self.curve.what}: {self.value} (about {self.lower} to {self.upper}); power there "
            f"{self.power:.3f} ({self.power_lower:.3f} to {self.power_upper:.3f})"
        )


@told()
def sample_size(
    fit_or_design: Any,
    test: Any,
    along: str | None = None,
    power: float = 0.8,
    n: int = 1000,
    ddf: Ddf | None = None,
    set: Mapping[str, float] | None = None,
    seed: Any = None,
    *,
    within: str | None = None,
    alpha: float = 0.05,
    level: float = 0.95,
    high: int | None = None,
    test_method: str | None = None,
    method: str | None = None,
    formula: str | None = None,
    n_boot: int = 199,
    progress: Progress | None = None,
) -> SampleSize:
    """The smallest number of levels of a variable, or of rows within clusters, that has a power.

    The same random numbers serve every number tried, so that the share of rejections is nearly
    monotone and its root is found by bisection.

    Parameters
    ----------
    along, within
        The variable whose levels are counted; or the clusters whose rows are.
    power
        The power wanted.
    high
        Largest number tried; 128 times the present one by default.
    fit_or_design, test, n, ddf, set, seed, alpha, level, test_method, method, formula, n_boot
        As `mlmfast.power` takes them.
    progress
        Called with the fits done and, as far as is known, all of them.

    Returns
    -------
    SampleSize

    Raises
    ------
    DataError, ModelError
        As `mlmfast.power`, and where the power is not reached.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> design = mlm.design("y ~ day + (day | id)", levels={"id": 10, "day": range(5)},
    ...                     params={"day": 5}, varcorr={"id": [900, 60]}, sigma=10)
    >>> found = mlm.sample_size(design, "day", along="id", n=300, seed=1)
    >>> bool(found.lower <= found.value <= found.upper)
    True

    References
    ----------
    Chalmers (2024), Psychological Methods (SimDesign's SimSolve), on roots of simulated functions.
    """
    check_share("power", power)
    check_share("level", level)
    check_progress(progress)
    if (along is None) == (within is None):
        raise DataError("give along=, the variable whose levels are counted, or within=")
    plan = plan_of(
        fit_or_design, test, along, within, n, ddf, set, seed, alpha, test_method, method, formula,
        n_boot,
    )  # fmt: skip
    if high is not None and (isinstance(high, bool) or not isinstance(high, int) or high < 1):
        raise DataError(f"high is {high!r}; the largest number to try is a whole number from 1 on")
    tried = _Tried(plan, level, progress)
    most = _MOST_TIMES * plan.present if high is None else high
    value = _smallest(tried, power, most)
    rows = [tried.rows[number] for number in sorted(tried.rows)]
    curve = described(PowerCurve(rows), plan, level)
    return SampleSize(value, _interval(curve, value, power, level), power, curve)


@dataclass
class _Tried:
    """Shares of rejections by number, found once each."""

    plan: Plan
    level: float
    progress: Progress | None = None
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    #: Numbers with too few rows for the model, and why.
    small: dict[int, MlmError] = field(default_factory=dict)

    def share(self, number: int) -> float:
        """Of rejections; 0 where the rows are too few for the model."""
        if number in self.small:
            return 0.0
        if number not in self.rows:
            try:
                found = self.plan.outcome(number)
            except MlmError as error:
                if number >= self.plan.present:
                    raise
                self.small[number] = error
                return 0.0
            self.rows[number] = row_of(number, found, self.plan, self.level)
            if self.progress is not None:
                done = len(self.rows) * self.plan.n
                self.progress(done, done)
        return float(self.rows[number]["power"])


def _smallest(tried: _Tried, target: float, most: int) -> int:
    """The smallest number whose share reaches the target, the one before below it."""
    below, above = 0, min(tried.plan.present, most)
    while tried.share(above) < target:
        if above >= most:
            raise ModelError(
                f"the power is {tried.share(above):.3f} with {above} "
                f"{'rows within' if tried.plan.is_within else 'levels of'} "
                f"{tried.plan.variable!r}, below {target:g}; give a larger high=, or a larger "
                "effect by set="
            )
        below, above = above, min(2 * above, most)
    while above - below > 1:
        middle = (below + above) // 2
        if tried.share(middle) < target:
            below = middle
        else:
            above = middle
    return above


def _interval(curve: PowerCurve, value: int, target: float, level: float) -> tuple[int, int]:
    """Numbers at which the curve crosses the target less and plus its Monte Carlo error.

    The curve is a line on the probit scale over the root of the number, as the power of a z test
    is, through the numbers tried near the target. All numbers have the same replicates, so that
    the error of the root is that of one share.
    """
    n = int(curve["n"].iloc[0])
    error = two_sided_normal(level) * monte_carlo_error(target, n)
    number = curve["value"].to_numpy(dtype=np.float64)
    share = curve["power"].to_numpy(dtype=np.float64)
    line = _probit_line(np.sqrt(number), share, n, target)
    if line is None:
        return value, value
    limits = normal_quantile(np.clip([target - error, target + error], 1e-6, 1 - 1e-6))
    roots = np.maximum((limits - line[0]) / line[1], 0.0) ** 2
    return min(int(np.floor(roots[0])), value), max(int(np.ceil(roots[1])), value)


def _probit_line(
    x: FloatArray, share: FloatArray, n: int, target: float
) -> tuple[float, float] | None:
    """Intercept and slope through the shares nearest the target; None where they do not rise."""
    inside = (share > 0.5 / n) & (share < 1 - 0.5 / n)
    order = np.argsort(np.abs(share[inside] - target), kind="stable")[:6]
    if len(order) < 2:
        return None
    x, z = x[inside][order], normal_quantile(share[inside][order])
    weight = np.exp(-(z**2)) / (share[inside][order] * (1 - share[inside][order]))
    center = np.average(x, weights=weight)
    slope = (weight * (x - center) * z).sum() / (weight * (x - center) ** 2).sum()
    if not slope > 0:
        return None
    return float(np.average(z, weights=weight) - slope * center), float(slope)
