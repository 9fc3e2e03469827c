"""The covariances that stand for all those among which the data do not choose.

A fit ends anywhere along a flat direction. What is reported is the point nearest to 0, effects in
units of their columns: covariances of levels that never meet are 0, and so is the variance of an
effect that the fixed effects take up, which leaves these the inference of least squares. Where that
point is no covariance matrix the fit stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.factor_analytic.loadings import Loadings
from mlmfast.covariance.structures.linear import Linear
from mlmfast.criterion.arms import residual_arms
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.parameters.natural import covariance_parameters
from mlmfast.criterion.parameters.random_effects import entry_map
from mlmfast.errors import ModelError
from mlmfast.fitting.boundary import ZERO, rounded_to_boundary
from mlmfast.fitting.undetermined.along_series import n_effect_entries
from mlmfast.fitting.undetermined.held_residual import at_independence, held_there
from mlmfast.fitting.undetermined.lifted_variances import with_lifted_variances
from mlmfast.fitting.undetermined.search import with_flat_residual
from mlmfast.reduction.blocks import TermBlock, structure_of
from mlmfast.reduction.reduced_model import ReducedModel

if TYPE_CHECKING:
    from mlmfast.fitting.covariance_fit import CovarianceFit

#: Change of -2 log-likelihood along a flat direction, which is rounding.
_SAME = 1e-7
#: The same between a covariance that is singular, whose value is rounded, and one that is not.
_SAME_AT_END = 1e-4
#: Negative eigenvalue of a covariance matrix, over the largest, that is rounding.
_ROUNDING = 1e-12


def without_flat_values(model: ReducedModel, found: CovarianceFit) -> CovarianceFit:
    """The fit with covariances that the data do not tell at 0, where they can be."""
    if found.criterion.flat is None and (model.profiled or model.iterative is not None):
        # Without a residual covariance `with_flat_effects` has looked at all there is.
        return found
    theta, singular = found.theta.copy(), found.singular.copy()
    known = first = found.criterion if found.criterion.flat is not None else None
    # A response that is constant, or missing, has no values to move.
    for row in np.flatnonzero(np.asarray(found.criterion.reduction.y_scale) > 0.0).tolist():
        if found.criterion.reml and row not in found.without_bound:
            found = _lifted(model, found, theta, row)
        criterion = _told_of(model, found, row)
        if criterion.flat is None:
            continue
        ended = float(found.newton.value[row])
        for move in (_nearest_effects, _without_covariance):
            moved = move(model, criterion, theta[row])
            if _is_same(moved, theta[row], criterion, row, ended):
                # A correlation that no data tell may have ended at 1.
                now = rounded_to_boundary(criterion, moved[None], ZERO)[1][0]
                for k, s in enumerate(criterion.theta_slices):
                    if not np.array_equal(moved[s], theta[row, s]):
                        singular[row, k] = now[k]
                theta[row] = moved
        moved = at_independence(criterion, theta[row], row)
        if _is_same(moved, theta[row], criterion, row, ended):
            criterion = held_there(criterion, found.theta[row])
            theta[row] = moved
        if known is first:
            # What is told is the same for every response.
            known = criterion
    if known is None:
        return found
    through = found.criterion.through_v
    if through is not None:
        # Fits that are evaluated through V are told the same.
        through = replace(through, criterion=replace(through.criterion, flat=known.flat))
    known = replace(known, through_v=through)
    return replace(found, criterion=known, theta=theta, singular=singular)


def _lifted(
    model: ReducedModel, found: CovarianceFit, theta: FloatArray, row: int
) -> CovarianceFit:
    """The fit without a singular residual covariance that is one for want of data alone.

    The row of ``theta`` becomes another of the same likelihood.
    """
    criterion, fits = found.criterion, np.array([row])
    for moved in with_lifted_variances(criterion, theta[row]):
        value = criterion.value(moved[None], fits)[0]
        if abs(value - found.newton.value[row]) < _SAME_AT_END:
            break
    else:
        return found
    told = with_flat_residual(model, criterion, 0.0, moved[None], row)
    if told.flat is None:
        return found
    theta[row] = found.theta[row] = moved
    left = tuple(k for k in found.singular_residual if k != row)
    return replace(found, singular_residual=left, criterion=_by_itself(criterion, row))


def _by_itself(criterion: Criterion, row: int) -> Criterion:
    """The criterion that evaluates a fit as any other, not through V."""
    through = criterion.through_v
    if through is None or row not in through.places:
        return criterion
    places = {fit: place for fit, place in through.places.items() if fit != row}
    return replace(criterion, through_v=replace(through, places=places) if places else None)


def _told_of(model: ReducedModel, found: CovarianceFit, row: int) -> Criterion:
    """The criterion, told what the data do not tell of the residual of one response."""
    ended = row in found.singular_residual or row in found.without_bound
    if ended or not found.newton.converged[row]:
        return found.criterion
    curvature = float(found.newton.min_eigenvalue[row])
    told = with_flat_residual(model, found.criterion, curvature, found.theta[[row]], row)
    if not found.confounded or told.flat is None:
        return told
    # Terms that are held take no part: what is told of the residual beside them.
    return replace(told, flat=told.flat.without(n_effect_entries(told)))


def _is_same(
    moved: FloatArray | None, theta: FloatArray, criterion: Criterion, fit: int, ended: float
) -> TypeGuard[FloatArray]:
    """Whether there is a point ``moved`` of the same likelihood.

    ``ended`` is that with which the iteration ended, whose last step is not looked at: along what
    is not told it may have led to where R is no covariance.
    """
    if moved is None:
        return False
    here, there = (criterion.value(t[None], np.array([fit]))[0] for t in (theta, moved))
    return bool(abs(there - (here if np.isfinite(here) else ended)) < _SAME)


def _nearest_effects(
    model: ReducedModel, criterion: Criterion, theta: FloatArray
) -> FloatArray | None:
    """theta (n_theta,) with G moved along the flat directions towards 0; None where it stays."""
    for loadings in (True, False):
        moved = _moved_along(model, criterion, theta, _within_entries(criterion, loadings))
        if moved is not None:
            return moved
    return None


def _moved_along(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, flat: FloatArray
) -> FloatArray | None:
    """`_nearest_effects` along some directions; None where that is no member of a structure."""
    if not flat.shape[1]:
        return None
    terms = [(t, s) for t, s in zip(criterion.terms, criterion.theta_slices, strict=True)
             if not t.is_residual]  # fmt: skip
    matrices = [term.matrix(theta[None, s])[0] for term, s in terms]
    entries = np.concatenate([_entries(m, t) for m, (t, _) in zip(matrices, terms, strict=True)])
    weights = [_weights(model, position, term) for position, (term, _) in enumerate(terms)]
    ends = np.cumsum([0, *(len(weight) for weight in weights)])
    stretches = [slice(int(a), int(b)) for a, b in pairwise(ends)]
    along = np.concatenate([w @ flat[e] for w, e in zip(weights, stretches, strict=True)])
    sizes = np.concatenate([w @ entries[e] for w, e in zip(weights, stretches, strict=True)])
    moved = entries - flat @ np.linalg.lstsq(along, sizes, rcond=None)[0]
    out = theta.copy()
    for (term, s), e, before in zip(terms, stretches, matrices, strict=True):
        if np.allclose(moved[e], entries[e], rtol=0.0, atol=1e-14 * max(np.abs(before).max(), 1.0)):
            continue
        after = _matrix(moved[e], term)
        values, vectors = np.linalg.eigh(after)
        if values[0] < -_ROUNDING * max(values[-1], np.abs(before).max()):
            return None
        kept = np.where(values > _ROUNDING * np.abs(before).max(), values, 0.0)
        after = (vectors * kept) @ vectors.T
        out[s] = term.at_boundary(term.theta(after[None]), ZERO)[0][0]
        if not np.allclose(term.matrix(out[None, s])[0], after, rtol=1e-9, atol=1e-12):
            return None
    return None if np.array_equal(out, theta) else out


def _within_entries(criterion: Criterion, loadings: bool) -> FloatArray:
    """Flat directions of G that stay within each term's structure.

    With ``loadings`` those of entries that are sums of products of loadings too: these stay within
    where all that belongs to a level is flat.
    """
    assert criterion.flat is not None, "the caller looked"
    flat = criterion.flat.of_effects
    stays = np.ones(flat.shape[1], dtype=np.bool_)
    for term, e in zip(criterion.terms, criterion.entry_slices, strict=True):
        if term.is_residual or (loadings and isinstance(term.shared, Loadings)):
            continue
        if not (term.shared.natural_entries or criterion.flat.holds(e)):
            stays &= (flat[e] == 0.0).all(axis=0)
    return np.asarray(flat[:, stays])


def _weights(model: ReducedModel, position: int, term: TermBlock) -> FloatArray:
    """Map of a term's entries to effects in units of their columns, pairs counted twice."""
    k = model.effects_map(position)
    rows, columns = np.array(term.shared.entries, dtype=np.intp).T
    inverse = np.linalg.inv(k)
    size = np.sqrt((inverse**2).sum(axis=0))
    twice = np.where(rows == columns, 1.0, np.sqrt(2.0))
    return np.asarray((size[rows] * size[columns] * twice)[:, None] * entry_map(k, term.shared))


