"""What an evaluation of an engine takes for a design: memory and operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import CodeArray
from mlmfast.design.design import Design

#: Bytes of the crossed engine above which the iterative engine takes over.
LARGEST_CROSSED = 6e9
#: Operations of its evaluation above which it does: about a minute, a dense factor of order 12,600.
MOST_OPERATIONS = 2e12
#: Order up to which the exact second derivatives of the criterion, which degrees of freedom need,
#: are formed by default, with dense matrices of this order: some seconds.
LARGEST_EXACT = 3_000
#: Rows up to which models with related levels are served by the dense engine.
FEW_ROWS = 300


@dataclass(frozen=True)
class CrossedSize:
    """What the crossed engine needs for a design.

    Attributes
    ----------
    order
        Rows of the matrix that is factored: random effects of all factors but the leading one.
    memory
        Bytes at the peak, degrees of freedom included.
    operations
        Floating-point operations of one evaluation.
    """

    order: int
    memory: float
    operations: float


def crossed_size(design: Design, crossing: _core.Crossing) -> CrossedSize:
    """Memory and work of the crossed engine, from the nonzeros of its factor.

    The factor and, for intervals of predictions, its inverse beside it, with the places of their
    values; where they are formed, the matrices of the exact second derivatives; the data by cell.
    """
    widest = max((len(term.columns) for term in design.random), default=0)
    n_factors = len({term.factor for term in design.random})
    cells = float(design.n_obs) * max(n_factors - 1, 1)
    values, operations = crossing.cost
    order = crossing.order
    exact = 32.0 * order**2 if order <= LARGEST_EXACT else 0.0
    memory = 20.0 * values + exact + cells * (60.0 + 16.0 * widest**2)
    return CrossedSize(order, memory, operations + 50.0 * cells)


def is_too_large(size: CrossedSize, available: float) -> bool:
    """Whether a factorisation is out of reach: more memory than there is, or many minutes.

    Examples
    --------
    >>> is_too_large(CrossedSize(5_000, 4.5e8, 1.25e11), 8e9)
    False
    """
    return size.memory > min(LARGEST_CROSSED, available) or size.operations > MOST_OPERATIONS


#: Floating-point operations of one evaluation above which a fit would take hours.
LARGEST_WORK = 2e13
#: Parts of fewer rows are worked on side by side.
_SIDE_BY_SIDE = 256


@dataclass(frozen=True)
class DenseSize:
    """What the dense engine needs for a design.

    Attributes
    ----------
    n_rows
        Rows of the largest part.
    memory
        Bytes at the peak of an evaluation with derivatives.
    operations
        Floating-point operations of one evaluation.
    """

    n_rows: int
    memory: float
    operations: float


def dense_size(design: Design, levels: Sequence[int], components: CodeArray) -> DenseSize:
    """Memory and work of the dense engine, from the numbers of rows and levels of each part."""
    n = np.bincount(components).astype(np.float64)
    slots, related = np.zeros((len(levels) + 1, len(n))), np.zeros(len(n))
    for k, f in enumerate(levels):
        factor = design.factors[f]
        q = sum(len(term.columns) for term in design.random if term.factor == f)
        part = np.empty(factor.n_levels, dtype=components.dtype)
        part[factor.codes] = components
        slots[k] = q * np.bincount(part, minlength=len(n))
        if factor.relationship is not None:
            related = np.maximum(related, slots[k])
    if design.residual is not None:
        slots[-1] = n
    widest = slots.max(axis=0)
    # V, L^-1, L^-1 Z of every level, and Z'V^-1 Z of two with what relationships make of it.
    working = 8.0 * (2.0 * n**2 + n * slots.sum(axis=0) + widest**2 + 3.0 * widest * related)
    one = float(working.max())
    side_by_side = 1.0 if n.max() >= _SIDE_BY_SIDE else 8.0
    work = n**3 + n**2 * slots.sum(axis=0) + 2.0 * widest * related**2
    memory = 8.0 * float((n**2).sum()) + one * side_by_side
    return DenseSize(int(n.max()), memory, float(work.sum()))
