"""Fitted values, and predictions for new rows with or without random effects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.confidence_level import check_level
from mlmfast.data.frame import Frame
from mlmfast.degrees_of_freedom import Ddf, method_of
from mlmfast.design.design import check_rows_are_here
from mlmfast.errors import DataError, ModelError
from mlmfast.fitted.random_effects import ConditionalEffects
from mlmfast.fitted.record import FitRecord
from mlmfast.prediction.new_weights import weights_argument, weights_of_rows
from mlmfast.prediction.rows import Needs, PredictionRows, rows_of_fit, rows_of_newdata
from mlmfast.prediction.undetermined_blups import untold_rows, warn_of_effects
from mlmfast.prediction.undetermined_rows import check_way, undetermined, warn_of
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.origin.source import FitSource

_LEVEL = 0.95
_NEW_LEVELS = ("error", "population")
_INTERVALS = ("confidence", "prediction")


def fittedvalues(fit: Fitted) -> pd.Series[float]:
    """X beta + Z g + offset at the BLUPs, in the order of the rows used, with their index.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.fittedvalues.head(2).round(2).tolist()
    [253.66, 273.33]
    """
    return series_of_rows(fit._needs_source("fitted values"), fitted_rows(fit))


def fitted_rows(fit: Fitted) -> FloatArray:
    """`fittedvalues` as an array, (n,)."""
    source = fit._needs_source("fitted values")

    def compute() -> FloatArray:
        rows = rows_of_fit(source.design, Needs(z=True, groups=True))
        return predicted(rows, fit._record, fit._effects)

    return fit._once("_kept_fitted_rows", compute)


def series_of_rows(source: FitSource, values: FloatArray) -> pd.Series[float]:
    """Values of the rows used, with their index where the user's frame has one."""
    return pd.Series(values, index=None if source.frame is None else source.frame.frame.index)


def predicted(
    rows: PredictionRows, record: FitRecord, effects: Sequence[ConditionalEffects]
) -> FloatArray:
    """X beta + Z g + offset, column by column; without g where the rows have no levels."""
    total = np.zeros(rows.n_rows)
    for j, b in zip(record.kept, record.beta, strict=True):
        column = rows.x[j]
        total += b if column is None else b * column
    if rows.absorbed is not None and record.absorbed is not None:
        total += record.absorbed.levels[rows.absorbed]
    if rows.codes:
        _add_random_part(total, rows, record, effects)
    return total if rows.offset is None else total + rows.offset


def _add_random_part(
    total: FloatArray,
    rows: PredictionRows,
    record: FitRecord,
    effects: Sequence[ConditionalEffects],
) -> None:
    """Add Z g; a level that the fit did not see has g = 0."""
    taken = [0] * len(record.groups)
    for term, columns in zip(record.terms, rows.z, strict=True):
        means, codes = effects[term.group].mean, rows.codes[term.group]
        for column in columns:
            # The last, a zero, is the one that code -1 reaches.
            by_level = np.zeros(len(means) + 1)
            by_level[:-1] = means[:, taken[term.group]]
            by_row = by_level[codes]
            total += by_row if column is None else by_row * column
            taken[term.group] += 1


