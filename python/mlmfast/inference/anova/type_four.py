"""Hypotheses of type IV: contrasts between cells that occur, weighted alike.

References: SAS/STAT User's Guide, The Four Types of Estimable Functions; Milliken and Johnson
(2009) Analysis of Messy Data, chapters 10 and 14.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import ModelError
from mlmfast.inference.anova.functions import EstimableFunctions

_Cell = tuple[int, ...]

#: What of a function lies outside of the estimable ones, or of a row outside of the others' span.
_TOLERANCE = 1e-8


def type_four(functions: EstimableFunctions, term: int) -> FloatArray:
    """SAS's type IV hypothesis of a term, shape (n_rows, r).

    Each level of the term's factors is set against the last that it can be compared with: for every
    term that contains this one the coefficients are spread evenly over the combinations of its
    other factors that occur with both levels; an interaction likewise, over those that occur with
    all corners of a difference of differences. Without empty cells it is the type III hypothesis.
    With empty cells it may depend on the order of levels, as SAS says of its own.

    Examples
    --------
    >>> from mlmfast.inference.anova import functions_of_columns
    >>> one, x = np.ones(3), np.array([1.0, 2.0, 6.0])
    >>> functions = functions_of_columns([one, x], ["one", "x"], (0, 1))
    >>> (type_four(functions, 1).round(12) + 0.0).tolist()
    [[0.0, 1.0]]
    """
    cells = _cells(functions, term)
    kept: list[FloatArray] = []
    compared = np.zeros((0, len(cells)))
    for corners in _comparisons(functions, term):
        # What a term's own coefficients say already is not said again by other cells.
        new = _outside(np.array([corners.get(cell, 0.0) for cell in cells]), compared)
        if new is None:
            continue
        rows = _estimable_rows(functions, term, corners)
        if rows:
            compared = np.vstack([compared, new])
            kept += rows
    return np.array(kept).reshape(len(kept), len(functions.root))


def _order(functions: EstimableFunctions, term: int) -> list[str]:
    """Factors of a term in the order of the codes of its cells."""
    parts = functions.terms[term]
    found = [name for name in parts.label.split(":") if name in parts.factors]
    if len(found) != len(parts.factors):
        raise ModelError(
            f"type IV cannot tell the factors of {parts.label!r} apart; give columns plain names"
        )
    return found


def _cells(functions: EstimableFunctions, term: int) -> list[_Cell]:
    return [tuple(cell) for cell in functions.cells[term].codes.tolist()]


def _comparisons(functions: EstimableFunctions, term: int) -> Iterator[dict[_Cell, float]]:
    """Coefficients of the term's own cells: levels against others, the last of them first.

    Single levels of some of the factors come before; they are estimable where the model has not
    the terms without these factors, such as the intercept.
    """
    own = set(_cells(functions, term))
    sizes = functions.cells[term].sizes
    for n_differences in range(len(sizes) + 1):
        for differs in combinations(range(len(sizes)), n_differences):
            choices = [
                _pairs(size) if k in differs else [(level,) for level in range(size)]
                for k, size in enumerate(sizes)
            ]
            for chosen in product(*choices):
                corners = {cell: _sign(cell, chosen) for cell in product(*chosen)}
                if set(corners) <= own:
                    yield corners


def _sign(cell: _Cell, chosen: tuple[tuple[int, ...], ...]) -> float:
    """1, or -1 where an odd number of factors stand at the second level of their pair."""
    return (-1.0) ** sum(k != levels[0] for k, levels in zip(cell, chosen, strict=True))


def _pairs(size: int) -> list[tuple[int, ...]]:
    """Pairs of levels, those with the last level first."""
    return [(first, other) for other in range(size - 1, 0, -1) for first in range(other)]


def _estimable_rows(
    functions: EstimableFunctions, term: int, corners: dict[_Cell, float]
) -> list[FloatArray]:
    """The comparison over the coefficients kept, for each product of covariates, if estimable."""
    own = functions.terms[term]
    parts = [(term, dict(corners))]
    for other, kind in enumerate(functions.terms):
        if own.is_contained_in(kind):
            spread = _spread(functions, term, other, corners)
            if not spread:
                return []
            parts.append((other, spread))
    found = []
    for k, scale in enumerate(functions.cells[term].scales.tolist()):
        full = np.zeros(functions.coordinates.shape[1])
        for t, weights in parts:
            columns = np.flatnonzero(functions.term_of_column == t)
            cells = _cells(functions, t)
            block = columns[k * len(cells) : (k + 1) * len(cells)]
            full[block] = [weights.get(cell, 0.0) for cell in cells]
        # With W = L Q, Q of orthonormal rows: l in their span, g with W'g = l, g'R as kept.
        lower, white = functions.row_factors
        inside = white @ full
        if np.abs(white.T @ inside - full).max() <= _TOLERANCE * np.abs(full).max():
            # Columns have mean square 1 there; a row is of the covariate as it is.
            found.append(np.linalg.solve(lower.T, inside) @ functions.root / scale)
    return found


def _spread(
    functions: EstimableFunctions, term: int, other: int, corners: dict[_Cell, float]
) -> dict[_Cell, float]:
    """Coefficients of a containing term: evenly over what occurs with all corners."""
    own, names = _order(functions, term), _order(functions, other)
    at = [names.index(name) for name in own]
    rest = [k for k in range(len(names)) if k not in at]
    by_corner: dict[_Cell, set[_Cell]] = {corner: set() for corner in corners}
    for cell in _cells(functions, other):
        corner = tuple(cell[k] for k in at)
        if corner in by_corner:
            by_corner[corner].add(tuple(cell[k] for k in rest))
    common = set.intersection(*by_corner.values())
    out = {}
    for corner, weight in corners.items():
        for more in common:
            levels = dict(zip([*at, *rest], [*corner, *more], strict=True))
            out[tuple(levels[k] for k in range(len(names)))] = weight / len(common)
    return out


def _outside(row: FloatArray, basis: FloatArray) -> FloatArray | None:
    """The direction of a row outside of the span of orthonormal ones; None where there is none."""
    rest = row - (row @ basis.T) @ basis
    rest = rest - (rest @ basis.T) @ basis
    size = float(np.linalg.norm(rest))
    return rest / size if size > _TOLERANCE * float(np.linalg.norm(row)) else None