def _without_covariance(
    model: ReducedModel, criterion: Criterion, theta: FloatArray
) -> FloatArray | None:
    """theta (n_theta,) with common covariances at 0 that fixed effects take up.

    Such as that of `cs`, of rows whose mean is a fixed effect; and coefficients of known matrices
    where these add up to no covariance, at which nothing can be said of fixed effects.
    """
    if not criterion.reml:
        return None
    out = theta.copy()
    for first, kinds, structure, s in _structured(model, criterion, theta):
        natural = structure.natural(theta[None, s])
        assert criterion.flat is not None, "the caller looked"
        to_zero = {"covariance"} if _is_covariance(structure, theta[s]) else {"covariance", "other"}
        for p, kind in enumerate(kinds):
            if kind in to_zero and criterion.flat.among(first[:, [p]]).size:
                natural[0, p] = 0.0
        try:
            out[s] = structure.from_natural(natural)[0]
        except ModelError:
            return None
    return out


def _is_covariance(structure: CovarianceStructure, theta: FloatArray) -> bool:
    """Whether a point (n_theta,) is one of the structure, as it is but for sums of matrices."""
    if not isinstance(structure, Linear):
        return True
    return bool(np.linalg.eigvalsh(structure.matrix(theta[None])[0])[0] > 0.0)