def predict(
    fit: Fitted,
    newdata: object = None,
    *,
    ranef: bool = True,
    new_levels: str = "error",
    interval: str | None = None,
    level: float = 0.95,
    offset: object = None,
    conditional: bool = False,
    weights: object = None,
    ddf: Ddf | None = None,
    nonestimable: str = "nan",
) -> Any:
    """Predictions for the rows used or for new data, in the container of the user's frame.

    Parameters
    ----------
    newdata
        Data with the columns of the formula, the response not needed; None for the rows used.
        A row with a missing value is predicted as NaN.
    ranef
        Add the random effects (conditional) or not (marginal).
    new_levels
        Levels not in the data: "error", or "population" for a random effect of 0.
    interval
        "confidence" for x'beta + z'g (x'beta if marginal), "prediction" for a new response
        (of a new cluster if marginal): a data frame with columns fit, lower and upper, by
        t quantiles with the degrees of freedom of the fit's ``ddf``. Satterthwaite's are
        2 v^2 / (g'W g), with v the whole variance of the error and g its exact derivatives by
        the covariance parameters; Kenward and Roger's also add to v what estimating the
        parameters costs (linear form); the other methods give those of x'beta. Normal
        quantiles serve where matrices would be too large: clusters of more than 2,000 rows,
        long series, crossed designs with thousands of levels. A loaded fit has intervals
        around random effects where it has one grouping factor of few levels.
    level
        Level of the interval.
    offset
        Offset of the new rows where the fit had one as an argument: a column name or an array.
    conditional
        Expected response given those observed, E[y | y_o] = x'beta + c V^-1 (y_o - X_o beta)
        (mmrm's ``conditional = TRUE``): what the random effects say and, with a residual
        covariance, the residuals of the same subject at other visits. A row that is observed
        itself returns its own response. Observed are the rows of the fit and those of newdata
        that hold a response; a subject of whom nothing is observed gets x'beta. Without
        newdata, all rows of the data, those left out for a missing response too.
        "confidence" is then for that expected value (uncertain by beta alone), "prediction"
        for the response, both by normal quantiles unless ``ddf`` is given. Where no
        ``residual=`` tells rows apart by subject and visit, rows of newdata are new
        observations, and a response among them is not used.
    weights
        Weights of new rows for "prediction" and under ``conditional``, for a fit with weights: a
        column name or an array; by default the column the fit had them from. A new response
        of weight w has the residual variance over w.
    ddf
        Degrees of freedom of the intervals; the fit's own by default. "asymptotic", normal
        quantiles, also serves the prediction intervals of a loaded fit. Under ``conditional``
        normal quantiles are the default, and Satterthwaite's and Kenward and Roger's methods as
        above serve "prediction".
    nonestimable
        New rows whose x'beta the data of the fit do not determine, such as a cell of an
        interaction that no row has: "nan", with a warning that names them, or "value" for what
        x and the coefficients kept happen to give, which depends on the coding.

    Raises
    ------
    ModelError
        For a word that is not known, or an interval that cannot be computed.
    DataError
        Where newdata lack a column, have an unknown level, or need an offset.

    Warns
    -----
    NonEstimableWarning

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> new = pd.DataFrame({"Days": [10], "Subject": ["308"]})
    >>> fit.predict(new, interval="confidence").round(1)
         fit  lower  upper
    0  450.3  419.0  481.7
    >>> fit.predict({"Days": [10, 11], "Subject": [308, 308]}).round(1)
    array([450.3, 470. ])
    >>> fit.predict({"Days": [10, 11]}, ranef=False).round(1)
    array([356.1, 366.5])

    A visit that was not observed, from the others of the subject:

    >>> data = mlm.load_sleepstudy().iloc[:-1]
    >>> fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)")
    >>> new = pd.DataFrame({"Days": [8, 9], "Subject": ["372"] * 2})
    >>> fit.predict(new, conditional=True, interval="prediction").round(1)
         fit  lower  upper
    0  369.1  369.1  369.1
    1  373.4  314.6  432.1
    """
    check_way(nonestimable)
    _check_words(new_levels, interval, level)
    _check_switches(fit, ranef, conditional, interval, ddf)
    if conditional:
        return _given_observed(
            fit, newdata, new_levels, interval, level, offset, weights, ddf, nonestimable
        )
    if weights is not None and (interval != "prediction" or newdata is None):
        raise ModelError(
            "weights are those of new rows, under conditional=True and for interval='prediction'"
        )
    needs = _needs(fit, bool(ranef), interval)
    of_rows: str | FloatArray | None = None
    if newdata is not None and interval == "prediction":
        newdata = Frame.from_native(newdata)
        of_rows = weights_argument(fit, newdata, weights, "the interval of a response")
    frame, rows, complete = _rows(fit, newdata, needs, new_levels, offset, of_rows)
    values = np.empty(0)
    if rows.n_rows:
        values = predicted(rows, fit._record, fit._effects if rows.codes else ())
    if newdata is not None and rows.n_rows and nonestimable == "nan":
        _leave_out_undetermined(fit, frame, rows, complete, values)
    if interval is None:
        return _in_container(frame, _spread(values, complete))
    from mlmfast.prediction.half_widths import half_width

    new = _complete(frame, complete) if newdata is not None and rows.n_rows else None
    own = None
    if new is not None and complete is not None:
        own = weights_of_rows(of_rows, new, complete)
    half = half_width(fit, rows, interval, level, new, ddf, own)
    bounds = {"fit": values, "lower": values - half, "upper": values + half}
    return _in_frame(frame, {name: _spread(v, complete) for name, v in bounds.items()})


def _given_observed(
    fit: Fitted,
    newdata: object,
    new_levels: str,
    interval: str | None,
    level: float,
    offset: Any,
    weights: Any,
    ddf: Ddf | None,
    nonestimable: str,
) -> Any:
    """`predict` given the responses observed."""
    from mlmfast.prediction.given_observed.conditional import predict_conditionally

    given, found = predict_conditionally(
        fit, newdata, new_levels, offset, weights, nonestimable == "nan"
    )
    warn_of(fit, given.frame, given.undetermined)
    warn_of_effects(fit, given.frame, given.hanging, "predictions")
    if interval is None:
        return _in_container(given.frame, found.mean)
    from mlmfast.prediction.half_widths import half_width_given

    half = half_width_given(fit, given, found, interval, level, ddf)
    bounds = {"fit": found.mean, "lower": found.mean - half, "upper": found.mean + half}
    return _in_frame(given.frame, bounds)


