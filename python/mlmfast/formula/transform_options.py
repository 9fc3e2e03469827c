"""Options and states of the transforms of a formula, as they are written and as they are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from mlmfast.arrays import FloatArray
from mlmfast.errors import FormulaError

Constant: TypeAlias = float | str | bool | tuple["Constant", ...] | None
Options: TypeAlias = dict[str, Constant]
StateValue: TypeAlias = float | bool | list[float] | list[list[float]] | list[str] | None
State: TypeAlias = dict[str, StateValue]
Transform: TypeAlias = Callable[[FloatArray, Options, State], FloatArray]

_MOST_COLUMNS = 500


def whole(value: Constant, what: str) -> int:
    """A whole number of columns.

    Raises
    ------
    FormulaError
    """
    if isinstance(value, float) and 1 <= value <= _MOST_COLUMNS and value == int(value):
        return int(value)
    raise FormulaError(f"{what} is {value!r}; it must be a whole number, 1 to {_MOST_COLUMNS}")


def numbers(value: Constant, what: str) -> list[float]:
    """One number or several.

    Raises
    ------
    FormulaError
    """
    values = value if isinstance(value, tuple) else (value,)
    found = [item for item in values if isinstance(item, float)]
    if len(found) < len(values):
        raise FormulaError(f"{what} must be numbers, as in c(1, 2)")
    return found


def numbers_in(value: StateValue) -> list[float]:
    """The numbers of a state's list."""
    assert isinstance(value, list)
    return [float(item) for item in value if isinstance(item, int | float)]


def labels_in(value: StateValue) -> tuple[str, ...]:
    """A state's list of labels."""
    assert isinstance(value, list)
    return tuple(str(item) for item in value)


def number_in(value: StateValue) -> float:
    """A state's number."""
    assert isinstance(value, float)
    return value
