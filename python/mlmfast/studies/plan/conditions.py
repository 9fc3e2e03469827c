"""The conditions of a study: a factorial grid, or a list of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from mlmfast.errors import DataError
from mlmfast.studies.plan.identity import Level, digest, level
from mlmfast.words import did_you_mean

#: Columns of the results beside those of the conditions.
RESERVED = (
    "replicate",
    "method",
    "estimand",
    "estimate",
    "std_error",
    "df",
    "p_value",
    "lower",
    "upper",
    "converged",
    "singular",
    "error",
    "key",
    "measure",
    "value",
    "mcse",
    "truth",
)


@dataclass(frozen=True)
class Condition:
    """One condition, named by what it holds and not by where it stands.

    A condition has the same name, and its replicates the same random streams, in whatever place and
    beside whatever others: a study that is extended keeps what it has.

    Attributes
    ----------
    values
        Value of each factor.
    name
        Sixteen hexadecimal digits made of them.

    Examples
    --------
    >>> a = Condition.of({"n": 10, "icc": 0.1})
    >>> a.name == Condition.of({"icc": 0.1, "n": 10.0}).name
    True
    """

    values: dict[str, Level]
    name: str

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Condition:
        """The condition of these values."""
        own = {key: level(value, f"condition {key!r}") for key, value in values.items()}
        return cls(own, digest(own))

    @property
    def words(self) -> tuple[int, int]:
        """The name as two words of 32 bits, of which its random streams are made."""
        number = int(self.name, 16)
        return number >> 32, number & 0xFFFFFFFF

    def __str__(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.values.items())


def read_conditions(given: Any) -> tuple[Condition, ...]:
    """Conditions of a grid, ``{"n": [10, 30], "icc": [0.1, 0.3]}``, or of a list of dicts.

    The first factor of a grid varies slowest.

    Raises
    ------
    DataError
        Where there are none, two are the same, or a list names different factors.

    Examples
    --------
    >>> [str(c) for c in read_conditions({"n": [10, 30], "icc": 0.1})]
    ['n=10, icc=0.1', 'n=30, icc=0.1']
    """
    rows = _grid(given) if isinstance(given, Mapping) else _list(given)
    if not rows or not rows[0]:
        raise DataError(
            "the study has no conditions; give a grid such as conditions={'n_groups': [10, 30]}, "
            "or a list of dicts"
        )
    _check_names(rows)
    found = tuple(Condition.of(row) for row in rows)
    seen: dict[str, int] = {}
    for position, condition in enumerate(found):
        if condition.name in seen:
            raise DataError(
                f"conditions {seen[condition.name]} and {position} are the same ({condition}); "
                "replicates of one would be those of the other"
            )
        seen[condition.name] = position
    return found


def _grid(given: Mapping[Any, Any]) -> list[dict[Any, Any]]:
    lists = {name: _values(name, values) for name, values in given.items()}
    return [dict(zip(lists, row, strict=True)) for row in product(*lists.values())]


def _values(name: Any, values: Any) -> list[Any]:
    if isinstance(values, Sequence | np.ndarray | range) and not isinstance(values, str):
        if len(values) == 0:
            raise DataError(f"conditions: {name!r} has no values")
        return list(values)
    if isinstance(values, Mapping) or (hasattr(values, "__iter__") and not isinstance(values, str)):
        raise DataError(f"conditions: {name!r} is {values!r}; give a list of its values")
    return [values]


def _list(given: Any) -> list[dict[Any, Any]]:
    if not isinstance(given, list | tuple) or not all(isinstance(row, Mapping) for row in given):
        raise DataError(
            f"conditions is {type(given).__name__}; give a dict of lists (their combinations are "
            "the conditions) or a list of dicts"
        )
    return [dict(row) for row in given]


def _check_names(rows: Sequence[Mapping[Any, Any]]) -> None:
    names = list(rows[0])
    for name in names:
        if not isinstance(name, str) or not name:
            raise DataError(f"conditions: the name {name!r} must be a text")
        if name in RESERVED:
            raise DataError(f"conditions: {name!r} is a column of the results; use another name")
    for position, row in enumerate(rows):
        extra = [name for name in row if name not in names]
        if extra:
            hint = did_you_mean(str(extra[0]), names)
            raise DataError(
                f"condition {position} has the factor {extra[0]!r}, which the first has not{hint}"
            )
        lacking = [name for name in names if name not in row]
        if lacking:
            raise DataError(f"condition {position} has no value of {lacking[0]!r}")
