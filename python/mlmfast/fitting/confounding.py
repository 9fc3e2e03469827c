"""Covariance parameters that data cannot tell apart, and residual covariances that are singular."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.reduction.engines.independence import is_within
from mlmfast.reduction.reduced_model import ReducedModel

#: Share of a term's information that the residual covariance must leave for it to be told apart.
_OWN_SHARE = 1e-9
#: Share below 0 that is more than rounding.
_NO_INFORMATION = 1e-6
#: Smallest scaled eigenvalue of a Hessian that is not flat.
_FLAT = 1e-8
#: Scaled information of known means from which on V moves.
_TOLD = 1e-6


def confounded_terms(model: ReducedModel, criterion: Criterion, theta: FloatArray) -> list[int]:
    """Blocks of random effects that the residual covariance can express too.

    A term by subject, or inside subjects, whose tangent space, at the start and next to it, lies
    within that of the residual covariance (the expected information it adds given the residual's
    is 0): such as a random intercept beside ``cs`` or ``us`` on the same subject. Not where the
    residual covariance expresses it up to a bound only, as factors with specific variances do.
    """
    residual = model.design.residual
    if residual is None or residual.formula is None or not residual.structure.holds_sums:
        return []
    flat, slices = criterion.flat, criterion.entry_slices
    positions = [p for p in range(len(model.order)) if _is_in_unit(model, p)]
    # What the fixed effects take up is no affair of the residual covariance.
    positions = [p for p in positions if flat is None or not flat.holds(slices[p])]
    for moved in (0.0, 0.1):
        if positions:
            at = criterion(theta[:1] + moved, np.zeros(1, dtype=np.intp))
            if not np.isfinite(at.value[0]):
                return []
            own = [k for k, block in enumerate(criterion.terms) if block.is_residual]
            positions = [
                p for p in positions if _left(criterion, at.expected[0], p, own) < _OWN_SHARE
            ]
    return positions


def _is_in_unit(model: ReducedModel, position: int) -> bool:
    """Whether each level of the term's factor lies within one unit of the residual covariance."""
    residual = model.design.residual
    assert residual is not None
    factor = model.design.factors[model.design.random[model.order[position]].factor]
    return factor.relationship is None and is_within(factor.codes, factor.n_levels, residual.units)


def _left(criterion: Criterion, expected: FloatArray, term: int, residual: list[int]) -> float:
    """Largest share of a term's information that is not also the residual covariance's."""
    slices = criterion.theta_slices
    own = np.arange(slices[term].start, slices[term].stop)
    others = np.concatenate([np.arange(slices[k].start, slices[k].stop) for k in residual])
    scale = np.sqrt(np.maximum(np.diag(expected), 1e-300))
    scaled = expected / np.outer(scale, scale)
    across = scaled[np.ix_(others, own)]
    inner = np.linalg.pinv(scaled[np.ix_(others, others)], rcond=1e-12, hermitian=True)
    rest = np.diag(scaled[np.ix_(own, own)] - across.T @ inner @ across)
    # Second derivatives by theta that are no information tell nothing.
    return np.inf if rest.min() < -_NO_INFORMATION else float(rest.max())


def flat_directions(criterion: Criterion, theta: FloatArray) -> list[tuple[int, ...]]:
    """Blocks along which the criterion does not change at a minimum, by flat direction."""
    vectors, _ = _flat_vectors(criterion, theta)
    out = []
    for weight in (vectors**2).T:
        parts = (float(weight[s].sum()) for s in criterion.theta_slices)
        out.append(tuple(b for b, part in enumerate(parts) if part > 1e-6))
    return out


def _flat_vectors(criterion: Criterion, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Flat directions (n_theta, k) of a minimum in units of ``scale``, and that scale."""
    at = criterion(theta[:1], np.zeros(1, dtype=np.intp))
    diagonal = np.maximum(np.diag(at.expected[0]), np.abs(np.diag(at.hessian[0])))
    scale = np.sqrt(np.maximum(diagonal, 1e-12 * diagonal.max()))
    values, vectors = np.linalg.eigh(at.hessian[0] / np.outer(scale, scale))
    return np.asarray(vectors[:, np.abs(values) < _FLAT]), np.asarray(scale)


def errors_depend(criterion: Criterion, theta: FloatArray) -> bool:
    """Whether V moves along a flat direction, and the fixed effects' covariance with it.

    The restricted likelihood can be constant where V is not, as in the correlation of two visits
    beside a fixed mean for every subject. What V shows, the likelihood of known means tells.
    """
    vectors, scale = _flat_vectors(criterion, theta)
    known = replace(criterion, reml=False)(theta[:1], np.zeros(1, dtype=np.intp)).expected[0]
    told = np.einsum("ik,ij,jk->k", vectors, known / np.outer(scale, scale), vectors)
    return bool((np.abs(told) > _TOLD).any())
