"""Further starts, where a criterion may have several minima."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.boundary import Iterate, Settled, settle
from mlmfast.criterion import Criterion
from mlmfast.newton import NewtonResult

#: Of the further starts so many are followed, those where the criterion is lowest.
_FOLLOWED = 4


def is_better(first: NewtonResult, second: NewtonResult) -> BoolArray:
    """Row by row, whether the second iteration ended lower."""
    margin = 1e-9 * (1.0 + np.abs(first.value))
    lower = second.value < first.value - margin
    return np.asarray(second.converged & (~first.converged | lower))


def look_elsewhere(
    criterion: Criterion, found: Settled, moments: FloatArray, iterate: Iterate
) -> None:
    """Go on from other correlations where those found are vague or at an end; keep what is lower.

    Structures that are not linear in their parameters can have several minima in small data.
    ``moments`` is the first start, shape (n_fits, n_theta).
    """
    rows = np.flatnonzero(_may_have_others(criterion, found))
    if rows.size == 0:
        return
    starts = np.stack(criterion.other_starts(moments[rows], rows))
    values = np.stack([criterion.value(theta, rows) for theta in starts])
    found.newton.n_evaluations[rows] += len(starts)
    order = np.argsort(values, axis=0, kind="stable")
    for rank in range(_FOLLOWED):
        theta = starts[order[rank], np.arange(len(rows))]
        other = settle(criterion, iterate(theta, rows), iterate, rows)
        now = NewtonResult(**{k: v[rows] for k, v in vars(found.newton).items()})
        found.put(rows, other, is_better(now, other.newton))


def _may_have_others(criterion: Criterion, found: Settled) -> BoolArray:
    """Fits with a term whose parameters are vague, or not determined at a singular G."""
    out = np.zeros(len(found.theta), dtype=np.bool_)
    parts = zip(criterion.terms, criterion.theta_slices, found.singular.T, strict=True)
    for term, s, singular in parts:
        if not term.is_residual and term.has_vague_parameters:
            out |= singular | term.shared.is_vague(found.newton.curvature[:, s])
    return out
