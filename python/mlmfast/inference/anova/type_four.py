"""Hypotheses of type IV: contrasts between cells that occur, weighted alike.

References: SAS/STAT User's Guide, The Four Types of Estimable Functions; Milliken and Johnson
(2009) Analysis of Messy Data, chapters 10 and 14.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import combinations, product

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.errors import ModelError
from mlmfast.inference.anova.functions import EstimableFunctions

_Cell = tuple[int, ...]

#: What of a function lies outside of the estimable ones.
_TOLERANCE = 1e-8
#: Square of the part of a comparison outside of others, over its own, that is rounding.
_SPANNED = 1e-10
#: Entries of the constraints that comparisons are counted by.
_LARGEST = 2e7


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
    place = {cell: k for k, cell in enumerate(cells)}
    inside: list[FloatArray] = []
    compared = _Span(len(cells))
    for differs in _estimable_ways(functions, term):
        left = _new_directions(functions.cells[term].codes, differs, compared)
        for corners in _comparisons(functions, term, differs, place):
            if left == 0:
                break
            # What a term's own coefficients say already is not said again by other cells.
            at, weights = [place[cell] for cell in corners], np.array(list(corners.values()))
            new = compared.outside(at, weights)
            if new is None:
                continue
            rows = _estimable_rows(functions, term, corners)
            if rows:
                compared.add(new)
                left -= 1
                inside += rows
    if not inside:
        return np.zeros((0, len(functions.root)))
    lower, _ = functions.row_factors
    return np.asarray(np.linalg.solve(lower.T, np.array(inside).T).T @ functions.root)


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


def _estimable_ways(functions: EstimableFunctions, term: int) -> Iterator[tuple[int, ...]]:
    """Factors, by position, whose levels may differ in a comparison; fewer of them first.

    Where the model has a term of fewer of the factors, coefficients that are 0 there add up to 0
    over the others in every estimable function: some factor that differs must be among these.
    """
    own, order = functions.terms[term], _order(functions, term)
    below = [other.factors for other in functions.terms if other.is_contained_in(own)]
    for n_differences in range(len(order) + 1):
        for differs in combinations(range(len(order)), n_differences):
            names = {order[k] for k in differs}
            if not any(names <= factors for factors in below):
                yield differs


def _comparisons(
    functions: EstimableFunctions, term: int, differs: tuple[int, ...], own: Container[_Cell]
) -> Iterator[dict[_Cell, float]]:
    """Coefficients of the term's own cells: levels against others, the last of them first.

    Single levels of factors that do not differ; these are estimable where the model has not the
    terms without them, such as the intercept.
    """
    choices = [
        _pairs(size) if k in differs else [(level,) for level in range(size)]
        for k, size in enumerate(functions.cells[term].sizes)
    ]
    for chosen in product(*choices):
        corners = {cell: _sign(cell, chosen) for cell in product(*chosen)}
        if all(cell in own for cell in corners):
            yield corners


def _new_directions(codes: IntArray, differs: tuple[int, ...], compared: _Span) -> int:
    """Most directions outside of ``compared`` that comparisons add; -1 where it is not worked out.

    They lie among the functions of the cells that add up to 0 over each factor that differs.
    """
    n = len(codes)
    sums = [np.zeros((0, n))]
    for k in differs:
        _, group = np.unique(np.delete(codes, k, axis=1), axis=0, return_inverse=True)
        group = group.ravel()
        if (group.max() + 1.0) * n > _LARGEST:
            return -1
        sums.append((group == np.arange(group.max() + 1)[:, None]).astype(np.float64))
    constraints, found = np.vstack(sums), compared.rows
    inside = len(found) - _rank(constraints @ found.T)
    return n - _rank(constraints) - inside


def _rank(matrix: FloatArray) -> int:
    if matrix.size == 0:
        return 0
    values = np.linalg.svd(matrix, compute_uv=False)
    return int((values > _TOLERANCE * max(float(values[0]), 1.0)).sum())


def _sign(cell: _Cell, chosen: tuple[tuple[int, ...], ...]) -> float:
    """1, or -1 where an odd number of factors stand at the second level of their pair."""
    return (-1.0) ** sum(k != levels[0] for k, levels in zip(cell, chosen, strict=True))


def _pairs(size: int) -> list[tuple[int, ...]]:
    """Pairs of levels, those with the last level first."""
    return [(first, other) for other in range(size - 1, 0, -1) for first in range(other)]


def _estimable_rows(
    functions: EstimableFunctions, term: int, corners: dict[_Cell, float]
) -> list[FloatArray]:
    """The comparison as Q l, W'g = l, for each product of covariates, if estimable."""
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
        white = functions.row_factors[1]
        inside = white @ full
        if np.abs(white.T @ inside - full).max() <= _TOLERANCE * np.abs(full).max():
            # Columns have mean square 1 there; a row is of the covariate as it is.
            found.append(inside / scale)
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


class _Span:
    """Orthonormal directions over ``n`` cells, of comparisons that were taken."""

    def __init__(self, n: int) -> None:
        self._rows = np.empty((min(n, 16), n))
        self._size = 0

    @property
    def rows(self) -> FloatArray:
        """The directions, (m, n)."""
        return self._rows[: self._size]

    def add(self, row: FloatArray) -> None:
        """Take another direction."""
        if self._size == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._size] = row
        self._size += 1

    def outside(self, at: list[int], weights: FloatArray) -> FloatArray | None:
        """The direction of a comparison that is outside of all; None where there is none."""
        inside = self.rows[:, at] @ weights
        size = float(weights @ weights)
        # Of integer rows: what is outside is no smaller than one over the cells.
        if size - float(inside @ inside) <= _SPANNED * size:
            return None
        row = np.zeros(self._rows.shape[1])
        row[at] = weights
        rest = row - inside @ self.rows
        rest = rest - (self.rows @ rest) @ self.rows
        return np.asarray(rest / np.linalg.norm(rest))
