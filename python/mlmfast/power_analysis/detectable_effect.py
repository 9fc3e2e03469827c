"""`mlmfast.detectable_effect`: the smallest effect that a design finds with a power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import Ddf
from mlmfast.distributions import t_quantile, two_sided_normal
from mlmfast.errors import ModelError
from mlmfast.guessed_arguments import told
from mlmfast.power_analysis.binomial import monte_carlo_error
from mlmfast.power_analysis.curve import ByNumber
from mlmfast.power_analysis.outcome import Outcome
from mlmfast.power_analysis.power import Plan, Progress, check_progress, check_share, plan_of
from mlmfast.power_analysis.tests_of_replicates import Wald


@told()
def detectable_effect(
    fit_or_design: Any,
    test: Any,
    along: str | None = None,
    values: Sequence[int] | None = None,
    power: float = 0.8,
    n: int = 1000,
    ddf: Ddf | None = None,
    set: Mapping[str, float] | None = None,
    seed: Any = None,
    *,
    within: str | None = None,
    alpha: float = 0.05,
    level: float = 0.95,
    method: str | None = None,
    progress: Progress | None = None,
) -> ByNumber:
    """The smallest effect that a t test finds with a power, alone or along a design.

    Adding a multiple of a column of X to a response adds it to its coefficient and changes nothing
    else of a fit, so that one batch of fits tells the power for every effect.

    Parameters
    ----------
    test
        A coefficient, or a linear function of several (one t test).
    power
        The power wanted.
    fit_or_design, along, values, n, ddf, set, seed, within, alpha, method, progress
        As `mlmfast.power` takes them.
    level
        Of the interval for the Monte Carlo error.

    Returns
    -------
    DataFrame
        Columns value, effect (of the function tested less its value under the hypothesis, as a
        size), lower, upper (its Monte Carlo interval), n, n_failed.

    Raises
    ------
    DataError, ModelError
        As `mlmfast.power`, and for a test of several coefficients.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> found = mlm.detectable_effect(fit, "Days", along="Subject", values=[10, 40], n=200, seed=1)
    >>> bool(found["effect"].iloc[0] > found["effect"].iloc[1])
    True
    """
    check_share("power", power)
    check_share("level", level)
    check_progress(progress)
    plan = plan_of(
        fit_or_design, test, along, within, n, ddf, set, seed, alpha, None, method, None, 1
    )
    numbers, rows = plan.numbers(values), []
    for k, number in enumerate(numbers):
        found = plan.outcome(number)
        rows.append(_row(plan, number, found, power, level))
        if progress is not None:
            progress((k + 1) * plan.n, len(numbers) * plan.n)
    title = f"Smallest effect found with power {power:g}: {plan.hypothesis().label}"
    out = ByNumber(rows)
    out.title = f"{title}, alpha {alpha:g}"
    return out


def _row(
    plan: Plan, number: int, found: Outcome, power: float, level: float
) -> dict[str, float | int]:
    tested = plan.hypothesis(number if plan.variable else None)
    if not isinstance(tested, Wald) or len(tested.L) != 1:
        raise ModelError(
            "the smallest effect is of one coefficient or linear function, tested by t; "
            f"{plan.test!r} is of several, or a test of another kind"
        )
    # Less its true value, an estimate is its error, which no effect changes.
    centre = float((tested.L @ plan.design(number).truth.beta)[0])
    good = np.isfinite(found.pvalue)
    error = found.estimate[good] - centre
    se, df = found.se[good], found.df[good]
    critical = np.asarray(t_quantile(1.0 - plan.alpha / 2.0, df))
    sampling = two_sided_normal(level) * monte_carlo_error(power, plan.n)
    targets = (power, power - sampling, power + sampling)
    # A replicate without a test rejects nothing, whatever the effect.
    effect, lower, upper = (_root(error, se, critical, goal, plan.n) for goal in targets)
    return {
        "value": number,
        "effect": effect,
        "lower": lower,
        "upper": upper,
        "n": plan.n,
        "n_failed": int((~good).sum()),
    }


def _root(error: FloatArray, se: FloatArray, critical: FloatArray, target: float, n: int) -> float:
    """The effect b > 0 at which the share of |error + b| > critical se reaches a target."""
    if target >= len(error) / n:
        return float("inf")
    if target <= 0.0:
        return 0.0
    # Each replicate rejects above one effect, and for negative ones below another.
    above = critical * se - error
    below = -critical * se - error
    low, high = 0.0, float(np.abs(above).max() + 1.0)
    for _ in range(200):
        middle = 0.5 * (low + high)
        share = float(((middle > above) | (middle < below)).sum()) / n
        if share < target:
            low = middle
        else:
            high = middle
        if high - low <= 1e-12 * high:
            break
    return high
