"""When a condition has replicates enough: Monte Carlo errors that shall be reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlmfast.errors import DataError
from mlmfast.words import did_you_mean

#: Measures that may end a condition.
STOPPING = ("bias", "empirical_se", "mse", "model_se", "coverage", "power")


def read_stopping(given: Any) -> dict[str, float]:
    """Largest Monte Carlo standard errors by measure.

    Raises
    ------
    DataError

    Examples
    --------
    >>> read_stopping({"coverage": 0.005})
    {'coverage': 0.005}
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise DataError(f"stop_at is {given!r}; give a dict such as {{'coverage': 0.005}}")
    for name, value in given.items():
        if name not in STOPPING:
            hint = did_you_mean(str(name), STOPPING)
            raise DataError(
                f"stop_at: {name!r} cannot end a condition{hint} (use {', '.join(STOPPING)})"
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise DataError(f"stop_at: {name!r} is {value!r}; a positive number is needed")
    return {str(name): float(value) for name, value in given.items()}
