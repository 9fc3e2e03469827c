"""Contrast matrices of a factor, with the column names R gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mlmfast.arrays import FloatArray
from mlmfast.data.factor import number_label
from mlmfast.errors import FormulaError
from mlmfast.formula.contrast_calls import Contrast, Level, read_contrast
from mlmfast.formula.syntax import parse


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


ContrastLike: TypeAlias = str | Contrast | ArrayLike


def treatment(levels: Sequence[str], base: int) -> Coding:
    """Differences from the level at position `base`."""
    kept = [code for code in range(len(levels)) if code != base]
    return Coding(np.eye(len(levels))[:, kept], tuple(levels[code] for code in kept))


def deviation(levels: Sequence[str], omitted: int | None = None) -> Coding:
    """Deviations from the mean of the levels; one level, the last, has -1 everywhere.

    R numbers the columns; where another level is omitted they have the names of theirs.
    """
    n = len(levels)
    at = n - 1 if omitted is None else omitted
    kept = treatment(levels, at)
    matrix = kept.matrix.copy()
    matrix[at] = -1.0
    return Coding(matrix, _numbered(n - 1) if omitted is None else kept.suffixes)


def helmert(levels: Sequence[str]) -> Coding:
    """Each level against the sum of those before it, unscaled as in R."""
    n = len(levels)
    row, column = np.indices((n, n - 1))
    matrix = np.where(row <= column, -1.0, np.where(row == column + 1, column + 1.0, 0.0))
    return Coding(matrix, _numbered(n - 1))


def polynomial(levels: Sequence[str], scores: Sequence[float] | None = None) -> Coding:
    """Orthonormal polynomials of scores, by default of equally spaced levels."""
    n = len(levels)
    at = np.arange(n, dtype=np.float64) if scores is None else np.array(scores)
    at = at - at.mean()
    basis = np.full((n, 1), n**-0.5)
    for _ in range(n - 1):
        # The next power with a positive coefficient; powers themselves would lose all digits.
        column = at * basis[:, -1]
        column = column - basis @ (basis.T @ column)
        column = column - basis @ (basis.T @ column)
        basis = np.column_stack([basis, column / np.linalg.norm(column)])
    suffixes = (".L", ".Q", ".C", *(f"^{degree}" for degree in range(4, n)))
    return Coding(basis[:, 1:], suffixes[: n - 1])


def successive_differences(levels: Sequence[str]) -> Coding:
    """Differences between neighbouring levels (`MASS::contr.sdif`)."""
    n = len(levels)
    row, column = np.indices((n, n - 1))
    matrix = (column + 1 - np.where(row <= column, n, 0)) / n
    return Coding(matrix, tuple(f"{levels[k + 1]}-{levels[k]}" for k in range(n - 1)))


def _numbered(n: int) -> tuple[str, ...]:
    return tuple(str(k + 1) for k in range(n))


_PLAIN: dict[str, Callable[[Sequence[str]], Coding]] = {
    "contr.helmert": helmert,
    "contr.sdif": successive_differences,
}


def contrast_coding(
    contrast: ContrastLike, levels: Sequence[str], factor: str, *, numeric: bool = False
) -> Coding:
    """Contrast matrix of a factor.

    Parameters
    ----------
    contrast : name of a contrast such as "contr.sum", or matrix of shape (n_levels, n_columns).
    levels : levels of the factor, in order.
    factor : its name, for messages.
    numeric : whether the levels are numbers in the data.

    Examples
    --------
    >>> contrast_coding("contr.treatment", ("a", "b"), "f").suffixes
    ('b',)
    """
    if isinstance(contrast, str):
        contrast = read_contrast(parse(contrast))
    if not isinstance(contrast, Contrast):
        return _given_coding(contrast, levels, factor)
    _check_size(contrast, levels, factor)
    if contrast.kind in _PLAIN:
        return _PLAIN[contrast.kind](levels)
    if contrast.kind == "contr.poly":
        return polynomial(levels, contrast.scores)
    at = None if contrast.level is None else _position(contrast.level, levels, factor, numeric)
    if contrast.kind == "contr.sum":
        return deviation(levels, at)
    default = len(levels) - 1 if contrast.kind == "contr.SAS" else 0
    return treatment(levels, default if at is None else at)


def _check_size(contrast: Contrast, levels: Sequence[str], factor: str) -> None:
    n, listed = len(levels), _listed(levels)
    if contrast.n_levels is not None and contrast.n_levels != n:
        raise FormulaError(
            f"the first argument of {contrast.kind}, {contrast.n_levels:g}, is the number of "
            f"levels, as in R, and {factor!r} has {n} ({listed}); leave it out, and write a "
            "reference level in quotes, as in base = 'a'"
        )
    if contrast.scores is not None and len(contrast.scores) != n:
        raise FormulaError(
            f"there are {len(contrast.scores)} scores for the {n} levels of {factor!r} ({listed})"
        )


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


def _position(level: Level, levels: Sequence[str], factor: str, numeric: bool) -> int:
    """Position of a level: by its label, R's from 1, or by patsy's rules."""
    value, n = level.value, len(levels)
    if isinstance(value, str):
        if value in levels:
            return list(levels).index(value)
        raise FormulaError(
            f"{value!r} is not a level of {factor!r}; its levels are {_listed(levels)}"
        )
    label = number_label(value)
    if level.counts_from_one:
        if 1 <= value <= n:
            return int(value) - 1
        raise FormulaError(
            f"{label} is not a level of {factor!r} counted from 1, as R does; its levels are "
            f"{_listed(levels)}, which may be written in quotes"
        )
    if numeric and label in levels:
        return list(levels).index(label)
    if value != int(value) or not -n <= value < n:
        raise FormulaError(
            f"{label} is neither a level of {factor!r} nor a position from 0 to {n - 1}; its "
            f"levels are {_listed(levels)}"
        )
    at = int(value) % n
    if label in levels and levels[at] != label:
        # patsy counts here, formulaic refuses, and who wrote it may have meant the text.
        raise FormulaError(
            f"{label} of {factor!r} may be the level '{label}', which is text, or the level "
            f"'{levels[at]}' at position {label} from 0; write the level meant in quotes"
        )
    return at


def _listed(levels: Sequence[str]) -> str:
    return ", ".join(levels[:20]) + (" ..." if len(levels) > 20 else "")
