"""Algebra of terms: `a * b + c %in% d - a` -> which variables multiply in which term, as R does.

A term is a set of variables, kept as the bits of an integer; bit k is the k-th variable met.
References: Wilkinson and Rogers (1973), Applied Statistics 22, 392-399.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.functions import check_functions, is_constant
from mlmfast.formula.smooth_terms import SMOOTH, smooth_label
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
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class TermList:
    """Terms of one side of a formula.

    Attributes
    ----------
    variables : syntax trees of the variables, in order of appearance.
    variable_names : their text.
    terms : for each term the positions of its variables; by degree, then order of appearance.
    labels : for each term its text, `a:b`.
    by_contrasts : for each variable of each term, whether its margin is in the model, so that a
        factor there is coded by contrasts rather than by indicators.
    intercept : whether there is one.
    """

    variables: tuple[Node, ...]
    variable_names: tuple[str, ...]
    terms: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]
    by_contrasts: tuple[tuple[bool, ...], ...]
    intercept: bool

    @cached_property
    def columns(self) -> tuple[str, ...] | None:
        """Columns of the data that the variables are; None where one is something else."""
        names = [v.name for v in self.variables if isinstance(v, Name) and not is_constant(v)]
        return tuple(names) if len(names) == len(self.variables) else None


@lru_cache(maxsize=1024)
def term_list(rhs: str) -> TermList:
    """Expand the right-hand side of a formula.

    Examples
    --------
    >>> term_list("a * b + x - a").labels
    ('b', 'x', 'a:b')
    """
    algebra = _Algebra(rhs)
    masks = sorted(algebra.expand(parse(rhs)), key=int.bit_count)
    names = tuple(algebra.position)
    terms = tuple(_positions(mask) for mask in masks)
    return TermList(
        variables=tuple(algebra.variables),
        variable_names=names,
        terms=terms,
        labels=tuple(":".join(names[k] for k in term) for term in terms),
        by_contrasts=tuple(
            tuple(_margin_is_present(masks, t, k) for k in term) for t, term in enumerate(terms)
        ),
        intercept=algebra.intercept,
    )


def _positions(mask: int) -> tuple[int, ...]:
    return tuple(k for k in range(mask.bit_length()) if mask >> k & 1)


def _margin_is_present(masks: list[int], term: int, variable: int) -> bool:
    """Whether the term without the variable lies within an earlier term, or is empty."""
    margin = masks[term] & ~(1 << variable)
    return margin == 0 or any(margin & ~earlier == 0 for earlier in masks[:term])


class _Algebra:
    def __init__(self, rhs: str) -> None:
        self._rhs = rhs
        self.position: dict[str, int] = {}
        self.variables: list[Node] = []
        self.intercept = True
        self._adding = True

    def expand(self, node: Node) -> list[int]:
        if isinstance(node, Paren):
            return self.expand(node.inner)
        if isinstance(node, Number):
            return self._constant(node)
        if isinstance(node, Unary) and node.operator in "+-":
            kept = self.expand(node.operand) if node.operator == "+" else []
            if node.operator == "-":
                self._removed(node.operand)
            return kept
        if isinstance(node, Binary) and node.operator in _TERM_OPERATORS:
            return self._operation(node)
        return [self._variable(node)]

    def _constant(self, node: Number) -> list[int]:
        if node.value not in (0.0, 1.0):
            raise FormulaError(
                f"the number {deparse(node)} is not a term in {self._rhs!r}; 1 and 0 mean with and "
                "without intercept, and arithmetic needs I(), as in I(2 * x)"
            )
        self.intercept = (node.value == 1.0) == self._adding
        return []

    def _operation(self, node: Binary) -> list[int]:
        if node.operator in {"+", "-"}:
            return self._sum(node)
        if node.operator == "^":
            return self._power(node)
        left, right = self.expand(node.left), self.expand(node.right)
        if not left or not right:
            raise FormulaError(f"{deparse(node)}: {node.operator!r} needs a variable on both sides")
        if node.operator == ":":
            return _products(left, right)
        if node.operator == "*":
            return _unique(left + right + _products(left, right))
        joint = 0
        for mask in right if node.operator == "%in%" else left:
            joint |= mask
        if node.operator == "%in%":
            return _products(left, [joint])
        return _unique(left + _products([joint], right))

    def _sum(self, node: Binary) -> list[int]:
        masks: dict[int, None] = {}
        for sign, part in summands(node):
            if sign == "+":
                masks.update(dict.fromkeys(self.expand(part)))
                continue
            for mask in self._removed(part):
                masks.pop(mask, None)
        return list(masks)

    def _removed(self, node: Node) -> list[int]:
        self._adding = not self._adding
        removed = self.expand(node)
        self._adding = not self._adding
        return removed

    def _power(self, node: Binary) -> list[int]:
        exponent = node.right.inner if isinstance(node.right, Paren) else node.right
        if not isinstance(exponent, Number) or not 1 <= exponent.value <= 20:
            raise FormulaError(
                f"{deparse(node)}: the power of terms must be a whole number from 1; "
                "to square a variable write I(x^2)"
            )
        base = self.expand(node.left)
        result = base
        for _ in range(int(exponent.value) - 1):
            result = _unique(result + _products(result, base))
        return result

    def _variable(self, node: Node) -> int:
        if isinstance(node, Name) and node.name == "." and not node.quoted:
            raise FormulaError("'.' (all other columns) is not available; name the columns")
        if isinstance(node, Text):
            raise FormulaError(f"{deparse(node)} is text; use backticks around a column name")
        if isinstance(node, Call) and node.function == "offset":
            raise FormulaError(f"{deparse(node)} may only be added to a formula")
        if isinstance(node, Binary) and node.operator in {"~", "|", "||"}:
            raise FormulaError(
                f"{deparse(node)}: {node.operator!r} cannot stand here; a random term is written "
                "in parentheses and added, as in + (1 | g)"
            )
        check_functions(node)
        name = _name(node)
        if name not in self.position:
            self.position[name] = len(self.variables)
            self.variables.append(node)
        elif self.variables[self.position[name]] != node:
            raise FormulaError(
                f"{deparse(node)}: {name} stands twice with other options; leave one out"
            )
        return 1 << self.position[name]


def _name(node: Node) -> str:
    """Name of a variable: the expression, of a smooth without the options of its basis."""
    if isinstance(node, Call) and node.function == SMOOTH:
        return smooth_label(node)
    return deparse(node)


_MOST_PRODUCTS = 100_000
_TERM_OPERATORS = {"+", "-", ":", "*", "/", "^", "%in%"}


def _unique(masks: list[int]) -> list[int]:
    return list(dict.fromkeys(masks))


def _products(left: list[int], right: list[int]) -> list[int]:
    if len(left) * len(right) > _MOST_PRODUCTS:
        raise FormulaError(f"the formula expands to more than {_MOST_PRODUCTS} products of terms")
    return _unique([a | b for a in left for b in right])
