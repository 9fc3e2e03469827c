"""Residual covariances that too few subjects hold: seen by counting, before any long way there.

Let n subjects have all of k visits, 0 < n < k, whose covariances are free enough that any
combination of them may be the one without variance (`CovarianceStructure.frees_combinations`).
Some combination u'e of the k visits is then 0 for all n at once, whatever their residuals e are; no
other subject has all of these visits. As the variance of u'e goes to 0 and G is 0, log|V|
falls with n times its logarithm and nothing rises, but for REML's log|X'V^-1 X|, by as many times
as u'X has rank over these subjects: -2 log-likelihood has no bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure
from mlmfast.criterion.criterion import Criterion
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.fitting.boundary import Settled
from mlmfast.fitting.starts.stretches import residual_stretches
from mlmfast.newton.criterion import Progress
from mlmfast.newton.iteration import Leaves
from mlmfast.reduction.reduced_model import ReducedModel

#: Smallest eigenvalue of correlations that are nearly singular, and rank of what is not rounding.
_NEAR, _RANK = 1e-3, 1e-8
#: Newton decrement of an iteration that a singular covariance did not stop.
_STEEP = 0.5


def falls_by_counting(model: ReducedModel, criterion: Criterion, found: Settled, row: int) -> bool:
    """Whether a fit that stalled on a steep way falls without bound there, by counting subjects."""
    is_steep = found.newton.decrement[row] > _STEEP
    return bool(is_steep and held_by_few(model, criterion, found.theta[row]))


def leaves_to_few(model: ReducedModel, criterion: Criterion, leaves: Leaves) -> Leaves:
    """``leaves``, and steep steps on a way that falls without bound, by counting subjects."""
    if not any(_may_free(s.structure) for s in residual_stretches(criterion)):
        return leaves

    def leave(before: FloatArray, after: FloatArray, progress: Progress) -> BoolArray:
        out = leaves(before, after, progress)
        for row in np.flatnonzero(~out & (progress.decrement > _STEEP)):
            out[row] = len(held_by_few(model, criterion, after[row])) > 0
        return out

    return leave


def held_by_few(
    model: ReducedModel, criterion: Criterion, theta: FloatArray
) -> list[tuple[int, IntArray, int]]:
    """What counting proves of the covariances that are nearly singular at theta (n_theta,).

    Returns
    -------
    Arms, visits that fewer subjects have together than they are, by position, and how many have.
    """
    residual, stretches = model.design.residual, residual_stretches(criterion)
    if residual is None or not residual.visits or len(stretches) != len(residual.arms):
        return []
    if residual.points is not None or model.design.condensed is not None:
        return []
    if criterion.reml and model.design.n_absorbed:
        return []
    out = []
    for arm, stretch in enumerate(stretches):
        if _may_free(stretch.structure):
            matrix, frees = stretch.matrix(theta), stretch.structure.frees_combinations
            found = _held_by_few(model, criterion.reml, residual, arm, matrix, frees)
            out += [] if found is None else [(arm, *found)]
    return out


def _may_free(structure: CovarianceStructure) -> bool:
    """Whether two levels of the structure may have any combination without variance."""
    pairs = (pair for pair in structure.entries if pair[0] != pair[1])
    return any(structure.frees_combinations(pair) for pair in pairs)


def _held_by_few(
    model: ReducedModel,
    reml: bool,
    residual: ResidualDesign,
    arm: int,
    matrix: FloatArray,
    frees: Callable[[Sequence[int]], bool],
) -> tuple[IntArray, int] | None:
    """Visits and how many subjects have them, of one arm; None where counting proves nothing."""
    sd = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    if not np.isfinite(matrix).all() or not (sd > 0.0).all():
        return None
    values, vectors = np.linalg.eigh(matrix / np.outer(sd, sd))
    if values[0] > _NEAR:
        return None
    row_of = np.full((residual.n_units, len(sd)), -1, dtype=np.intp)
    visit = residual.positions - arm * len(sd)
    own = np.flatnonzero((visit >= 0) & (visit < len(sd)))
    row_of[residual.units[own], visit[own]] = own
    # Visits by how much of the combination is theirs: any first few of them will do.
    by_weight = np.argsort(-np.abs(vectors[:, 0]), kind="stable")
    for k in range(2, len(sd) + 1):
        if not frees(by_weight[:k].tolist()):
            break
        rows = row_of[:, by_weight[:k]]
        rows = rows[(rows >= 0).all(axis=1)]
        lost = _rank(model, residual, rows, (vectors[:, 0] / sd)[by_weight[:k]]) if reml else 0
        if lost < len(rows) < k:
            return np.sort(by_weight[:k]), len(rows)
    return None


def _rank(
    model: ReducedModel, residual: ResidualDesign, rows: IntArray, combination: FloatArray
) -> int:
    """The rank of u'X over subjects whose rows are (n, k), or no less."""
    if not rows.size:
        return 0
    x = model.design.fixed_matrix[rows]
    if residual.scale is None and model.design.weights is None:
        x = np.einsum("nkp,k->np", x, combination)
    else:
        # Each row is divided by a standard deviation of its own.
        x = x.reshape(-1, x.shape[-1])
    return min(len(rows), int(np.linalg.matrix_rank(x, tol=_RANK * np.linalg.norm(x))))
