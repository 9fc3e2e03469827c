"""Evaluation of what stands in a formula: columns, arithmetic and a fixed table of functions.

A syntax tree is walked; no Python is ever run. What is not in the tables is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.contrasts import Contrast, read_contrast
from mlmfast.deparse import deparse
from mlmfast.errors import DataError, FormulaError
from mlmfast.factor import Factor, factor_from_floats, factor_from_logicals, number_label
from mlmfast.frame import Frame
from mlmfast.syntax import Binary, Call, Name, Node, Number, Paren, Text, Unary, parse
from mlmfast.transforms import TRANSFORMS, Constant, Options, State


@dataclass(frozen=True, eq=False)
class Basis:
    """Several numeric columns, shape (n, k), that stand for one variable, such as `poly(x, 2)`."""

    values: FloatArray


@dataclass(frozen=True, eq=False)
class CodedFactor:
    """A factor that asks for its own contrast, as `C(x, contr.sum)`."""

    factor: Factor
    contrast: Contrast | None


States: TypeAlias = dict[str, State]
Value: TypeAlias = FloatArray | BoolArray | Factor | Basis | CodedFactor | float | str | bool
Variable: TypeAlias = FloatArray | Basis | CodedFactor

_CONSTANTS: dict[str, Constant] = {
    "TRUE": True,
    "FALSE": False,
    "True": True,
    "False": False,
    "NULL": None,
    "None": None,
}

_MATH: dict[str, Callable[[FloatArray], FloatArray]] = {
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "exp": np.exp,
    "expm1": np.expm1,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "tanh": np.tanh,
    "floor": np.floor,
    "ceil": np.ceil,
    "ceiling": np.ceil,
    "round": np.round,
    "sign": np.sign,
}

_ARITHMETIC: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "^": np.power,
    "%%": np.mod,
    "%/%": np.floor_divide,
}

_COMPARISON: dict[str, Callable[[FloatArray, FloatArray], BoolArray]] = {
    "<": np.less,
    ">": np.greater,
    "<=": np.less_equal,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}

_FACTOR_FUNCTIONS = ("factor", "as.factor", "C", "relevel", "ordered")

FUNCTIONS = tuple(sorted([*_MATH, *TRANSFORMS, *_FACTOR_FUNCTIONS, "I", "offset"]))


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
    if isinstance(value, Factor):
        return CodedFactor(value, None)
    if isinstance(value, str | bool | float):
        raise FormulaError(f"{deparse(node)} is a constant; a variable is needed")
    if isinstance(value, np.ndarray) and value.dtype == np.bool_:
        return CodedFactor(factor_from_logicals(value), None)
    return value  # type: ignore[return-value]


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
        return frame.numeric(node.name)
    value = evaluate(node, frame)
    if isinstance(value, Basis) and value.values.shape[1] == 1:
        return np.ascontiguousarray(value.values[:, 0])
    if not isinstance(value, np.ndarray):
        found = "a factor" if isinstance(value, CodedFactor) else "several columns"
        raise DataError(f"{role}, {expression}, is {found}; it must be one number per row")
    return value


@lru_cache(maxsize=1024)
def variables_of(expression: str) -> tuple[str, ...]:
    """Columns that an expression, or one side of a formula, uses, in order of appearance.

    Examples
    --------
    >>> variables_of("log(log) + C(f, contr.sum):poly(x, 2)")
    ('log', 'f', 'x')
    """
    return tuple(dict.fromkeys(_columns_in(parse(expression))))


def _columns_in(node: Node) -> Iterator[str]:
    if isinstance(node, Name):
        if node.quoted or node.name not in _CONSTANTS:
            yield node.name
        return
    for child in _data_children(node):
        yield from _columns_in(child)


def _data_children(node: Node) -> tuple[Node, ...]:
    """Parts of an expression that hold data; a transform's options do not."""
    if isinstance(node, Call):
        has_options = node.function in TRANSFORMS or node.function in _FACTOR_FUNCTIONS
        return node.arguments[:1] if has_options else node.arguments
    if isinstance(node, Binary):
        return (node.left, node.right)
    if isinstance(node, Unary):
        return (node.operand,)
    return (node.inner,) if isinstance(node, Paren) else ()


def check_functions(node: Node) -> None:
    """Refuse a call of a function that formulas do not know."""
    if isinstance(node, Call):
        name = node.function
        if name.removeprefix("np.") not in _MATH and name not in FUNCTIONS:
            raise unknown_function(name)
    for child in _data_children(node):
        check_functions(child)


