"""Estimates of a function of the response, taken to the response's own scale or another."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.clusters.covariance import marginal_covariances
from mlmfast.errors import DataError, ModelError
from mlmfast.inference.emmeans.estimates.base import Estimates
from mlmfast.inference.emmeans.estimates.given import GivenEstimates
from mlmfast.inference.emmeans.estimates.linear_functions import LinearFunctions
from mlmfast.inference.emmeans.estimates.transformations import Transformation, transformation

_MOST_AT_ONCE = 100_000


def regridded(
    functions: Estimates, to: object, tran: object, bias_adjust: bool, sigma: float | None
) -> GivenEstimates:
    """Estimates h(eta) with covariance D V D, D the diagonal of h'(eta), by the delta method.

    Parameters
    ----------
    functions
        The estimates eta.
    to
        "response", or the name of a transformation to take of the response.
    tran
        The transformation that the model is of, where its formula does not say.
    bias_adjust, sigma
        Whether to add h''(eta) sigma^2 / 2; the standard deviation of the response about its mean.
    """
    known = known_transformation(functions, tran)
    rows = np.flatnonzero(functions.is_estimable)
    found = functions.tests(rows)
    spread = spread_of(functions, sigma) if bias_adjust else _unused(sigma)
    value, slope = known.inverse(found.estimate, spread), known.slope(found.estimate, spread)
    kind = None
    if to != "response":
        kind = transformation(to)
        with np.errstate(all="ignore"):
            again = kind.forward(value)
            slope = slope / kind.slope(again)
        value = again
    n = len(functions.labels)
    theta, df, vcov = np.full(n, np.nan), np.full(n, np.nan), np.full((n, n), np.nan)
    theta[rows] = np.where(np.isfinite(value) & np.isfinite(slope), value, np.nan)
    df[rows] = _one_number(found.df)
    slope = np.where(np.isfinite(slope), slope, np.nan)
    vcov[np.ix_(rows, rows)] = functions.covariance(rows) * np.outer(slope, slope)
    note = f"{functions.degrees_note}, by the delta method"
    return GivenEstimates(
        functions.labels,
        theta,
        vcov,
        df,
        functions.by,
        np.eye(n),
        note,
        kind,
        dict(functions.nests),
    )


def known_transformation(functions: Estimates, tran: object) -> Transformation:
    """That of the estimates, or the one given.

    Raises
    ------
    ModelError
        Where neither is known.
    """
    if tran is not None:
        return transformation(tran)
    if functions.transformation is not None:
        return functions.transformation
    raise ModelError(
        "no transformation of the response is known of these estimates: its left side is none that "
        "is read (log(y), log(y + 1), log2, log10, log1p, sqrt(y), y^p, 1/y), or they are slopes "
        "or differences; give tran='logit' or the like, and contrasts after regrid()"
    )


def _one_number(df: FloatArray) -> FloatArray:
    """Their mean where they differ by rounding."""
    return np.full(len(df), df.mean()) if len(df) and np.ptp(df) < 1e-8 * df.max() else df


def _unused(sigma: float | None) -> float:
    if sigma is not None:
        raise ModelError("sigma is for bias_adjust=True; add it, or leave sigma out")
    return 0.0


def spread_of(functions: Estimates, sigma: float | None) -> float:
    """The standard deviation given, or that of all rows where it is one.

    Raises
    ------
    ModelError
        Where rows differ in it.
    """
    if sigma is not None:
        if isinstance(sigma, bool) or not np.isfinite(sigma) or not sigma > 0:
            raise DataError(f"sigma is {sigma!r}; give a positive number")
        return float(sigma)
    if not isinstance(functions, LinearFunctions):
        raise ModelError("give sigma=, the standard deviation of the response about its mean")
    fit = functions.fit
    source = fit._needs_source("the variance of the response, which sigma= could give,")
    design, low, high = source.design, np.inf, 0.0
    for first in range(0, design.n_obs, _MOST_AT_ONCE):
        rows = np.arange(first, min(first + _MOST_AT_ONCE, design.n_obs))
        own = marginal_covariances(design, fit._record, rows[:, None])[:, 0, 0]
        low, high = min(low, float(own.min())), max(high, float(own.max()))
    if high - low > 1e-8 * high:
        raise ModelError(
            f"rows differ in their variance about the mean ({low:.4g} to {high:.4g}), so there is "
            "no one correction; give sigma=, the standard deviation at the means wanted"
        )
    return float(np.sqrt(high))


def back_transformed(
    frame: pd.DataFrame, kind: Transformation, estimate_name: str, spread: float
) -> pd.DataFrame:
    """A table with estimate and limits taken back, the standard error by the delta method."""
    eta = frame[estimate_name].to_numpy(dtype=np.float64)
    out = frame.copy()
    out["SE"] = np.abs(kind.slope(eta, spread)) * frame["SE"]
    # A falling function swaps the limits.
    ends = [kind.inverse(frame[side].to_numpy(dtype=np.float64), spread) for side in _SIDES]
    falls = kind.slope(eta) < 0
    out["lower"], out["upper"] = np.where(falls, ends[1], ends[0]), np.where(falls, *ends)
    out[estimate_name] = kind.inverse(eta, spread)
    name = kind.name.replace(" ", "_") if kind.of_differences else "response"
    return out.rename(columns={estimate_name: name})


_SIDES = ("lower", "upper")
