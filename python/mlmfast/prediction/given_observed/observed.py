"""Which responses are observed, and which rows they say something of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import evaluate_elsewhere
from mlmfast.design.design import Design
from mlmfast.errors import DataError
from mlmfast.fitted.record import FitRecord
from mlmfast.formula.functions import variables_of
from mlmfast.prediction.given_observed.stacked_rows import StackedRows, stacked_rows
from mlmfast.prediction.new_weights import weights_argument, weights_of_rows
from mlmfast.prediction.rows import Needs, rows_of_newdata
from mlmfast.prediction.undetermined_rows import undetermined

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.origin.source import FitSource

#: Difference of two numbers that are the same response, over the largest of all.
_SAME = 1e-9


@dataclass(frozen=True)
class Conditioned:
    """Rows to predict and the responses they are predicted from.

    Attributes
    ----------
    frame
        The user's frame; None for arrays.
    own_value : shape (n,)
        Response of the rows that are observed themselves, NaN elsewhere.
    design
        The rows of the fit and the new ones.
    observed : shape (design.n_obs,)
        Rows of the design whose response is known.
    targets, target_rows : shape (n_targets,)
        Rows of the design to predict, and the rows of the frame that they are.
    undetermined : shape (n,)
        Rows that are not predicted, as the data of the fit do not determine their mean.
    hanging : shape (n,)
        Those that are not as they hang on covariances that no data tell.
    n_fit
        Rows of the fit, which come first in the design.
    """

    frame: Frame | None
    own_value: FloatArray
    design: Design
    observed: BoolArray
    targets: IntArray
    target_rows: IntArray
    undetermined: BoolArray
    hanging: BoolArray
    n_fit: int


def conditioned_rows(
    fit: Fitted,
    newdata: object,
    new_levels: str,
    offset: Any,
    weights: Any,
    estimable_only: bool,
) -> Conditioned:
    """Read the rows to predict and find what is observed."""
    source = fit._needs_source("a prediction given the responses observed")
    if newdata is not None:
        frame = Frame.from_native(newdata)
        return _of_newdata(fit, source, frame, new_levels, offset, weights, estimable_only)
    if offset is not None or weights is not None:
        raise DataError("offset and weights are for newdata; the rows used keep those of the fit")
    used = None if source.frame is None else source.frame.used
    if source.frame is None or used is None:
        own = None if source.frame is None else source.frame.frame
        return _all_observed(own, source.design)
    # Rows left out for a missing response are predicted, beside those used.
    whole, at_new = source.frame.frame.whole, np.flatnonzero(~used)
    new = _of_newdata(fit, source, whole.take(~used), new_levels, None, None, estimable_only)
    own_value = np.full(whole.n_rows, np.nan)
    own_value[used] = source.design.y
    own_value[at_new] = new.own_value
    undetermined_rows = np.zeros(whole.n_rows, dtype=np.bool_)
    undetermined_rows[at_new] = new.undetermined
    return replace(
        new,
        frame=whole,
        own_value=own_value,
        target_rows=at_new[new.target_rows],
        undetermined=undetermined_rows,
        hanging=np.zeros(whole.n_rows, dtype=np.bool_),
    )


def _all_observed(frame: Frame | None, design: Design) -> Conditioned:
    nothing = np.empty(0, dtype=np.intp)
    observed = np.ones(design.n_obs, dtype=np.bool_)
    known = np.zeros(design.n_obs, dtype=np.bool_)
    own, hanging, n = design.y.copy(), known.copy(), design.n_obs
    return Conditioned(frame, own, design, observed, nothing, nothing, known, hanging, n)


def _of_newdata(
    fit: Fitted,
    source: FitSource,
    frame: Frame,
    new_levels: str,
    offset: Any,
    weights: Any,
    estimable_only: bool,
) -> Conditioned:
    record, left_out = fit._record, np.zeros(frame.n_rows, dtype=np.bool_)
    what = "the covariance of new rows with those observed"
    given = weights_argument(fit, frame, weights, what)
    # A subject without random effects of its own is no new level: nothing of it is predicted.
    levels = new_levels if record.terms else "population"
    more = _residual_variables(source.design)
    more += [given] if isinstance(given, str) else []
    needs = Needs(z=True, groups=True)
    rows, complete = rows_of_newdata(record, frame, needs, levels, offset, more)
    at = np.flatnonzero(complete)
    if rows.n_rows == 0:
        empty = _all_observed(frame, source.design)
        nothing = np.full(frame.n_rows, np.nan)
        hanging = np.zeros_like(left_out)
        return replace(empty, own_value=nothing, undetermined=left_out, hanging=hanging)
    kept = frame if complete.all() else frame.take(complete)
    of_rows = weights_of_rows(given, kept, complete)
    own = None if source.frame is None else source.frame.frame
    stacked = stacked_rows(source.design, record, own, rows, kept, of_rows)
    value, observed = _observed(stacked, responses(record, kept), kept, source.design)
    own_value = np.full(frame.n_rows, np.nan)
    own_value[at] = value
    unknown = undetermined(fit, rows) if estimable_only else np.zeros(len(value), dtype=np.bool_)
    # The residual of a response whose mean is not determined says nothing of other rows.
    observed[stacked.n_old :][unknown] = False
    left_out[at] = unknown & np.isnan(value)
    wanted = np.flatnonzero(np.isnan(value) & ~unknown)
    design = replace(stacked.design, y=np.concatenate([source.design.y, value]))
    targets = stacked.n_old + wanted
    hanging = np.zeros_like(left_out)
    about = (own_value, design, observed, targets, at[wanted], left_out, hanging)
    return Conditioned(frame, *about, stacked.n_old)


def responses(record: FitRecord, frame: Frame) -> FloatArray:
    """Response of each row of a frame, NaN where it is missing or the frame has none.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("log(Reaction) ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> responses(fit._record, Frame.from_native({"Reaction": [1.0, np.nan]}))
    array([ 0., nan])
    """
    out = np.full(frame.n_rows, np.nan)
    names = variables_of(record.response)
    if not all(frame.has(name) for name in names):
        return out
    known = np.ones(frame.n_rows, dtype=np.bool_)
    for name in names:
        missing = frame.missing(name)
        known &= True if missing is None else ~missing
    if known.any():
        out[known] = evaluate_elsewhere(record.response, frame.take(known), "the response")
    return out


def _observed(
    stacked: StackedRows, values: FloatArray, frame: Frame, design: Design
) -> tuple[FloatArray, BoolArray]:
    """Response of each new row that is observed, and which rows of the stack to condition on."""
    n_old = stacked.n_old
    observed = np.concatenate([np.ones(n_old, dtype=np.bool_), np.zeros(len(values), np.bool_)])
    if (stacked.same < 0).all():
        # Rows cannot be recognised: new ones are new observations, not those of the fit.
        return np.full(len(values), np.nan), observed
    known = np.concatenate([design.y, np.full(len(values), np.nan)])
    given = np.flatnonzero(~np.isnan(values))
    # The last one written stays; that all agree is checked next.
    fresh = given[stacked.same[given] >= n_old]
    known[stacked.same[fresh]] = values[fresh]
    observed[stacked.same[fresh]] = True
    expected = known[stacked.same[given]]
    wrong = np.abs(values[given] - expected) > _SAME * np.abs(known[~np.isnan(known)]).max()
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        row = int(given[first])
        raise DataError(_contradiction(design, frame, row, values[row], expected[first]))
    return known[stacked.same], observed


def _contradiction(design: Design, frame: Frame, row: int, value: float, known: float) -> str:
    assert design.residual is not None
    formula = design.residual.formula
    assert formula is not None, "rows are told apart by a formula's subject and visit"
    columns = (*formula.subject, *formula.coordinates)
    labels = (frame.factor(name) for name in columns)
    where = ", ".join(
        f"{name} = {factor.levels[factor.codes[row]]!r}"
        for name, factor in zip(columns, labels, strict=True)
    )
    return (
        f"newdata: {design.response} is {value:g} at {where}, and another row of the same subject "
        f"and visit has {known:g}; a conditional prediction needs one response for each (leave "
        "the response out of newdata to predict from the data of the fit alone)"
    )


def _residual_variables(design: Design) -> list[str]:
    residual = design.residual
    if residual is None:
        return []
    names = [] if residual.formula is None else list(residual.formula.variables)
    return names + ([] if residual.scale is None else list(residual.scale.formula.variables))
