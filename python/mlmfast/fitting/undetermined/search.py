"""Which directions of the covariances the data do not tell, from the design.

With V = sum_k phi_k B_k, phi the entries of G and the coordinates of the residual covariance, the
likelihood does not depend on a direction c with sum_k c_k B_k = 0: levels of an effect that never
meet in one group have no covariance in V, and terms that overlap share one. The restricted
likelihood sees K'V K alone, K'X = 0, so under REML K'(sum_k c_k B_k) K = 0 is enough: the columns
of an effect lie in the span of X. Both are the null space of the expected information
tr(P B_k P B_l), with V^-1 for P under ML, at whatever V: it belongs to the design, not to the
response.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.natural_chart import entries_by_natural
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.arms import residual_arms
from mlmfast.criterion.barrier import residual_parts
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.flat_covariances import FlatCovariances
from mlmfast.criterion.parameters.natural import covariance_parameters
from mlmfast.criterion.series_matrices import as_dense, as_matrices
from mlmfast.design.residual.design import ResidualDesign, seen_pairs
from mlmfast.eigen import is_small
from mlmfast.errors import ModelError
from mlmfast.fitting.minima.near_singular import lifted
from mlmfast.fitting.starts.kinds import uncorrelated_start
from mlmfast.fitting.starts.moments import residual_start
from mlmfast.fitting.undetermined.along_series import (
    between_coordinates,
    has_short_units,
    n_effect_entries,
    needs_joined_rows,
)
from mlmfast.reduction.engines.cores import has_exact_information

if TYPE_CHECKING:
    from mlmfast.reduction.reduced_model import ReducedModel

#: Eigenvalue of the scaled information at which the data tell nothing, and of one from differences;
#: a share of information not shared with other coordinates that is worth a look.
_NOTHING, _NOTHING_SEEN, SUSPECT = 1e-13, 1e-9, 1e-7
#: Information over the largest of a coordinate that V does not depend on at all.
_NONE = 1e-20
#: Share of a coordinate in a direction, over the largest, that is rounding.
_ROUNDING = 1e-8
#: Second derivative over the first, by its parameters, of a covariance that is linear in these.
_STRAIGHT = 1e-9
#: Smallest variance, over the mean one, of residuals at a point that is far from singular.
_REGULAR = 0.3
#: Singular value of parameters' moves, each of length 1, of which one is spare.
_SPARE = 1e-9
#: Moves of the residual's parameters to points elsewhere.
_ELSEWHERE = (0.31, -0.23, 0.57)
#: Positions of visits, by arm, up to which pairs that never meet are looked for.
_MANY = 128
#: Scaled eigenvalue of the Hessian at a minimum that may be flat.
_MAY_BE_FLAT = 1e-4


def with_flat_effects(model: ReducedModel, criterion: Criterion) -> Criterion:
    """The criterion, told what the data do not tell of the random effects' covariances.

    Without a residual structure the evaluation at G = 0 with which a fit begins shows whether
    there is anything to look for; a term whose information is far from singular costs no more.
    """
    if not model.order or not model.core.offers("likelihood_derivatives"):
        return criterion
    fits = _fit_with_values(criterion)
    if not len(fits):
        return criterion
    n = n_effect_entries(criterion)
    theta = None
    if not model.profiled:
        if n == 1 and not _may_be_taken_up(model, criterion):
            return criterion
        theta = _regular_point(model, criterion, fits)
    expected = (
        criterion.at_zero[1][0] if theta is None else _expected(criterion, theta, fits)[:n, :n]
    )
    if not _is_suspect(model, expected) or _takes_whole_inverse(model):
        return criterion
    by_ml = replace(criterion, reml=False)
    if theta is None:
        seen, told = (_with_variance(model, c) for c in (criterion, by_ml))
    else:
        seen, told = expected, _expected(by_ml, theta, fits)[:n, :n]
    size = _sizes(criterion, told)
    core = criterion.reduction
    limit = _NOTHING if has_exact_information(core) else _NOTHING_SEEN
    directions = _null(seen, size, limit)
    if not directions.shape[1]:
        return criterion
    of_effects = _null(seen[:n, :n], size[:n], limit)
    flat = FlatCovariances(directions, _null(told, size, limit), of_effects, size)
    return replace(criterion, flat=_padded(flat, len(criterion.entries) + model.profiled))


def _takes_whole_inverse(model: ReducedModel) -> bool:
    """Whether the information at G = 0 takes every relationship of very many levels."""
    factors = model.design.factors
    return model.is_vast and any(factors[f].relationship is not None for f in model.levels)


def _may_be_taken_up(model: ReducedModel, criterion: Criterion) -> bool:
    """Whether X has columns enough for the effects, or residuals, of one factor's levels.

    A block diagonal B with K'B K = 0 is X A + A'X', of a rank that is at most twice that of X.
    """
    if not criterion.reml:
        return False
    most = 2 * len(model.kept)
    n_levels = [model.design.factors[f].n_levels for f in model.levels]
    residual = model.design.residual
    if residual is not None and residual.formula is not None:
        n_levels.append(int(np.bincount(residual.arm_of_units).min()))
        if residual.points is None and 1 < residual.order <= _MANY:
            n_levels.append(_least_together(residual, most))
    return most >= min(n_levels, default=most + 1)


def _least_together(residual: ResidualDesign, most: int) -> int:
    """The fewest units that have a visit, or two visits, which some have; ``most`` is few.

    A direction of the entries of R fills a block of B in every unit that has one of its entries.
    """
    by_visit = np.bincount(residual.positions, minlength=residual.order)
    least = int(by_visit[by_visit > 0].min())
    if least <= most:
        return least
    seen = np.zeros((residual.n_units, residual.order), dtype=np.float32)
    seen[residual.units, residual.positions] = 1.0
    together = seen.T @ seen
    return int(together[together > 0.0].min())


def with_flat_residual(
    model: ReducedModel, criterion: Criterion, curvature: float, theta: FloatArray, fit: int
) -> Criterion:
    """The criterion, told what the data do not tell of the residual's parameters too.

    What they do not tell of the entries of R, or of parameters in which it is linear, at one point,
    they tell nowhere. Where coordinates are parameters in which R bends, the directions are those
    at the end of the fit, ``theta`` (1, n_theta). Looked for where that end is flat (``curvature``
    is the smallest eigenvalue of its scaled Hessian), where visits never meet in one subject, where
    subjects have few rows, or where fixed effects may take up residuals: there the end can lie near
    a singular V, which hides it.
    """
    if model.profiled or not model.core.offers("likelihood_derivatives"):
        return criterion
    if model.design.is_in_parts and criterion.terms[-1].along_rows:
        # That is seen of the rows' own distances, which are elsewhere.
        return criterion
    looked_at = curvature <= _MAY_BE_FLAT or _leaves_pairs_out(model) or has_short_units(model)
    if not looked_at and not _may_be_taken_up(model, criterion):
        return criterion
    if criterion.terms[-1].along_rows:
        found = _flat_of_series(model, criterion, theta, fit)
    else:
        found = flat_residual(model, criterion, theta, fit)
    return criterion if found is None else replace(criterion, flat=found)


def flat_residual(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, fit: int = 0
) -> FlatCovariances | None:
    """What the data do not tell, of the residual's matrices too; None where they tell all."""
    point = _regular_point(model, criterion, np.array([fit]))
    form = criterion.terms[-1].form
    bends = form is not None and not (form.is_shared and is_linear(criterion, point))
    found = _flat_at(model, criterion, point, fit)
    if found is None or not (criterion.terms[-1].by_theta and bends):
        return found
    # Parameters move along a curve there, which the data tell nowhere if they do not at any point.
    at_end = _flat_at(model, criterion, theta, fit)
    same = at_end is not None and at_end.directions.shape[1] == found.directions.shape[1]
    return at_end if same else None


