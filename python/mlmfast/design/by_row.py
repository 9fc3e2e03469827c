"""Which models are, of some of their rows, these rows of the design of all."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import BoolArray, IntArray
from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import evaluate
from mlmfast.design.columns.values import CodedFactor
from mlmfast.formula.functions import ARITHMETIC, FACTOR_OPTIONS, mathematical
from mlmfast.formula.mixed_formula import MixedFormula
from mlmfast.formula.syntax import Binary, Call, Name, Node, Number, Paren, Unary, parse
from mlmfast.formula.terms import term_list


def is_by_row(parsed: MixedFormula, frame: Frame) -> bool:
    """Whether values of all variables depend on their row alone, levels of factors aside."""
    sides = (parsed.fixed, *(term.expression for term in parsed.random))
    nodes = [parse(parsed.response), *(n for side in sides for n in term_list(side).variables)]
    by_level = any(term.by is not None for term in parsed.random)
    return not by_level and all(_is_by_row(node, frame) for node in nodes)


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


def has_all_levels(
    parsed: MixedFormula,
    frame: Frame,
    rows: IntArray | slice,
    part_of_row: IntArray,
    n_parts: int,
) -> BoolArray:
    """Parts that have rows, and all levels of every factor among the columns of X and Z.

    Parameters
    ----------
    rows, part_of_row : shape (m,), rows of the frame, and the part that each is one of.
    """
    out = np.bincount(part_of_row, minlength=n_parts) > 0
    for side in (parsed.fixed, *(term.expression for term in parsed.random)):
        for node in term_list(side).variables:
            value = evaluate(node, frame)
            if isinstance(value, CodedFactor):
                n = value.factor.n_levels
                met = np.zeros((n_parts, n), dtype=np.bool_)
                met[part_of_row, value.factor.codes[rows]] = True
                out &= met.all(axis=1)
    return np.asarray(out)
