"""The level of an interval."""

from __future__ import annotations

from numbers import Real

from mlmfast.errors import ModelError

#: Coverage below which a level is taken to be alpha.
_LOWEST = 0.5


def check_level(level: object) -> None:
    """Refuse what is no single number between 0 and 1, or one that must be meant as alpha.

    An interval that misses more often than not is no interval that anybody wants, and 0.05 is what
    alpha is elsewhere.

    Raises
    ------
    ModelError

    Examples
    --------
    >>> check_level(0.95)
    """
    if not isinstance(level, Real) or not 0 < float(level) < 1:
        raise ModelError(f"level is {level}; it must lie between 0 and 1, such as 0.95")
    if float(level) < _LOWEST:
        raise ModelError(
            f"level is {level}; it is the coverage of an interval, not alpha: give "
            f"level={1 - float(level):g} for alpha = {level}"
        )