def unknown_function(name: str) -> FormulaError:
    """Error for a function that is not in the tables."""
    close = difflib.get_close_matches(name, FUNCTIONS, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ";"
    return FormulaError(
        f"unknown function {name!r}{hint} formulas know {', '.join(FUNCTIONS)}; "
        "compute anything else as a column of the data"
    )


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
        if not node.quoted and node.name in _CONSTANTS:
            constant = _CONSTANTS[node.name]
            if not isinstance(constant, bool):
                raise FormulaError(f"{node.name} cannot be used as a value")
            return constant
        if self._frame.has(node.name) and self._frame.is_categorical(node.name):
            return self._frame.factor(node.name)
        return self._frame.numeric(node.name)

    def _number(self, node: Node) -> FloatArray:
        return _as_numbers(self.value(node), node)

    def _unary(self, node: Unary) -> Value:
        if node.operator == "!":
            return np.logical_not(_as_logical(self.value(node.operand), node.operand))
        if node.operator == "~":
            raise FormulaError(f"'~' may stand only once in a formula: {deparse(node)}")
        operand = self._number(node.operand)
        return -operand if node.operator == "-" else operand

    def _binary(self, node: Binary) -> Value:
        if node.operator in _ARITHMETIC:
            left, right = self._number(node.left), self._number(node.right)
            with np.errstate(all="ignore"):
                result = _ARITHMETIC[node.operator](left, right)
            return _checked(np.asarray(result), (left, right), node)
        if node.operator in _COMPARISON:
            return self._comparison(node)
        if node.operator in {"&", "|", "||"}:
            left_side = _as_logical(self.value(node.left), node.left)
            right_side = _as_logical(self.value(node.right), node.right)
            return left_side & right_side if node.operator == "&" else left_side | right_side
        raise FormulaError(f"the operator {node.operator!r} cannot be used in {deparse(node)}")

    def _comparison(self, node: Binary) -> BoolArray:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(right, Factor) and isinstance(left, str | float):
            left, right = right, left
        if isinstance(left, Factor) and isinstance(right, str | float):
            if node.operator not in {"==", "!="}:
                raise FormulaError(f"levels have no order: {deparse(node)}; use == or !=")
            level = right if isinstance(right, str) else number_label(right)
            if level not in left.levels:
                known = ", ".join(left.levels[:20])
                raise DataError(f"{deparse(node)}: {level!r} is not a level; known are {known}")
            same = left.codes == left.levels.index(level)
            return same if node.operator == "==" else ~same
        numbers = _as_numbers(left, node.left), _as_numbers(right, node.right)
        return np.asarray(_COMPARISON[node.operator](*numbers))

    def _call(self, node: Call) -> Value:
        name = node.function
        if name == "I":
            return self.value(_only_argument(node))
        if name in TRANSFORMS:
            return self._transform(node)
        if name in _FACTOR_FUNCTIONS:
            return self._factor(node)
        mathematical = _MATH.get(name.removeprefix("np."))
        if mathematical is None:
            if name == "offset":
                raise FormulaError(f"{deparse(node)} may only be added to a formula")
            raise unknown_function(name)
        return self._math(node, mathematical)

    def _math(self, node: Call, function: Callable[[FloatArray], FloatArray]) -> FloatArray:
        options = _bind(node, ("digits",) if node.function == "round" else ())
        argument = self._number(node.arguments[0])
        with np.errstate(all="ignore"):
            if "digits" in options:
                result = np.round(argument, int(_option_number(node, options["digits"])))
            else:
                result = function(argument)
        return _checked(np.asarray(result), (argument,), node)

    def _transform(self, node: Call) -> Basis | FloatArray:
        transform, parameters = TRANSFORMS[node.function]
        options = _bind(node, parameters)
        values = np.atleast_1d(self._number(node.arguments[0]))
        label = deparse(node)
        is_training = label not in self._states
        if is_training and not np.isfinite(np.dot(values, values)):
            _refuse_missing(values, label)
        state = self._states.setdefault(label, {})
        try:
            result = transform(values, options, state)
        except (DataError, FormulaError) as error:
            raise type(error)(f"{label}: {error}") from None
        except ValueError as error:
            raise FormulaError(f"{label}: {error}") from error
        return result if result.ndim == 1 else Basis(result)

    def _factor(self, node: Call) -> Factor | CodedFactor:
        parameters = {"C": ("contrast",), "relevel": ("ref",), "factor": ("levels",)}
        allowed = parameters.get(node.function, ("levels",))
        contrast = None
        if node.function == "C":
            contrast = _contrast_argument(node)
            options: Options = {}
        else:
            options = _bind(node, allowed)
        inner = node.arguments[0] if node.arguments else _only_argument(node)
        factor, inherited = self._as_factor(inner)
        if node.function == "relevel":
            factor = _relevel(factor, options.get("ref"), node)
        elif options.get("levels") is not None:
            factor = _with_levels(factor, options["levels"], node)
        if node.function == "ordered":
            return CodedFactor(factor, Contrast("contr.poly"))
        return CodedFactor(factor, contrast or inherited)

    def _as_factor(self, node: Node) -> tuple[Factor, Contrast | None]:
        if isinstance(node, Name) and (node.quoted or node.name not in _CONSTANTS):
            return self._frame.factor(node.name), None
        value = self.value(node)
        if isinstance(value, CodedFactor):
            return value.factor, value.contrast
        if isinstance(value, Factor):
            return value, None
        if isinstance(value, np.ndarray) and value.dtype == np.bool_:
            return factor_from_logicals(value), None
        return factor_from_floats(_as_numbers(value, node)), None


def _as_numbers(value: Value, node: Node) -> FloatArray:
    if isinstance(value, CodedFactor):
        value = value.factor
    if isinstance(value, Factor) and set(value.levels) <= {"FALSE", "TRUE"}:
        value = _as_logical(value, node)
    if isinstance(value, Basis) and value.values.shape[1] == 1:
        return np.ascontiguousarray(value.values[:, 0])
    if isinstance(value, Factor | Basis | str):
        kind = "several columns" if isinstance(value, Basis) else "text"
        raise DataError(f"{deparse(node)} is {kind} and cannot be used as a number here")
    return np.asarray(value, dtype=np.float64)


def _as_logical(value: Value, node: Node) -> BoolArray:
    if isinstance(value, bool):
        return np.asarray(value)
    if isinstance(value, Factor) and set(value.levels) <= {"FALSE", "TRUE"}:
        is_true = np.array([*(level == "TRUE" for level in value.levels), False])
        return is_true[value.codes]
    if isinstance(value, np.ndarray) and value.dtype == np.bool_:
        return value
    raise FormulaError(f"{deparse(node)} is not a logical; compare it first, as in x > 0")


def _checked(result: FloatArray, inputs: tuple[FloatArray, ...], node: Node) -> FloatArray:
    """Refuse values that are not finite though what they were computed from is."""
    bad = ~np.isfinite(result)
    if not bad.any():
        return result
    for values in inputs:
        bad &= np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(
            f"{deparse(node)} is not finite in {int(np.count_nonzero(bad))} rows (first in row "
            f"{row}); check the values there, or leave those rows out"
        )
    return result


def _refuse_missing(values: FloatArray, label: str) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        raise DataError(
            f"{label}: {int(np.count_nonzero(bad))} values are missing or infinite; leave those "
            "rows out first"
        )


def _only_argument(node: Call) -> Node:
    if len(node.arguments) != 1 or node.keywords:
        raise FormulaError(f"{deparse(node)}: {node.function} takes one argument")
    return node.arguments[0]


def _bind(node: Call, parameters: tuple[str, ...]) -> Options:
    """Options of a call by name: what follows its first argument, all constants."""
    if not node.arguments or len(node.arguments) > 1 + len(parameters):
        allowed = ", ".join(("x", *parameters))
        raise FormulaError(f"{deparse(node)}: {node.function} takes ({allowed})")
    options = {
        name: _constant(value, node)
        for name, value in zip(parameters, node.arguments[1:], strict=False)
    }
    for name, value in node.keywords:
        if name not in parameters or name in options:
            allowed = ", ".join(parameters) or "none"
            raise FormulaError(f"{deparse(node)}: no option {name!r}; the options are {allowed}")
        options[name] = _constant(value, node)
    return options


def _constant(node: Node, call: Call) -> Constant:
    if isinstance(node, Number | Text):
        return node.value
    if isinstance(node, Name) and not node.quoted and node.name in _CONSTANTS:
        return _CONSTANTS[node.name]
    if isinstance(node, Unary) and node.operator == "-" and isinstance(node.operand, Number):
        return -node.operand.value
    if isinstance(node, Call) and node.function == "c" and not node.keywords:
        return tuple(_constant(argument, call) for argument in node.arguments)
    raise FormulaError(f"{deparse(call)}: {deparse(node)} must be a constant")


def _option_number(node: Call, value: Constant) -> float:
    if isinstance(value, float):
        return value
    raise FormulaError(f"{deparse(node)}: {value!r} must be a number")


def _contrast_argument(node: Call) -> Contrast | None:
    options = list(node.arguments[1:])
    options += [value for name, value in node.keywords if name in {"contr", "contrast"}]
    if not node.arguments or len(options) > 1 or len(node.arguments) + len(node.keywords) > 2:
        raise FormulaError(f"{deparse(node)}: C takes (x, contrast)")
    if node.keywords and not options:
        raise FormulaError(f"{deparse(node)}: no option {node.keywords[0][0]!r}; C has contr")
    return read_contrast(options[0]) if options else None


def _relevel(factor: Factor, reference: Constant, node: Call) -> Factor:
    level = number_label(reference) if isinstance(reference, float) else reference
    if level not in factor.levels:
        known = ", ".join(factor.levels)
        raise FormulaError(f"{deparse(node)}: {level!r} is not a level; known are {known}")
    return _reorder(factor, (str(level), *(name for name in factor.levels if name != level)))


def _with_levels(factor: Factor, levels: Constant, node: Call) -> Factor:
    given = levels if isinstance(levels, tuple) else (levels,)
    labels = tuple(number_label(v) if isinstance(v, float) else str(v) for v in given)
    absent = [level for level in factor.levels if level not in labels]
    if absent:
        raise DataError(f"{deparse(node)}: the data also have the level {absent[0]!r}; add it")
    return _reorder(factor, tuple(level for level in labels if level in factor.levels))


def _reorder(factor: Factor, levels: tuple[str, ...]) -> Factor:
    codes, _ = factor.recode(levels)
    order = [factor.levels.index(level) for level in levels]
    return Factor(codes, levels, factor.values[order])
