"""Responses with values in different rows, fitted together: each on the rows that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.batch.stacked.fits import fit_unequal, is_stackable
from mlmfast.batch.stacked.parts import Parts, are_identified, slopes_vary
from mlmfast.covariance.structures.unstructured import Unstructured
from mlmfast.design.by_row import has_all_levels, is_by_row
from mlmfast.design.design import Design
from mlmfast.design.model_frame import ModelFrame
from mlmfast.design.responses import Pattern
from mlmfast.design.rows import columns_at
from mlmfast.errors import MlmError
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.newton.options import NewtonOptions
from mlmfast.prepared.model import PreparedModel
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel

#: Responses with values in the same rows from which these are reduced once for all of them.
_MANY = 8
#: Responses tried for one whose structure the others share.
_TRIALS = 5
#: Numbers of the rows of responses that are copied at a time.
_AT_ONCE = 20_000_000
#: A model of some rows of another.
OfRows = Callable[[PreparedModel, BoolArray], tuple[Design, ModelFrame | None]]


@dataclass(frozen=True)
class RowsOfResponses:
    """Models of single responses, on the rows where each has a value.

    Attributes
    ----------
    model
        That of all rows.
    values : shape (n_obs, n_fits)
    of_rows
        Makes a model of some rows.
    """

    whole: PreparedModel
    values: FloatArray
    of_rows: OfRows

    def model(self, position: int) -> PreparedModel:
        """The model of one response."""
        y = self.values[:, position]
        rows = np.logical_not(np.isnan(y))
        design, frame = self.of_rows(self.whole, rows)
        design = replace(design, y=np.ascontiguousarray(y[rows]))
        return PreparedModel(design, None if frame is None else replace(frame, design=design))


def fit_by_rows(
    data: RowsOfResponses,
    patterns: Sequence[Pattern],
    method: str,
    settings: NewtonOptions,
    adjusts: bool,
) -> tuple[list[FitBatch], list[IntArray]]:
    """Fit the responses that few others share their rows with, together.

    Parameters
    ----------
    adjusts
        Whether tests of Kenward and Roger are wanted.

    Returns
    -------
    Batches, and the positions of their responses; others are left to be fitted by pattern.
    """
    few = [p for p in patterns if p.rows is not None and len(p.columns) < _MANY]
    if len(few) < 2 or not _is_plain(data.whole):
        return [], []
    batches: list[FitBatch] = []
    positions: list[IntArray] = []
    n_obs = data.whole.design.n_obs
    step = max(1, _AT_ONCE // (n_obs * (2 + len(data.whole.design.x))))
    columns = np.sort(np.concatenate([pattern.columns for pattern in few]))
    for first in range(0, len(columns), step):
        found, at = _fitted(data, columns[first : first + step], method, settings, adjusts)
        batches += found
        positions += at
    return batches, positions


def _is_plain(model: PreparedModel) -> bool:
    """Whether the design of some rows may be these rows of that of all."""
    design = model.design
    related = any(factor.relationship is not None for factor in design.factors)
    special = (design.residual, design.weights, design.offset, design.absorbed, design.condensed)
    if related or not design.is_bounded or any(part is not None for part in special):
        return False
    if not design.random or not all(isinstance(t.structure, Unstructured) for t in design.random):
        return False
    if model._frame is None or not model._arguments:
        return True
    return is_by_row(parse_formula(model._arguments["formula"]), model._frame.frame)


def _fitted(
    data: RowsOfResponses,
    columns: IntArray,
    method: str,
    settings: NewtonOptions,
    adjusts: bool,
) -> tuple[list[FitBatch], list[IntArray]]:
    design = data.whole.design
    there = np.logical_not(np.isnan(data.values[:, columns])).T
    parts, rows = _parts(design, there)
    fit = are_identified(design, parts) & slopes_vary(design, parts, rows)
    fit &= _has_all_levels(data.whole, rows, parts)
    chosen = np.flatnonzero(fit)
    like = _example(data, columns[chosen], parts.sizes[chosen])
    if len(chosen) < 2 or like is None:
        return [], []
    among, parts = parts.taken(chosen)
    rows = rows[among]
    y = data.values[rows, np.repeat(columns[chosen], parts.sizes)]
    z = {
        t: columns_at(term.columns, rows)
        for t, term in enumerate(design.random)
        if any(column is not None for column in term.columns)
    }
    arrays = (y, columns_at(design.x, rows), z)
    return fit_unequal(like, arrays, parts, data, columns[chosen], method, settings, adjusts)


def _parts(design: Design, there: BoolArray) -> tuple[Parts, IntArray]:
    """The rows of each response, and which rows of the design these are, one after the other."""
    rows = np.nonzero(there)[1]
    codes = [factor.codes[rows] for factor in design.factors]
    sizes = there.sum(axis=1)
    return Parts.of(codes, [factor.n_levels for factor in design.factors], sizes), rows


def _has_all_levels(model: PreparedModel, rows: IntArray, parts: Parts) -> BoolArray:
    if model._frame is None or not model._arguments:
        return np.ones(len(parts), dtype=np.bool_)
    part_of_row = np.repeat(np.arange(len(parts)), parts.sizes)
    parsed, frame = parse_formula(model._arguments["formula"]), model._frame.frame
    return has_all_levels(parsed, frame, rows, part_of_row, len(parts))


def _example(data: RowsOfResponses, columns: IntArray, sizes: IntArray) -> ReducedModel | None:
    """The reduction of one response, where nested elimination serves it."""
    some = zip(columns[:_TRIALS].tolist(), sizes.tolist(), strict=False)
    for column, n_rows in some:
        try:
            model = reduce_design(data.model(column).design)
        except MlmError:
            continue
        same = model.design.x_names == data.whole.design.x_names
        if len(model.design.y) == n_rows and same:
            return model if is_stackable(model) else None
    return None
