"""Smooth terms of a formula, mgcv's `s(x, k = 10, by = f)`: which there are, and their options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.memberships import MEMBERS
from mlmfast.formula.syntax import Binary, Call, Name, Node, Number, Paren, Text, Unary, summands

#: The function that makes a smooth, and the option that asks for columns of its random effects:
#: TRUE, or a level of a factor `by`. No formula of a user has it.
SMOOTH, PART = "s", "part"
#: Basis functions where a formula says nothing, as mgcv's; the fewest, and the most.
_USUAL, FEWEST, _MOST = 10, 4, 500
_OPTIONS = ("k", "by", "bs", "m")


@dataclass(frozen=True)
class SmoothTerm:
    """One smooth term.

    Attributes
    ----------
    variable
        What the curve is a function of.
    by
        What the curve is multiplied by, or a factor, each level of which has a curve; None.
    k
        Basis functions.
    call
        The call, with all its options.
    """

    variable: Node
    by: Node | None
    k: int
    call: Call

    @property
    def label(self) -> str:
        """Name of the term: the call without what does not tell terms apart."""
        return smooth_label(self.call)

    @property
    def text(self) -> str:
        """The call as states are kept by, that of a part too."""
        kept = tuple(pair for pair in self.call.keywords if pair[0] != PART)
        return deparse(replace(self.call, keywords=kept))

    def name(self, level: str | None = None) -> str:
        """mgcv's name of a curve: `s(x)`, `s(x):z`, and with a level of a factor `s(x):fA`."""
        curve = f"{SMOOTH}({deparse(self.variable)})"
        return curve if self.by is None else f"{curve}:{deparse(self.by)}{level or ''}"

    def part(self, level: str | None = None) -> Call:
        """The call that gives columns of the random effects, of a level of `by`."""
        value: Node = Name("TRUE") if level is None else Text(level)
        return replace(self.call, keywords=(*self.call.keywords, (PART, value)))


def is_smooth(node: Node) -> bool:
    """Whether a node is a smooth term."""
    return isinstance(node, Call) and node.function == SMOOTH


def is_smooth_label(label: str) -> bool:
    """Whether a term of the fixed part is a smooth, by its label."""
    return label.startswith(f"{SMOOTH}(")


def read_smooth(call: Call) -> SmoothTerm:
    """Read the call of a smooth, with or without the option that asks for a part.

    Raises
    ------
    FormulaError
        For options that are not known, and a k that no basis has.

    Examples
    --------
    >>> from mlmfast.formula.syntax import parse
    >>> term = read_smooth(parse("s(log(x), by = f, k = 8)"))
    >>> term.k, term.label, term.name("A")
    (8, 's(log(x), by = f)', 's(log(x)):fA')
    """
    text = deparse(call)
    if len(call.arguments) != 1:
        raise FormulaError(
            f"{text}: a smooth is of one variable, its options follow by name, as in "
            "s(x, k=10, by=f)"
        )
    options: dict[str, Node] = {}
    for name, value in call.keywords:
        if name not in (*_OPTIONS, PART) or name in options:
            what = "given twice" if name in options else f"unknown; there are {_listing()}"
            raise FormulaError(f"{text}: the option {name!r} of a smooth is {what}")
        options[name] = value
    _check_basis(options.get("bs"), options.get("m"), text)
    variable, by = call.arguments[0], options.get("by")
    if not _has_column(variable) or (by is not None and not _has_column(by)):
        raise FormulaError(f"{text}: a smooth is of a column of numbers, as in s(x, by=f)")
    return SmoothTerm(variable, by, _size(options.get("k"), text), call)


def smooth_label(call: Call) -> str:
    """The label of a smooth's call; see `SmoothTerm.label`."""
    kept = tuple((name, value) for name, value in call.keywords if name in {"by", PART})
    return deparse(replace(call, keywords=kept))


def smooths_of(variables: Iterable[Node], terms: Iterable[tuple[int, ...]]) -> list[SmoothTerm]:
    """The smooths of a fixed part, by its variables and the positions of these in its terms.

    Raises
    ------
    FormulaError
        Where one is multiplied by something, or stands inside another call.
    """
    nodes, out = list(variables), []
    for node in nodes:
        if not isinstance(node, Call) or node.function != SMOOTH:
            check_no_smooth(node, deparse(node))
            _check_no_members(node)
            continue
        if any(name == PART for name, _ in node.keywords):
            raise FormulaError(
                f"{deparse(node)}: the option {PART!r} of a smooth is unknown; there are "
                f"{_listing()}"
            )
        out.append(read_smooth(node))
    for term in terms:
        product = next((nodes[k] for k in term if len(term) > 1 and is_smooth(nodes[k])), None)
        if product is not None:
            raise FormulaError(
                f"{deparse(product)} is multiplied by another variable; a smooth that differs by "
                "f is written f + s(x, by=f)"
            )
    return out


def _check_no_members(node: Node) -> None:
    if isinstance(node, Call) and node.function == MEMBERS:
        raise FormulaError(
            f"{deparse(node)} stands in the fixed part; it is a grouping factor, as in "
            f"(1 | {deparse(node)})"
        )


def check_no_smooth(node: Node, where: str) -> None:
    """Refuse a smooth inside anything but a sum of the fixed part.

    Raises
    ------
    FormulaError
    """
    found = next(smooths_in(node), None)
    if found is not None:
        raise FormulaError(
            f"{deparse(found)} stands in {where}; a smooth may only be added to a formula, as in "
            "y ~ s(x) + f + s(z, by=f)"
        )


def smooths_in(node: Node) -> Iterator[Call]:
    """All smooths in an expression, however deep."""
    if isinstance(node, Call):
        if node.function == SMOOTH:
            yield node
            return
        parts: tuple[Node, ...] = (*node.arguments, *(value for _, value in node.keywords))
    elif isinstance(node, Binary) and node.operator in {"+", "-"}:
        parts = tuple(part for _, part in summands(node))
    elif isinstance(node, Binary):
        parts = (node.left, node.right)
    elif isinstance(node, Unary):
        parts = (node.operand,)
    else:
        parts = (node.inner,) if isinstance(node, Paren) else ()
    for part in parts:
        yield from smooths_in(part)


def _size(node: Node | None, text: str) -> int:
    if node is None:
        return _USUAL
    value = node.value if isinstance(node, Number) else None
    if value is None or value != int(value) or not FEWEST <= value <= _MOST:
        raise FormulaError(
            f"{text}: k is {deparse(node)}; it is the number of basis functions, from {FEWEST} to "
            f"{_MOST}"
        )
    return int(value)


def _check_basis(bs: Node | None, m: Node | None, text: str) -> None:
    if bs is not None and bs != Text("ps"):
        raise FormulaError(
            f"{text}: bs is {deparse(bs)}; smooths are penalised cubic B-splines here, bs='ps' of "
            "mgcv: leave bs out"
        )
    usual = (Number(2.0), Call("c", (Number(2.0), Number(2.0))))
    if m is not None and m not in usual:
        raise FormulaError(
            f"{text}: m is {deparse(m)}; smooths have cubic splines and second differences as "
            "their penalty, m = c(2, 2) of mgcv: leave m out"
        )


def _has_column(node: Node) -> bool:
    """Whether an expression is one of data, and no text or number."""
    if isinstance(node, Call):
        return node.function != SMOOTH and bool(node.arguments)
    return not isinstance(node, Number | Text) and not any(smooths_in(node))


def _listing() -> str:
    return ", ".join(f"{name}=" for name in _OPTIONS)
