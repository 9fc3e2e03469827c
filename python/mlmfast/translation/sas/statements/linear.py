"""ESTIMATE and CONTRAST statements: labels, effects, and coefficients by CLASS levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlmfast.errors import FormulaError
from mlmfast.translation.sas.statements.effects import Effect, effects_of
from mlmfast.translation.sas.statements.options import Option, numbers, options_of
from mlmfast.translation.sas.statements.text import Statement, Token, cut


@dataclass(frozen=True)
class LinearRow:
    """One linear function: coefficients of fixed effects, and of random effects after the bar."""

    fixed: tuple[tuple[Effect, tuple[float, ...]], ...]
    random: tuple[tuple[Effect, tuple[float, ...]], ...]


@dataclass(frozen=True)
class LinearStatement:
    """An ESTIMATE (one row) or a CONTRAST (any number).

    Attributes
    ----------
    kind : "estimate" or "contrast"
    """

    LOWER: ClassVar = ("lower", "lowertailed")
    UPPER: ClassVar = ("upper", "uppertailed")

    kind: str
    label: str
    rows: tuple[LinearRow, ...]
    options: tuple[Option, ...]
    text: str

    def option(self, *names: str) -> Option | None:
        """The option of one of these names."""
        return next((o for o in self.options if o.name in names), None)

    @property
    def divisor(self) -> float:
        """What coefficients are divided by."""
        found = self._number("divisor")
        return 1.0 if found is None else found

    @property
    def df(self) -> float | None:
        """Degrees of freedom given."""
        return self._number("df")

    @property
    def alpha(self) -> float | None:
        """One minus the level of intervals, if given."""
        return self._number("alpha")

    @property
    def tail(self) -> str:
        """Where the p-value of t lies: "lower", "upper", or empty for both sides."""
        if self.option(*self.LOWER):
            return "lower"
        return "upper" if self.option(*self.UPPER) else ""

    def _number(self, name: str) -> float | None:
        option = self.option(name)
        return None if option is None else next(numbers(option.value or ()), None)


def linear_statement(statement: Statement) -> LinearStatement:
    """Read an ESTIMATE or a CONTRAST statement.

    Raises
    ------
    FormulaError

    Examples
    --------
    >>> from mlmfast.translation.sas.statements.text import statements
    >>> found = linear_statement(statements("contrast 'any' a 1 -1 0, a 1 0 -1 / chisq;")[0])
    >>> found.label, [row.fixed[0][1] for row in found.rows]
    ('any', [(1.0, -1.0, 0.0), (1.0, 0.0, -1.0)])
    """
    tokens = statement.tokens
    if not tokens or tokens[0].kind != "text":
        raise FormulaError("a label in quotes stands first")
    parts = cut(tokens[1:], "/")
    options = tuple(options_of(parts[1])) if len(parts) > 1 else ()
    rows = tuple(_row(row) for row in _rows(parts[0]))
    if statement.keyword == "estimate" and len(rows) != 1:
        raise FormulaError(f"{tokens[0].text!r} has {len(rows)} rows; ESTIMATE takes one")
    return LinearStatement(statement.keyword, tokens[0].text, rows, options, statement.text)


def _rows(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    """Rows stand between commas, of which some may stand between coefficients."""
    rows: list[tuple[Token, ...]] = []
    for part in cut(tokens, ","):
        starts_new = bool(part) and (part[0].kind == "name" or part[0].is_("|"))
        if starts_new or not rows:
            rows.append(part)
        else:
            rows[-1] = (*rows[-1], *part)
    return rows


def _row(tokens: Sequence[Token]) -> LinearRow:
    sides = cut(tokens, "|")
    if len(sides) > 2:
        raise FormulaError("one bar at most stands between fixed and random effects")
    random = _coefficients(sides[1]) if len(sides) > 1 else ()
    return LinearRow(_coefficients(sides[0]), random)


def _coefficients(tokens: Sequence[Token]) -> tuple[tuple[Effect, tuple[float, ...]], ...]:
    """Effects, each followed by its numbers."""
    out = []
    at = 0
    while at < len(tokens):
        end = at
        while end < len(tokens) and not _begins_numbers(tokens, end):
            end += 1
        stop = end
        while stop < len(tokens) and not _begins_effect(tokens[stop]):
            stop += 1
        effects = effects_of(tokens[at:end])
        if len(effects) != 1 or stop == end:
            named = " ".join(map(str, effects)) or "an effect"
            raise FormulaError(f"{named} has no coefficients")
        out.append((effects[0], tuple(numbers(tokens[end:stop]))))
        at = stop
    return tuple(out)


def _begins_numbers(tokens: Sequence[Token], at: int) -> bool:
    token = tokens[at]
    if token.is_("("):
        return _is_nonpositional(tokens, at)
    return token.kind == "number" or token.is_("-") or token.is_("+")


def _begins_effect(token: Token) -> bool:
    if token.is_("("):
        raise FormulaError(_NONPOSITIONAL)
    return token.kind == "name"


def _is_nonpositional(tokens: Sequence[Token], at: int) -> bool:
    if at + 1 < len(tokens) and tokens[at + 1].kind in {"number", "operator"}:
        raise FormulaError(_NONPOSITIONAL)
    return False


_NONPOSITIONAL = (
    "coefficients in parentheses (the nonpositional syntax) are not read; write them in the order "
    "of the levels, as in 'a 1 -1 0'"
)
