"""Text of an R call -> its function and arguments, matched as R matches them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.syntax import Binary, Call, Name, Node, Number, Paren, Text, Unary, parse

#: Quotations, which stay; comments, which go.
_QUOTED_OR_COMMENT = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|#[^\n]*")
_ASSIGNED = re.compile(r"\A\s*[A-Za-z.][\w.]*\s*(?:<-|=(?!=))\s*(?=[A-Za-z.][\w.:]*\s*\()")
_PACKAGE = re.compile(r"\b[A-Za-z][\w.]*::+(?=[A-Za-z.])")


def read_call(text: str) -> Call:
    """The one call in a text: without its package, and what it is assigned to.

    Raises
    ------
    FormulaError
        Where the text is no single call.

    Examples
    --------
    >>> read_call("fit <- lme4::lmer(y ~ x + (1 | g), d, REML = FALSE)  # by ML").function
    'lmer'
    """
    if not isinstance(text, str):
        raise FormulaError(f"from_r takes the text of a call, not {type(text).__name__}")
    plain = _QUOTED_OR_COMMENT.sub(lambda m: "" if m.group().startswith("#") else m.group(), text)
    for pipe in ("|>", "%>%"):
        if pipe in plain:
            raise FormulaError(
                f"{pipe!r} passes data on; write the data as an argument of the call"
            )
    plain = _PACKAGE.sub("", _ASSIGNED.sub("", plain, count=1)).strip().rstrip(";")
    node = parse(" ".join(plain.split()))
    if not isinstance(node, Call):
        raise FormulaError(
            f"{text.strip()[:60]!r} is not a call such as 'lmer(y ~ x + (1 | g), d)'"
        )
    return node


@dataclass(frozen=True)
class Arguments:
    """Arguments of a call by the names of its parameters."""

    function: str
    given: Mapping[str, Node]

    def node(self, name: str) -> Node | None:
        """An argument, if it is given and not NULL."""
        found = self.given.get(name)
        return None if isinstance(found, Name) and found.name == "NULL" else found

    def flag(self, name: str, default: bool) -> bool:
        """TRUE or FALSE."""
        node = self.node(name)
        if node is None:
            return default
        word = node.name if isinstance(node, Name) else ""
        if word not in {"TRUE", "FALSE", "T", "F"}:
            raise FormulaError(f"{name} = {deparse(node)} is neither TRUE nor FALSE")
        return word in {"TRUE", "T"}

    def word(self, name: str) -> str | None:
        """A text."""
        node = self.node(name)
        if node is None:
            return None
        if isinstance(node, Text):
            return node.value
        raise FormulaError(f"{name} = {deparse(node)} is not a text in quotes")


def matched(call: Call, parameters: Sequence[str]) -> Arguments:
    """Arguments by full name, by the beginning of one, then by place, as R matches them.

    Raises
    ------
    FormulaError

    Examples
    --------
    >>> sorted(matched(read_call("f(1, b = 2)"), ("a", "b")).given)
    ['a', 'b']
    """
    given: dict[str, Node] = {}
    for name, node in call.keywords:
        full = [p for p in parameters if p == name] or [p for p in parameters if p.startswith(name)]
        if len(full) != 1:
            known = ", ".join(parameters)
            raise FormulaError(f"{call.function}() has no argument {name!r} ({known})")
        given[full[0]] = node
    rest = [p for p in parameters if p not in given]
    if len(call.arguments) > len(rest):
        raise FormulaError(f"{call.function}() has more arguments than are known of it")
    given |= dict(zip(rest, call.arguments, strict=False))
    return Arguments(call.function, given)


def one_sided(node: Node) -> Node:
    """What stands right of the ``~``.

    Raises
    ------
    FormulaError
    """
    while isinstance(node, Paren):
        node = node.inner
    if isinstance(node, Unary) and node.operator == "~":
        return node.operand
    raise FormulaError(f"{deparse(node)} is not a one-sided formula, ~ x")


#: Names that R gives a value.
_CONSTANTS = frozenset({"TRUE", "FALSE", "T", "F", "NULL", "NA", "Inf", "pi", "."})


def variables(*nodes: Node | None) -> tuple[str, ...]:
    """Columns that are used, each once (R's ``all.vars``).

    Examples
    --------
    >>> from mlmfast.formula.syntax import parse
    >>> variables(parse("log(y) ~ x * a"), parse("corAR1(form = ~ t | g)"))
    ('y', 'x', 'a', 't', 'g')
    """
    found: list[str] = []
    for node in nodes:
        if isinstance(node, Name) and (node.quoted or node.name not in _CONSTANTS):
            found.append(node.name)
        elif isinstance(node, Call):
            # What stands after a column in C() are contrasts.
            last = 1 if node.function == "C" else None
            rest = () if last else (value for _, value in node.keywords)
            found += variables(*node.arguments[:last], *rest)
        elif isinstance(node, Binary):
            found += variables(node.left, node.right)
        elif isinstance(node, Unary):
            found += variables(node.operand)
        elif isinstance(node, Paren):
            found += variables(node.inner)
    return tuple(dict.fromkeys(found))


def number_of(node: Node) -> float:
    """A number, with its sign.

    Raises
    ------
    FormulaError
    """
    if isinstance(node, Unary) and node.operator in {"-", "+"}:
        return (-1.0 if node.operator == "-" else 1.0) * number_of(node.operand)
    if isinstance(node, Number):
        return node.value
    raise FormulaError(f"{deparse(node)} is not a number")


def is_number(node: Node) -> bool:
    """Whether it is a number, a name aside."""
    if isinstance(node, Unary):
        return node.operator in {"-", "+"} and is_number(node.operand)
    is_list = isinstance(node, Call) and node.function == "c"
    return isinstance(node, Number) or is_list