def flat_elsewhere(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, fit: int = 0
) -> Iterator[tuple[FloatArray, FlatCovariances]]:
    """Other points, theta (1, n_theta), and what the data do not tell there.

    For residual covariances that bend in their parameters: what no direction moves at any point is
    determined.
    """
    find = _flat_of_series if criterion.terms[-1].along_rows else flat_residual
    for shift in _ELSEWHERE:
        point = theta[:1].copy()
        for _, s, _ in residual_arms(criterion):
            point[:, s] += shift * np.cos(1.0 + np.arange(s.stop - s.start))
        found = find(model, criterion, point, fit)
        if found is not None:
            yield point, found


def _flat_of_series(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, fit: int
) -> FlatCovariances | None:
    """What the data do not tell of parameters of series, by the same model from matrices."""
    try:
        # Series that are not spatial have no matrices of their own but those of joined rows.
        way = as_dense if needs_joined_rows(model) else as_matrices
        other, by_entry, point = way(model, criterion, theta[:1], fit)
    except ModelError:
        return None
    found = flat_residual(other, by_entry, point)
    if found is None:
        return None
    first = between_coordinates(model, criterion, other, by_entry, point)
    size = np.maximum(found.scaled(first)[1], 1e-150)
    directions, unseen = (
        _sparse(size[:, None] * found.among(first, unmoved), size) for unmoved in (False, True)
    )
    known = criterion.flat
    of_effects = np.zeros((n_effect_entries(criterion), 0)) if known is None else known.of_effects
    return FlatCovariances(directions, unseen, of_effects, size) if directions.size else None


