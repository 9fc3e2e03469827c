"""The PARMS statement as ``start=``, ``hold=``, ``bounds=`` and ``grid=``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlmfast.errors import FormulaError
from mlmfast.translation.findings import Findings
from mlmfast.translation.sas.random import Term
from mlmfast.translation.sas.repeated import ResidualText
from mlmfast.translation.sas.statements.options import Option, numbers

_REFUSED = {
    "eqcons": "parameters cannot be held equal to each other",
    "pdata": "give the values as start={name: value}",
    "parmsdata": "give the values as start={name: value}",
    "ols": "values relative to the residual of least squares are not read",
    "ratios": "values relative to the residual variance are not read; multiply them",
}
_PRINTS = frozenset({"noprint", "logdetz", "noprofile"})


def parms_arguments(
    parms: tuple[list[list[float]], tuple[Option, ...]] | None,
    terms: Sequence[Term],
    residual: ResidualText,
    found: Findings,
) -> dict[str, Any]:
    """Arguments of the fit that say what a PARMS statement says."""
    if parms is None:
        return {}
    values, options = parms
    for option in options:
        if option.name in _REFUSED:
            found.lost.append(f"{option} of PARMS: {_REFUSED[option.name]}")
        elif option.name in _PRINTS:
            found.ignored.append(f"{option} of PARMS")
        elif option.name not in {"hold", "lowerb", "upperb", "noiter", "nobound"}:
            found.lost.append(f"{option} of PARMS")
    try:
        names = _names(len(values), terms, residual)
        return _arguments(names, values, {o.name: o for o in options})
    except FormulaError as error:
        found.lost.append(f"PARMS: {error}")
        return {}


def _names(count: int, terms: Sequence[Term], residual: ResidualText) -> list[str]:
    """The parameters in PROC MIXED's order."""
    unknown = [term.text for term in terms if term.parameters is None]
    if unknown or residual.parameters is None:
        what = unknown[0] if unknown else "the REPEATED statement"
        raise FormulaError(
            f"the parameters of {what} depend on the levels in the data; give values by name, "
            "start={name: value}, hold={name: value}"
        )
    names = [name for term in terms for name in term.parameters or ()]
    own = residual.parameters
    if own == "us":
        size = next((k for k in range(1, 65) if k * (k + 1) // 2 == count - len(names)), 0)
        own = tuple(f"UN({i},{j})" for i in range(1, size + 1) for j in range(1, i + 1))
    names += own
    if len(names) != count:
        raise FormulaError(
            f"it has {count} values, and the model {len(names)} covariance parameters: "
            f"{', '.join(names)}"
        )
    return names


def _arguments(
    names: Sequence[str], values: Sequence[Sequence[float]], options: dict[str, Option]
) -> dict[str, Any]:
    held = _held(names, options)
    out: dict[str, Any] = {}
    several = any(len(value) > 1 for value in values)
    if any(len(values[names.index(name)]) > 1 for name in held):
        raise FormulaError("a parameter that HOLD= holds has several values")
    free = {n: list(v) for n, v in zip(names, values, strict=True) if n not in held}
    if several:
        out["grid"] = free
    elif free:
        out["start"] = {name: value[0] for name, value in free.items()}
    if held:
        out["hold"] = {name: values[names.index(name)][0] for name in held}
    bounds = _bounds(names, options)
    if bounds:
        out["bounds"] = {name: pair for name, pair in bounds.items() if name not in held}
    return out


def _held(names: Sequence[str], options: dict[str, Option]) -> list[str]:
    if "noiter" in options:
        return list(names)
    if "hold" not in options:
        return []
    asked = [int(k) for k in numbers(options["hold"].value or ())]
    if any(not 1 <= k <= len(names) for k in asked):
        raise FormulaError(f"HOLD= names a parameter that is not one of the {len(names)}")
    return [names[k - 1] for k in asked]


def _bounds(
    names: Sequence[str], options: dict[str, Option]
) -> dict[str, tuple[float | None, float | None]]:
    sides: list[list[float | None]] = []
    for word in ("lowerb", "upperb"):
        side = _open_numbers(options[word]) if word in options else []
        sides.append([*side, *[None] * (len(names) - len(side))])
    pairs = zip(names, *sides, strict=True)
    return {n: (low, high) for n, low, high in pairs if low is not None or high is not None}


def _open_numbers(option: Option) -> list[float | None]:
    """Numbers, a full stop for none."""
    out: list[float | None] = []
    pending: list[Any] = []
    for token in option.value or ():
        if token.is_(".") or token.is_(","):
            out += numbers(pending)
            pending = []
            out += [None] if token.is_(".") else []
        else:
            pending.append(token)
    return [*out, *numbers(pending)]
