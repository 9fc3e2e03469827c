"""Tables that make designs of one structure: built once for all their rows, split by offsets.

Only what is the same for a part's rows whether the others are there or not is built so: columns,
functions of single rows, factors of which every part has all levels. `poly`, `scale` and their like
look at all rows, and levels that a part lacks change its contrasts: such parts are built by
themselves.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.batch.stacked.parts import Parts, are_identified, slopes_vary
from mlmfast.covariance.structures.unstructured import Unstructured
from mlmfast.data.frame import Frame
from mlmfast.data.split_frame import SplitFrame
from mlmfast.design.by_row import has_all_levels, is_by_row
from mlmfast.design.columns.model_matrix import ModelMatrixSpec
from mlmfast.design.input_columns import variables_used
from mlmfast.design.model_frame import ModelFrame, build_model_frame
from mlmfast.design.rows import columns_at
from mlmfast.errors import MlmError
from mlmfast.formula.mixed_formula import MixedFormula, parse_formula
from mlmfast.many_data_sets.data_sets import Frames, Levels

#: Parts of one shape from which they stand by themselves, not among those of other shapes.
_MANY = 8
#: Arguments with something of its own for each part, or that nested elimination does not serve.
_OF_PARTS = ("residual", "residual_scale", "cov", "weights", "offset")


@dataclass(frozen=True)
class Alike:
    """Parts of one structure.

    Attributes
    ----------
    positions : shape (n_fits,), of the parts.
    y : shape (n_fits, n)
    x : shape (n_fits, n, p)
    z : by random-effects term, each of shape (n_fits, n, q)
    fixed
        How X is built from data, in each of them.
    parts
        Where parts have other rows and levels, which these are: y, x and z are then (n,), (n, p)
        and (n, q), the rows of one part after those of the other. None for parts of one shape,
        whose grouping factors have the same codes.
    """

    positions: IntArray
    y: FloatArray
    x: FloatArray
    z: dict[int, FloatArray]
    fixed: ModelMatrixSpec
    parts: Parts | None = None


def alike_parts(data: Levels | Frames) -> Iterator[Alike]:
    """Groups of two parts or more; a part in none is left to be built by itself."""
    parsed = parse_formula(data.arguments["formula"])
    if any(data.arguments[role] is not None for role in _OF_PARTS) or parsed.offsets:
        return
    split = data.split if isinstance(data, Levels) else _joined(data, parsed)
    if split is None:
        return
    whole, part_of_row = _finite_parts(parsed, *split.all_parts())
    frame = _built(parsed, whole, data.arguments)
    if frame is None:
        return
    if frame.used is not None:
        part_of_row = part_of_row[frame.used]
    has_all = has_all_levels(parsed, frame.frame, slice(None), part_of_row, len(data))
    design = frame.design
    rows_of = np.bincount(part_of_row)
    places = np.flatnonzero(rows_of)
    sizes = rows_of[places]
    if places.size == 0:
        return
    codes, n_levels = zip(*((f.codes, f.n_levels) for f in design.factors), strict=True)
    parts = Parts.of(codes, n_levels, sizes)
    many, rest = _by_shape(parts, has_all[places] & slopes_vary(design, parts))
    for own in many:
        yield _gathered(frame, places[own], parts.first[own, None] + np.arange(sizes[own[0]]))
    rest = rest[are_identified(design, parts.some(rest))]
    if rest.size > 1:
        rows, unequal = parts.taken(rest)
        yield replace(_gathered(frame, places[rest], rows), parts=unequal)


def _joined(data: Frames, parsed: MixedFormula) -> SplitFrame | None:
    """The columns that a model reads of pandas tables, as one table; None where types differ."""
    tables = [table for table in data.tables if type(table) is pd.DataFrame]
    if len(data) < 2 or len(tables) < len(data):
        return None
    columns = {}
    for name in variables_used(parsed, None, None, ()):
        own = [table.get(name) for table in tables]
        kinds = {None if type(part) is not pd.Series else part.dtype for part in own}
        # What is in a column of objects may differ from table to table.
        if len(kinds) > 1 or kinds & {None, np.dtype(object)}:
            return None
        columns[name] = pd.concat(own, ignore_index=True)
    if not columns:
        return None
    position = np.arange(len(data), dtype=np.int32)
    codes = np.repeat(position, [len(table) for table in tables])
    if not len(codes):
        return None
    return SplitFrame(Frame.from_native(pd.DataFrame(columns)), codes, len(data))


def _finite_parts(
    parsed: MixedFormula, whole: Frame, part_of_row: IntArray
) -> tuple[Frame, IntArray]:
    """The rows of parts without infinite values: one part with some must not spoil the others."""
    out = np.ones(len(part_of_row), dtype=np.bool_)
    for name in variables_used(parsed, None, None, ()):
        if whole.has(name) and whole.is_numeric(name):
            infinite = np.isinf(whole.numeric(name))
            out &= ~np.isin(part_of_row, part_of_row[infinite]) if infinite.any() else True
    return (whole, part_of_row) if out.all() else (whole.take(out), part_of_row[out])


def _built(parsed: MixedFormula, whole: Frame, arguments: Mapping[str, Any]) -> ModelFrame | None:
    """The design over all rows; None where parts may have another, or more to say of theirs."""
    if not parsed.random or not is_by_row(parsed, whole):
        return None
    how = {name: arguments[name] for name in ("contrasts", "na_action")}
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            frame = build_model_frame(parsed.text, whole, **how)
        except MlmError:
            # Some part has to say what is wrong, and may not be the only one.
            return None
    plain = all(isinstance(term.structure, Unstructured) for term in frame.design.random)
    return frame if plain and not heard and frame.design.absorbed is None else None


def _by_shape(parts: Parts, usable: BoolArray) -> tuple[list[IntArray], IntArray]:
    """Positions of the usable parts of each shape that many have, and those of all others."""
    codes, ends = np.stack(parts.codes), parts.first + parts.sizes
    shapes: dict[bytes, list[int]] = {}
    for part in np.flatnonzero(usable).tolist():
        own = codes[:, parts.first[part] : ends[part]].tobytes()
        shapes.setdefault(own, []).append(part)
    many = [np.array(own, dtype=np.intp) for own in shapes.values() if len(own) >= _MANY]
    rest = sorted(part for own in shapes.values() if len(own) < _MANY for part in own)
    return many, np.array(rest, dtype=np.intp)


def _gathered(frame: ModelFrame, positions: IntArray, rows: IntArray) -> Alike:
    design = frame.design
    z = {
        t: columns_at(term.columns, rows)
        for t, term in enumerate(design.random)
        if any(column is not None for column in term.columns)
    }
    return Alike(positions, design.y[rows], columns_at(design.x, rows), z, frame.fixed)
