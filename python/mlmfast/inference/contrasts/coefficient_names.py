"""Coefficients by name: a column `fb` and the level `b` of a factor `f` give the same one."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from mlmfast.errors import ModelError

#: Names that a message lists.
MOST_LISTED = 30


def position_of(name: str, columns: Sequence[str]) -> int:
    """Position of the coefficient of a name.

    Raises
    ------
    ModelError
        For a name that does not exist (the nearest is suggested), or that several have.

    Examples
    --------
    >>> position_of("x", ("(Intercept)", "x"))
    1
    """
    check_alone(name, columns)
    if name in columns:
        return list(columns).index(name)
    near = get_close_matches(name, columns, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ModelError(f"there is no coefficient {name!r}{hint} (there are {listed(columns)})")


def check_alone(name: str, columns: Sequence[str]) -> None:
    """Refuse a name that several coefficients have."""
    count = list(columns).count(name)
    if count > 1:
        raise ModelError(
            f"{count} coefficients are named {name!r}, as a column and a level of a factor can be; "
            "rename the column (a contrast may also be an array of numbers, in the order of params)"
        )


def check_distinct(columns: Sequence[str]) -> None:
    """Refuse names of coefficients that do not tell them apart."""
    if len(set(columns)) < len(columns):
        for name in columns:
            check_alone(name, columns)


def listed(columns: Sequence[str]) -> str:
    """Names for a message: all, or of many the first.

    Examples
    --------
    >>> listed(["a", "b"]), listed([str(k) for k in range(100)])[-22:]
    ('a, b', '28, 29, ... 100 in all')
    """
    if len(columns) <= MOST_LISTED:
        return ", ".join(columns)
    return f"{', '.join(columns[:MOST_LISTED])}, ... {len(columns):,} in all"
