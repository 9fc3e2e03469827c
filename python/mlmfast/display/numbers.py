"""Numbers as text, with the digits a reader can use."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

#: Significant digits of the smallest number of a column.
DIGITS = 4
_MOST_DECIMALS = 6
_MOST_DIGITS = 9
# A cell with fewer significant digits than this is written in scientific notation.
_FEWEST_DIGITS = 3
_SMALLEST_P = 1e-16
_SCIENTIFIC = f"%.{DIGITS - 1}e"


def decimals_of(values: Sequence[float]) -> int:
    """Decimals that give the smallest value `DIGITS` significant digits, within reason.

    Examples
    --------
    >>> decimals_of([612.1, 35.07]), decimals_of([1e6, 1e-3]), decimals_of([0.0])
    (2, 2, 3)
    """
    return _decimals_by([_exponent(value) for value in values if value and math.isfinite(value)])


def _decimals_by(exponents: Sequence[int]) -> int:
    """`decimals_of` values with these exponents."""
    if not exponents:
        return DIGITS - 1
    wanted = min(DIGITS - 1 - min(exponents), _MOST_DECIMALS)
    return max(min(wanted, _MOST_DIGITS - 1 - max(exponents)), 0)


def common_decimals(values: Sequence[float], largest: float) -> int | None:
    """`decimals_of` values that are not negative and of a larger one beside them.

    None where one of the values would need an exponent.

    Examples
    --------
    >>> common_decimals([6.825, 1.546], 251.4), common_decimals([6.825, 1e-9], 251.4)
    (3, None)
    """
    known = [(value, _exponent(value)) for value in values if value and math.isfinite(value)]
    exponents = [exponent for _, exponent in known]
    if largest and math.isfinite(largest):
        exponents.append(_exponent(largest))
    decimals = _decimals_by(exponents)
    for value, exponent in known:
        if _is_extreme(value, exponent, decimals):
            return None
    return decimals


def needs_exponent(value: float, decimals: int) -> bool:
    """Whether a value is too small or too large to be written with so many decimals.

    Examples
    --------
    >>> needs_exponent(0.0012, 2), needs_exponent(12.0, 2), needs_exponent(0.0, 2)
    (True, False, False)
    """
    if value == 0 or not math.isfinite(value):
        return False
    return _is_extreme(value, _exponent(value), decimals)


def _is_extreme(value: float, exponent: int, decimals: int) -> bool:
    """`needs_exponent` of a finite value other than 0 with this exponent."""
    return exponent + decimals + 1 < _FEWEST_DIGITS or abs(value) >= 10.0**_MOST_DIGITS


def number(value: float, decimals: int, scientific: bool = False) -> str:
    """One number with fixed decimals or in scientific notation; empty where it is not a number.

    Examples
    --------
    >>> number(3.14159, 2), number(1.5e-7, 2, scientific=True), number(float("nan"), 2)
    ('3.14', '1.500e-07', '')
    """
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return _SCIENTIFIC % value if scientific else f"{value:.{decimals}f}"


def column(values: Sequence[float]) -> list[str]:
    """Write a column with the same decimals, extreme numbers in scientific notation.

    Examples
    --------
    >>> column([612.09, 35.072, 1e-9])
    ['612.090000', '35.072000', '1.000e-09']
    >>> column([612.09, 35.072, 0.0])
    ['612.09', '35.07', '0']
    """
    known = [_exponent(value) if value and math.isfinite(value) else None for value in values]
    decimals = _decimals_by([exponent for exponent in known if exponent is not None])
    form, out = f"%.{decimals}f", []
    for value, exponent in zip(values, known, strict=True):
        if exponent is None:
            out.append(number(value, decimals) if value else "0")
        elif _is_extreme(value, exponent, decimals):
            out.append(number(value, decimals, scientific=True))
        else:
            out.append(form % value)
    return out


def statistic(value: float) -> str:
    """Write a z, t or F value with three decimals.

    Examples
    --------
    >>> statistic(36.8384), statistic(-4.2e8)
    ('36.838', '-4.200e+08')
    """
    return number(value, 3, abs(value) >= 1e6 and math.isfinite(value))


def degrees_of_freedom(value: float) -> str:
    """Degrees of freedom, one decimal unless whole.

    Examples
    --------
    >>> degrees_of_freedom(16.9999999), degrees_of_freedom(161.237)
    ('17', '161.2')
    """
    whole = math.isfinite(value) and abs(value - round(value)) < 1e-6 * abs(value)
    return number(value, 0 if whole else 1)


def p_value(value: float) -> str:
    """Write a p-value, never as 0.

    Examples
    --------
    >>> p_value(0.04312), p_value(1.284e-11), p_value(0.0), p_value(1.0)
    ('0.0431', '1.28e-11', '<1e-16', '1.0000')
    """
    if math.isnan(value):
        return ""
    if value < _SMALLEST_P:
        return "<1e-16"
    return f"{value:.4f}" if value >= 1e-4 else f"{value:.2e}"


def correlation(value: float) -> str:
    """Write a correlation, a dash where a variance is 0.

    Examples
    --------
    >>> correlation(0.0656), correlation(-1.0), correlation(float("nan"))
    ('0.066', '-1.000', '-')
    """
    return "-" if math.isnan(value) else f"{value + 0.0:.3f}"


def count(n: int, singular: str, plural: str = "") -> str:
    r"""Write a count with its noun, not to be parted at the end of a line.

    Examples
    --------
    >>> count(1, "row"), count(2, "row"), count(0, "entry", "entries")
    ('1\xa0row', '2\xa0rows', '0\xa0entries')
    """
    return f"{n}\N{NO-BREAK SPACE}{singular if n == 1 else plural or singular + 's'}"


def printable(name: str) -> str:
    r"""Write the control characters of a name, which could move the cursor, as escapes.

    Examples
    --------
    >>> printable("größe"), printable("a\nb\x1b[31m")
    ('größe', 'a\\nb\\x1b[31m')
    """
    if name.isprintable():
        return name
    return "".join(
        c
        if c.isprintable() or c == "\N{NO-BREAK SPACE}"
        else c.encode("unicode_escape").decode("ascii")
        for c in name
    )


def is_plain(text: str) -> bool:
    r"""Whether every letter is printed as it is, one column wide.

    Examples
    --------
    >>> is_plain("a b"), is_plain("größe"), is_plain("a\tb")
    (True, False, False)
    """
    return text.isascii() and text.isprintable()


def width(text: str) -> int:
    """Columns that a text takes on a terminal.

    Examples
    --------
    >>> width("größe"), width("身長"), width("e\u0301")
    (5, 4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _exponent(value: float) -> int:
    # Of the value as it is printed: 9.9999 has the exponent of 10.00.
    return int((_SCIENTIFIC % value).partition("e")[2])