def _needs(fit: Fitted, ranef: bool, interval: str | None) -> Needs:
    """What is read of the rows."""
    # A new observation varies with its random effects, whether they are predicted or not.
    # Without random terms the levels of the residual structure's subjects tell nothing.
    groups = ranef and bool(fit._record.terms)
    if groups and fit._source is not None:
        check_rows_are_here(fit._source.design)
    return Needs(z=ranef or interval == "prediction", groups=groups)


def _leave_out_undetermined(
    fit: Fitted,
    frame: Frame | None,
    rows: PredictionRows,
    complete: BoolArray | None,
    values: FloatArray,
) -> None:
    """Set what the data do not determine to NaN, and warn of it."""
    unknown = undetermined(fit, rows)
    values[unknown] = np.nan
    warn_of(fit, frame, _spread_flags(unknown, complete))
    untold = untold_rows(fit, rows)
    values[untold] = np.nan
    warn_of_effects(fit, frame, _spread_flags(untold, complete))


def _rows(
    fit: Fitted, newdata: object, needs: Needs, new_levels: str, offset: Any, weights: Any
) -> tuple[Frame | None, PredictionRows, BoolArray | None]:
    """Read the frame, its rows without missing values, and which they are (None for all)."""
    if newdata is not None:
        frame = newdata if isinstance(newdata, Frame) else Frame.from_native(newdata)
        more = [weights] if isinstance(weights, str) else []
        return frame, *rows_of_newdata(fit._record, frame, needs, new_levels, offset, more)
    source = fit._needs_source("a prediction without newdata")
    if offset is not None:
        raise DataError("offset is for newdata; the rows used keep the offset of the fit")
    own = None if source.frame is None else source.frame.frame
    return own, rows_of_fit(source.design, needs), None


def _check_switches(
    fit: Fitted, ranef: object, conditional: object, interval: str | None, ddf: Ddf | None
) -> None:
    if not isinstance(ranef, bool | np.bool_):
        raise ModelError(
            f"ranef is {ranef!r}; use True (with the predicted random effects) or False (of the "
            "population)"
        )
    if not isinstance(conditional, bool | np.bool_):
        raise ModelError(f"conditional is {conditional!r}; use True or False")
    if ddf is not None and interval is None:
        raise ModelError("ddf is for an interval; give interval='confidence' or 'prediction'")
    if interval is not None and (ranef or conditional) and fit.certificate.negative:
        raise ModelError(
            "with negative variances (bounded=False) V is the covariance of the rows observed and "
            "of no further row of a group, so that there is no interval around predicted random "
            "effects; give ranef=False"
        )
    if conditional and ddf is not None:
        method_of(ddf).check(fit._record.method == "REML")
    if conditional and not ranef:
        raise ModelError(
            "conditional=True predicts from all that the observed responses say, the random "
            "effects too; leave ranef=False out"
        )


def _check_words(new_levels: str, interval: str | None, level: float) -> None:
    if not is_one_of(new_levels, _NEW_LEVELS):
        raise ModelError(f"new_levels is {new_levels!r}; use {' or '.join(map(repr, _NEW_LEVELS))}")
    if interval is not None and not is_one_of(interval, _INTERVALS):
        raise ModelError(
            f"interval is {interval!r}; use None or {' or '.join(map(repr, _INTERVALS))}"
        )
    check_level(level)
    if interval is None and level != _LEVEL:
        raise ModelError("level is that of an interval; give interval='confidence' or 'prediction'")


def _spread_flags(flags: BoolArray, complete: BoolArray | None) -> BoolArray:
    """Flags of the complete rows among all rows, False elsewhere."""
    if complete is None:
        return flags
    out = np.zeros(complete.size, dtype=np.bool_)
    out[complete] = flags
    return out


def _complete(frame: Frame | None, complete: BoolArray | None) -> Frame:
    assert frame is not None, "newdata are a frame"
    return frame if complete is None or complete.all() else frame.take(complete)


def _spread(values: FloatArray, complete: BoolArray | None) -> FloatArray:
    """Values of the complete rows among all rows, NaN elsewhere."""
    if complete is None or complete.all():
        return values
    out = np.full(complete.size, np.nan)
    out[complete] = values
    return out


def _in_container(frame: Frame | None, values: FloatArray) -> Any:
    """Make a column of the library that the user's frame is from; an array for a dict."""
    if frame is None:
        return values
    library = frame.native_namespace
    if frame.index is not None:
        return pd.Series(values, index=frame.index)
    if library is pd:
        return values
    if library.__name__ == "pyarrow":
        return library.array(values)
    if library.__name__ == "polars":
        return library.Series("prediction", values)
    return library.Series(values)


def _in_frame(frame: Frame | None, columns: dict[str, FloatArray]) -> Any:
    if frame is None or frame.index is not None:
        return pd.DataFrame(columns, index=None if frame is None else frame.index)
    return frame.to_native_frame(columns)
