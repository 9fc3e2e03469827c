"""Corners of -2 log-likelihood: where the range of a linear correlation passes a distance.

The correlation 1 - rho d is 0 from rho d = 1 on. Its slope jumps there, and so does that of -2
log-likelihood by rho where two rows are just that distance apart; all else is smooth. A minimum may
lie in such a corner: the slope from below is negative, that from above positive (`corner_search`
finds it). There rho has no second derivative, hence no standard error by it, and takes no part in
degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance.spatial.base import ONE_PLACE
from mlmfast.covariance.spatial.linear_decay import SpatialLinear
from mlmfast.criterion.criterion import Criterion
from mlmfast.fitting.starts.stretches import residual_stretches
from mlmfast.newton.criterion import Leaves, Progress
from mlmfast.reduction.parameter_block import ParameterBlock
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.residual.by_unit import distances_within

#: Logarithms of distances that are the same but for rounding.
_SAME = 1e-10
#: Distance from the nearest corner, over that before the step, which steps cut short leave.
_NEARER = 0.8
#: Distance of the logarithm of a range that stands in a corner.
_IN = 1e-13


@dataclass(frozen=True)
class Corners:
    """The corners of one range.

    Attributes
    ----------
    arm, structure
        The arm whose range it is, and its structure.
    position
        Its logarithm's position in theta.
    at : shape (n,), increasing
        Where these are.
    """

    arm: int
    structure: SpatialLinear
    position: int
    at: FloatArray

    @property
    def name(self) -> str:
        """Name of the natural parameter of the range, without its arm."""
        return self.structure.correlation_names[0]

    def holds(self, theta: FloatArray) -> bool:
        """Whether the range stands in a corner, theta of shape (1, n_theta)."""
        return bool((np.abs(self.at - theta[0, self.position]) <= _IN).any())


def corners_of(model: ReducedModel, criterion: Criterion) -> tuple[Corners, ...]:
    """The corners of each range that has some, arm after arm."""
    residual, out = model.design.residual, []
    for arm, stretch in enumerate(residual_stretches(criterion)):
        structure = stretch.structure
        if residual is None or not isinstance(structure, SpatialLinear):
            continue
        distances = structure.distances
        if residual.points is not None:
            kind, n, size = type(structure), residual.n_units, residual.order
            where = residual.units, residual.positions
            within = distances_within(kind, residual.points, *where, n, size)
            distances = within[residual.arm_of_units == arm]
        places = np.log(np.unique(distances[distances > ONE_PLACE]))
        first = structure.n_theta - len(structure.correlation_names)
        apart = np.diff(places, append=np.inf) > _SAME
        out.append(Corners(arm, structure, stretch.theta.start + first, places[apart]))
    return tuple(out)


def in_corners(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    blocks: Sequence[ParameterBlock],
) -> dict[str, Corners]:
    """The natural parameters that stand in a corner, by name, theta of shape (1, n_theta).

    ``blocks`` are those of the residual, in which arm after arm has the same parameters.
    """
    names = [name for block in blocks for name in block.names]
    out = {}
    for own in corners_of(model, criterion):
        if own.holds(theta):
            of_arms = [n for n in names if n.rpartition(": ")[2] == own.name]
            out[of_arms[own.arm]] = own
    return out


def leaves_to_corners(corners: Sequence[Corners], leaves: Leaves | None) -> Leaves | None:
    """``leaves``, and slow steps that pass a corner, or are cut shorter and shorter before one."""
    if not corners:
        return leaves

    def leave(before: FloatArray, after: FloatArray, progress: Progress) -> BoolArray:
        out = np.zeros(len(after), dtype=np.bool_)
        for own in corners:
            gaps = [own.at - theta[:, [own.position]] for theta in (before, after)]
            out |= ((gaps[0] < 0.0) != (gaps[1] < 0.0)).any(axis=1)
            was, left = (np.abs(gap).min(axis=1, initial=np.inf) for gap in gaps)
            out |= left < _NEARER * was
        out &= progress.is_slow
        return out if leaves is None else out | leaves(before, after, progress)

    return leave
