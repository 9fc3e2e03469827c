"""Hypotheses of type I, II and III: for each term a matrix over the coefficients kept.

References: SAS/STAT User's Guide, The Four Types of Estimable Functions; Goodnight (1978), SAS
Technical Report R-101.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.estimable.functions import EstimableFunctions
from mlmfast.estimable.terms import TermParts

# Singular values below this, relative to the largest, are 0.
_RANK_TOLERANCE = 1e-10

_Containment = Callable[[TermParts, TermParts], bool]


def type_one(functions: EstimableFunctions, term: int) -> FloatArray:
    """Hypothesis that a term adds nothing to those before it, shape (n_rows, r).

    Orthogonal, in the metric of `functions`, to the columns of the terms before.

    Examples
    --------
    >>> from mlmfast.estimable import functions_of_columns
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
    outside = functions.columns_of(_not_containing(functions, term, TermParts.is_contained_in))
    free = _complement(outside)
    own = functions.columns_of([term]).T @ free
    containing = [
        t for t, other in enumerate(functions.terms) if functions.terms[term].is_contained_in(other)
    ]
    everything = np.vstack([own, functions.columns_of(containing).T @ free])
    size = float(np.linalg.norm(everything, 2)) if everything.size else 0.0
    of_containing = _null_space(own, size)
    chosen = _null_space((everything @ of_containing).T @ everything)
    return (free @ chosen).T @ functions.root


def of_coefficients(functions: EstimableFunctions, term: int) -> FloatArray:
    """Hypothesis that the coefficients of a term are 0 as X is coded, shape (n_rows, r).

    What the columns of the term add to those of all other terms, containing ones too. Of full rank
    it is that of the coefficients themselves. With aliased columns it is what those of the term
    determine free of the others', whichever columns were left out.

    Examples
    --------
    >>> from mlmfast.estimable import functions_of_columns
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
    return _added(functions, functions.columns_of(others), functions.columns_of([term]))


def _added(functions: EstimableFunctions, others: FloatArray, own: FloatArray) -> FloatArray:
    """What columns add to the span of others, both by their coordinates."""
    free = _complement(others)
    left, sizes, _ = np.linalg.svd(free.T @ own, full_matrices=False)
    largest = np.linalg.norm(own, 2) if own.size else 0.0
    rows = left[:, sizes > _RANK_TOLERANCE * largest]
    return np.asarray((free @ rows).T @ functions.root)


def _complement(columns: FloatArray) -> FloatArray:
    """Orthonormal basis of what is orthogonal to all columns, shape (r, n_free)."""
    return _null_space(columns.T)


def _null_space(matrix: FloatArray, scale: float | None = None) -> FloatArray:
    """Orthonormal basis of the vectors that a matrix maps to 0; `scale` is the size of 1."""
    n = matrix.shape[1]
    if matrix.size == 0:
        return np.eye(n)
    _, sizes, right = np.linalg.svd(matrix, full_matrices=True)
    largest = sizes[0] if scale is None else scale
    rank = int(np.count_nonzero(sizes > _RANK_TOLERANCE * largest))
    return right[rank:].T
