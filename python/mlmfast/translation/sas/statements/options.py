"""What stands after the slash of a statement: options, with values and arguments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mlmfast.errors import FormulaError
from mlmfast.translation.sas.statements.text import Token, written


class Option(NamedTuple):
    """``name``, ``name=value``, ``name(argument)`` or ``name(argument)=value``.

    Attributes
    ----------
    name : in lower case
    value : tokens after the sign, parentheses around all of them taken away; None without one
    argument : tokens in parentheses after the name
    """

    name: str
    value: tuple[Token, ...] | None = None
    argument: tuple[Token, ...] = ()

    @property
    def text(self) -> str:
        """The value as text, in lower case and without blanks."""
        return written(self.value or ()).lower().replace(" ", "")

    def __str__(self) -> str:
        argument = f"({written(self.argument)})" if self.argument else ""
        value = "" if self.value is None else f"={written(self.value)}"
        return f"{self.name.upper()}{argument}{value.upper()}"


def options_of(tokens: Sequence[Token]) -> list[Option]:
    """Read options.

    Raises
    ------
    FormulaError

    Examples
    --------
    >>> from mlmfast.translation.sas.statements.text import statements
    >>> found = options_of(statements("x sub=id(arm) type=sp(exp)(t u) hold=1,3 cl;")[0].tokens)
    >>> [(o.name, o.text) for o in found]
    [('sub', 'id(arm)'), ('type', 'sp(exp)(tu)'), ('hold', '1,3'), ('cl', '')]
    """
    reader = _Reader(tuple(tokens))
    return list(reader.options())


class _Reader:
    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self.tokens, self.at = tokens, 0

    def peek(self, ahead: int = 0) -> Token:
        k = self.at + ahead
        return self.tokens[k] if k < len(self.tokens) else Token("end", "")

    def next(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def options(self) -> Iterator[Option]:
        while self.at < len(self.tokens):
            token = self.next()
            if token.is_(","):
                continue
            if token.kind != "name":
                raise FormulaError(f"{token.text!r} stands where an option is expected")
            name = token.text.lower()
            if name == "at":
                yield from self._at()
                continue
            argument = self._group() if self.peek().is_("(") else ()
            if self.peek().kind == "number":
                yield Option(name, tuple(self._numbers()), argument)
                continue
            if not self.peek().is_("="):
                yield Option(name, None, argument)
                continue
            self.next()
            yield Option(name, self._value(), argument)

    def _at(self) -> Iterator[Option]:
        """``at x=1 y=2``, ``at (x y)=(1 2)``, ``at means``."""
        if self.peek().text.lower() == "means" and not self.peek(1).is_("="):
            self.next()
            yield Option("at")
            return
        if self.peek().is_("("):
            names = [token for token in self._group() if token.kind == "name"]
            self._sign()
            values = list(numbers(self._group()))
            if len(names) != len(values):
                raise FormulaError("AT has other numbers of variables and of values")
            for token, value in zip(names, values, strict=True):
                yield Option("at", (token, Token("number", repr(value))))
            return
        while self.peek().kind == "name" and self.peek(1).is_("="):
            token = self.next()
            if token.text.lower() in _AFTER_AT:
                self.at -= 1
                return
            self._sign()
            yield Option("at", (token, *self._numbers()))

    def _sign(self) -> None:
        if not self.next().is_("="):
            raise FormulaError("AT takes variable=value, AT (variables)=(values), or AT MEANS")

    def _group(self) -> tuple[Token, ...]:
        """What stands in the parentheses here."""
        self.next()
        depth, first = 1, self.at
        while depth:
            token = self.next()
            if token.kind == "end":
                raise FormulaError("a '(' among the options is not closed")
            depth += token.is_("(") - token.is_(")")
        return self.tokens[first : self.at - 1]

    def _value(self) -> tuple[Token, ...]:
        token = self.peek()
        if token.is_("("):
            return self._group()
        if token.kind == "text":
            return (self.next(),)
        if token.kind == "number" or token.is_("-") or token.is_("."):
            return tuple(self._numbers())
        if token.kind != "name":
            raise FormulaError(f"an option has no value before {token.text!r}")
        return tuple(self._name())

    def _numbers(self) -> Iterator[Token]:
        """A list of numbers: ``1, 3``, ``1 to 5 by 2``."""
        while True:
            token = self.peek()
            between = token.is_(",") or token.text.lower() in {"to", "by"}
            after = self.peek(1)
            follows = after.kind == "number" or after.is_("-") or after.is_(".")
            is_number = token.kind == "number" or token.is_("-") or token.is_(".")
            if not is_number and not (between and follows):
                return
            yield self.next()

    def _name(self) -> Iterator[Token]:
        """``un@ar(1)``, ``sp(exp)(t)``, ``id(site)``, ``a*b``, ``lib.data``."""
        yield self.next()
        while True:
            token = self.peek()
            if token.is_("("):
                first = self.at
                self._group()
                yield from self.tokens[first : self.at]
            elif token.is_("*") or token.is_("@") or token.is_("."):
                yield self.next()
                yield self.next()
            else:
                return


#: Options with a sign that may follow AT.
_AFTER_AT = frozenset(
    {"adjust", "alpha", "df", "slice", "diff", "pdiff", "om", "obsmargins", "singular", "adjdfe"}
)


def numbers(tokens: Sequence[Token]) -> Iterator[float]:
    """Numbers of a list; ``a to b by c`` are all from a to b.

    Raises
    ------
    FormulaError

    Examples
    --------
    >>> from mlmfast.translation.sas.statements.text import statements
    >>> list(numbers(statements("x -1, 2 to 3 by .5;")[0].tokens))
    [-1.0, 2.0, 2.5, 3.0]
    """
    found: list[float] = []
    words: list[str] = []
    sign = 1.0
    for token in tokens:
        if token.is_("-"):
            sign = -sign
        elif token.kind == "number":
            found.append(sign * float(token.text))
            words.append("number")
            sign = 1.0
        elif token.text.lower() in {"to", "by"}:
            words.append(token.text.lower())
        elif not (token.is_(",") or token.is_("+")):
            raise FormulaError(f"{token.text!r} stands in a list of numbers")
    yield from _ranges(iter(found), words)


def _ranges(found: Iterator[float], words: Sequence[str]) -> Iterator[float]:
    k = 0
    while k < len(words):
        if words[k] != "number":
            raise FormulaError(
                f"{words[k].upper()} stands in a list of numbers without a number before and after "
                "it; a range is '1 to 5' or '1 to 5 by 2'"
            )
        first = next(found)
        if words[k + 1 : k + 3] != ["to", "number"]:
            yield first
            k += 1
            continue
        last, step = next(found), 1.0
        k += 3
        if words[k : k + 2] == ["by", "number"]:
            step = next(found)
            k += 2
        if step == 0 or not (last - first) / step <= 100_000:
            raise FormulaError(f"the list from {first:g} to {last:g} has too many numbers")
        if (last - first) / step < 0:
            raise FormulaError(f"the list from {first:g} to {last:g} by {step:g} has no numbers")
        count = int((last - first) / step + 1e-9)
        yield from (first + j * step for j in range(count + 1))
