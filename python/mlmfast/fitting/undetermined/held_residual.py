"""Residual covariances of which the data tell one variance alone: the one of independent rows.

Beside a fixed mean of every subject the restricted likelihood sees R through K'R K, K'X = 0. With
two visits a subject that is one number, whatever the structure: all its matrices with this number
give the same likelihood. Among them is sigma^2 I, which stands for all, as a common covariance of
`cs` is held at 0: it leaves the fixed effects the inference of least squares. What is held are the
differences from it, and the variance that is left has the precision that it has there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.natural_chart import entries_by_natural
from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.flat_covariances import FlatCovariances
from mlmfast.criterion.held import HeldCriterion
from mlmfast.criterion.some_fits import SomeFits
from mlmfast.errors import ModelError
from mlmfast.fitting.undetermined.search import flat_residual
from mlmfast.newton.iteration import newton_raphson
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.blocks import TermBlock, structure_of
from mlmfast.reduction.parameter_block import is_variance

if TYPE_CHECKING:
    from mlmfast.reduction.reduced_model import ReducedModel

#: What is left of a matrix that is a multiple of the identity, and of one that a fit came near to.
_ROUNDING, _NEAR = 1e-10, 1e-5
#: Range of correlations that are 0, over the smallest distance.
_SHORT = 1e-13
_FEW = NewtonOptions(tolerance=1e-12, max_iter=40)


@dataclass(frozen=True)
class _Arm:
    """The residual of one arm: its structure, stretches of theta and of the coordinates."""

    term: TermBlock
    theta: slice
    coordinates: slice

    @property
    def structure(self) -> CovarianceStructure:
        return structure_of(self.term)

    @property
    def by_parameter(self) -> bool:
        """Whether coordinates are parameters instead of entries of R."""
        return self.term.by_theta


def at_independence(criterion: Criterion, theta: FloatArray, fit: int) -> FloatArray | None:
    """theta (n_theta,) with residuals independent where nothing else is told; None elsewhere."""
    flat = criterion.flat
    if flat is None or not criterion.reml:
        return None
    out, found = theta.copy(), False
    for arm in _told_by_one(criterion, theta):
        if arm.by_parameter:
            moved = _by_scale(criterion, out, arm, fit)
        else:
            scale = _same_reduced(arm, theta, flat)
            moved = None if scale is None else _independent(arm.structure, scale)
        if moved is None:
            return None
        out[arm.theta] = moved
        found = True
    return out if found else None


def _told_by_one(criterion: Criterion, theta: FloatArray) -> list[_Arm]:
    """Arms of the residual of whose parameters all directions but one are flat.

    Not those of which the variance of one visit is told by itself, of the others nothing, nor sums
    of known matrices, of whose factors none is a variance.
    """
    flat = criterion.flat
    assert flat is not None, "the caller looked"
    out = []
    for arm in _arms(criterion):
        if not any(is_variance(name) for name in arm.structure.parameter_names):
            continue
        null = _null(arm, flat, theta)
        if 0 < null.shape[1] == len(null) - 1 and not _is_of_one_visit(arm, null, theta):
            out.append(arm)
    return out


def _is_of_one_visit(arm: _Arm, null: FloatArray, theta: FloatArray) -> bool:
    """Whether variances of some visits move along ``null`` (r, k), and another stands still."""
    if arm.by_parameter:
        own = null[[is_variance(name) for name in arm.structure.parameter_names]]
        most = np.abs(own).max()
    else:
        # Variances of visits may be sums of parameters, of a loading and a specific one.
        rows, columns = np.array(arm.structure.entries, dtype=np.intp).T
        moved = entries_by_natural(arm.structure, theta[None, arm.theta])[0] @ null
        own, most = moved[rows == columns], np.abs(moved).max()
    still = np.abs(own).max(axis=1) <= _NEAR * most
    return bool(still.any() and not still.all())


def _null(arm: _Arm, flat: FlatCovariances, theta: FloatArray) -> FloatArray:
    """Moves of an arm's parameters along flat directions, (r, k)."""
    if arm.by_parameter:
        own = np.eye(arm.structure.n_theta)
    else:
        own = entries_by_natural(arm.structure, theta[None, arm.theta])[0]
    first = np.zeros((len(flat.size), own.shape[1]))
    first[arm.coordinates] = own
    return flat.among(first)


def _arms(criterion: Criterion) -> list[_Arm]:
    """The residual's arms, but for those with a scale from row to row."""
    out = []
    parts = zip(criterion.terms, criterion.theta_slices, criterion.entry_slices, strict=True)
    for term, s, e in parts:
        if not term.is_residual or isinstance(structure_of(term), ScaledCovariance):
            continue
        if not term.by_theta:
            out.append(_Arm(term, s, e))
            continue
        n = structure_of(term).n_theta
        for at in range(0, s.stop - s.start, n):
            own = (slice(first + at, first + at + n) for first in (s.start, e.start))
            out.append(_Arm(term, *own))
    return out


