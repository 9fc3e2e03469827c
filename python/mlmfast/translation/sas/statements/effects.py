"""Effects of a MODEL, RANDOM or LSMEANS statement: ``a|b|c@2``, ``a*b``, ``b(a)``, ``x*x``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import quote_name
from mlmfast.translation.sas.statements.text import Token

INTERCEPT = ("int", "intercept")
#: Effects that a bar may stand for.
_MOST = 1_000


@dataclass(frozen=True)
class Effect:
    """An effect: variables crossed, and those in which they are nested.

    Attributes
    ----------
    crossed : names; none for the intercept
    nested : names in parentheses
    """

    crossed: tuple[str, ...]
    nested: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All variables, each once, in the order written."""
        return tuple(dict.fromkeys((*self.crossed, *self.nested)))

    @property
    def is_intercept(self) -> bool:
        """Whether it is the intercept."""
        return not self.crossed

    def factors(self, classes: Collection[str]) -> tuple[str, ...]:
        """Its CLASS variables, in the order of ``classes``."""
        return tuple(name for name in classes if name in self.names)

    def covariates(self, classes: Collection[str]) -> tuple[str, ...]:
        """Its other variables, as often as they stand."""
        return tuple(name for name in (*self.crossed, *self.nested) if name not in classes)

    def formula(self, classes: Collection[str]) -> str:
        """The effect in a formula."""
        if self.is_intercept:
            return "1"
        covariates = self.covariates(classes)
        parts = [quote_name(n) for n in self.names if n in classes]
        for name in dict.fromkeys(covariates):
            power = covariates.count(name)
            quoted = quote_name(name)
            parts.append(quoted if power == 1 else f"I({quoted}^{power})")
        return ":".join(parts)

    def __str__(self) -> str:
        inside = f"({' '.join(self.nested)})" if self.nested else ""
        return "*".join(self.crossed) + inside if self.crossed else "intercept"


def effects_of(tokens: Sequence[Token]) -> list[Effect]:
    """Read a list of effects.

    Raises
    ------
    FormulaError

    Examples
    --------
    >>> from mlmfast.translation.sas.statements.text import statements
    >>> [str(e) for e in effects_of(statements("x a|b|c@2 d(a) x*x int;")[0].tokens)]
    ['a', 'b', 'a*b', 'c', 'a*c', 'b*c', 'd(a)', 'x*x', 'intercept']
    """
    out: list[Effect] = []
    at = 0
    while at < len(tokens):
        effect, at = _effect(tokens, at)
        parts = [effect]
        while at < len(tokens) and tokens[at].is_("|"):
            effect, at = _effect(tokens, at + 1)
            parts.append(effect)
        most = len(parts)
        if at < len(tokens) and tokens[at].is_("@"):
            if at + 1 >= len(tokens) or tokens[at + 1].kind != "number":
                raise FormulaError("after '@' stands the largest number of variables of an effect")
            most, at = int(float(tokens[at + 1].text)), at + 2
        out += _spread(parts, most) if len(parts) > 1 else parts
    return list(dict.fromkeys(out))


def _effect(tokens: Sequence[Token], at: int) -> tuple[Effect, int]:
    if at >= len(tokens) or tokens[at].kind != "name":
        found = tokens[at].text if at < len(tokens) else "the end"
        raise FormulaError(f"an effect is expected before {found!r}")
    names, nested = [tokens[at].text], []
    at += 1
    while at + 1 < len(tokens) and tokens[at].is_("*"):
        if tokens[at + 1].kind != "name":
            raise FormulaError(f"a variable is expected after '{'*'.join(names)}*'")
        names.append(tokens[at + 1].text)
        at += 2
    if at < len(tokens) and tokens[at].is_("("):
        at += 1
        while at < len(tokens) and not tokens[at].is_(")"):
            if tokens[at].kind == "name":
                nested.append(tokens[at].text)
            elif not tokens[at].is_("*"):
                raise FormulaError(f"{tokens[at].text!r} stands among nesting variables")
            at += 1
        if at >= len(tokens):
            raise FormulaError(f"the '(' after {'*'.join(names)} is not closed")
        at += 1
    if len(names) == 1 and names[0].lower() in INTERCEPT and not nested:
        return Effect(()), at
    return Effect(tuple(names), tuple(nested)), at


def _spread(parts: Sequence[Effect], most: int) -> list[Effect]:
    """What bars stand for, in SAS's order: each with all combinations of those before it."""
    if 2 ** len(parts) > _MOST:
        raise FormulaError(f"{len(parts)} effects joined by bars stand for too many effects")
    names = [name for part in parts for name in part.crossed]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise FormulaError(f"{twice} stands twice between bars; write powers as {twice}*{twice}")
    out: list[Effect] = []
    for k in range(len(parts)):
        own = [(*chosen, k) for size in range(k + 1) for chosen in combinations(range(k), size)]
        for chosen in sorted(own, key=_in_order):
            effect = _joined([parts[j] for j in chosen])
            if len(effect.names) <= most:
                out.append(effect)
    return out


def _in_order(chosen: tuple[int, ...]) -> int:
    """Place among combinations: a, b, a*b, c, a*c, b*c, a*b*c."""
    return sum(2**j for j in chosen)


def _joined(parts: Sequence[Effect]) -> Effect:
    crossed = tuple(dict.fromkeys(name for part in parts for name in part.crossed))
    nested = tuple(dict.fromkeys(name for part in parts for name in part.nested))
    return Effect(crossed, tuple(name for name in nested if name not in crossed))
