"""Rows of the fit and new rows as one design, so that one covariance matrix spans both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.data.frame import Frame
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor, RandomEffects
from mlmfast.design.model_frame import grouping_factor
from mlmfast.design.residual.chain import ChainSteps
from mlmfast.design.residual.design import Points, ResidualDesign
from mlmfast.design.residual.scale import ScaleDesign
from mlmfast.design.residual.series import Series
from mlmfast.errors import DataError
from mlmfast.fitted.record import FitRecord
from mlmfast.prediction.given_observed.noise import scale_exponents
from mlmfast.prediction.given_observed.placed_rows import (
    PlacedRows,
    distinguishes_rows,
    old_positions,
    place_rows,
)
from mlmfast.prediction.rows import PredictionRows


@dataclass(frozen=True)
class StackedRows:
    """The rows of the fit, then the new ones.

    Attributes
    ----------
    design
        All rows; columns of X that are not aliased only, ``y`` as of the fit and NaN elsewhere.
    n_old
        Rows of the fit.
    same : shape (n_new,)
        The first row with the subject and visit of each new row (itself where there is none
        before); -1 where the model does not tell rows by subject and visit.
    """

    design: Design
    n_old: int
    same: IntArray


def stacked_rows(
    design: Design,
    record: FitRecord,
    old: Frame | None,
    rows: PredictionRows,
    new: Frame,
    weights: FloatArray | None,
) -> StackedRows:
    """Put new rows under those of the fit.

    Parameters
    ----------
    design, record, old : what the fit was made from, its estimates and the frame of its rows.
    rows, new : the new rows, and the frame they were read from.
    weights : shape (n_new,), or None for a fit without weights.

    Raises
    ------
    DataError
        For a visit or an arm that the fit did not see, or a subject that is met in two groups.
    """
    n = rows.n_rows
    kept = tuple(design.x[j] for j in record.kept)
    factors = tuple(
        _stacked_factor(factor, codes, new)
        for factor, codes in zip(design.factors, rows.codes, strict=True)
    )
    random = tuple(
        replace(term, columns=_stacked_columns(term, columns, design.n_obs, n))
        for term, columns in zip(design.random, rows.z, strict=True)
    )
    residual, same = design.residual, np.full(n, -1, dtype=np.intp)
    if residual is not None:
        residual, same = _stacked_residual(residual, old, new)
    stacked = replace(
        design,
        y=np.concatenate([design.y, np.full(n, np.nan)]),
        x=_stacked(kept, [rows.x[j] for j in record.kept], design.n_obs, n),
        factors=factors,
        random=random,
        weights=None if weights is None else np.concatenate([_ones(design), weights]),
        offset=_stacked_offset(design, rows),
        residual=residual,
    )
    if residual is not None:
        _check_contained(stacked, residual)
    return StackedRows(stacked, design.n_obs, same)


def _ones(design: Design) -> FloatArray:
    return np.ones(design.n_obs) if design.weights is None else design.weights


def _stacked(
    old: Sequence[FloatArray | None], new: Sequence[FloatArray | None], n_old: int, n_new: int
) -> tuple[FloatArray | None, ...]:
    return tuple(
        None
        if a is None and b is None
        else np.concatenate(
            [np.ones(n_old) if a is None else a, np.ones(n_new) if b is None else b]
        )
        for a, b in zip(old, new, strict=True)
    )


def _stacked_columns(
    term: RandomEffects, new: Sequence[FloatArray | None], n_old: int, n_new: int
) -> tuple[FloatArray | None, ...]:
    return _stacked(term.columns, new, n_old, n_new)


def _stacked_offset(design: Design, rows: PredictionRows) -> FloatArray | None:
    if design.offset is None and rows.offset is None:
        return None
    old = np.zeros(design.n_obs) if design.offset is None else design.offset
    return np.concatenate([old, np.zeros(rows.n_rows) if rows.offset is None else rows.offset])


def _stacked_factor(factor: GroupingFactor, codes: CodeArray, new: Frame) -> GroupingFactor:
    """The factor over all rows; levels that the fit did not see come last."""
    codes, labels = codes.copy(), factor.labels
    if (codes < 0).any():
        own = grouping_factor(factor.columns, new)
        met, fresh = np.unique(own.codes[codes < 0], return_inverse=True)
        codes[codes < 0] = len(labels) + fresh.astype(np.int32)
        labels = (*labels, *(own.levels[k] for k in met))
    return replace(factor, codes=np.concatenate([factor.codes, codes]), labels=labels)


def _stacked_residual(
    residual: ResidualDesign, old: Frame | None, new: Frame
) -> tuple[ResidualDesign, IntArray]:
    """The residual covariance over all rows, and the first row of each new one's visit."""
    placed = place_rows(residual, old, new)
    n_old = len(residual.units)
    scale = None if residual.scale is None else _stacked_scale(residual.scale, new)
    stacked = replace(
        residual,
        units=np.concatenate([residual.units, placed.units]),
        n_units=max(residual.n_units, int(placed.units.max(initial=-1)) + 1),
        positions=np.concatenate([old_positions(residual, placed.between), placed.positions]),
        between=placed.between,
        along=_stacked_along(residual, placed),
        scale=scale,
    )
    same = np.full(len(placed.units), -1, dtype=np.intp)
    if distinguishes_rows(residual):
        keys = np.column_stack([stacked.units, placed.keys])
        _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        inverse = inverse.ravel()
        same = first[inverse][n_old:]
        # One of several rows at a place is none of them, but another one there.
        n_there = np.bincount(inverse[:n_old], minlength=len(first))
        same[n_there[inverse[n_old:]] > 1] = -1
    return stacked, same


def _stacked_along(
    residual: ResidualDesign, placed: PlacedRows
) -> Points | Series | ChainSteps | None:
    """What the structure goes by over all rows; series as points in time."""
    arms = np.concatenate([placed.old_arms, placed.arms]).astype(np.int32)
    if placed.points is not None and placed.old_points is not None:
        return Points(np.concatenate([placed.old_points, placed.points]), arms)
    if residual.series is not None and placed.times is not None:
        times = np.concatenate([residual.series.times, placed.times])
        # Nothing walks along these rows.
        return replace(residual.series, times=times, arms=arms, visits=None)
    return residual.along


def _stacked_scale(scale: ScaleDesign, new: Frame) -> ScaleDesign:
    """The scale with a row of columns for each new row of the data."""
    more = scale_exponents(scale.formula.text, scale.levels, new)
    at = len(scale.exponents) + np.arange(new.n_rows, dtype=np.int32)
    return replace(
        scale,
        codes=np.concatenate([scale.codes, at]),
        exponents=np.concatenate([scale.exponents, more]),
    )


def _check_contained(design: Design, residual: ResidualDesign) -> None:
    """Refuse a subject of the residual covariance in two groups of random effects."""
    if residual.formula is None:
        return
    for factor in design.factors:
        seen = np.full(residual.n_units, -1, dtype=np.int64)
        seen[residual.units] = factor.codes
        wrong = np.flatnonzero(seen[residual.units] != factor.codes)
        if wrong.size:
            unit = residual.units[wrong[0]]
            groups = np.unique(factor.codes[residual.units == unit])[:2]
            named = " and ".join(repr(factor.labels[g]) for g in groups)
            raise DataError(
                f"newdata: a subject of residual={residual.formula.text!r} is met in "
                f"{factor.name} = {named}; a subject belongs to one group"
            )