def _same_reduced(arm: _Arm, theta: FloatArray, flat: FlatCovariances) -> float | None:
    """sigma^2 with R - sigma^2 I along the flat directions of the entries."""
    rows, columns = np.array(arm.structure.entries, dtype=np.intp).T
    e = arm.coordinates
    size = flat.size[e]
    basis, _ = np.linalg.qr(size[:, None] * flat.directions[e][:, _is_inside(flat.directions, e)])
    matrix = arm.structure.matrix(theta[None, arm.theta])[0]

    def seen(entries: FloatArray) -> FloatArray:
        scaled = size * entries
        return np.asarray(scaled - basis @ (basis.T @ scaled))

    one, own = seen((rows == columns).astype(np.float64)), seen(matrix[rows, columns])
    scale = float(one @ own) / max(float(one @ one), 1e-300)
    if not scale > 0.0 or np.abs(own - scale * one).max() > _NEAR * np.abs(own).max():
        return None
    return scale


def _is_inside(directions: FloatArray, e: slice) -> BoolArray:
    """Which directions are of the coordinates ``e`` alone."""
    outside = np.ones(len(directions), dtype=np.bool_)
    outside[e] = False
    return np.asarray((directions[outside] == 0.0).all(axis=0))


def _independent(structure: CovarianceStructure, variance: float) -> FloatArray | None:
    """theta (n_theta,) of ``variance`` times the identity, if the structure has it."""
    wanted = variance * np.eye(structure.size)
    for theta in _candidates(structure, wanted):
        if np.abs(structure.matrix(theta[None])[0] - wanted).max() <= _ROUNDING * variance:
            return theta
    return None


def _candidates(structure: CovarianceStructure, wanted: FloatArray) -> Iterator[FloatArray]:
    """theta (n_theta,) that may be a multiple of the identity."""
    of_variances = [is_variance(name) for name in structure.parameter_names]
    with suppress(ModelError):
        yield structure.from_natural(np.where(of_variances, wanted[0, 0], 0.0)[None])[0]
    if isinstance(structure, Spatial):
        short = np.log(_SHORT * structure.smallest_distance)
        yield np.array([0.5 * np.log(wanted[0, 0]), *[short] * (structure.n_theta - 1)])
    yield structure.theta(wanted[None])[0]


def _by_scale(criterion: Criterion, theta: FloatArray, arm: _Arm, fit: int) -> FloatArray | None:
    """theta of the best multiple of the identity, of structures that begin with one log SD."""
    structure = arm.structure
    if structure.first_theta != "logarithm" or structure.parameter_names[0] != "Variance":
        return None
    first = _independent(structure, 1.0)
    if first is None:
        return None
    whole, at = theta[None].copy(), arm.theta.start
    whole[0, arm.theta] = first
    held = HeldCriterion(SomeFits(criterion, np.array([fit])), whole, np.array([at]))
    found = newton_raphson(held, np.array([[theta[at]]]), _FEW, _two)
    first[0] = found.theta[0, 0]
    return first


def _two(theta: FloatArray) -> FloatArray:
    """The longest step."""
    return np.full(len(theta), 2.0)


def with_flat_matrices(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, held: bool
) -> Criterion:
    """A criterion from matrices, told what the data do not tell; held at independence or not."""
    criterion = replace(criterion, flat=flat_residual(model, criterion, theta))
    return held_there(criterion, theta[0]) if held and criterion.flat is not None else criterion


def held_there(criterion: Criterion, theta: FloatArray) -> Criterion:
    """The criterion whose flat directions are the differences from independent residuals."""
    flat = criterion.flat
    assert flat is not None, "the caller looked"
    directions = flat.directions
    for arm in _told_by_one(criterion, theta):
        variances = [is_variance(name) for name in arm.structure.parameter_names]
        null = _null(arm, flat, theta)
        if np.abs(null[variances]).max() <= _NEAR * np.abs(null).max():
            # As a common covariance, which moves alone and is 0.
            continue
        e = arm.coordinates
        inside = _is_inside(directions, e)
        if arm.by_parameter:
            held = np.zeros((len(directions), arm.structure.n_theta - 1))
            held[e][1:] = np.eye(arm.structure.n_theta - 1)
        else:
            rows, columns = np.array(arm.structure.entries, dtype=np.intp).T
            on = (rows == columns).astype(np.float64)
            held = directions[:, inside].copy()
            held[e] -= np.outer(on, on @ held[e]) / on.sum()
        directions = np.column_stack([directions[:, ~inside], held])
    if directions is flat.directions:
        return criterion
    return replace(criterion, flat=replace(flat, directions=directions, free=flat))