def _structured(
    model: ReducedModel, criterion: Criterion, theta: FloatArray
) -> Iterator[tuple[FloatArray, tuple[str, ...], CovarianceStructure, slice]]:
    """Structures with natural parameters of their own: derivatives of all coordinates by these."""
    singular = (False,) * len(criterion.terms)
    # Units of any response do, but for a constant one.
    fit = int(np.argmax(criterion.reduction.y_scale))
    blocks = covariance_parameters(model, criterion, theta[None], singular, 1.0, fit).blocks
    parts = zip(criterion.terms, criterion.theta_slices, strict=True)
    own = [(structure_of(t), s) for t, s in parts if not t.is_residual]
    own += [(arm.structure, arm.theta) for arm in residual_arms(criterion)]
    if len(blocks) != len(own) + model.profiled:
        return
    at, n = 0, sum(len(block.first) for block in blocks)
    for block, (structure, s) in zip(blocks, own, strict=False):
        first = np.zeros((n, block.first.shape[1]))
        first[at : at + len(block.first)] = block.first
        at += len(block.first)
        if first.shape[1] == structure.n_theta and not structure.natural_entries:
            yield first, block.kinds, structure, s


def _entries(matrix: FloatArray, term: TermBlock) -> FloatArray:
    return np.array([matrix[a, b] for a, b in term.shared.entries])


def _matrix(entries: FloatArray, term: TermBlock) -> FloatArray:
    size = term.structure.size
    out = np.zeros((size, size))
    for value, (a, b) in zip(entries, term.shared.entries, strict=True):
        out[a, b] = out[b, a] = value
    return out
