"""Syntax tree -> text, spaced as R's deparse does, since R's coefficient names are made so."""

from __future__ import annotations

import re

from mlmfast.formula.syntax import Binary, Call, Name, Node, Number, Paren, Text, Unary, summands

_UNSPACED = {"^", ":", "/"}
_SYNTACTIC = re.compile(r"(?:[^\W\d_]|\.(?!\d))[\w.]*\Z")
_RESERVED = {"TRUE", "FALSE", "NULL", "NA", "NaN", "Inf", "if", "else", "for", "in", "while"}


def deparse(node: Node) -> str:
    """Print an expression.

    Examples
    --------
    >>> from mlmfast.formula.syntax import parse
    >>> deparse(parse("I( x**2+1 )"))
    'I(x^2 + 1)'
    """
    if isinstance(node, Name):
        return quote_name(node.name, node.quoted)
    if isinstance(node, Number):
        return _number(node.value)
    if isinstance(node, Text):
        escaped = node.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(node, Unary):
        return node.operator + deparse(node.operand)
    if isinstance(node, Binary) and node.operator in {"+", "-"}:
        (_, first), *others = summands(node)
        return deparse(first) + "".join(f" {sign} {deparse(part)}" for sign, part in others)
    if isinstance(node, Binary):
        space = "" if node.operator in _UNSPACED else " "
        return f"{deparse(node.left)}{space}{node.operator}{space}{deparse(node.right)}"
    if isinstance(node, Paren):
        return f"({deparse(node.inner)})"
    return _call(node)


def quote_name(name: str, quoted: bool = True) -> str:
    """Put backticks around a quoted name that R could not read without them."""
    is_plain = bool(_SYNTACTIC.match(name)) and name not in _RESERVED
    return f"`{name}`" if quoted and not is_plain else name


def _call(node: Call) -> str:
    arguments = [deparse(argument) for argument in node.arguments]
    arguments += [f"{keyword} = {deparse(value)}" for keyword, value in node.keywords]
    return f"{node.function}({', '.join(arguments)})"


def _number(value: float) -> str:
    """Print with 15 significant digits, in the shorter of fixed and scientific notation."""
    mantissa, exponent = f"{value:.14e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    scientific = f"{mantissa}e{exponent}"
    decimals = max(0, len(mantissa.partition(".")[2]) - int(exponent))
    fixed = f"{value:.{decimals}f}" if decimals < 300 else scientific
    return fixed if len(fixed) <= len(scientific) else scientific
