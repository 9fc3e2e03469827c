"""The functions that formulas know, by name; there are no others."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.memberships import MEMBERS
from mlmfast.formula.smooth_terms import SMOOTH
from mlmfast.formula.syntax import (
    Binary,
    Call,
    Name,
    Node,
    Number,
    Paren,
    Text,
    Unary,
    parse,
    summands,
)
from mlmfast.formula.transform_options import Constant, Options
from mlmfast.formula.transforms import TRANSFORMS

OneArgument: TypeAlias = Callable[[FloatArray], FloatArray]

CONSTANTS: dict[str, Constant] = {
    "TRUE": True,
    "FALSE": False,
    "True": True,
    "False": False,
    "NULL": None,
    "None": None,
}

MATH: dict[str, OneArgument] = {
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

ARITHMETIC: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "^": np.power,
    "%%": np.mod,
    "%/%": np.floor_divide,
}

COMPARISON: dict[str, Callable[[FloatArray, FloatArray], BoolArray]] = {
    "<": np.less,
    ">": np.greater,
    "<=": np.less_equal,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}

# Options that follow the variable, by position or by name.
FACTOR_OPTIONS: dict[str, tuple[str, ...]] = {
    "factor": ("levels",),
    "as.factor": (),
    "ordered": ("levels",),
    "relevel": ("ref",),
    "C": ("contr", "levels"),
}

#: lme4's `dummy(f, "level")`, indicators of some levels.
DUMMY_OPTIONS = ("levelsToKeep",)

FUNCTIONS = tuple(
    sorted([*MATH, *TRANSFORMS, *FACTOR_OPTIONS, "dummy", "I", MEMBERS, "offset", SMOOTH])
)

#: Functions whose first argument holds data, and the others options.
_WITH_OPTIONS = frozenset([*TRANSFORMS, *FACTOR_OPTIONS, "dummy"])


def mathematical(name: str) -> OneArgument | None:
    """Find the function of one number called `log` or `np.log`, if there is one of this name."""
    return MATH.get(name.removeprefix("np."))


def is_function(name: str) -> bool:
    """Whether formulas know a function of this name."""
    return name in FUNCTIONS or mathematical(name) is not None


def is_constant(node: Name) -> bool:
    """Whether a name is TRUE, FALSE or NULL rather than a column."""
    return not node.quoted and node.name in CONSTANTS


def data_parts(node: Node) -> tuple[Node, ...]:
    """Parts of an expression that hold data; the options of a call do not."""
    if isinstance(node, Call) and node.function == MEMBERS:
        return (*node.arguments, *(value for _, value in node.keywords))
    if isinstance(node, Call) and node.function == SMOOTH:
        return (*node.arguments[:1], *(value for name, value in node.keywords if name == "by"))
    if isinstance(node, Call):
        has_options = node.function in _WITH_OPTIONS
        is_math = mathematical(node.function) is not None
        return node.arguments[:1] if has_options or is_math else node.arguments
    if isinstance(node, Binary) and node.operator in {"+", "-"}:
        return tuple(part for _, part in summands(node))
    if isinstance(node, Binary):
        return (node.left, node.right)
    if isinstance(node, Unary):
        return (node.operand,)
    return (node.inner,) if isinstance(node, Paren) else ()


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
        if not is_constant(node):
            yield node.name
        return
    for part in data_parts(node):
        yield from _columns_in(part)


def check_functions(node: Node) -> None:
    """Refuse a call of a function that formulas do not know."""
    if isinstance(node, Call) and not is_function(node.function):
        raise unknown_function(node.function)
    if isinstance(node, Call) and node.function == MEMBERS:
        return
    for part in data_parts(node):
        check_functions(part)


def unknown_function(name: str) -> FormulaError:
    """Error for a function that is not in the tables."""
    close = difflib.get_close_matches(name, FUNCTIONS, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ";"
    return FormulaError(
        f"unknown function {name!r}{hint} formulas know {', '.join(FUNCTIONS)}; "
        "compute anything else as a column of the data"
    )


def only_argument(node: Call) -> Node:
    """Return the argument of a call that takes one."""
    if len(node.arguments) != 1 or node.keywords:
        raise FormulaError(f"{deparse(node)}: {node.function} takes one argument")
    return node.arguments[0]


def split_call(node: Call, parameters: tuple[str, ...]) -> tuple[Node, dict[str, Node]]:
    """Return the variable of a call, and its options by name, unevaluated."""
    if not node.arguments or len(node.arguments) > 1 + len(parameters):
        allowed = ", ".join(("x", *parameters))
        raise FormulaError(f"{deparse(node)}: {node.function} takes ({allowed})")
    options = dict(zip(parameters, node.arguments[1:], strict=False))
    for name, value in node.keywords:
        if name not in parameters or name in options:
            allowed = ", ".join(parameters) or "none"
            problem = "given twice" if name in options else f"unknown; the options are {allowed}"
            raise FormulaError(f"{deparse(node)}: the option {name!r} is {problem}")
        options[name] = value
    return node.arguments[0], options


def bind(node: Call, parameters: tuple[str, ...]) -> tuple[Node, Options]:
    """Return the variable of a call, and its options by name; options are constants."""
    variable, options = split_call(node, parameters)
    return variable, {name: constant(value, node) for name, value in options.items()}


def constant(node: Node, call: Call) -> Constant:
    """Evaluate what must be a number, a string, TRUE or FALSE, or a `c(...)` of them."""
    if isinstance(node, Number | Text):
        return node.value
    if isinstance(node, Name) and is_constant(node):
        return CONSTANTS[node.name]
    if isinstance(node, Unary) and node.operator == "-" and isinstance(node.operand, Number):
        return -node.operand.value
    if isinstance(node, Call) and node.function == "c" and not node.keywords:
        return tuple(constant(argument, call) for argument in node.arguments)
    raise FormulaError(f"{deparse(call)}: {deparse(node)} must be a constant")
