"""The level of an interval."""

from __future__ import annotations

from numbers import Real

from mlmfast.errors import ModelError


def check_level(level: object) -> None:
    """Refuse what is no single number between 0 and 1.

    Raises
    ------
    ModelError

    Examples
    --------
    >>> check_level(0.95)
    """
    if not isinstance(level, Real) or not 0 < float(level) < 1:
        raise ModelError(f"level is {level}; it must lie between 0 and 1, such as 0.95")
