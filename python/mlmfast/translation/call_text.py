"""A call as lines of Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WIDTH = 88


def call_text(function: str, formula: str, data: str, arguments: Mapping[str, Any]) -> str:
    """``function(formula, data, name=value, ...)``, on several lines where it is long.

    Examples
    --------
    >>> print(call_text("mlm.lmm", "y ~ x + (1 | g)", "d", {"method": "ML"}))
    mlm.lmm("y ~ x + (1 | g)", d, method="ML")
    """
    parts = [literal(formula), data, *(f"{k}={literal(v)}" for k, v in arguments.items())]
    line = f"{function}({', '.join(parts)})"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([f"{function}(", *(f"    {part}," for part in parts), ")"])


class Raw(str):
    """Text that is code itself."""


def literal(value: Any) -> str:
    """A value as Python writes it, text in double quotes where it holds none."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"' if '"' not in value and "\\" not in value else repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        inner = ", ".join(map(literal, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    return repr(value)
