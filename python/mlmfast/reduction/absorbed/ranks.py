"""Rank of the fixed and random columns beside an absorbed factor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.errors import ModelError
from mlmfast.running.scipy_on_use import sparse

#: Columns of [X Z] whose cross-products are formed.
LARGEST = 3_000
#: Square of a unit column outside those before it that counts as nothing.
_DEPENDENT = 1e-11


def rank_beside(
    design: Design, x: FloatArray, z: Sequence[tuple[FloatArray | None, GroupingFactor]]
) -> int:
    """Rank of [F X Z], F the factor's indicators: its levels, and what they leave of [X Z].

    Parameters
    ----------
    x : shape (n, k), columns of X.
    z : a column, None for a constant 1, that varies with the levels of a grouping factor, each.

    Raises
    ------
    ModelError
        For more columns of Z than matrices are formed of.
    """
    factor = design.absorbed
    assert factor is not None, "the caller looked"
    n_columns = x.shape[1] + sum(group.n_levels for _, group in z)
    if n_columns > LARGEST:
        raise ModelError(
            f"ddf='containment' needs the rank of [X Z], {n_columns:,} columns beside the levels "
            f"of {factor.name!r}, which is too large; use 'satterthwaite'"
        )
    n, rows = design.n_obs, np.arange(design.n_obs)
    within = [factor.split(column, None)[1] for column in x.T]
    parts = [sparse.csr_array(np.column_stack(within))] if within else []
    for column, group in z:
        values = np.ones(n) if column is None else column
        shape = (n, group.n_levels)
        parts.append(sparse.csr_array((values, (rows, group.codes)), shape=shape))
    whole = sparse.csr_array(sparse.hstack(parts))
    levels = sparse.csr_array((np.ones(n), (rows, factor.codes)), shape=(n, factor.n_levels))
    sums = levels.T @ whole
    counts = sparse.diags_array(1.0 / np.bincount(factor.codes))
    size = np.sqrt(np.maximum((whole.multiply(whole)).sum(axis=0), 1e-300))
    gram = (whole.T @ whole - sums.T @ counts @ sums).toarray() / np.outer(size, size)
    return factor.n_levels + _rank(gram)


def _rank(gram: FloatArray) -> int:
    """Rank of a cross-product by elimination, the largest pivot first."""
    left, rank = gram.copy(), 0
    while rank < len(left):
        diagonal = np.diag(left)
        pivot = int(diagonal.argmax())
        if diagonal[pivot] <= _DEPENDENT:
            break
        row = left[pivot] / np.sqrt(diagonal[pivot])
        left -= np.outer(row, row)
        left[pivot], left[:, pivot] = 0.0, 0.0
        rank += 1
    return rank
