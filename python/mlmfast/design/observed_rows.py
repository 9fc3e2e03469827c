"""A model of some of its rows: those in which a response has a value."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.data.factor import Factor, drop_unused_levels
from mlmfast.data.frame import Frame
from mlmfast.design.checks import check_identified
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor, RandomEffects
from mlmfast.design.from_arrays import columns_of
from mlmfast.design.input_columns import input_column
from mlmfast.design.model_frame import ModelFrame, build_model_frame
from mlmfast.errors import ModelError


def frame_of_rows(frame: ModelFrame, arguments: Mapping[str, Any], rows: BoolArray) -> ModelFrame:
    """The model that the same call makes of some of the rows.

    Parameters
    ----------
    frame
        The model of all rows.
    arguments
        What `build_model_frame` was called with besides the data.
    rows : shape (n_obs,), of the rows that the model uses.

    Raises
    ------
    ModelError
        Where coefficients would mean something else than in the model of all rows, and as
        `build_model_frame`.
    """
    whole = frame.frame.whole
    chosen = rows
    if frame.used is not None:
        chosen = frame.used.copy()
        chosen[frame.used] = rows
    own = {name: _cut(arguments[name], name, whole, chosen) for name in ("weights", "offset")}
    with warnings.catch_warnings():
        # Of all rows it was said already.
        warnings.simplefilter("ignore")
        part = build_model_frame(data=whole.take(chosen), **(dict(arguments) | own))
    _check_meaning(frame.design, part.design, rows)
    return part


def design_of_rows(design: Design, rows: BoolArray) -> Design:
    """Some of the rows of a design that was made from arrays.

    Examples
    --------
    >>> design = Design(np.arange(4.0), (None, np.array([2.0, 1.0, 1.0, 3.0])), ("one", "x"))
    >>> design_of_rows(design, np.array([True, True, False, True])).x[1].tolist()
    [2.0, 1.0, 3.0]
    """
    if design.residual is not None or any(f.relationship is not None for f in design.factors):
        raise ModelError(
            "responses with missing values are fitted in models from arrays without cov= and "
            "without a residual structure; fit this one alone, from its own rows"
        )
    part = replace(
        design,
        y=design.y[rows],
        x=_columns(design.x, rows),
        factors=tuple(_factor(factor, rows) for factor in design.factors),
        random=tuple(_term(term, rows) for term in design.random),
        weights=None if design.weights is None else design.weights[rows],
        offset=None if design.offset is None else design.offset[rows],
    )
    check_identified(part)
    return part


def _cut(given: Any, role: str, whole: Frame, chosen: BoolArray) -> Any:
    column = input_column(given, role, whole)
    return column if column is None or isinstance(column, str) else column[chosen]


def _check_meaning(full: Design, part: Design, rows: BoolArray) -> None:
    """Refuse designs whose coefficients have the same names and another meaning."""
    if [t.names for t in part.random] != [t.names for t in full.random]:
        raise ModelError(
            "the rows with a value lack levels of a factor in the random effects; fit this "
            "response alone, from its own rows"
        )
    if part.x_names == full.x_names:
        return
    left = dict(zip(part.x_names, part.x, strict=True))
    for name, column in zip(full.x_names, full.x, strict=True):
        # What is left out must be 0 in these rows, or the others stand for another contrast.
        same = _equal(column, left[name], rows) if name in left else _is_zero(column, rows)
        if not same or not set(left) <= set(full.x_names):
            raise ModelError(
                "the rows with a value lack levels of a factor in the fixed effects, without which "
                f"coefficients mean something else (see {name!r}); fit this response alone, from "
                "its own rows"
            )


def _is_zero(column: FloatArray | None, rows: BoolArray) -> bool:
    return column is not None and not column[rows].any()


def _equal(full: FloatArray | None, part: FloatArray | None, rows: BoolArray) -> bool:
    if full is None or part is None:
        return full is part
    return np.array_equal(full[rows], part)


def _columns(
    columns: tuple[FloatArray | None, ...], rows: BoolArray
) -> tuple[FloatArray | None, ...]:
    n = int(rows.sum())
    parts = [np.ones(n) if column is None else column[rows] for column in columns]
    return columns_of(np.stack(parts, axis=1)) if parts else ()


def _factor(factor: GroupingFactor, rows: BoolArray) -> GroupingFactor:
    labels = np.array(factor.labels, dtype=object)
    part = drop_unused_levels(Factor(factor.codes[rows], factor.labels, labels))
    return replace(factor, codes=part.codes, labels=part.levels)


def _term(term: RandomEffects, rows: BoolArray) -> RandomEffects:
    return replace(term, columns=_columns(term.columns, rows))
