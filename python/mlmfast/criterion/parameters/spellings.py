"""The ways to write a covariance parameter's name, all of which are read.

A standard deviation prints as ``sd_Days|Subject`` in profiles, its square as
``Var(Days) | Subject`` in tables of covariance parameters, as ``sd__Days`` in `tidy`, whose names
are broom.mixed's, and as ``UN(2,2)`` in PROC MIXED. Each is read wherever a parameter is asked for,
in either order of a correlation's two effects, and in any capitals where that leaves no doubt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mlmfast.criterion.parameters.covariance_parameter import CovarianceParameter

#: Names of the residual standard deviation and variance: that of lme4, SAS, broom.mixed.
_RESIDUAL = (
    ("sigma", 1.0),
    ("sd_Residual", 1.0),
    ("sd__Observation", 1.0),
    ("sd__Observation|Residual", 1.0),
    ("SD(Residual)", 1.0),
    ("Residual", 2.0),
    ("var_Residual", 2.0),
    ("Var(Residual)", 2.0),
)
#: A natural parameter of two levels, such as ``UN(2,1)``.
_PAIR = re.compile(r"(.*\()([^(),]+),([^(),]+)(\).*)")


class Asked(NamedTuple):
    """A parameter that a name stands for.

    Attributes
    ----------
    position
        Among all parameters.
    power
        What turns the parameter into what the name stands for: 2 where it is the variance.
    """

    position: int
    power: float


def asked_for(name: object, parameters: Sequence[CovarianceParameter]) -> Asked | None:
    """The parameter that a name stands for in any spelling; None where it is none's, or several's.

    Examples
    --------
    >>> sd = CovarianceParameter("sd_x|g", "sd", effects=("x",), group="g")
    >>> asked_for("Var(x)|g", [sd]), asked_for("sd__x", [sd]), asked_for("sd_z|g", [sd])
    (Asked(position=0, power=2.0), Asked(position=0, power=1.0), None)
    """
    if not isinstance(name, str):
        return None
    for position, parameter in enumerate(parameters):
        own = {parameter.name: 1.0, **dict(parameter.aliases)}
        if name in own:
            return Asked(position, own[name])
    known = [
        (_plain(spelling), Asked(position, power))
        for position, parameter in enumerate(parameters)
        for spelling, power in _spellings(parameter)
    ]
    plain = _plain(name)
    found = {asked for spelling, asked in known if spelling == plain}
    if not found:
        folded = plain.casefold()
        found = {asked for spelling, asked in known if spelling.casefold() == folded}
    return found.pop() if len(found) == 1 else None


def _plain(name: str) -> str:
    """A name without the blanks that carry nothing."""
    return re.sub(r"\s*([|,()])\s*", r"\1", name.strip())


def _spellings(parameter: CovarianceParameter) -> Iterator[tuple[str, float]]:
    if parameter.kind == "natural":
        yield from _of_natural(parameter.name)
    elif parameter.kind == "entry":
        yield from _of_entry(parameter.effects, parameter.group)
    elif not parameter.effects:
        yield from _RESIDUAL
    elif parameter.kind == "sd":
        yield from _of_deviation(parameter.effects[0], parameter.group)
        yield from _of_numbers(parameter.numbers * 2, 2.0, parameter.group)
    else:
        first, second = parameter.effects
        words = ("cov", "Cov") if parameter.kind == "covariance" else ("cor", "Cor", "Corr", "corr")
        for a, b in ((first, second), (second, first)):
            yield from _of_pair(words, a, b, parameter.group)
        yield from _of_numbers(parameter.numbers, 1.0, parameter.group)


def _of_natural(name: str) -> Iterator[tuple[str, float]]:
    yield name, 1.0
    pair = _PAIR.fullmatch(name)
    if pair is not None:
        head, a, b, tail = pair.groups()
        yield f"{head}{b.strip()},{a.strip()}{tail}", 1.0


def _of_numbers(numbers: Sequence[int], power: float, group: str) -> Iterator[tuple[str, float]]:
    """PROC MIXED's names, which count the effects of a RANDOM statement."""
    if numbers:
        a, b = numbers
        for pair in (f"UN({a},{b})", f"UN({b},{a})"):
            yield pair, power
            yield f"{pair}|{group}", power


def _of_deviation(effect: str, group: str) -> Iterator[tuple[str, float]]:
    for word, power in (("sd", 1.0), ("var", 2.0)):
        for own in (f"{word}_{effect}", f"{word}__{effect}"):
            yield f"{own}|{group}", power
        # `tidy` has the group in a column of its own.
        yield f"{word}__{effect}", power
    for word, power in (("SD", 1.0), ("Var", 2.0)):
        yield f"{word}({effect})|{group}", power


def _of_entry(effects: tuple[str, ...], group: str) -> Iterator[tuple[str, float]]:
    if len(effects) == 2:
        for a, b in (effects, effects[::-1]):
            yield from _of_pair(("cov", "Cov"), a, b, group)
        return
    for own in (f"var_{effects[0]}", f"var__{effects[0]}", f"Var({effects[0]})"):
        yield f"{own}|{group}", 1.0


def _of_pair(words: Sequence[str], a: str, b: str, group: str) -> Iterator[tuple[str, float]]:
    for word in words:
        yield f"{word}_{a}.{b}|{group}", 1.0
        yield f"{word}__{a}.{b}|{group}", 1.0
        yield f"{word}__{a}.{b}", 1.0
        yield f"{word}({a},{b})|{group}", 1.0
