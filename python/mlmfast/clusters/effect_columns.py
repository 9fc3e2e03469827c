"""Columns of Z over all levels of a factor, and what rows tell of targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray, SparseArray
from mlmfast.design.design import Design
from mlmfast.design.rows import columns_at
from mlmfast.running.scipy_on_use import sparse


@dataclass(frozen=True)
class Told:
    """What the rows of a cluster tell of k targets.

    Attributes
    ----------
    variance : shape (k,)
        Variance about their conditional means of what the shared effects add, less what the rows of
        a block tell of the rest.
    shift : shape (k, p), X'V^-1 c.
    change : shape (k,), c'V^-1 e.
    """

    variance: FloatArray
    shift: FloatArray
    change: FloatArray


def effect_columns(
    design: Design, t: int, rows: IntArray, n_levels: int | None = None
) -> SparseArray:
    """Columns of Z of a term for all levels of its factor, shape (n, n_levels times effects)."""
    term = design.random[t]
    codes = design.factors[term.factor].codes[rows]
    if n_levels is None:
        n_levels = design.factors[term.factor].n_levels
    return weights_at(codes, columns_at(term.columns, rows), n_levels)


def weights_at(codes: CodeArray, values: FloatArray, n_levels: int) -> SparseArray:
    """Rows with the values (n, q) at the effects of one level each; none for a negative code.

    Examples
    --------
    >>> codes = np.array([1, -1], dtype=np.int32)
    >>> weights_at(codes, np.array([[2.0, 3.0], [4.0, 5.0]]), 2).toarray().tolist()
    [[0.0, 0.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0]]
    """
    n, q = values.shape
    met = (codes >= 0) & (codes < n_levels)
    columns = codes[met].astype(np.int64)[:, None] * q + np.arange(q)
    starts = np.concatenate([[0], np.cumsum(met * q)])
    return sparse.csr_array((values[met].ravel(), columns.ravel(), starts), shape=(n, n_levels * q))


def row_sums(a: SparseArray, b: SparseArray | FloatArray) -> FloatArray:
    """Sums by row of the products of two matrices, entry by entry, shape (n,)."""
    product = sparse.csr_array(a.multiply(b))
    return np.asarray(product @ np.ones(product.shape[1]))


def stretches(n: int, size: int) -> Iterator[slice]:
    """Slices of n rows, ``size`` each.

    Examples
    --------
    >>> list(stretches(5, 3))
    [slice(0, 3, None), slice(3, 5, None)]
    """
    for at in range(0, n, size):
        yield slice(at, min(n, at + size))
