"""Contrasts as formulas write them: `contr.sum` as in R, `Treatment("b")` as in patsy."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from mlmfast.errors import FormulaError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.functions import constant
from mlmfast.formula.syntax import Call, Name, Node, Number

KNOWN_CONTRASTS = (
    "contr.treatment",
    "contr.SAS",
    "contr.sum",
    "contr.helmert",
    "contr.poly",
    "contr.sdif",
)
_LEVEL, _SCORES = "level", "scores"
# What the argument of a contrast is, and its names.
_ARGUMENT: dict[str, tuple[str, tuple[str, ...]]] = {
    "contr.treatment": (_LEVEL, ("base", "reference")),
    "Treatment": (_LEVEL, ("reference", "base")),
    "Sum": (_LEVEL, ("omit",)),
    "contr.poly": (_SCORES, ("scores",)),
    "Poly": (_SCORES, ("scores",)),
}
_R_NAME = {
    "Treatment": "contr.treatment",
    "Sum": "contr.sum",
    "Helmert": "contr.helmert",
    "Poly": "contr.poly",
    "Diff": "contr.sdif",
    "contr.diff": "contr.sdif",
}


@dataclass(frozen=True)
class Level:
    """A level as a contrast names it.

    Attributes
    ----------
    value
        Its label, or a number.
    counts_from_one
        Whether a number is R's position, from 1. Else it is a level of that value or, as in patsy,
        a position from 0 (a negative one from the end).
    """

    value: str | float
    counts_from_one: bool = False


@dataclass(frozen=True)
class Contrast:
    """A contrast by R's name.

    Attributes
    ----------
    kind
        R's name.
    level
        The reference of treatment contrasts, the level that sum contrasts omit; None for R's.
    scores
        Of the levels of polynomial contrasts; None for equal distances.
    n_levels
        What R's first argument says of the factor; None where it is left out.
    """

    kind: str
    level: Level | None = None
    scores: tuple[float, ...] | None = None
    n_levels: float | None = None


def read_contrast(node: Node) -> Contrast:
    """Read a contrast as written: `contr.sum`, `Treatment("b")`, `contr.treatment(base = 2)`.

    Examples
    --------
    >>> from mlmfast.formula.syntax import parse
    >>> read_contrast(parse("Sum(omit = 'a')")).level
    Level(value='a', counts_from_one=False)
    """
    if isinstance(node, Name):
        return Contrast(_r_name(node.name))
    if not isinstance(node, Call):
        raise FormulaError(f"{deparse(node)} is not a contrast; known are {_listing()}")
    kind, by_r = _r_name(node.function), node.function.startswith("contr.")
    arguments, n_levels = list(node.arguments), None
    if by_r and arguments and isinstance(arguments[0], Number):
        n_levels = arguments[0].value
        del arguments[0]
    role, names = _ARGUMENT.get(node.function, ("", ()))
    given = [*arguments, *(value for name, value in node.keywords if name in names)]
    unknown = [name for name, _ in node.keywords if name not in names]
    if unknown or len(given) > (1 if role else 0):
        allowed = f"takes {names[0]}=" if role else "takes no arguments"
        raise FormulaError(
            f"{deparse(node)}: these arguments have no meaning here; {node.function} {allowed}"
        )
    if not given:
        return Contrast(kind, n_levels=n_levels)
    if role == _SCORES:
        return Contrast(kind, scores=_scores(given[0], node), n_levels=n_levels)
    return Contrast(kind, _level(given[0], by_r, node), n_levels=n_levels)


def _level(node: Node, by_r: bool, call: Call) -> Level | None:
    try:
        value = constant(node, call)
    except FormulaError:
        value = ()
    if isinstance(value, bool):
        return Level("TRUE" if value else "FALSE")
    if isinstance(value, str):
        return Level(value)
    if isinstance(value, float) and (not by_r or value == int(value)):
        return Level(value, by_r)
    if value is None:
        return None
    raise FormulaError(
        f"{deparse(node)} is not a reference level; write it in quotes, or give its number"
    )


def _scores(node: Node, call: Call) -> tuple[float, ...] | None:
    value = constant(node, call)
    if value is None:
        return None
    numbers = value if isinstance(value, tuple) else (value,)
    scores = tuple(item for item in numbers if isinstance(item, float))
    if len(scores) < len(numbers) or len(set(scores)) < len(scores):
        raise FormulaError(f"{deparse(call)}: scores are different numbers, as in c(1, 2, 4)")
    return scores


def _r_name(name: str) -> str:
    kind = _R_NAME.get(name, name)
    if kind in KNOWN_CONTRASTS:
        return kind
    close = difflib.get_close_matches(name, [*KNOWN_CONTRASTS, *_R_NAME], n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ";"
    raise FormulaError(f"unknown contrast {name!r}{hint} known are {_listing()}")


def _listing() -> str:
    return ", ".join(KNOWN_CONTRASTS)
