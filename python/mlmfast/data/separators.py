"""What separates the fields of a text file, and its decimal sign, by its first lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from mlmfast.errors import DataError

#: Separators by the words for them, and those that are tried.
NAMED = {"tab": "\t", "\\t": "\t", "space": r"\s+", "comma": ",", "semicolon": ";", "pipe": "|"}
_TRIED = (",", ";", "\t", "|")
_BLANKS = r"\s+"
#: Lines that are looked at.
_LINES = 200
_POINT = re.compile(r"\s*[-+]?\d*\.\d+(?:[eE][-+]?\d+)?\s*")
_COMMA = re.compile(r"\s*[-+]?\d*,\d+(?:[eE][-+]?\d+)?\s*")
_GROUPED = re.compile(
    r"\s*[-+]?\d{1,3}(?:(?:[.' ]\d{3})+,\d+|(?:,\d{3})+\.\d+|(?:,\d{3}){2,}|(?:\.\d{3}){2,})\s*"
)
#: A decimal comma before three digits, or thousands: 1,234.
_EITHER = re.compile(r"\s*[-+]?[1-9]\d{0,2},\d{3}\s*")

#: How to say which sign stands before decimals: from Python, and on the command line.
_SAY = "decimal='.' (--decimal .)"
_SAY_EITHER = f"{_SAY} or decimal=',' (--decimal ,)"


@dataclass(frozen=True)
class TextForm:
    """How a text file writes a table.

    Attributes
    ----------
    separator : one character, or a pattern of blanks
    decimal : "." or ","
    """

    separator: str = ","
    decimal: str = "."


def text_form(
    text: str, default: str = ",", separator: str | None = None, decimal: str | None = None
) -> TextForm:
    r"""The form of a table by its beginning; what is given is taken as it is.

    Parameters
    ----------
    text
        The first lines.
    default
        Separator where the lines do not tell.

    Raises
    ------
    DataError
        For a separator or decimal sign that is none, and where numbers are written in both ways.

    Examples
    --------
    >>> text_form("y;x\n1,5;2\n2,5;3\n")
    TextForm(separator=';', decimal=',')
    >>> text_form("y,x\n1.5,2\n")
    TextForm(separator=',', decimal='.')
    """
    lines = [line for line in text.splitlines()[:_LINES] if line.strip()]
    chosen = _named(separator) if separator is not None else _separator(lines, default)
    if decimal is not None and decimal not in {".", ","}:
        raise DataError(f"the decimal sign is {decimal!r}; it is '.' or ','")
    sign = decimal if decimal is not None else _decimal(lines, chosen)
    if sign == chosen:
        raise DataError(
            f"{sign!r} cannot both separate fields and stand before decimals; give the separator, "
            f"or say {_SAY}"
        )
    return TextForm(chosen, sign)


def _named(separator: str) -> str:
    found = NAMED.get(separator, separator)
    if found == " ":
        return _BLANKS
    if found != _BLANKS and (len(found) != 1 or found.isalnum() or found in "\"'\n\r."):
        raise DataError(
            f"the separator is {separator!r}; give one character such as ';', or 'tab' or 'space'"
        )
    return found


def _separator(lines: Sequence[str], default: str) -> str:
    """What cuts every line into as many fields, most of them; else the one of the file's name."""
    best, most = default, 1
    for tried in (default, *(sign for sign in _TRIED if sign != default)):
        counts = {len(row) for row in csv.reader(lines, delimiter=tried)}
        size = counts.pop() if len(counts) == 1 else 1
        if size > most:
            best, most = tried, size
    if most == 1 and not any(default in line for line in lines[:1]):
        counts = {len(line.split()) for line in lines}
        if len(counts) == 1 and counts != {1}:
            return _BLANKS
    return best


def _decimal(lines: Sequence[str], separator: str) -> str:
    """The decimal sign that the fields show."""
    rows = (
        [line.split() for line in lines]
        if separator == _BLANKS
        else list(csv.reader(lines, delimiter=separator))
    )
    fields = [field for row in rows[1:] for field in row]
    grouped = next((field for field in fields if _GROUPED.fullmatch(field)), None)
    if grouped is not None:
        raise DataError(
            f"{grouped.strip()!r} groups its digits; write numbers without signs between "
            f"thousands, or, where this is text such as an address or a version, say {_SAY}: then "
            "it is read as text"
        )
    commas = [field for field in fields if _COMMA.fullmatch(field)]
    by_comma = commas[0] if commas else None
    if by_comma is not None and separator == ",":
        # In quotes: nothing but the file's maker tells a list of codes from a decimal number.
        raise DataError(
            f"{by_comma.strip()!r} stands in quotes, as ',' cannot both separate fields and stand "
            f"before decimals; where it is text, say {_SAY}; where it is a number, write the file "
            "with ';' between fields or with decimal points"
        )
    if by_comma is not None and all(_EITHER.fullmatch(field) for field in commas):
        raise DataError(
            f"{by_comma.strip()!r} may be a decimal number or groups its digits; say which sign "
            f"stands before decimals: {_SAY_EITHER}"
        )
    by_point = next((field for field in fields if _POINT.fullmatch(field)), None)
    if by_comma is not None and by_point is not None:
        raise DataError(
            f"numbers are written in two ways, {by_point.strip()!r} and {by_comma.strip()!r}; say "
            f"which sign stands before decimals: {_SAY_EITHER}"
        )
    return "," if by_comma is not None else "."
