"""Tokens -> syntax tree. One grammar, R's, serves formulas and the expressions inside them.

Nothing in the tree can run: a call is a name and arguments, to be looked up in a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from mlmfast.errors import FormulaError
from mlmfast.formula.tokens import Token, at, tokenize


@dataclass(frozen=True)
class Name:
    """A column, or a constant such as TRUE; `quoted` if it stood in backticks."""

    name: str
    quoted: bool = False


@dataclass(frozen=True)
class Number:
    """A number."""

    value: float


@dataclass(frozen=True)
class Text:
    """A string."""

    value: str


@dataclass(frozen=True)
class Unary:
    """An operator before its operand."""

    operator: str
    operand: Node


@dataclass(frozen=True)
class Binary:
    """An operator between its operands."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Paren:
    """A pair of parentheses that calls nothing."""

    inner: Node


@dataclass(frozen=True)
class Call:
    """A function's name with its arguments."""

    function: str
    arguments: tuple[Node, ...]
    keywords: tuple[tuple[str, Node], ...] = ()


Node: TypeAlias = Name | Number | Text | Unary | Binary | Paren | Call


def summands(node: Node) -> list[tuple[str, Node]]:
    """A sum's parts from the left, each with the sign before it; hundreds nest as deeply.

    Examples
    --------
    >>> [(sign, part.name) for sign, part in summands(parse("a + b - c"))]
    [('+', 'a'), ('+', 'b'), ('-', 'c')]
    """
    out: list[tuple[str, Node]] = []
    while isinstance(node, Binary) and node.operator in {"+", "-"}:
        out.append((node.operator, node.right))
        node = node.left
    out.append(("+", node))
    return out[::-1]


# Binding strength to the left and to the right; a right-associative operator is weaker rightwards.
_BINARY = {
    "~": (1, 2),
    "|": (3, 4),
    "||": (3, 4),
    "&": (5, 6),
    "<": (9, 10),
    ">": (9, 10),
    "<=": (9, 10),
    ">=": (9, 10),
    "==": (9, 10),
    "!=": (9, 10),
    "+": (11, 12),
    "-": (11, 12),
    "*": (13, 14),
    "/": (13, 14),
    "%in%": (15, 16),
    "%%": (15, 16),
    "%/%": (15, 16),
    ":": (17, 18),
    "^": (22, 21),
}
_UNARY = {"~": 2, "!": 8, "-": 19, "+": 19}

_OPENING = {")": "(", "]": "["}

_DEEPEST = 100


@lru_cache(maxsize=1024)
def parse(text: str) -> Node:
    """Parse a formula or an expression.

    Examples
    --------
    >>> parse("log(x)")
    Call(function='log', arguments=(Name(name='x', quoted=False),), keywords=())
    """
    parser = _Parser(text)
    tree = parser.expression(0)
    parser.finish()
    return tree


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokenize(text)
        self._next = 0
        self._depth = 0

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _is(self, operator: str) -> bool:
        token = self._peek()
        return token.kind == "operator" and token.text == operator

    def _advance(self) -> Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _error(self, token: Token, problem: str) -> FormulaError:
        return FormulaError(f"{at(self._text, token.position)}: {problem}")

    def finish(self) -> None:
        token = self._peek()
        if token.kind == "operator" and token.text in _OPENING:
            opening = _OPENING[token.text]
            raise self._error(token, f"this {token.text!r} has no {opening!r} before it")
        if token.kind == "operator" and token.text == "[":
            problem = "the character '[' opens a list of constants, not a part of a column"
            raise self._error(token, problem)
        if token.kind != "end":
            raise self._error(token, f"an operator is missing before {token.text!r}")

    def expression(self, strength: int) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error(self._peek(), f"nested more than {_DEEPEST} deep")
        left = self._operand()
        while self._peek().kind == "operator":
            operator = self._peek().text
            left_strength, right_strength = _BINARY.get(operator, (-1, -1))
            if left_strength < strength:
                break
            self._advance()
            left = Binary(operator, left, self.expression(right_strength))
        self._depth -= 1
        return left

    def _operand(self) -> Node:
        token = self._advance()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "text":
            return Text(token.text)
        if token.kind == "quoted":
            return Name(token.text, quoted=True)
        if token.kind == "name":
            return self._call(token) if self._is("(") else Name(token.text)
        if token.kind == "operator" and token.text in _UNARY:
            return Unary(token.text, self.expression(_UNARY[token.text]))
        if token.kind == "operator" and token.text == "(":
            inner = self.expression(0)
            if self._is(","):
                # A list in Python's words.
                self._advance()
                more, keywords = self._arguments(token, ")")
                return Call("c", (inner, *more), keywords)
            self._close(token)
            return Paren(inner)
        if token.kind == "operator" and token.text == "[":
            return Call("c", *self._arguments(token, "]"))
        raise self._missing_operand(token)

    def _number(self, token: Token) -> Number:
        value = float(token.text.removesuffix("L"))
        if value == float("inf"):
            raise self._error(token, f"the number {token.text} is too large")
        return Number(value)

    def _missing_operand(self, token: Token) -> FormulaError:
        before = self._tokens[self._next - 2].text if self._next > 1 else ""
        if before in {"|", "||"}:
            return self._error(token, f"nothing stands after '{before}'; name a grouping factor")
        if token.kind == "end":
            problem = f"nothing stands after {before!r}" if before else "nothing is written"
            return self._error(token, problem)
        return self._error(token, f"a variable is missing before {token.text!r}")

    def _call(self, function: Token) -> Node:
        arguments, keywords = self._arguments(self._advance(), ")")
        if function.text != "Q":
            return Call(function.text, arguments, keywords)
        # patsy's quotes of a column's name are R's backticks.
        if len(arguments) != 1 or not isinstance(arguments[0], Text) or keywords:
            raise self._error(function, "Q takes a column's name in quotes, as in Q('my column')")
        return Name(arguments[0].value, quoted=True)

    def _arguments(
        self, opening: Token, closing: str
    ) -> tuple[tuple[Node, ...], tuple[tuple[str, Node], ...]]:
        arguments: list[Node] = []
        keywords: list[tuple[str, Node]] = []
        while not self._is(closing):
            keyword = self._keyword()
            value = self.expression(0)
            if keyword is not None:
                keywords.append((keyword, value))
            elif keywords:
                raise self._error(self._peek(), "an argument without a name follows a named one")
            else:
                arguments.append(value)
            if not self._is(","):
                break
            self._advance()
        self._close(opening, closing)
        return tuple(arguments), tuple(keywords)

    def _keyword(self) -> str | None:
        token = self._peek()
        if token.kind != "name":
            return None
        following = self._tokens[self._next + 1]
        if following.kind == "operator" and following.text == "=":
            self._next += 2
            return token.text
        return None

    def _close(self, opening: Token, closing: str = ")") -> None:
        token = self._advance()
        if token.kind == "operator" and token.text == closing:
            return
        if token.kind == "end":
            raise self._error(opening, f"this {opening.text!r} is not closed")
        problem = f"{token.text!r} is not expected here; an operator or {closing!r} is"
        raise self._error(token, problem)