def _leaves_pairs_out(model: ReducedModel) -> bool:
    """Whether two visits of one arm never meet in a subject, where there are few enough to ask."""
    residual = model.design.residual
    if residual is None or residual.points is not None or not 1 < residual.order <= _MANY:
        return False
    size = residual.structure.size
    seen = seen_pairs(residual.units, residual.positions, residual.n_units, residual.order)
    within = sum(a // size == b // size for a, b in seen)
    return within < (residual.order // size) * (size * (size + 1) // 2)


def is_linear(criterion: Criterion, theta: FloatArray) -> bool:
    """Whether the residual covariance is linear in its natural parameters."""
    for structure, s, _ in residual_arms(criterion):
        if isinstance(structure, Spatial):
            # Which looks straight where points are far apart.
            return False
        first, second = entries_by_natural(structure, theta[:, s])
        if second is not None and np.abs(second).max() > _STRAIGHT * np.abs(first).max():
            return False
    return True


def _regular_point(model: ReducedModel, criterion: Criterion, fits: IntArray) -> FloatArray:
    """theta (1, n_theta) of covariances far from singular."""
    moments = residual_start(model, criterion, fits)
    point = uncorrelated_start(criterion, moments)
    # Residuals of visits that fixed effects fit exactly are 0, and so would their variance be.
    return lifted(residual_parts(criterion), point, _REGULAR)


def _flat_at(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, fit: int
) -> FlatCovariances | None:
    """What the data do not tell at a point, of the residual's parameters too."""
    free = (False,) * len(criterion.terms)
    # The residual covariance as a linear function of its parameters: as theta moves it bends, and
    # its second derivatives are no part of the expected information.
    linear = covariance_parameters(model, criterion, theta, free, 1.0, fit).linear
    core, entries = criterion.reduction, criterion.entries
    seen, told = (
        -core.likelihood_derivatives(linear, [fit], entries, reml)[1][0]
        for reml in (criterion.reml, False)
    )
    if not (np.isfinite(seen).all() and np.isfinite(told).all()):
        return None
    size = _sizes(criterion, told)
    directions = _null(seen, size, _NOTHING)
    if not directions.shape[1] and not _has_spare_parameters(criterion, theta):
        return None
    flat, n = criterion.flat, n_effect_entries(criterion)
    of_effects = np.zeros((n, 0)) if flat is None else flat.of_effects
    return FlatCovariances(directions, _null(told, size, _NOTHING), of_effects, size)


def _has_spare_parameters(criterion: Criterion, theta: FloatArray) -> bool:
    """Whether parameters of the residual move in ways that leave its covariance as it is.

    As variances by arm and a scale by arm do.
    """
    for term, s in zip(criterion.terms, criterion.theta_slices, strict=True):
        if term.is_residual and not term.by_theta:
            first = entries_by_natural(term.shared, theta[:, s])[0]
            length = np.sqrt((first**2).sum(axis=0))
            values = np.linalg.svd(first / np.where(length > 0, length, 1.0), compute_uv=False)
            if first.shape[1] > len(first) or values.min(initial=1.0) < _SPARE:
                return True
    return False


def _expected(criterion: Criterion, theta: FloatArray, fits: IntArray) -> FloatArray:
    """Expected information by the criterion's coordinates, up to a factor."""
    return np.asarray(criterion(theta, fits).natural_expected[0])


def _fit_with_values(criterion: Criterion) -> IntArray:
    """Position of the first response that varies, (1,): of a constant nothing can be computed.

    What the data tell is the same for every response of a design; (0,) where none varies.
    """
    scale = np.asarray(criterion.reduction.y_scale)
    if len(scale) == 1:
        return np.arange(int(math.isfinite(scale[0]) and scale[0] > 0.0))
    return (np.isfinite(scale) & (scale > 0.0)).nonzero()[0][:1]


def _with_variance(model: ReducedModel, criterion: Criterion) -> FloatArray:
    """Expected information by the entries of G and sigma^2, at G = 0 and sigma^2 = 1."""
    zero = [np.zeros((1, q, q)) for q in criterion.level_sizes]
    core, entries = criterion.reduction, criterion.entries
    trace, second, *_ = core.likelihood_derivatives(
        zero, _fit_with_values(criterion).tolist(), entries, criterion.reml
    )
    n = len(entries)
    out = np.empty((n + 1, n + 1))
    out[:n, :n], out[n, :n], out[:n, n] = -second[0], trace[0], trace[0]
    out[n, n] = model.design.n_observations - (len(model.kept) if criterion.reml else 0)
    return out


def _is_suspect(model: ReducedModel, expected: FloatArray) -> bool:
    """Whether the information may be singular, by its own scale: false alarms cost little."""
    own = expected.diagonal().tolist()
    if not all(map(math.isfinite, own)):
        return False
    low, high = min(own), max(own)
    # Columns have mean square 1: a variance of which the data tell has its levels' number at least.
    least = min(model.design.factors[f].n_levels for f in model.levels) if model.profiled else 0.0
    if not high > SUSPECT * least or low < SUSPECT * high:
        return True
    return len(own) > 1 and _has_small_pivot(expected)


def _has_small_pivot(matrix: FloatArray) -> bool:
    """Whether of some diagonal element Gaussian elimination leaves all but nothing.

    Row by row in Python where the order is small: a call of LAPACK costs more.
    """
    if not is_small(len(matrix)):
        try:
            pivots = np.linalg.cholesky(matrix).diagonal()
        except np.linalg.LinAlgError:
            return True
        return bool((pivots * pivots < SUSPECT * matrix.diagonal()).any())
    rows = matrix.tolist()
    diagonal = [row[k] for k, row in enumerate(rows)]
    for k, top in enumerate(rows):
        if not top[k] >= SUSPECT * diagonal[k]:
            return True
        for row in rows[k + 1 :]:
            factor = row[k] / top[k]
            for j in range(k + 1, len(row)):
                row[j] -= factor * top[j]
    return False


def suspect_fits(
    like: ReducedModel, expected: FloatArray, n_levels: IntArray | None = None
) -> BoolArray:
    """Designs of one structure that may not tell all of G, (n_fits,): see `_is_suspect` of one.

    Parameters
    ----------
    like : the reduction of one of them.
    expected : shape (n_fits, n, n), the information of G at G = 0.
    n_levels : shape (n_fits, n_factors), levels of each factor; None for those of ``like``.
    """
    own = np.einsum("aii->ai", expected)
    low, high = own.min(axis=1), own.max(axis=1)
    least: int | IntArray = min(like.design.factors[f].n_levels for f in like.levels)
    if n_levels is not None:
        least = n_levels[:, like.levels].min(axis=1)
    unclear = ~(high > SUSPECT * least) | (low < SUSPECT * high)
    out = unclear & np.isfinite(high)
    rows = np.flatnonzero(~unclear)
    if own.shape[1] == 1 or not rows.size:
        return np.asarray(out)
    try:
        pivots = np.einsum("aii->ai", np.linalg.cholesky(expected[rows]))
        out[rows] = (pivots * pivots < SUSPECT * own[rows]).any(axis=1)
    except np.linalg.LinAlgError:
        # What else `_is_suspect` asks was answered above.
        out[rows] = [np.isfinite(high[row]) and _has_small_pivot(expected[row]) for row in rows]
    return np.asarray(out)


def _sizes(criterion: Criterion, information: FloatArray) -> FloatArray:
    """Root of each coordinate's information, of a covariance that of its two variances', (n,).

    A covariance of levels that never meet has none of its own.
    """
    own = np.maximum(np.diag(information), 0.0)
    out = own.copy()
    for term, e in zip(criterion.terms, criterion.entry_slices, strict=True):
        if e.stop > len(own) or term.by_theta:
            continue
        places = term.structure.entries
        at = {place: e.start + k for k, place in enumerate(places)}
        for k, (a, b) in enumerate(places, e.start):
            out[k] = np.sqrt(own[at.get((a, a), k)] * own[at.get((b, b), k)])
    return np.sqrt(np.maximum(out, max(_NONE * out.max(initial=0.0), 1e-300)))


def _null(information: FloatArray, size: FloatArray, limit: float) -> FloatArray:
    """A sparse basis of the null space, (n, k): coordinates that take no part are exactly 0."""
    values, vectors = np.linalg.eigh(information / np.outer(size, size))
    return _sparse(vectors[:, values < limit], size)


def _sparse(directions: FloatArray, size: FloatArray) -> FloatArray:
    """The same span (n, k), coordinates that take no part exactly 0; ``directions`` are scaled."""
    rows = directions.T.copy()
    for k in range(len(rows)):
        # The largest element left leads: a direction along one coordinate comes out as that.
        rest = np.abs(rows[k:])
        at, column = divmod(int(np.argmax(rest)), rest.shape[1])
        rows[[k, k + at]] = rows[[k + at, k]]
        rows[k] /= rows[k, column]
        others = np.arange(len(rows)) != k
        rows[others] -= np.outer(rows[others, column], rows[k])
    rows[np.abs(rows) < _ROUNDING] = 0.0
    return np.asarray(rows.T / size[:, None])


def _padded(flat: FlatCovariances, n: int) -> FlatCovariances:
    """The same with coordinates of the residual, which stay."""
    more = n - len(flat.size)
    below = ((0, more), (0, 0))
    size = np.pad(flat.size, (0, more), constant_values=1.0)
    directions, unseen = np.pad(flat.directions, below), np.pad(flat.unseen, below)
    return FlatCovariances(directions, unseen, flat.of_effects, size)
