"""Tables that make designs of one shape: built once for all their rows, split by offsets.

Only what is the same for a part's rows whether the others are there or not is built so: columns,
functions of single rows, factors of which every part has all levels. `poly`, `scale` and their like
look at all rows, and levels that a part lacks change its contrasts: such parts are built by
themselves.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray
from mlmfast.covariance.structures.unstructured import Unstructured
from mlmfast.data.factor import code_integers
from mlmfast.data.frame import Frame
from mlmfast.data.split_frame import SplitFrame
from mlmfast.design.columns.expressions import evaluate
from mlmfast.design.columns.model_matrix import ModelMatrixSpec
from mlmfast.design.columns.values import CodedFactor
from mlmfast.design.design import Design
from mlmfast.design.input_columns import variables_used
from mlmfast.design.model_frame import ModelFrame, build_model_frame
from mlmfast.design.rows import columns_at
from mlmfast.errors import MlmError
from mlmfast.formula.functions import ARITHMETIC, FACTOR_OPTIONS, mathematical
from mlmfast.formula.mixed_formula import MixedFormula, parse_formula
from mlmfast.formula.syntax import Binary, Call, Name, Node, Number, Paren, Unary, parse
from mlmfast.formula.terms import term_list
from mlmfast.many_data_sets.data_sets import Frames, Levels

#: Arguments with something of its own for each part, or parameters that `us` has not.
_OF_PARTS = ("residual", "residual_scale", "weights", "offset")


@dataclass(frozen=True)
class Alike:
    """Parts of one shape, whose grouping factors have the same codes.

    Attributes
    ----------
    positions : shape (n_fits,), of the parts.
    y : shape (n_fits, n)
    x : shape (n_fits, n, p)
    z : by random-effects term, each of shape (n_fits, n, q)
    fixed
        How X is built from data, in each of them.
    """

    positions: IntArray
    y: FloatArray
    x: FloatArray
    z: dict[int, FloatArray]
    fixed: ModelMatrixSpec


def alike_parts(data: Levels | Frames) -> Iterator[Alike]:
    """Groups of two parts or more of one shape; a part in none is left to be built by itself."""
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
    has_all = _has_all_levels(parsed, frame.frame, part_of_row, len(data))
    for positions, rows in _by_shape(frame.design, part_of_row, has_all):
        varies = _slopes_vary(frame.design, rows)
        if varies.sum() > 1:
            yield _gathered(frame, positions[varies], rows[varies])


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
    sides = [parsed.response, parsed.fixed, *(term.expression for term in parsed.random)]
    nodes = [parse(parsed.response), *(n for s in sides[1:] for n in term_list(s).variables)]
    by_level = any(term.by is not None for term in parsed.random)
    if by_level or not parsed.random or not all(_is_by_row(node, whole) for node in nodes):
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


def _is_by_row(node: Node, frame: Frame, outermost: bool = True) -> bool:
    """Whether a variable's value in a row depends on that row alone, its levels aside."""
    if isinstance(node, Name):
        return frame.has(node.name) and (outermost or frame.is_numeric(node.name))
    if isinstance(node, Number):
        return True
    if isinstance(node, Paren):
        return _is_by_row(node.inner, frame, False)
    if isinstance(node, Unary):
        return node.operator in "+-" and _is_by_row(node.operand, frame, False)
    if isinstance(node, Binary):
        sides = (node.left, node.right)
        return node.operator in ARITHMETIC and all(_is_by_row(s, frame, False) for s in sides)
    if not isinstance(node, Call):
        return False
    if node.function in FACTOR_OPTIONS:
        return outermost and isinstance(node.arguments[0], Name) and len(node.arguments) == 1
    elementwise = node.function == "I" or mathematical(node.function) is not None
    return elementwise and all(_is_by_row(part, frame, False) for part in node.arguments)


def _has_all_levels(
    parsed: MixedFormula, frame: Frame, part_of_row: IntArray, n_parts: int
) -> BoolArray:
    """Parts that have rows, and all levels of every factor among the columns of X and Z."""
    out = np.bincount(part_of_row, minlength=n_parts) > 0
    for side in (parsed.fixed, *(term.expression for term in parsed.random)):
        for node in term_list(side).variables:
            value = evaluate(node, frame)
            if isinstance(value, CodedFactor):
                n = value.factor.n_levels
                met = np.zeros((n_parts, n), dtype=np.bool_)
                met[part_of_row, value.factor.codes] = True
                out &= met.all(axis=1)
    return np.asarray(out)


def _by_shape(
    design: Design, part_of_row: IntArray, usable: BoolArray
) -> Iterator[tuple[IntArray, IntArray]]:
    """Positions of the usable parts of each shape, and their rows, (k,) and (k, n)."""
    sizes = np.bincount(part_of_row, minlength=len(usable))
    starts = np.cumsum(sizes) - sizes
    codes = np.stack([_within_parts(f.codes, f.n_levels, part_of_row) for f in design.factors])
    shapes: dict[bytes, list[int]] = {}
    for part in np.flatnonzero(usable).tolist():
        first = starts[part]
        own = codes[:, first : first + sizes[part]].tobytes()
        shapes.setdefault(own, []).append(part)
    for parts in shapes.values():
        positions = np.array(parts, dtype=np.intp)
        if len(positions) > 1:
            yield positions, starts[positions, None] + np.arange(sizes[positions[0]])


def _within_parts(codes: CodeArray, n_levels: int, part_of_row: IntArray) -> CodeArray:
    """Codes among the levels that occur in each row's part; ``part_of_row`` ascends."""
    if part_of_row.size == 0:
        return codes
    _, ranks = code_integers(part_of_row * n_levels + codes)
    # In sorted parts each part's lowest rank is one above the highest of the part before.
    highest = np.maximum.accumulate(ranks)
    starts = np.flatnonzero(np.diff(part_of_row, prepend=-1))
    first = np.concatenate([[0], highest[starts[1:] - 1] + 1])
    return np.asarray(ranks - np.repeat(first, np.diff([*starts, len(codes)])), dtype=np.int32)


def _slopes_vary(design: Design, rows: IntArray) -> BoolArray:
    """Parts in which no column of Z is constant, but those of ones."""
    out = np.ones(len(rows), dtype=np.bool_)
    for term in design.random:
        for column in term.columns:
            if column is not None:
                own = column[rows]
                out &= own.min(axis=1) < own.max(axis=1)
    return out


def _gathered(frame: ModelFrame, positions: IntArray, rows: IntArray) -> Alike:
    design = frame.design
    z = {
        t: columns_at(term.columns, rows)
        for t, term in enumerate(design.random)
        if any(column is not None for column in term.columns)
    }
    return Alike(positions, design.y[rows], columns_at(design.x, rows), z, frame.fixed)
