"""Which rows stand for a hypothesis: it matters to the degrees of freedom of Satterthwaite's F.

The F test of L beta = 0 and Kenward-Roger's do not change when the rows of L are combined; the
degrees of freedom by the method of Fai and Cornelius (1996) do. Programs differ in the rows they
take, each by its own coding of the factors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.estimable.functions import EstimableFunctions
from mlmfast.language.contrasts import Coding, deviation, treatment

_RANK_TOLERANCE = 1e-9


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
    if len(hypothesis) < 2:
        return hypothesis
    # The rows as functions of the columns of the term: W'g with g = R^-T times the row.
    over_cells = np.linalg.solve(functions.root.T, hypothesis.T).T @ functions.columns_of([term])
    over_coded = over_cells @ functions.cells[term].coded(contrasts)
    chosen = _first_independent(over_coded)
    return np.asarray(np.linalg.solve(over_coded[:, chosen], hypothesis))


def one_after_the_other(functions: EstimableFunctions, hypothesis: FloatArray) -> FloatArray:
    """Rows combined so that each is orthogonal to those after it, with leading 1s (Doolittle)."""
    if len(hypothesis) < 2:
        return hypothesis
    scaled = np.linalg.solve(functions.root.T, hypothesis.T)
    upper = np.linalg.cholesky(np.linalg.inv(scaled.T @ scaled)).T
    return np.asarray(upper / np.diag(upper)[:, None] @ hypothesis)


def _first_independent(matrix: FloatArray) -> list[int]:
    """Leftmost columns that are linearly independent, as many as there are rows."""
    chosen: list[int] = []
    basis = np.zeros((len(matrix), 0))
    for j, column in enumerate(matrix.T):
        rest = column - basis @ (basis.T @ column)
        rest = rest - basis @ (basis.T @ rest)
        size = np.linalg.norm(rest)
        if size > _RANK_TOLERANCE * np.linalg.norm(column):
            chosen.append(j)
            basis = np.column_stack([basis, rest / size])
        if len(chosen) == len(matrix):
            break
    return chosen
