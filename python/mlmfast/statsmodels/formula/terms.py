"""Algebra of a formula's terms by patsy's rules: `a * b`, `a / b`, `(a + b) ** 2`, `- 1`.

Order counts: terms stand as they were written, factors within a term too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from mlmfast.errors import FormulaError
from mlmfast.statsmodels.errors import PatsyFormulaError
from mlmfast.statsmodels.formula.tokens import Part, parts_of

Term = tuple[str, ...]

_STRENGTH = {"+": 1, "-": 1, "*": 2, "/": 2, ":": 3, "**": 4}


@dataclass(frozen=True)
class Terms:
    """Terms of one side of a formula; the empty term is the intercept and stands first.

    Attributes
    ----------
    terms
        For each term the texts of its factors.
    """

    terms: tuple[Term, ...]

    @property
    def factors(self) -> tuple[str, ...]:
        """Texts of the factors, in order of appearance."""
        return tuple(dict.fromkeys(factor for term in self.terms for factor in term))


@lru_cache(maxsize=1024)
def read_formula(text: str) -> tuple[str | None, Terms]:
    """Response and terms of a formula; None for one without a left-hand side.

    Examples
    --------
    >>> read_formula("y ~ a * b")
    ('y', Terms(terms=((), ('a',), ('b',), ('a', 'b'))))
    """
    parts = parts_of(text)
    tildes = [k for k, part in enumerate(parts) if part.text == "~" and part.kind == "operator"]
    if len(tildes) > 1:
        raise PatsyFormulaError(f"{text!r}: '~' may stand only once in a formula")
    at = tildes[0] if tildes else -1
    left, right = parts[: max(at, 0)], parts[at + 1 :]
    response = None
    if left:
        terms = _Reader(left, text).read(intercept=False).terms
        if len(terms) != 1 or len(terms[0]) != 1:
            raise PatsyFormulaError(f"{text!r}: left of the '~' stands one response")
        response = terms[0][0]
    return response, _Reader(right, text).read(intercept=True)


@dataclass(frozen=True)
class _Sum:
    """Terms so far; whether an intercept was written, or taken out."""

    terms: tuple[Term, ...]
    intercept: bool = False
    removed: bool = False


class _Reader:
    def __init__(self, parts: list[Part], text: str) -> None:
        self._parts, self._text, self._at = parts, text, 0

    def read(self, intercept: bool) -> Terms:
        if not self._parts:
            raise PatsyFormulaError(f"{self._text!r}: nothing stands right of the '~'; 1 would do")
        total = self._expression(0)
        if self._at < len(self._parts):
            raise self._error(f"{self._parts[self._at].text!r} is not expected here")
        has = total.intercept or (intercept and not total.removed)
        own = tuple(dict.fromkeys(total.terms))
        return Terms(((), *own) if has else own)

    def _error(self, problem: str) -> FormulaError:
        return PatsyFormulaError(f"{self._text!r}: {problem}")

    def _expression(self, strength: int) -> _Sum:
        left = self._operand()
        while self._at < len(self._parts):
            part = self._parts[self._at]
            own = _STRENGTH.get(part.text, 0) if part.kind == "operator" else 0
            if part.kind != "operator":
                raise self._error(f"an operator is missing before {part.text!r}")
            if own <= strength:
                break
            self._at += 1
            if part.text in "+-" and self._constant() is not None:
                left = self._with_constant(left, part.text)
            elif part.text == "**":
                left = self._power(left)
            else:
                left = self._joined(part.text, left, self._expression(own))
        return left

    def _constant(self) -> str | None:
        """A 0 or 1 that stands here by itself."""
        part = self._parts[self._at] if self._at < len(self._parts) else None
        return part.text if part and part.kind == "number" and part.text in ("0", "1") else None

    def _with_constant(self, left: _Sum, sign: str) -> _Sum:
        has = (self._constant() == "1") == (sign == "+")
        self._at += 1
        return _Sum(left.terms, has, not has)

    def _operand(self) -> _Sum:
        if self._at >= len(self._parts):
            raise self._error("something is missing at the end")
        part = self._parts[self._at]
        self._at += 1
        if part.kind == "factor":
            return _Sum(((part.text,),))
        if part.kind == "number":
            if part.text not in ("0", "1"):
                raise self._error(
                    f"the number {part.text} is no term; 0 and 1 mean without and with intercept, "
                    "and arithmetic needs I(), as in I(2 * x)"
                )
            return _Sum((), part.text == "1", part.text == "0")
        if part.text == "(":
            return self._group()
        if part.text in "+-":
            if self._constant() is not None:
                return self._with_constant(_Sum(()), part.text)
            if part.text == "+":
                return self._expression(_STRENGTH["+"])
            raise self._error("a '-' before the first term takes nothing out; only - 1 would")
        raise self._error(f"a variable is missing before {part.text!r}")

    def _group(self) -> _Sum:
        inner = self._expression(0)
        if self._at >= len(self._parts) or self._parts[self._at].text != ")":
            raise self._error("a '(' is not closed")
        self._at += 1
        return inner

    def _power(self, left: _Sum) -> _Sum:
        part = self._parts[self._at] if self._at < len(self._parts) else None
        if part is None or not part.text.isdigit() or int(part.text) < 1:
            raise self._error("after '**' stands a whole number, as in (a + b) ** 2")
        self._at += 1
        terms, product = left.terms, left
        for _ in range(1, min(int(part.text), max(len(left.terms), 1))):
            product = self._product(left, product)
            terms = terms + product.terms
        return _Sum(tuple(dict.fromkeys(terms)))

    def _joined(self, sign: str, left: _Sum, right: _Sum) -> _Sum:
        if sign == "+":
            keep = right if right.intercept else left
            return _Sum(left.terms + right.terms, keep.intercept, keep.removed)
        if sign == "-":
            gone = {frozenset(term) for term in right.terms}
            terms = tuple(term for term in left.terms if frozenset(term) not in gone)
            if right.intercept:
                return _Sum(terms, False, True)
            return _Sum(terms, left.intercept, left.removed)
        if sign == ":":
            return self._product(left, right)
        if sign == "*":
            return _Sum(left.terms + right.terms + self._product(left, right).terms)
        outer = tuple(dict.fromkeys(factor for term in left.terms for factor in term))
        return _Sum(left.terms + self._product(_Sum((outer,)), right).terms)

    def _product(self, left: _Sum, right: _Sum) -> _Sum:
        if left.intercept or right.intercept:
            raise self._error("the intercept cannot interact with anything")
        terms = (
            tuple(dict.fromkeys((*one, *other))) for one in left.terms for other in right.terms
        )
        return _Sum(tuple(_distinct(terms)))


def _distinct(terms: object) -> list[Term]:
    """Terms without those of the same factors as an earlier one."""
    found: dict[frozenset[str], Term] = {}
    for term in terms:  # type: ignore[attr-defined]
        found.setdefault(frozenset(term), term)
    return list(found.values())
