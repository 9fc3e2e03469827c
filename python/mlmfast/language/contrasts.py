"""Contrast matrices of a factor, with the column names R gives them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mlmfast.arrays import FloatArray
from mlmfast.errors import FormulaError
from mlmfast.language.deparse import deparse
from mlmfast.language.syntax import Call, Name, Node, Number, Text, Unary, parse


@dataclass(frozen=True, eq=False)
class Coding:
    """Contrast matrix, shape (n_levels, n_columns), and what its columns add to a factor's name.

    Examples
    --------
    >>> contrast_coding("contr.sum", ("a", "b", "c"), "f").suffixes
    ('1', '2')
    """

    matrix: FloatArray
    suffixes: tuple[str, ...]


@dataclass(frozen=True)
class Contrast:
    """A contrast by name; `base` is the reference level's label, or its number from 1."""

    kind: str
    base: str | int | None = None


ContrastLike: TypeAlias = str | Contrast | ArrayLike


def treatment(levels: Sequence[str], base: int) -> Coding:
    """Differences from the level at position `base`."""
    kept = [code for code in range(len(levels)) if code != base]
    return Coding(np.eye(len(levels))[:, kept], tuple(levels[code] for code in kept))


def deviation(levels: Sequence[str]) -> Coding:
    """Deviations from the mean of the levels; the last level has -1 everywhere."""
    n = len(levels)
    return Coding(np.vstack([np.eye(n - 1), -np.ones((1, n - 1))]), _numbered(n - 1))


def helmert(levels: Sequence[str]) -> Coding:
    """Each level against the sum of those before it, unscaled as in R."""
    n = len(levels)
    row, column = np.indices((n, n - 1))
    matrix = np.where(row <= column, -1.0, np.where(row == column + 1, column + 1.0, 0.0))
    return Coding(matrix, _numbered(n - 1))


def polynomial(levels: Sequence[str]) -> Coding:
    """Orthonormal polynomials of equally spaced levels."""
    n = len(levels)
    score = np.arange(n) - (n - 1) / 2
    q, r = np.linalg.qr(np.vander(score, n, increasing=True))
    # Positive leading coefficients, whatever signs the factorisation chose.
    matrix = (q * np.sign(np.diag(r)))[:, 1:]
    suffixes = (".L", ".Q", ".C", *(f"^{degree}" for degree in range(4, n)))
    return Coding(matrix, suffixes[: n - 1])


def successive_differences(levels: Sequence[str]) -> Coding:
    """Differences between neighbouring levels (`MASS::contr.sdif`)."""
    n = len(levels)
    row, column = np.indices((n, n - 1))
    matrix = (column + 1 - np.where(row <= column, n, 0)) / n
    return Coding(matrix, tuple(f"{levels[k + 1]}-{levels[k]}" for k in range(n - 1)))


def _numbered(n: int) -> tuple[str, ...]:
    return tuple(str(k + 1) for k in range(n))


_WITHOUT_BASE: dict[str, Callable[[Sequence[str]], Coding]] = {
    "contr.sum": deviation,
    "contr.helmert": helmert,
    "contr.poly": polynomial,
    "contr.sdif": successive_differences,
}

_R_NAME = {
    "Treatment": "contr.treatment",
    "Sum": "contr.sum",
    "Helmert": "contr.helmert",
    "Poly": "contr.poly",
    "Diff": "contr.sdif",
    "contr.diff": "contr.sdif",
}

KNOWN_CONTRASTS = ("contr.treatment", "contr.SAS", *_WITHOUT_BASE)


def contrast_coding(contrast: ContrastLike, levels: Sequence[str], factor: str) -> Coding:
    """Contrast matrix of a factor.

    Parameters
    ----------
    contrast : name of a contrast such as "contr.sum", or matrix of shape (n_levels, n_columns).
    levels : levels of the factor, in order.
    factor : its name, for messages.

    Examples
    --------
    >>> contrast_coding("contr.treatment", ("a", "b"), "f").suffixes
    ('b',)
    """
    if isinstance(contrast, str):
        contrast = read_contrast(parse(contrast))
    if not isinstance(contrast, Contrast):
        return _given_coding(contrast, levels, factor)
    if contrast.kind in _WITHOUT_BASE:
        return _WITHOUT_BASE[contrast.kind](levels)
    default = len(levels) if contrast.kind == "contr.SAS" else 1
    base = default if contrast.base is None else contrast.base
    return treatment(levels, _position(base, levels, factor))


def _given_coding(contrast: ArrayLike, levels: Sequence[str], factor: str) -> Coding:
    try:
        matrix = np.asarray(contrast, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FormulaError(
            f"the contrasts of {factor!r} are neither a name nor a matrix of numbers"
        ) from error
    if matrix.ndim != 2 or len(matrix) != len(levels) or not 0 < matrix.shape[1] <= len(levels):
        raise FormulaError(
            f"the contrast matrix of {factor!r} has shape {matrix.shape}; it needs a row for each "
            f"of the {len(levels)} levels ({', '.join(levels)}) and at most as many columns"
        )
    if not np.isfinite(matrix).all():
        raise FormulaError(f"the contrast matrix of {factor!r} has entries that are not finite")
    return Coding(matrix, _numbered(matrix.shape[1]))


def _position(base: str | int, levels: Sequence[str], factor: str) -> int:
    if isinstance(base, str) and base in levels:
        return list(levels).index(base)
    if isinstance(base, int) and 1 <= base <= len(levels):
        return base - 1
    raise FormulaError(f"{base!r} is not a level of {factor!r}; its levels are {', '.join(levels)}")


def read_contrast(node: Node) -> Contrast:
    """Read a contrast as written: `contr.sum`, `Treatment("b")`, `contr.treatment(base = 2)`."""
    if isinstance(node, Name):
        return Contrast(_r_name(node.name))
    if not isinstance(node, Call):
        raise FormulaError(f"{deparse(node)} is not a contrast; known are {_listing()}")
    kind = _r_name(node.function)
    arguments = list(node.arguments)
    if node.function.startswith("contr.") and arguments and isinstance(arguments[0], Number):
        # R's first argument: the number of levels, which the data tell.
        arguments = arguments[1:]
    named = [value for keyword, value in node.keywords if keyword in {"base", "reference"}]
    values = arguments + named
    if len(named) < len(node.keywords) or len(values) > 1 or (values and kind != _BASED):
        raise FormulaError(f"{deparse(node)}: these arguments have no meaning here")
    return Contrast(kind, _base(values[0])) if values else Contrast(kind)


_BASED = "contr.treatment"


def _base(node: Node) -> str | int:
    if isinstance(node, Text):
        return node.value
    if isinstance(node, Number) and node.value == int(node.value):
        return int(node.value)
    text = deparse(node.operand) if isinstance(node, Unary) else deparse(node)
    raise FormulaError(f"{text} is not a reference level; write it in quotes, or give its number")


def _r_name(name: str) -> str:
    kind = _R_NAME.get(name, name)
    if kind in KNOWN_CONTRASTS:
        return kind
    close = difflib.get_close_matches(name, [*KNOWN_CONTRASTS, *_R_NAME], n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ";"
    raise FormulaError(f"unknown contrast {name!r}{hint} known are {_listing()}")


def _listing() -> str:
    return ", ".join(KNOWN_CONTRASTS)
