"""marginaleffects itself, in versions that work together."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from mlmfast.errors import MlmError
from mlmfast.running.optional import optional_package

#: The last version of marginaleffects that is known not to work with polars 2.
_BEFORE_POLARS_TWO = (0, 6, 1)


def imported(module: str) -> Any:
    """A module of marginaleffects.

    Raises
    ------
    MlmError
        Where it is not installed, or not with a polars that it works with.
    """
    user, extra = "mlmfast.marginaleffects", "marginaleffects"
    polars = optional_package("polars", extra, user)
    found = optional_package(f"marginaleffects.{module}", extra, user)
    own = version("marginaleffects")
    if _numbers(polars.__version__) >= (2,) and _numbers(own) <= _BEFORE_POLARS_TWO:
        raise MlmError(
            f"marginaleffects {own} needs polars before version 2, and {polars.__version__} is "
            "installed: its functions stop, with any package's models; run: "
            "pip install 'polars<2'"
        )
    return found


def _numbers(text: str) -> tuple[int, ...]:
    """A version as numbers, what follows them left out.

    Examples
    --------
    >>> _numbers("2.1.0"), _numbers("0.6.0rc1")
    ((2, 1, 0), (0, 6))
    """
    numbers = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
