"""Averages over the grid: equal, proportional, outer, cells or flat weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.errors import ModelError
from mlmfast.fitted.row_facts import RowFacts
from mlmfast.inference.emmeans.reference_grid import ReferenceGrid

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.inference.emmeans.reference_grid import GridVariable

WEIGHTS = ("equal", "proportional", "outer", "cells", "flat")


def averaged_rows(
    fit: Fitted, grid: ReferenceGrid, kept: Sequence[str], weights: str
) -> tuple[FloatArray, FloatArray]:
    """Rows of X and offsets averaged over all variables of the grid but those kept.

    Parameters
    ----------
    fit, grid
        The fit and its grid.
    kept
        Variables that stay, in the order wanted; the first varies fastest in the result.
    weights
        "equal"; "proportional" to how often the combinations averaged over occur in the data;
        "outer", the product of how often each single level does; "cells", how often they occur
        within each combination that is kept; "flat", equal over the cells that occur.

    Returns
    -------
    L : shape (n_kept, p)
    offset : shape (n_kept,)
        NaN where no row of the data has a weight.
    """
    if weights not in WEIGHTS:
        raise ModelError(f"weights is {weights!r}; use one of {', '.join(map(repr, WEIGHTS))}")
    names = grid.names
    # Row-major order makes the last axis fastest, hence the reversal.
    kept_axes = [grid.position(name) for name in reversed(kept)]
    other_axes = [k for k in range(len(names)) if k not in kept_axes]
    order = [*kept_axes, *other_axes]
    sizes = [grid.variables[k].size for k in order]
    n_kept = int(np.prod(sizes[: len(kept_axes)], dtype=int))
    L = np.transpose(grid.L, [*order, len(names)]).reshape(n_kept, -1, grid.L.shape[-1])
    offset = np.transpose(grid.offset, order).reshape(n_kept, -1)
    share = _shares(
        fit, grid, [names[k] for k in kept_axes], [names[k] for k in other_axes], weights
    )
    return np.einsum("ka,kap->kp", share, L), np.einsum("ka,ka->k", share, offset)


def occurring(grid: ReferenceGrid, kept: Sequence[str]) -> BoolArray:
    """Whether each combination of the variables kept occurs, as far as nested factors say."""
    others = [name for name in grid.names if name not in kept]
    present = _present(grid, kept[::-1], others)
    return np.asarray(present.reshape(int(np.prod([*present.shape[: len(kept)]])), -1).any(axis=1))


def _shares(
    fit: Fitted,
    grid: ReferenceGrid,
    kept: Sequence[str],
    others: Sequence[str],
    weights: str,
) -> FloatArray:
    """Weight of each combination averaged over within each one kept, shape (n_kept, n_others)."""
    kept_sizes = [grid.variables[grid.position(name)].size for name in kept]
    other_sizes = [grid.variables[grid.position(name)].size for name in others]
    if weights == "equal":
        counts = _equal_within_nests(grid, kept, others)
    elif weights == "outer":
        counts = np.ones([*kept_sizes, *other_sizes])
        for k, name in enumerate(others):
            shape = [1] * (len(kept) + len(others))
            shape[len(kept) + k] = other_sizes[k]
            counts = counts * _counts(fit, grid, [name]).reshape(shape)
    elif weights == "proportional":
        counts = np.broadcast_to(_counts(fit, grid, others), [*kept_sizes, *other_sizes])
    else:
        counts = _counts(fit, grid, [*kept, *others])
        if weights == "flat":
            counts = (counts > 0).astype(np.float64)
    if weights != "equal":
        counts = counts * _present(grid, kept, others)
    flat = counts.reshape(int(np.prod(kept_sizes, dtype=int)), -1)
    with np.errstate(invalid="ignore"):
        return np.asarray(flat / flat.sum(axis=1, keepdims=True))


def _present(grid: ReferenceGrid, kept: Sequence[str], others: Sequence[str]) -> FloatArray:
    """1 where the combinations of nested factors occur, with the axes of `_shares`."""
    names = [*kept, *others]
    sizes = [grid.variables[grid.position(name)].size for name in names]
    if grid.present is None:
        return np.ones(sizes)
    present = np.transpose(grid.present, [grid.position(name) for name in names])
    return np.broadcast_to(present, sizes).astype(np.float64)


def _equal_within_nests(
    grid: ReferenceGrid, kept: Sequence[str], others: Sequence[str]
) -> FloatArray:
    """Equal weights; levels of a nested factor share the weight of the one that holds them."""
    names = [*kept, *others]
    weights = _present(grid, kept, others)
    nested = [name for name in others if name in grid.nests]
    done: list[int] = []
    # The innermost first: what is nested in most factors.
    for name in sorted(nested, key=lambda own: -len(grid.nests[own])):
        done.append(names.index(name))
        total = weights.sum(axis=tuple(done), keepdims=True)
        weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return weights


def _counts(fit: Fitted, grid: ReferenceGrid, names: Sequence[str]) -> FloatArray:
    """Rows of the data in each cell over some variables; covariates' values count alike."""
    variables = [grid.variables[grid.position(name)] for name in names]
    factors = [variable for variable in variables if variable.is_factor]
    counts = cell_counts(fit, grid, factors)
    if counts is None:
        fit._needs_source("an average with weights other than 'equal'")
    assert counts is not None
    shape = [variable.size if variable.is_factor else 1 for variable in variables]
    sizes = [variable.size for variable in variables]
    return np.broadcast_to(counts.reshape(shape), sizes)


def cell_counts(
    fit: Fitted, grid: ReferenceGrid, factors: Sequence[GridVariable]
) -> FloatArray | None:
    """Rows of the data in each cell over some factors, the last fastest; None if not known."""
    counts = None if fit._row_facts is None else rows_by_cell(fit._row_facts, factors)
    if counts is not None or fit._source is None or fit._source.frame is None:
        return counts
    cells = grid.codes(fit._source.frame.frame, [variable.name for variable in factors])
    n_cells = int(np.prod([variable.size for variable in factors], dtype=int))
    return np.bincount(cells[cells >= 0], minlength=n_cells).astype(np.float64)


def rows_by_cell(facts: RowFacts, variables: Sequence[GridVariable]) -> FloatArray | None:
    """Rows in each cell over some factors, the last fastest; None where it is not known."""
    if facts.cells is None:
        return None
    place = np.zeros(len(facts.cells), dtype=np.int64)
    for variable in variables:
        labels = facts.levels[variable.name][0]
        own = [variable.labels.index(x) if x in variable.labels else -1 for x in labels]
        codes = np.array(own)[facts.cells[:, facts.factors.index(variable.name)]]
        place = np.where((place < 0) | (codes < 0), -1, place * variable.size + codes)
    size = int(np.prod([variable.size for variable in variables], dtype=int))
    inside = place >= 0
    counts = np.bincount(place[inside], facts.counts[inside], minlength=size)
    return counts.astype(np.float64)
