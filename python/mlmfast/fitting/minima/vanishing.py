"""-2 log-likelihood that falls without bound as one or two residual variances go to 0.

Fixed effects that fit all rows of a visit exactly, or all differences of two visits within
subjects, leave nothing for these visits' variances: each decade by which a standard deviation falls
takes 2 log 10 from -2 log-likelihood for every combination of rows that is fitted, whatever minimum
there is elsewhere. It takes visits with few rows, two that few subjects have together, or an arm of
few rows where visits share a variance.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.scaled_angles import Angular
from mlmfast.criterion.criterion import Criterion
from mlmfast.fitting.starts.levels import own_variances, scaled_level
from mlmfast.fitting.starts.stretches import Stretch, effect_stretches, residual_stretches
from mlmfast.reduction.reduced_model import ReducedModel

#: Standard deviations, over what they were, and the fall of -2 log-likelihood from one to the next
#: that says that the way has no end: a little less than 2 log 10.
_SMALLER, _FALL = (1e-3, 1e-4, 1e-5), 4.0
#: Pairs of visits that are tried at most, and rows up to which visits are looked at.
_MOST, _MANY_ROWS = 64, 2_000
#: What is left of rows that are fitted exactly, over the response.
_EXACTLY = 1e-10
#: Variance, over that of the response, from which the way begins where less is left: on from there
#: what is fitted exactly is rounding.
_BEGINS = 1e-4

#: Levels of a covariance; a covariance, where its levels begin among the positions of rows, and
#: those that have variances of their own.
_Levels: TypeAlias = tuple[Stretch, tuple[int, ...]]
_Own: TypeAlias = tuple[Stretch, int, list[int]]


def vanishing_variances(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, fits: IntArray
) -> tuple[dict[int, FloatArray], IntArray]:
    """Which fits fall without bound, as seen from theta (n_fits, n_theta).

    Returns
    -------
    By position of the fit where -2 log-likelihood falls, (1, n_theta); evaluations, (n_fits,).
    """
    out, spent = dict[int, FloatArray](), np.zeros(len(theta), dtype=np.intp)
    for row, levels in _candidates(model, criterion, fits):
        ways = np.array([way for own in levels for way in _ways(criterion, *own, theta[row])])
        at = np.full(ways.shape[0] * ways.shape[1], row, dtype=np.intp)
        values = criterion.value(ways.reshape(len(at), -1), at).reshape(ways.shape[:2])
        spent[row] = values.size
        with np.errstate(invalid="ignore"):
            falls = (np.diff(values, axis=1) < -_FALL).all(axis=1) & np.isfinite(values[:, -1])
        if falls.any():
            out[row] = ways[[np.argmin(np.where(falls, values[:, -1], np.inf))], -1]
    return out, spent


def exactly_fitted(
    model: ReducedModel, criterion: Criterion, fit: int
) -> list[tuple[int, list[int]]]:
    """Arms, and visits of each, by position, whose rows fixed effects fit exactly in a fit."""
    own = _own_levels(model, criterion)
    arms = {stretch.theta.start: first // stretch.structure.size for stretch, first, _ in own}
    visits = dict[int, list[int]]()
    for (stretch, levels), exactly in _fitted_levels(model, own, np.array([fit])):
        if exactly[0]:
            visits.setdefault(arms[stretch.theta.start], []).extend(levels)
    return list(visits.items())


def arms_not_told(model: ReducedModel, criterion: Criterion) -> list[int]:
    """Arms all of whose rows fixed effects fit, whatever the response: REML tells nothing of them.

    Their rows of I - X (X'X)^-1 X' are 0.
    """
    own = _own_levels(model, criterion) if criterion.reml else []
    if not own:
        return []
    assert model.design.residual is not None, "there are residual covariances"
    u, sd, _ = np.linalg.svd(model.design.fixed_matrix, full_matrices=False)
    basis = u[:, sd > _EXACTLY * sd.max(initial=0.0)]
    left = 1.0 - (basis**2).sum(axis=1)
    arm = model.design.residual.positions // own[0][0].structure.size
    return [a for a in range(len(own)) if (arm == a).any() and left[arm == a].max() <= _EXACTLY]


def _candidates(
    model: ReducedModel, criterion: Criterion, fits: IntArray
) -> Iterator[tuple[int, list[_Levels]]]:
    """Levels whose variances may vanish, by fit."""
    own = _own_levels(model, criterion) if fits.size else []
    if not own:
        return
    pairs = list(_rare_pairs(model, own)) if effect_stretches(criterion) else []
    fitted = _fitted_levels(model, own, fits)
    for place, row in enumerate(fits.tolist()):
        found = pairs + [levels for levels, exactly in fitted if exactly[place]]
        if found:
            yield row, found


def _own_levels(model: ReducedModel, criterion: Criterion) -> list[_Own]:
    """Covariances of arms over visits that are few; none where there are many rows."""
    residual, stretches = model.design.residual, residual_stretches(criterion)
    if residual is None or not residual.visits or len(stretches) != len(residual.arms):
        return []
    if residual.points is not None or model.design.condensed is not None:
        return []
    size = stretches[0].structure.size
    if model.design.n_obs > _MANY_ROWS or residual.positions.max() >= len(stretches) * size:
        return []
    return [
        (stretch, arm * size, own_variances(stretch.structure))
        for arm, stretch in enumerate(stretches)
        if stretch.is_small
    ]


def _rare_pairs(model: ReducedModel, own: list[_Own]) -> Iterator[_Levels]:
    """Pairs of visits that no more subjects have than fixed effects may fit."""
    residual = model.design.residual
    assert residual is not None, "there are residual covariances"
    most = len(model.kept) + model.design.n_absorbed
    seen = np.zeros((residual.n_units, int(residual.positions.max()) + 1))
    seen[residual.units, residual.positions] = 1.0
    for stretch, first, levels in own:
        last = first + stretch.structure.size
        together = seen[:, first:last].T @ seen[:, first:last]
        rare = [p for p in combinations(levels, 2) if max(p) < len(together)]
        rare = [p for p in rare if 0 < together[p] <= most]
        yield from ((stretch, pair) for pair in rare[:_MOST])


def _fitted_levels(
    model: ReducedModel, own: list[_Own], fits: IntArray
) -> list[tuple[_Levels, BoolArray]]:
    """Visits whose rows fixed effects fit exactly, and in which fits, (n_fits,).

    All of an arm at once, where they have no variances of their own.
    """
    design = model.design
    assert design.residual is not None, "there are residual covariances"
    x = design.fixed_matrix
    responses = design.working_response[None]
    if not model.has_own_response:
        responses = np.array([model.response(row) for row in fits.tolist()])
    size = np.linalg.norm(responses, axis=1)
    out = list[tuple[_Levels, BoolArray]]()
    for stretch, first, levels in own:
        each: list[tuple[int, ...]] = [(level,) for level in levels]
        for chosen in each or [tuple(range(stretch.structure.size))]:
            rows = np.flatnonzero(np.isin(design.residual.positions, first + np.array(chosen)))
            if rows.size == 0:
                continue
            u, sd, _ = np.linalg.svd(x[rows], full_matrices=False)
            basis = u[:, sd > _EXACTLY * sd.max(initial=0.0)]
            left = responses[:, rows] - responses[:, rows] @ basis @ basis.T
            out.append(((stretch, chosen), np.linalg.norm(left, axis=1) <= _EXACTLY * size))
    return out


def _ways(
    criterion: Criterion, stretch: Stretch, levels: tuple[int, ...], theta: FloatArray
) -> Iterator[list[FloatArray]]:
    """Points on the way to variances of 0, with random effects as they are, and without."""
    without = theta.copy()
    effects = effect_stretches(criterion)
    for effect in effects:
        without[effect.theta] = 0.0
    variance = float(np.diag(stretch.matrix(theta))[list(levels)].max())
    lift = float(np.sqrt(max(_BEGINS / max(variance, 1e-300), 1.0)))
    for base in (theta, without) if effects else (theta,):
        yield [_smaller(stretch, levels, base, lift * by) for by in _SMALLER]


def _smaller(stretch: Stretch, levels: tuple[int, ...], theta: FloatArray, by: float) -> FloatArray:
    structure = stretch.structure
    if isinstance(structure, Angular) and structure.n_scales == structure.size:
        out = theta.copy()
        scales = out[stretch.theta][: structure.n_scales]
        logarithmic = structure.first_theta == "logarithm"
        for level in levels:
            scales[level] = scales[level] + np.log(by) if logarithmic else scales[level] * by
        return out
    return stretch.put(theta, scaled_level(stretch.matrix(theta), levels, by))
