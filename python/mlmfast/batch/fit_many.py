"""A batch of responses, each fitted on the rows in which it has a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.batch.merge import Layout, failed, merged
from mlmfast.batch.tests import with_ddf
from mlmfast.batch.unequal import RowsOfResponses, fit_by_rows
from mlmfast.data.statistics import StackedColumns
from mlmfast.degrees_of_freedom import Ddf, method_of
from mlmfast.design.design import Design
from mlmfast.design.model_frame import ModelFrame
from mlmfast.design.observed_rows import design_of_rows, frame_of_rows
from mlmfast.design.responses import Pattern, Responses, read_responses, response_columns
from mlmfast.design.unbounded import without_bounds
from mlmfast.errors import MlmError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitted.origin.source import FitSource
from mlmfast.fitted.record import FitRecord
from mlmfast.fitting.fit import fit_covariance
from mlmfast.handed_out import changed
from mlmfast.newton.options import NewtonOptions
from mlmfast.prepared.fit_model import check_ddf
from mlmfast.prepared.model import PreparedModel
from mlmfast.reduction.engines.options import Engine, read_options
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.representable import without_residual
from mlmfast.running.progress_bar import ProgressBar
from mlmfast.words import read_method


@dataclass(frozen=True)
class _Part:
    """Fits of the responses of one pattern, or why there are none."""

    columns: IntArray
    batch: FitBatch | None
    problem: str = ""


def fit_many(
    model: PreparedModel,
    make: Callable[[FitRecord, FitSource, Mapping[str, float]], Fitted],
    Y: Any,
    method: str = "REML",
    options: NewtonOptions | Mapping[str, Any] | None = None,
    ddf: Ddf | None = None,
    progress: bool | None = None,
) -> FitBatch:
    """Fit many responses on a model's design; `mlmfast.LMM.fit_many` documents the arguments.

    Parameters
    ----------
    make
        What the result of a single fit is made by.
    """
    method, ddf = read_method(method), "satterthwaite" if ddf is None else ddf
    check_ddf(ddf, method)
    engine, settings = read_options(options)
    model = model._for_engine(engine)
    own = None if model._frame is None else model._frame.frame
    used, index = (None, None) if own is None else (own.rows_used, own.whole.index)
    responses = read_responses(Y, model._design, used, index)
    way = method_of(ddf)
    adjusts = way.stacks and way.adjusts and way.information == "observed"
    with ProgressBar("fits", len(responses.names), progress) as bar:
        batch = _fit_patterns(model, responses, method, engine, settings, adjusts, bar)
    return with_ddf(changed(batch, _options=options, _make=make), ddf)


def _fit_patterns(
    model: PreparedModel,
    responses: Responses,
    method: str,
    engine: Engine,
    settings: NewtonOptions,
    adjusts: bool,
    bar: ProgressBar,
) -> FitBatch:
    """Fit all responses; those with a value in the same rows share one reduction."""
    patterns = responses.patterns()
    parts: list[_Part] = []
    if engine is None and len(patterns) > 1:
        data = RowsOfResponses(model, responses.values, _of_rows)
        found = fit_by_rows(data, patterns, method, settings, adjusts)
        parts = [_Part(at, batch) for batch, at in zip(*found, strict=True)]
        patterns = _left(patterns, parts)
    for pattern in patterns:
        # Of the pattern before, now that its fits are there.
        bar.advance(sum(len(part.columns) for part in parts) - bar.done)
        every = len(pattern.columns) == len(responses.names)
        # Columns of one pattern stand in their order: all of them need no copy.
        values = responses.values if every else responses.values[:, pattern.columns]
        rows = responses.rows if every else None
        own, frame, named = model.design, model._frame, responses.names
        if pattern.rows is not None:
            try:
                own, frame = _of_rows(model, pattern.rows)
            except MlmError as error:
                parts.append(_Part(pattern.columns, None, str(error)))
                continue
            values = values[pattern.rows]
        try:
            of_pattern = (own, frame, values, rows)
            parts += _fit(*of_pattern, pattern.columns, named, method, engine, settings)
        except MlmError as error:
            if pattern.rows is None:
                raise
            parts.append(_Part(pattern.columns, None, str(error)))
    if len(parts) == 1 and not responses.problems and parts[0].batch is not None:
        return parts[0].batch.named(responses.names)
    parts += [_Part(np.array([k]), None, text) for k, text in responses.problems.items()]
    layout = Layout.of([part.batch for part in parts if part.batch is not None], model.design)
    batches = [
        failed(layout, len(part.columns), method, part.problem)
        if part.batch is None
        else part.batch
        for part in parts
    ]
    order = np.argsort(np.concatenate([part.columns for part in parts]))
    return merged(batches, order, layout).named(responses.names)


def _left(patterns: list[Pattern], parts: list[_Part]) -> list[Pattern]:
    """What is not fitted yet."""
    if not parts:
        return patterns
    done = np.zeros(1 + max(int(pattern.columns.max()) for pattern in patterns), dtype=np.bool_)
    done[np.concatenate([part.columns for part in parts])] = True
    left = ((pattern, pattern.columns[~done[pattern.columns]]) for pattern in patterns)
    return [replace(pattern, columns=columns) for pattern, columns in left if columns.size]


def _of_rows(model: PreparedModel, rows: BoolArray) -> tuple[Design, ModelFrame | None]:
    if model._frame is None or not model._arguments:
        return design_of_rows(model.design, rows), None
    frame = frame_of_rows(model._frame, model._arguments, rows)
    if not model.design.is_bounded:
        free = [t for t, term in enumerate(model.design.random) if not term.bounded]
        opened = replace(frame, design=without_bounds(frame.design, free))
        return opened.design, opened
    return frame.design, frame


def _fit(
    design: Design,
    frame: ModelFrame | None,
    values: FloatArray,
    rows: StackedColumns | None,
    columns: IntArray,
    named: Sequence[str],
    method: str,
    engine: Engine,
    settings: NewtonOptions,
) -> list[_Part]:
    """Fits of responses with a value in the same rows; those without a residual are none.

    They are left out of the batch, whose starts and scales are none of theirs.
    """
    rows = response_columns(values, design) if rows is None else rows
    reduced = reduce_design(design, rows, engine)
    # Columns stand in their order.
    every = len(columns) == len(named)
    names = named if every else [named[column] for column in columns.tolist()]
    problems = without_residual(reduced, names)
    sound = np.ones(len(columns), dtype=np.bool_)
    sound[list(problems)] = False
    parts = [_Part(columns[[k]], None, text) for k, text in sorted(problems.items())]
    if parts and sound.any():
        values, columns = np.ascontiguousarray(values[:, sound]), columns[sound]
        reduced = reduce_design(design, response_columns(values, design), engine)
    if sound.any():
        covariance = fit_covariance(reduced, method, settings)
        estimates = estimates_of(reduced, covariance.criterion, covariance.theta)
        # Fits are made again from these, whatever becomes of the user's own.
        given = None if design.offset is None else values.copy()
        sound_names = names if sound.all() else [names[k] for k in np.flatnonzero(sound).tolist()]
        found = (reduced, covariance, estimates)
        batch = FitBatch.from_fit(*found, method, frame, given, sound_names)
        parts.append(_Part(columns, batch))
    return parts
