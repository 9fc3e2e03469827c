"""The data of a fit as marginaleffects reads them, and rows of X for new data."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from mlmfast.arrays import FloatArray
from mlmfast.data.frame import Frame
from mlmfast.errors import ModelError
from mlmfast.fitted.fitted import Fitted
from mlmfast.formula.functions import variables_of
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.prediction.rows import Needs, rows_of_newdata
from mlmfast.prediction.undetermined_rows import undetermined


def variables(fit: Fitted) -> list[str]:
    """Variables of the fixed part and of its offsets."""
    record = fit._record
    if record.fixed_spec is None:
        raise ModelError(
            "the model was made from arrays, and marginaleffects varies variables of a formula; "
            "use mlmfast.lmm"
        )
    record.refuse_smooths("a marginal effect", "see fit.smooth(name).derivative()")
    names = list(record.fixed_spec.variables)
    for expression in record.offsets:
        names += variables_of(expression)
    return list(dict.fromkeys(names))


def response(fit: Fitted) -> str:
    """The response as the formula writes it."""
    assert fit.formula is not None, "the caller looked for a formula"
    return parse_formula(fit.formula).response


def model_data(fit: Fitted) -> pl.DataFrame:
    """Rows used: the variables of the model, factors with their levels in the fit's order."""
    names = variables(fit)
    source = fit._needs_source("a marginal effect")
    assert source.frame is not None, "made by a formula"
    frame = source.frame.frame
    record = fit._record
    names += [name for group in record.groups for name in group.columns]
    columns = {name: _column(frame, name) for name in dict.fromkeys(names) if frame.has(name)}
    name = response(fit)
    observed = {name: _column(frame, name)} if frame.has(name) else {}
    return pl.DataFrame({**observed, **columns})


def _column(frame: Frame, name: str) -> pl.Series:
    if frame.is_categorical(name) or not frame.is_numeric(name):
        factor = frame.factor(name)
        labels = np.asarray(factor.levels, dtype=object)[factor.codes]
        return pl.Series(name, labels.tolist(), dtype=pl.Enum(list(factor.levels)))
    return pl.Series(name, np.array(frame.numeric(name)))


def design_rows(fit: Fitted, newdata: Any) -> FloatArray:
    """Columns of X that are not aliased, and the offset last, shape (n, rank + 1).

    NaN for a row with a missing value, and for one whose expected response the data of the fit do
    not determine.
    """
    record = fit._record
    frame = Frame.from_native(newdata)
    found, complete = rows_of_newdata(record, frame, Needs(z=False, groups=False), "error", None)
    out = np.full((frame.n_rows, record.rank + 1), np.nan)
    if not found.n_rows:
        return out
    rows = np.empty((found.n_rows, record.rank + 1))
    for k, j in enumerate(record.kept):
        column = found.x[j]
        rows[:, k] = 1.0 if column is None else column
    rows[:, -1] = 0.0 if found.offset is None else found.offset
    rows[undetermined(fit, found)] = np.nan
    out[complete] = rows
    return out
