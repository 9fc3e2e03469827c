"""Which rows stand for a hypothesis: it matters to the degrees of freedom of Satterthwaite's F.

The F test of L beta = 0 and Kenward-Roger's do not change when the rows of L are combined; the
degrees of freedom by the method of Fai and Cornelius (1996) do. Programs differ in the rows they
take, each by its own coding of the factors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.columns.contrasts import Coding, deviation, treatment
from mlmfast.inference.anova.functions import EstimableFunctions

# What of a coefficient lies outside the rows chosen, below which it is rounding.
_RANK_TOLERANCE = 1e-7


def from_first_level(levels: Sequence[str]) -> Coding:
    """Differences from the first level: the rows of lmerTest."""
    return treatment(levels, 0)


def from_last_level(levels: Sequence[str]) -> Coding:
    """Differences from the last level: the rows of PROC MIXED."""
    return treatment(levels, len(levels) - 1)


def from_mean(levels: Sequence[str]) -> Coding:
    """Differences from the mean, without the last: the rows of mmrm's type III."""
    return deviation(levels)


def in_coding(
    functions: EstimableFunctions,
    term: int,
    hypothesis: FloatArray,
    contrasts: Callable[[Sequence[str]], Coding],
) -> FloatArray:
    """Rows of a hypothesis that are each one coefficient of a term under some coding.

    Parameters
    ----------
    functions, term
        The design, and the position of the term.
    hypothesis : shape (n_rows, r)
        Rows over the coefficients kept.
    contrasts
        Coding of each factor that the term codes by contrasts.

    Returns
    -------
    The same hypothesis; where cells are missing, by the first coefficients that are independent.
    """
    cells = functions.cells[term]
    coded = _over_cells(functions, term, hypothesis) @ cells.coded(contrasts)
    n_columns = coded.shape[1] // len(cells.scales)
    return by_coefficients(hypothesis, coded, np.repeat(cells.scales, n_columns))


def orthonormal_over_cells(
    functions: EstimableFunctions, term: int, hypothesis: FloatArray
) -> FloatArray:
    """Rows of a hypothesis whose coefficients of a term's cells are orthonormal.

    No level is set apart, so that degrees of freedom depend on no order either: other orthonormal
    rows differ by a rotation, which the eigenvectors of L Phi L' undo.
    """
    if len(hypothesis) < 2:
        return hypothesis
    left, sizes, _ = np.linalg.svd(_over_cells(functions, term, hypothesis), full_matrices=False)
    if sizes[-1] <= _RANK_TOLERANCE * sizes[0]:
        # Coefficients as coded may be of cells of other terms too.
        everything = np.linalg.solve(functions.root.T, hypothesis.T).T @ functions.coordinates
        left, sizes, _ = np.linalg.svd(everything, full_matrices=False)
    return np.asarray((left / sizes).T @ hypothesis)


def by_coefficients(
    hypothesis: FloatArray, coefficients: FloatArray, units: FloatArray
) -> FloatArray:
    """Rows of a hypothesis that have 1 at one coefficient each, and 0 at the others chosen.

    Parameters
    ----------
    hypothesis : shape (n_rows, r)
    coefficients : shape (n_rows, d)
        What each row has at the coefficients that may be chosen, of rank n_rows.
    units : shape (d,)
        What 1 is of each coefficient.

    Returns
    -------
    The same hypothesis, by the first coefficients that are independent.
    """
    if len(hypothesis) == 0:
        return hypothesis
    # Orthonormal combinations tell a coefficient that no row has from one that rounding left.
    left, sizes, right = np.linalg.svd(coefficients, full_matrices=False)
    combined = (left / sizes).T @ hypothesis
    chosen = first_independent(right)
    return np.asarray(np.linalg.solve(right[:, chosen] * units[chosen], combined))


def one_after_the_other(functions: EstimableFunctions, hypothesis: FloatArray) -> FloatArray:
    """Rows combined so that each is orthogonal to those after it, with leading 1s (Doolittle)."""
    if len(hypothesis) < 2:
        return hypothesis
    scaled = np.linalg.solve(functions.root.T, hypothesis.T)
    upper = np.linalg.cholesky(np.linalg.inv(scaled.T @ scaled)).T
    return np.asarray(upper / np.diag(upper)[:, None] @ hypothesis)


def span_the_same(functions: EstimableFunctions, first: FloatArray, second: FloatArray) -> bool:
    """Whether two matrices of rows stand for one hypothesis.

    Then they should have the same rows, for the sake of the degrees of freedom.
    """
    if first.shape != second.shape:
        return False
    one, other = (
        np.linalg.qr(np.linalg.solve(functions.root.T, rows.T))[0] for rows in (first, second)
    )
    return bool(np.abs(one - other @ (other.T @ one)).max(initial=0.0) < _RANK_TOLERANCE)


def _over_cells(functions: EstimableFunctions, term: int, hypothesis: FloatArray) -> FloatArray:
    """The rows as functions of the columns of a term: W'g with g = R^-T times the row."""
    return np.asarray(
        np.linalg.solve(functions.root.T, hypothesis.T).T @ functions.columns_of([term])
    )


def first_independent(rows: FloatArray) -> list[int]:
    """Leftmost columns of orthonormal rows that are linearly independent, one for each row."""
    chosen: list[int] = []
    basis = np.zeros((len(rows), 0))
    least = _RANK_TOLERANCE * np.linalg.norm(rows, axis=0).max(initial=0.0)
    for j, column in enumerate(rows.T):
        rest = column - basis @ (basis.T @ column)
        rest = rest - basis @ (basis.T @ rest)
        size = np.linalg.norm(rest)
        if size > least:
            chosen.append(j)
            basis = np.column_stack([basis, rest / size])
        if len(chosen) == len(rows):
            break
    return chosen
