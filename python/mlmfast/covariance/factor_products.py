"""Derivatives of L L' by elements of L."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray, IntArray


def product_jacobian(
    factor: FloatArray, elements: tuple[IntArray, IntArray], entries: tuple[IntArray, IntArray]
) -> FloatArray:
    """Derivatives of entries of L L' by elements of L, shape (n_fits, n_entries, n_elements).

    Parameters
    ----------
    factor : shape (n_fits, K, k)
    elements, entries : rows and columns

    Examples
    --------
    >>> one = np.array([0]), np.array([0])
    >>> product_jacobian(np.array([[[3.0]]]), one, one).tolist()
    [[[6.0]]]
    """
    (rows, columns), (a, b) = elements, entries
    # d(L L') / dL_ij = e_i l_j' + l_j e_i', l_j column j of L
    column = factor[:, :, columns]
    return np.asarray((a[:, None] == rows) * column[:, b] + (b[:, None] == rows) * column[:, a])


def product_curvature(weight: FloatArray, elements: tuple[IntArray, IntArray]) -> FloatArray:
    """Second derivatives of tr(S L L') by elements of L, shape (n_fits, n_elements, n_elements).

    Parameters
    ----------
    weight : S, shape (n_fits, K, K), not necessarily symmetric
    elements : rows and columns
    """
    rows, columns = elements
    symmetric = weight + weight.mT
    same_column = columns[:, None] == columns
    return np.asarray(symmetric[:, rows[:, None], rows[None, :]] * same_column)
