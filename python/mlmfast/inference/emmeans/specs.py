"""What `specs` may say: "trt", ["a", "b"], "a * b", "~ a | b", "pairwise ~ a | b"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlmfast.errors import DataError, FormulaError

__all__ = ["Specs", "read_specs"]


@dataclass(frozen=True)
class Specs:
    """Variables whose means are wanted, those that split the table, and contrasts asked for.

    Examples
    --------
    >>> read_specs("pairwise ~ a * b | visit", None)
    Specs(factors=('a', 'b'), by=('visit',), contrast='pairwise')
    >>> read_specs("~ 1", None).factors
    ()
    """

    factors: tuple[str, ...]
    by: tuple[str, ...]
    contrast: str | None = None


def read_specs(specs: Any, by: Any) -> Specs:
    """Read specs and by.

    Raises
    ------
    DataError, FormulaError
        Where they are empty, name a variable twice, or are not names.
    """
    contrast = None
    if isinstance(specs, str):
        contrast, factors, inner = _parsed(specs)
    else:
        factors, inner = _names(specs, "specs"), ()
    outer = _names(by, "by") if by is not None else ()
    if inner and outer:
        raise FormulaError(f"specs {specs!r} has a '|' already, so leave out by={by!r}")
    outer = inner or outer
    if factors == ("1",):
        factors = ()
    elif not factors:
        raise DataError(
            "specs names no variable; say whose means you want, as in 'treatment' ('1' for the "
            "mean of all)"
        )
    for name in (*factors, *outer):
        if (*factors, *outer).count(name) > 1:
            raise DataError(f"{name!r} stands more than once in specs and by")
    return Specs(factors, outer, contrast)


def _parsed(specs: str) -> tuple[str | None, tuple[str, ...], tuple[str, ...]]:
    left, _, right = specs.rpartition("~")
    contrast = left.strip() or None
    if contrast and ("~" in contrast):
        raise FormulaError(f"specs {specs!r} has more than one '~'")
    factors, bar, inner = right.partition("|")
    if "|" in inner:
        raise FormulaError(f"specs {specs!r} has more than one '|'")
    if bar and not inner.strip():
        raise FormulaError(f"specs {specs!r} has nothing right of '|'")
    return contrast, _split(factors), _split(inner)


def _split(text: str) -> tuple[str, ...]:
    for operator in "*:+":
        text = text.replace(operator, "\0")
    return tuple(part.strip().strip("`") for part in text.split("\0") if part.strip())


def _names(value: Any, what: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return _split(value)
    if isinstance(value, Sequence) and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise DataError(f"{what} is {value!r}; give a name or a list of names")
