"""The same fit with the absorbed factor's levels as columns of X, for what needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from mlmfast.design.levels_as_columns import with_columns
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitted.make_record import make_record
from mlmfast.fitted.origin.source import FitSource
from mlmfast.fitted.record import FitRecord
from mlmfast.fitting.fit import fit_covariance
from mlmfast.fitting.starts.given import starting_theta
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.reduce import reduce_design

_Result = TypeVar("_Result", bound=Fitted)

#: Levels, and bytes of their columns, up to which they are formed.
MOST_LEVELS = 2_000
LARGEST = 2e9


def as_columns(
    fit: Fitted,
    what: str,
    make: Callable[[FitRecord, FitSource, Mapping[str, float]], _Result],
) -> _Result:
    """The fit again from its estimates, with all columns.

    Parameters
    ----------
    fit
        One with an absorbed factor.
    what
        What needs the columns, as an error says it.
    make
        What the result is made by.

    Raises
    ------
    ModelError
        Where they would be too many, or the fit holds parameters.
    """
    old, source = fit._record, fit._needs_source(what)
    levels = old.absorbed
    assert levels is not None, "made for such fits"
    n, rows = len(levels.labels), fit.nobs
    if n > MOST_LEVELS or 8.0 * n * rows > LARGEST or source.parms is not None:
        raise ModelError(
            f"{what} needs all columns of X, and the fixed factor {levels.name!r} with {n:,} "
            f"levels was eliminated: these would take {8e-9 * n * rows:,.1f} GB. params, bse, df, "
            "contrast(), estimate(), anova(), predict(), ranef and the covariance parameters' "
            f"methods are there; absorb=False has the columns, where memory allows, and "
            f"(1 | {levels.name}) takes the levels as random"
        )
    assert source.frame is not None, "absorbed by a formula"
    frame = with_columns(source.frame)
    reduced = reduce_design(frame.design)
    start = {
        group.name: old.covariance_on(position)
        for position, group in enumerate(old.groups)
        if old.terms_on(position)
    }
    theta = starting_theta(reduced, fit.method, {**start, "Residual": fit.scale}) if start else None
    # What the fit itself has warned of is not said again.
    covariance = fit_covariance(reduced, fit.method, NewtonOptions(), theta)
    estimates = estimates_of(reduced, covariance.criterion, covariance.theta)
    record = make_record(reduced, frame, fit.method, covariance, estimates, fit.ddf)
    found = FitSource(reduced, covariance.criterion, covariance.theta, frame)
    return make(record, found, fit.timings)
