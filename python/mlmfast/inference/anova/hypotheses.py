"""Hypotheses of type I, II and III: for each term a matrix over the coefficients kept.

References: SAS/STAT User's Guide, The Four Types of Estimable Functions; Goodnight (1978), SAS
Technical Report R-101.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.inference.anova.functions import EstimableFunctions
from mlmfast.inference.anova.terms import TermParts

# Singular values below this, relative to the largest, are 0.
_RANK_TOLERANCE = 1e-10
# What of a column sticks out of the span of those before it, relative to its length, where nobody
# doubts that it does: no singular values are needed.
_WELL_APART = 1e-3

_Containment = Callable[[TermParts, TermParts], bool]


def type_one(functions: EstimableFunctions, term: int) -> FloatArray:
    """Hypothesis that a term adds nothing to those before it, shape (n_rows, r).

    Orthogonal, in the metric of `functions`, to the columns of the terms before.

    Examples
    --------
    >>> from mlmfast.inference.anova import functions_of_columns
    >>> one, x = np.ones(3), np.array([1.0, 2.0, 6.0])
    >>> functions = functions_of_columns([one, x], ["one", "x"], (0, 1))
    >>> hypothesis = type_one(functions, 0)
    >>> (hypothesis / hypothesis[0, 0]).round(12).tolist()
    [[1.0, 3.0]]
    """
    return _adding_to(functions, list(range(term)), term)


def type_two(
    functions: EstimableFunctions,
    term: int,
    contains: _Containment = TermParts.is_contained_in,
) -> FloatArray:
    """Hypothesis that a term adds nothing to those that do not contain it, shape (n_rows, r)."""
    others = _not_containing(functions, term, contains)
    return _adding_to(functions, others, term)


def type_three(functions: EstimableFunctions, term: int) -> FloatArray:
    """SAS's type III hypothesis of a term, shape (n_rows, r).

    Of the estimable functions that have no coefficient of the terms outside, those that are
    orthogonal to the ones of the containing terms alone. The coefficients are those of the
    indicators of all cells that occur, so contrasts play no part, and neither do cell counts.
    """
    outside = _not_containing(functions, term, TermParts.is_contained_in)
    # With W = L Q, Q of orthonormal rows, and h = L'g, what is asked of g'W is: h'Q is 0 in the
    # columns outside, and h orthogonal to all such h that are 0 in the term's own, for |h'Q| = |h|.
    # That is what the own columns of Q add to those outside.
    lower, white = functions.row_factors
    rows = _new_directions(
        white[:, functions.spanning(outside)], white[:, functions.term_of_column == term]
    )
    return np.asarray(np.linalg.solve(lower.T, rows).T @ functions.root)


def of_coefficients(functions: EstimableFunctions, term: int) -> FloatArray:
    """Hypothesis that the coefficients of a term are 0 as X is coded, shape (n_rows, r).

    What the columns of the term add to those of all other terms, containing ones too. Of full rank
    it is that of the coefficients themselves. With aliased columns it is what those of the term
    determine free of the others', whichever columns were left out.

    Examples
    --------
    >>> from mlmfast.inference.anova import functions_of_columns
    >>> one, x = np.ones(3), np.array([1.0, 2.0, 6.0])
    >>> functions = functions_of_columns([one, x], ["one", "x"], (0, 1))
    >>> hypothesis = of_coefficients(functions, 1)
    >>> (hypothesis / hypothesis[0, 1]).round(12).tolist()
    [[0.0, 1.0]]
    """
    is_own = np.array(functions.term_of_x) == term
    return _added(functions, functions.coded[:, ~is_own], functions.coded[:, is_own])


def _not_containing(functions: EstimableFunctions, term: int, contains: _Containment) -> list[int]:
    own = functions.terms[term]
    return [t for t, other in enumerate(functions.terms) if t != term and not contains(own, other)]


def _adding_to(functions: EstimableFunctions, others: list[int], term: int) -> FloatArray:
    spanning = functions.coordinates[:, functions.spanning(others)]
    return _added(functions, spanning, functions.columns_of([term]))


def _added(functions: EstimableFunctions, others: FloatArray, own: FloatArray) -> FloatArray:
    """What columns add to the span of others, both by their coordinates."""
    return np.asarray(_new_directions(others, own).T @ functions.root)


def _new_directions(others: FloatArray, own: FloatArray) -> FloatArray:
    """Orthonormal basis of what columns add to the span of others, shape (r, n_new)."""
    basis = _span(others)
    rest = own - basis @ (basis.T @ own)
    rest -= basis @ (basis.T @ rest)
    left, sizes, _ = np.linalg.svd(rest, full_matrices=False)
    largest = np.linalg.norm(own, 2) if own.size else 0.0
    return np.asarray(left[:, sizes > _RANK_TOLERANCE * largest])


def _span(columns: FloatArray) -> FloatArray:
    """Orthonormal basis of the span of columns, shape (r, rank)."""
    if columns.size == 0:
        return np.zeros((len(columns), 0))
    if columns.shape[1] <= len(columns):
        basis, upper = np.linalg.qr(columns)
        lengths = np.linalg.norm(columns, axis=0)
        if (np.abs(np.diag(upper)) > _WELL_APART * lengths).all():
            return np.asarray(basis)
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > _RANK_TOLERANCE * sizes[0]])
