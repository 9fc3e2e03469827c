"""A call as lines of Python."""

from __future__ import annotations

import math
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


def literal(value: Any) -> str:
    r"""A value as Python writes it, text in double quotes where nothing in it is escaped.

    Examples
    --------
    >>> print(literal("it's"), literal('a "b"'), literal("a\nb"))
    "it's" 'a "b"' 'a\nb'
    """
    if isinstance(value, str):
        is_plain = value.isprintable() and '"' not in value and "\\" not in value
        return f'"{value}"' if is_plain else repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        inner = ", ".join(map(literal, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    return repr(value)
