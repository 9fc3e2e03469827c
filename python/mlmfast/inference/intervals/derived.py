"""Functions of the parameters of a fit with intervals by the delta method, profile or bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.confidence_level import check_level
from mlmfast.criterion.parameters.covariance_parameter import check_engine
from mlmfast.distributions import two_sided_normal
from mlmfast.errors import ModelError
from mlmfast.inference.intervals.derived_profile import profile_limits
from mlmfast.inference.intervals.parameter_values import (
    AtEstimate,
    ParameterValues,
    named,
)
from mlmfast.inference.intervals.second_order import Differentiable
from mlmfast.inference.resampling.bootstrap import bootstrap
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

METHODS = ("delta", "profile", "bootstrap")
SCALES = ("identity", "log", "logit")


def derived(
    fit: Fitted,
    function: Callable[[ParameterValues], Any],
    method: str = "delta",
    level: float = 0.95,
    *,
    scale: str = "identity",
    n: int = 1000,
    seed: Any = None,
) -> pd.DataFrame:
    """Functions of the parameters with standard errors and intervals.

    Parameters
    ----------
    function
        Takes a mapping from names of parameters (fixed effects; ``sd_x|g``, ``var_x|g``,
        ``cor_x.y|g``, ``cov_x.y|g``, ``sigma``, ``Residual``, or the residual structure's) to
        their values, and returns a number or a dict of numbers. It is differentiated exactly:
        use operators and NumPy's functions.
    method
        "delta": by exact derivatives of the function and the observed information; "profile":
        likelihood interval of a function of covariance parameters; "bootstrap": percentiles.
    level
        Of the interval.
    scale
        "identity", "log" or "logit": where the delta method's interval is symmetric.
    n, seed
        Of the bootstrap.

    Returns
    -------
    DataFrame
        Columns estimate, se, lower and upper; a row a function.

    Raises
    ------
    ModelError
        For a name that is no parameter, an unknown method or scale, or a profile of a function of
        fixed effects.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> def total(p):
    ...     return p["var_(Intercept)|Subject"] + p["Residual"]
    >>> fit.derived(total, "profile").round(1)
           estimate     se   lower   upper
    value    2338.6  514.8  1635.2  4013.5
    """
    source, record = fit._needs_source("a function of the parameters", of_sums=True), fit._record
    if not callable(function):
        raise ModelError(
            f"function is {function!r}; give a function of the parameters by name, such as "
            "lambda p: p['sd_(Intercept)|g'] / p['sigma']"
        )
    check_request(method, level, scale)
    check_engine(source.model, "an interval for a function of the parameters")
    at = AtEstimate(source, record)
    found = named(function(at.values()))
    if method == "delta":
        return delta_table(at, found, level, scale)
    if method == "profile":
        table = delta_table(at, found, level, scale)
        table[["lower", "upper"]] = profile_limits(at, function, found, level)
        return table
    boot = bootstrap(fit, n, seed)
    replicates = {str(name): boot.replicates[name].to_numpy() for name in boot.replicates}
    values = named(function(ParameterValues(replicates, at.functions.parameters)))
    return bootstrap_table({k: v.value for k, v in found.items()}, pd.DataFrame(values), level)


def check_request(method: str, level: float, scale: str = "identity") -> None:
    """Refuse an unknown method or scale, and a level outside (0, 1)."""
    if not is_one_of(method, (*METHODS, "boot")):
        raise ModelError(f"method is {method!r}; use one of {', '.join(METHODS)}")
    if not is_one_of(scale, SCALES):
        raise ModelError(f"scale is {scale!r}; use one of {', '.join(SCALES)}")
    check_level(level)


def delta_table(
    at: AtEstimate, found: Mapping[str, Differentiable], level: float, scale: str
) -> pd.DataFrame:
    """Estimates with intervals by the delta method."""
    rows = {}
    for name, number in found.items():
        variance = float(number.first @ at.covariance @ number.first)
        se = np.nan if at.is_open(number.first) else float(np.sqrt(max(variance, 0.0)))
        rows[name] = [number.value, se]
    return table_of_errors(rows, level, scale)


def table_of_errors(rows: Mapping[str, Sequence[float]], level: float, scale: str) -> pd.DataFrame:
    """Intervals of estimates and their standard errors, symmetric on a scale."""
    z = two_sided_normal(level)
    full = {n: [value, se, *_interval(value, z * se, scale)] for n, (value, se) in rows.items()}
    return pd.DataFrame.from_dict(
        full, orient="index", columns=["estimate", "se", "lower", "upper"]
    )


def bootstrap_table(
    estimates: Mapping[str, float], replicates: pd.DataFrame, level: float
) -> pd.DataFrame:
    """Estimates with percentile intervals of replicates, columns by the same names."""
    limits = replicates.quantile([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return pd.DataFrame(
        {
            "estimate": pd.Series(dict(estimates)),
            "se": replicates.std(),
            "lower": limits.iloc[0],
            "upper": limits.iloc[1],
        }
    ).loc[list(estimates)]


def _interval(value: float, half: float, scale: str) -> tuple[float, float]:
    if scale == "log" and value > 0:
        width = half / value
        return value * float(np.exp(-width)), value * float(np.exp(width))
    if scale == "logit" and 0 < value < 1:
        width, middle = half / (value * (1.0 - value)), float(np.log(value / (1.0 - value)))
        low, high = 1.0 / (1.0 + np.exp([width - middle, -width - middle]))
        return float(low), float(high)
    return value - half, value + half
