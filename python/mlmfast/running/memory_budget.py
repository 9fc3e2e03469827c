"""A limit on memory as people write it: ``"4GB"``."""

from __future__ import annotations

import math
import re

from mlmfast.errors import ModelError

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}B": 1000 ** (k + 1) for k, letter in enumerate("KMGT")}
_UNITS |= {f"{letter}IB": 1024 ** (k + 1) for k, letter in enumerate("KMGT")}
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.IGNORECASE)
#: Below this a process that has imported its libraries holds more already.
_LEAST = 50_000_000


def memory_budget(memory: object) -> int | None:
    """Bytes of ``"4GB"``, ``"500 MiB"`` or a number of bytes; None for no limit.

    Raises
    ------
    ModelError
        For what is no size, and for less than 50 MB.

    Examples
    --------
    >>> memory_budget("4GB"), memory_budget("1.5 GiB"), memory_budget(2e9)
    (4000000000, 1610612736, 2000000000)
    """
    if memory is None:
        return None
    found = _bytes_of(memory)
    if found is None or not math.isfinite(found):
        raise ModelError(
            f"memory is {memory!r}; give a size such as '4GB', '500MB' or '2GiB', or bytes"
        )
    if found < _LEAST:
        raise ModelError(
            f"memory is {memory!r}, {found:,.0f} bytes; less than {_LEAST / 1e6:.0f} MB serves no "
            "model"
        )
    return int(found)


def _bytes_of(memory: object) -> float | None:
    if isinstance(memory, bool):
        return None
    if isinstance(memory, int | float):
        return float(memory)
    written = _WRITTEN.fullmatch(memory) if isinstance(memory, str) else None
    if written is None or written[2].upper() not in _UNITS:
        return None
    return float(written[1]) * _UNITS[written[2].upper()]
