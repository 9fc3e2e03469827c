"""A batch of responses, each fitted on the rows in which it has a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.batch import FitBatch, joined
from mlmfast.design import Design
from mlmfast.engine import Engine
from mlmfast.errors import MlmError
from mlmfast.fit import fit_covariance
from mlmfast.model_frame import ModelFrame
from mlmfast.newton import NewtonOptions
from mlmfast.observed_rows import design_of_rows, frame_of_rows
from mlmfast.reduced_model import reduce_design
from mlmfast.responses import Responses, response_columns

if TYPE_CHECKING:
    from mlmfast.model import LMM


@dataclass(frozen=True)
class _Part:
    """Fits of the responses of one pattern, or why there are none."""

    columns: IntArray
    batch: FitBatch | None
    problem: str = ""


def fit_patterns(
    model: LMM, responses: Responses, method: str, engine: Engine, settings: NewtonOptions
) -> FitBatch:
    """Fit all responses; those with a value in the same rows share one reduction.

    Parameters
    ----------
    model, responses
        What to fit.
    method, engine, settings
        As `LMM.fit` reads them.
    """
    parts: list[_Part] = []
    for pattern in responses.patterns():
        values = responses.values[:, pattern.columns]
        if pattern.rows is None:
            own, frame = model.design, model._frame
            parts.append(_Part(pattern.columns, _fit(own, frame, values, method, engine, settings)))
            continue
        try:
            own, frame = _of_rows(model, pattern.rows)
            batch = _fit(own, frame, values[pattern.rows], method, engine, settings)
            parts.append(_Part(pattern.columns, batch))
        except MlmError as error:
            parts.append(_Part(pattern.columns, None, str(error)))
    if len(parts) == 1 and not responses.problems and parts[0].batch is not None:
        return parts[0].batch.named(responses.names)
    problems = [_Part(np.array([k]), None, text) for k, text in responses.problems.items()]
    return _merged(model.design, responses.names, [*parts, *problems], method)


def _of_rows(model: LMM, rows: BoolArray) -> tuple[Design, ModelFrame | None]:
    if model._frame is None or not model._arguments:
        return design_of_rows(model.design, rows), None
    frame = frame_of_rows(model._frame, model._arguments, rows)
    return frame.design, frame


def _fit(
    design: Design,
    frame: ModelFrame | None,
    values: FloatArray,
    method: str,
    engine: Engine,
    settings: NewtonOptions,
) -> FitBatch:
    reduced = reduce_design(design, response_columns(values, design), engine)
    covariance = fit_covariance(reduced, method, settings)
    estimates = reduced.estimates(covariance.criterion, covariance.theta)
    return FitBatch.from_fit(reduced, covariance, estimates, method, frame)


def _merged(
    design: Design, names: tuple[str, ...], parts: Sequence[_Part], method: str
) -> FitBatch:
    """One batch in the order of the responses; what a part has not is NaN."""
    batches = [part.batch for part in parts if part.batch is not None]
    kept = tuple(sorted({design.x_names.index(b.names[k]) for b in batches for k in b.kept}))
    wide = [
        _failed(design, len(part.columns), kept, method, part.problem)
        if part.batch is None
        else _widened(part.batch, design.x_names, kept)
        for part in parts
    ]
    order = np.argsort(np.concatenate([part.columns for part in parts]))
    return joined(wide, order).named(names)


def _widened(batch: FitBatch, names: tuple[str, ...], kept: tuple[int, ...]) -> FitBatch:
    """The batch over all columns of X, those kept among them."""
    if (batch.names, batch.kept) == (names, kept):
        return batch
    n, columns = len(batch), [names.index(name) for name in batch.names]
    params, bse = (np.full((n, len(names)), np.nan) for _ in range(2))
    params[:, columns], bse[:, columns] = batch.params, batch.bse
    own = [kept.index(columns[k]) for k in batch.kept]
    vcov = np.full((n, len(kept), len(kept)), np.nan)
    vcov[np.ix_(range(n), own, own)] = batch.cov_params
    return replace(batch, names=names, params=params, bse=bse, cov_params=vcov, kept=kept)


def _failed(design: Design, n: int, kept: tuple[int, ...], method: str, problem: str) -> FitBatch:
    """Fits that there are not."""
    p, none, no = len(design.x_names), np.full(n, np.nan), np.zeros(n, dtype=np.bool_)
    sizes = {
        factor.name: sum(len(term.names) for term in design.random if term.factor == k)
        for k, factor in enumerate(design.factors)
    }
    return FitBatch(
        names=design.x_names,
        params=np.full((n, p), np.nan),
        bse=np.full((n, p), np.nan),
        cov_params=np.full((n, len(kept), len(kept)), np.nan),
        sigma=none,
        varcorr={name: np.full((n, q, q), np.nan) for name, q in sizes.items() if q},
        llf=none,
        converged=no,
        singular=no,
        newton_decrement=none,
        min_hessian_eigenvalue=none,
        n_evaluations=np.zeros(n, dtype=np.intp),
        n_iterations=np.zeros(n, dtype=np.intp),
        method=method,
        rows=(None,) * n,
        kept=kept,
        nobs=np.zeros(n, dtype=np.intp),
        status=np.full(n, problem, dtype=object),
    )
