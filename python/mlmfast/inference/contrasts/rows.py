"""What a user writes for a contrast, as rows over the coefficients."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.errors import ModelError
from mlmfast.inference.contrasts.coefficient_names import listed, position_of

_NUMBER = re.compile(r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"[^\s+\-*/=()]+")


@dataclass(frozen=True)
class ContrastRows:
    """Rows of linear functions of the coefficients.

    Attributes
    ----------
    L : shape (m, p)
    rhs : shape (m,), values under the hypothesis.
    names
        Labels of the rows.
    columns
        Names of the coefficients.
    """

    L: FloatArray
    rhs: FloatArray
    names: tuple[str, ...]
    columns: tuple[str, ...]


def contrast_rows(columns: tuple[str, ...], L: object, rhs: object = 0.0) -> ContrastRows:
    """Read a contrast: array, text, mapping from names to weights, or a list or dict of those.

    Parameters
    ----------
    columns : names of the coefficients.
    L, rhs : as `LMMResult.contrast` takes them.

    Raises
    ------
    ModelError
        For a name that does not exist (the nearest is suggested), a wrong length, ...

    Examples
    --------
    >>> rows = contrast_rows(("(Intercept)", "Days"), "(Intercept) + 5 * Days = 300")
    >>> rows.L.tolist(), rows.rhs.tolist()
    ([[1.0, 5.0]], [300.0])
    """
    parts = _parts(L, columns)
    if not parts:
        raise ModelError("the contrast has no rows")
    matrix = np.array([row for _, row, _ in parts]).reshape(len(parts), len(columns))
    own = np.array([value for _, _, value in parts])
    names = tuple(name if name else _label(row, columns) for name, row, _ in parts)
    return ContrastRows(matrix, own + _values(rhs, len(parts)), names, columns)


_Part = tuple[str, FloatArray, float]


def _parts(L: object, columns: tuple[str, ...]) -> list[_Part]:
    if L is None:
        raise ModelError(
            "the contrast is None; give an array of numbers, text such as 'x = 0', or a dict from "
            "names of coefficients to weights"
        )
    if isinstance(L, str):
        row, value = _Expression(L, columns).equation()
        return [(L.strip(), row, value)]
    if isinstance(L, pd.DataFrame):
        names = [str(name) for name in L.index]
        return [
            (name, _by_label(L.columns, values, columns), 0.0)
            for name, values in zip(names, L.to_numpy(), strict=True)
        ]
    if isinstance(L, pd.Series):
        return [("", _by_label(L.index, L.to_numpy(), columns), 0.0)]
    if isinstance(L, Mapping):
        if L and all(_is_weight(value) for value in L.values()):
            return [("", _by_name({str(k): v for k, v in L.items()}, columns), 0.0)]
        return [
            (str(name), row, value)
            for name, item in L.items()
            for _, row, value in [_single(item, columns, str(name))]
        ]
    if isinstance(L, Sequence) and any(isinstance(item, str | Mapping | pd.Series) for item in L):
        return [part for item in L for part in _parts(item, columns)]
    return [("", row, 0.0) for row in _matrix(L, columns)]


def _single(item: object, columns: tuple[str, ...], name: str) -> _Part:
    parts = _parts(item, columns)
    if len(parts) != 1:
        raise ModelError(f"{name!r} of the contrast has {len(parts)} rows; one is needed")
    return parts[0]


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _by_label(labels: pd.Index, values: Iterable[Any], columns: tuple[str, ...]) -> FloatArray:
    """A row with labels; those of all coefficients in their order may hold a name twice."""
    texts = tuple(map(str, labels))
    if texts == columns:
        return np.array([_number(v, name) for name, v in zip(texts, values, strict=True)])
    twice = [name for k, name in enumerate(texts) if name in texts[:k]]
    if twice:
        raise ModelError(f"the contrast has the label {twice[0]!r} twice")
    return _by_name(dict(zip(texts, values, strict=True)), columns)


def _by_name(weights: Mapping[str, Any], columns: tuple[str, ...]) -> FloatArray:
    row = np.zeros(len(columns))
    for name, weight in weights.items():
        row[position_of(name, columns)] = _number(weight, name)
    return row


def _number(weight: Any, name: str) -> float:
    try:
        return float(weight)
    except (TypeError, ValueError):
        raise ModelError(
            f"the weight of {name!r} in the contrast is {weight!r}, no number"
        ) from None


def _matrix(L: object, columns: tuple[str, ...]) -> FloatArray:
    try:
        matrix = np.atleast_2d(np.asarray(L, dtype=np.float64))
    except (TypeError, ValueError):
        raise ModelError(
            "a contrast is an array of numbers, text such as 'x = 0', or a dict from names of "
            f"coefficients to weights; this is {type(L).__name__}"
        ) from None
    if matrix.ndim != 2 or matrix.shape[1] != len(columns):
        found = "" if matrix.ndim != 2 else f"{matrix.shape[1]} columns"
        raise ModelError(
            f"the contrast has {found or f'{matrix.ndim} dimensions'}, and the model "
            f"{len(columns)} coefficients: {listed(columns)}"
        )
    return matrix


def _values(rhs: object, m: int) -> FloatArray:
    try:
        values = np.asarray(rhs, dtype=np.float64)
    except (TypeError, ValueError):
        raise ModelError(f"rhs={rhs!r} of the contrast is no number") from None
    if values.ndim > 1 or values.size not in {1, m} or not np.isfinite(values).all():
        raise ModelError(f"rhs of the contrast has shape {values.shape}; {m} finite values needed")
    return np.broadcast_to(values, m)


def _label(row: FloatArray, columns: tuple[str, ...]) -> str:
    """Write a row as a sum.

    Examples
    --------
    >>> _label(np.array([1.0, -0.5, 0.0]), ("a", "b", "c"))
    'a - 0.5*b'
    """
    out = ""
    for j in np.flatnonzero(row):
        size = abs(float(row[j]))
        sign = " - " if row[j] < 0 else " + "
        out += (sign if out else sign.strip().replace("+", "")) + (
            columns[j] if size == 1.0 else f"{size:.4g}*{columns[j]}"
        )
    return out or "0"


class _Expression:
    """``2 * a - (b + c) / 2 = 1`` over known names; values are a row and a constant."""

    def __init__(self, text: str, columns: tuple[str, ...]) -> None:
        self._text, self._columns, self._at = text, columns, 0
        self._longest_first = sorted(columns, key=len, reverse=True)

    def equation(self) -> tuple[FloatArray, float]:
        row, constant = self._sum()
        value = 0.0
        if self._take("="):
            other, value = self._sum()
            row = row - other
        self._skip()
        if self._at < len(self._text):
            raise self._error(f"{self._text[self._at :]!r} is not understood")
        if not row.any():
            raise self._error("no coefficient is left in it")
        return row, value - constant

    def _sum(self) -> tuple[FloatArray, float]:
        row, constant = self._product()
        while True:
            if self._take("+"):
                sign = 1.0
            elif self._take("-"):
                sign = -1.0
            else:
                return row, constant
            other, value = self._product()
            row, constant = row + sign * other, constant + sign * value

    def _product(self) -> tuple[FloatArray, float]:
        row, constant = self._factor()
        while True:
            if self._take("*"):
                other, value = self._factor()
                if row.any() and other.any():
                    raise self._error(
                        "it multiplies coefficients; only linear functions are tested"
                    )
                row, constant = row * value + other * constant, constant * value
            elif self._take("/"):
                other, value = self._factor()
                if other.any() or value == 0.0:
                    raise self._error("it divides by something other than a number")
                row, constant = row / value, constant / value
            else:
                return row, constant

    def _factor(self) -> tuple[FloatArray, float]:
        if self._take("-"):
            row, constant = self._factor()
            return -row, -constant
        if self._take("+"):
            return self._factor()
        name = self._name()
        if name is not None:
            row = np.zeros(len(self._columns))
            row[position_of(name, self._columns)] = 1.0
            return row, 0.0
        match = _NUMBER.match(self._text, self._at)
        if match:
            self._at = match.end()
            return np.zeros(len(self._columns)), float(match.group())
        if self._take("("):
            out = self._sum()
            if not self._take(")"):
                raise self._error("a parenthesis is not closed")
            return out
        word = _WORD.match(self._text, self._at)
        if word is None:
            raise self._error("a name or a number is missing")
        position_of(word.group().strip("`"), self._columns)
        raise self._error(f"{word.group()!r} is not understood")

    def _name(self) -> str | None:
        self._skip()
        text, at = self._text, self._at
        for name in self._longest_first:
            for spelling in (f"`{name}`", name):
                end = at + len(spelling)
                if text.startswith(spelling, at) and not _continues(text, end):
                    self._at = end
                    return name
        return None

    def _take(self, symbol: str) -> bool:
        self._skip()
        if symbol == "(" and self._name_ahead():
            return False
        if not self._text.startswith(symbol, self._at):
            return False
        self._at += len(symbol)
        return True

    def _name_ahead(self) -> bool:
        before = self._at
        found = self._name() is not None
        self._at = before
        return found

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _error(self, what: str) -> ModelError:
        return ModelError(f"the contrast {self._text!r} cannot be read: {what}")


def _continues(text: str, at: int) -> bool:
    """Whether a name goes on at a position."""
    return at < len(text) and (text[at].isalnum() or text[at] in "_.:^")
