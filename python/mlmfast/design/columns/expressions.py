"""Evaluation of what stands in a formula: columns, arithmetic and a fixed table of functions.

A syntax tree is walked; no Python is ever run. What is not in the tables is refused.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.data.factor import Factor, factor_from_floats, factor_from_logicals, number_label
from mlmfast.data.finite import row_of_table
from mlmfast.data.frame import Frame
from mlmfast.design.columns.dummy import dummy_columns
from mlmfast.design.columns.factor_calls import apply_factor_call, factor_argument
from mlmfast.design.columns.members import member_columns
from mlmfast.design.columns.values import (
    Basis,
    CodedFactor,
    Value,
    Variable,
    as_logical,
    as_numbers,
    is_logical,
)
from mlmfast.design.smooths.columns import smooth_columns
from mlmfast.errors import DataError, FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.functions import (
    ARITHMETIC,
    COMPARISON,
    CONSTANTS,
    DUMMY_OPTIONS,
    FACTOR_OPTIONS,
    OneArgument,
    bind,
    data_parts,
    is_constant,
    mathematical,
    only_argument,
    unknown_function,
    variables_of,
)
from mlmfast.formula.memberships import MEMBERS, read_members
from mlmfast.formula.smooth_terms import SMOOTH, read_smooth
from mlmfast.formula.syntax import Binary, Call, Name, Node, Number, Paren, Text, Unary, parse
from mlmfast.formula.transform_options import State
from mlmfast.formula.transforms import TRANSFORMS

__all__ = [
    "Basis",
    "CodedFactor",
    "States",
    "evaluate",
    "evaluate_elsewhere",
    "evaluate_numeric",
    "variables_of",
]

States: TypeAlias = dict[str, State]


def evaluate(expression: str | Node, frame: Frame, states: States | None = None) -> Variable:
    """Evaluate one variable of a formula.

    Parameters
    ----------
    expression : text or syntax tree.
    frame : the data.
    states : what `poly`, `scale`, ... remembered, by call; filled in where a call is missing.

    Returns
    -------
    float64 array of shape (n,), `Basis`, or `CodedFactor`; a logical becomes a factor.

    Examples
    --------
    >>> evaluate("log2(x) + 1", Frame.from_native({"x": [1.0, 8.0]}))
    array([1., 4.])
    """
    node = parse(expression) if isinstance(expression, str) else expression
    value = _Evaluation(frame, {} if states is None else states).value(node)
    if is_logical(value) and value.ndim == 1:
        value = factor_from_logicals(value)
    if isinstance(value, Factor):
        return CodedFactor(value, None)
    if isinstance(value, Basis | CodedFactor):
        return value
    return _numbers_by_row(value, node)


def evaluate_numeric(expression: str, frame: Frame, role: str) -> FloatArray:
    """Evaluate an expression that must give one number per row, such as the response.

    Parameters
    ----------
    expression : text of the expression.
    frame : the data.
    role : what it is for, in messages: "the response".

    Examples
    --------
    >>> evaluate_numeric("sqrt(y)", Frame.from_native({"y": [4, 9]}), "the response")
    array([2., 3.])
    """
    node = parse(expression)
    if isinstance(node, Name):
        logical = frame.logical(node.name)
        return frame.numeric(node.name) if logical is None else logical
    value = evaluate(node, frame)
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, Basis) and value.values.shape[1] == 1:
        return np.ascontiguousarray(value.values[:, 0])
    found = "a factor" if isinstance(value, CodedFactor) else "several columns"
    raise DataError(f"{role}, {expression}, is {found}; it must be one number per row")


class _Evaluation:
    """One walk over a syntax tree, with the data and the states it needs."""

    def __init__(self, frame: Frame, states: States) -> None:
        self._frame = frame
        self._states = states

    def value(self, node: Node) -> Value:
        if isinstance(node, Name):
            return self._name(node)
        if isinstance(node, Number | Text):
            return node.value
        if isinstance(node, Paren):
            return self.value(node.inner)
        if isinstance(node, Unary):
            return self._unary(node)
        if isinstance(node, Binary):
            return self._binary(node)
        return self._call(node)

    def _name(self, node: Name) -> Value:
        if is_constant(node):
            constant = CONSTANTS[node.name]
            if not isinstance(constant, bool):
                raise FormulaError(f"{node.name} cannot be used as a value")
            return constant
        if self._frame.has(node.name) and self._frame.is_categorical(node.name):
            return self._frame.factor(node.name)
        return self._frame.numeric(node.name)

    def _number(self, node: Node) -> FloatArray:
        return as_numbers(self.value(node), node)

    def _unary(self, node: Unary) -> Value:
        if node.operator == "!":
            return np.logical_not(as_logical(self.value(node.operand), node.operand))
        if node.operator == "~":
            raise FormulaError(f"'~' may stand only once in a formula: {deparse(node)}")
        operand = self._number(node.operand)
        return -operand if node.operator == "-" else operand

    def _binary(self, node: Binary) -> Value:
        if node.operator in ARITHMETIC:
            left, right = self._number(node.left), self._number(node.right)
            with np.errstate(all="ignore"):
                result = ARITHMETIC[node.operator](left, right)
            return _checked(np.asarray(result), (left, right), node, self._frame.rows_used)
        if node.operator in COMPARISON:
            return self._comparison(node)
        if node.operator in {"&", "|", "||"}:
            left_side = as_logical(self.value(node.left), node.left)
            right_side = as_logical(self.value(node.right), node.right)
            return left_side & right_side if node.operator == "&" else left_side | right_side
        raise FormulaError(f"the operator {node.operator!r} cannot be used in {deparse(node)}")

    def _comparison(self, node: Binary) -> BoolArray:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(right, Factor) and isinstance(left, str | float):
            left, right = right, left
        if isinstance(left, Factor) and isinstance(right, str | float):
            return _compare_levels(left, right, node)
        numbers = as_numbers(left, node.left), as_numbers(right, node.right)
        return np.asarray(COMPARISON[node.operator](*numbers))

    def _call(self, node: Call) -> Value:
        if node.function == "I":
            return self.value(only_argument(node))
        if node.function in TRANSFORMS:
            return self._transform(node)
        if node.function == SMOOTH:
            return self._smooth(node)
        if node.function == MEMBERS:
            return self._members(node)
        if node.function == "dummy":
            return self._dummy(node)
        if node.function in FACTOR_OPTIONS:
            return apply_factor_call(node, self._as_factor(factor_argument(node)))
        function = mathematical(node.function)
        if function is not None:
            return self._math(node, function)
        if node.function == "offset":
            raise FormulaError(f"{deparse(node)} may only be added to a formula")
        raise unknown_function(node.function)

    def _math(self, node: Call, function: OneArgument) -> FloatArray:
        variable, options = bind(node, ("digits",) if function is np.round else ())
        argument = self._number(variable)
        digits = options.get("digits", 0.0)
        if not isinstance(digits, float):
            raise FormulaError(f"{deparse(node)}: the number of digits must be a number")
        with np.errstate(all="ignore"):
            result = np.round(argument, int(digits)) if options else function(argument)
        return _checked(np.asarray(result), (argument,), node, self._frame.rows_used)

    def _transform(self, node: Call) -> Basis | FloatArray:
        transform, parameters = TRANSFORMS[node.function]
        variable, options = bind(node, parameters)
        values = _numbers_by_row(self.value(variable), variable)
        label = deparse(node)
        if label not in self._states:
            _refuse_missing(values, label)
        state = self._states.setdefault(label, {})
        try:
            result = transform(values, options, state)
        except (DataError, FormulaError) as error:
            raise type(error)(f"{label}: {error}") from None
        except ValueError as error:
            raise FormulaError(f"{label}: {error}") from error
        return result if result.ndim == 1 else Basis(result)

    def _smooth(self, node: Call) -> Basis:
        term = read_smooth(node)
        x = _numbers_by_row(self.value(term.variable), term.variable)
        by = None if term.by is None else self._by(term.by, term.label)
        state = self._states.setdefault(term.text, {})
        return smooth_columns(term, x, by, state, self._frame.rows_used)

    def _members(self, node: Call) -> Basis:
        members = read_members(node)
        factors = [self._frame.factor(column.name) for column in members.columns]
        n = len(factors[0].codes)
        given = members.weights
        weights = None if given is None else [np.broadcast_to(self._number(w), n) for w in given]
        state = self._states.setdefault(deparse(node), {})
        return member_columns(members, factors, weights, state)

    def _by(self, node: Node, label: str) -> FloatArray | Factor:
        """What a curve is multiplied by: numbers, or levels with a curve each."""
        value = self.value(node)
        if isinstance(value, CodedFactor):
            if value.contrast is None:
                return value.factor
            raise FormulaError(f"{label}: by= takes no contrast or order; write factor() of it")
        if is_logical(value) or (isinstance(value, Factor) and value.values.dtype.kind == "b"):
            raise DataError(
                f"{label}: by={deparse(node)} is a logical; for a curve in each of the two groups "
                f"write by=factor({deparse(node)}), for one curve times 0 or 1 give it as numbers"
            )
        return value if isinstance(value, Factor) else _numbers_by_row(value, node)

    def _dummy(self, node: Call) -> Basis:
        state = self._states.setdefault(deparse(node), {})
        variable, options = bind(node, DUMMY_OPTIONS)
        return dummy_columns(node, self._as_factor(variable).factor, options, state)

    def _as_factor(self, node: Node) -> CodedFactor:
        if isinstance(node, Name) and not is_constant(node):
            return CodedFactor(self._frame.factor(node.name), None)
        value = self.value(node)
        if isinstance(value, CodedFactor):
            return value
        if is_logical(value) and value.ndim == 1:
            value = factor_from_logicals(value)
        if not isinstance(value, Factor):
            value = factor_from_floats(_numbers_by_row(value, node))
        return CodedFactor(value, None)


def evaluate_elsewhere(expression: str, frame: Frame, role: str) -> FloatArray:
    """As `evaluate_numeric`, of other rows than those of the fit.

    Raises
    ------
    DataError
        Where the expression goes by all rows of the fit, which nothing remembers.

    Examples
    --------
    >>> evaluate_elsewhere("log(n)", Frame.from_native({"n": [1]}), "the offset")
    array([0.])
    """
    remembers = _remembering(parse(expression))
    if remembers is not None:
        raise DataError(
            f"{role}, {expression}, goes by all rows of the fit through {remembers}(), which other "
            "rows do not have; make it a column of the data before the fit"
        )
    return evaluate_numeric(expression, frame, role)


def _remembering(node: Node) -> str | None:
    """The name of a function that remembers the data; None where there is none."""
    if isinstance(node, Call) and node.function in TRANSFORMS:
        return node.function
    return next(filter(None, map(_remembering, data_parts(node))), None)


def _numbers_by_row(value: Value, node: Node) -> FloatArray:
    numbers = as_numbers(value, node)
    if numbers.ndim == 0:
        raise FormulaError(f"{deparse(node)} is a constant; a variable is needed")
    return numbers


def _compare_levels(factor: Factor, level: str | float, node: Binary) -> BoolArray:
    if node.operator not in {"==", "!="}:
        raise FormulaError(f"levels have no order: {deparse(node)}; use == or !=")
    label = level if isinstance(level, str) else number_label(level)
    if label not in factor.levels:
        known = ", ".join(factor.levels[:20])
        raise DataError(f"{deparse(node)}: {label!r} is not a level; known are {known}")
    is_level = np.asarray(factor.codes == factor.levels.index(label))
    return is_level if node.operator == "==" else np.logical_not(is_level)


def _checked(
    result: FloatArray, inputs: tuple[FloatArray, ...], node: Node, used: BoolArray | None
) -> FloatArray:
    """Refuse values that are not finite though what they were computed from is."""
    bad = ~np.isfinite(result)
    if not bad.any():
        return result
    for values in inputs:
        bad = bad & np.isfinite(values)
    if bad.any():
        first = row_of_table(int(np.argmax(bad)), used)
        raise DataError(
            f"{deparse(node)} is not finite in {np.count_nonzero(bad)} rows (first in row "
            f"{first}); check the values there, or leave those rows out"
        )
    return result


def _refuse_missing(values: FloatArray, label: str) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        raise DataError(
            f"{label}: {np.count_nonzero(bad)} values are missing or infinite; leave those "
            "rows out first"
        )
