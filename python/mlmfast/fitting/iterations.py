"""Newton's iterations of a fit: whole, of few steps, and guarded by a barrier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.barrier import Barrier, residual_parts
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.held import HeldCriterion
from mlmfast.criterion.scoring import Scoring
from mlmfast.criterion.some_fits import SomeFits
from mlmfast.fitting.core_steps import core_steps
from mlmfast.fitting.corner_search import brought_to_corners
from mlmfast.fitting.corners import Corners, corners_of, leaves_to_corners
from mlmfast.fitting.minima.counted import leaves_to_few
from mlmfast.fitting.minima.near_singular import becomes_singular, leaves_barrier
from mlmfast.newton.criterion import Progress
from mlmfast.newton.iteration import CriterionFunction, Leaves, NewtonResult, newton_raphson
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.reduced_model import ReducedModel

#: Trials along a step in the search for other minima.
_FEW_HALVINGS = 6
#: Newton steps that an iteration from another start may take at least.
_STEPS_ELSEWHERE = 100
#: Newton decrement that is small enough to tell ends from each other.
_LOOSE = 1e-4


@dataclass(frozen=True)
class Iterations:
    """The iterations of one criterion.

    Attributes
    ----------
    criterion, options
    scoring
        Steps of scoring, where they stay within the covariances.
    held : shape (n_theta,), parameters that are held at 0.
    leaves
        Which iterations are left on their way to a singular residual covariance, or near a corner.
    corners
        Corners of the criterion, where iterations may stall.
    """

    criterion: Criterion
    options: NewtonOptions
    scoring: Scoring | None
    held: BoolArray
    leaves: Leaves | None
    corners: tuple[Corners, ...] = ()

    def whole(self, theta: FloatArray, chosen: IntArray) -> NewtonResult:
        """Of the fits listed, to its end."""
        return self._of_some(theta, chosen, self.options, self.scoring, self.leaves)

    def few(self, theta: FloatArray, chosen: IntArray, steps: int | None) -> NewtonResult:
        """From another start, ``steps`` of them; to its end where that is None."""
        if steps is None:
            most = max(self.options.max_iter, _STEPS_ELSEWHERE)
            options = replace(self.options, max_iter=most)
            return self._of_some(theta, chosen, options, self.scoring, self.leaves)
        options = replace(self.options, max_iter=steps, max_halvings=_FEW_HALVINGS)
        # Scoring steps held within a structure cost more than they save here.
        return self._of_some(theta, chosen, options, None, None)

    def guarded(
        self, theta: FloatArray, chosen: IntArray, steps: int, weight: float
    ) -> NewtonResult:
        """Behind a barrier before singular residual covariances."""
        barrier = Barrier(SomeFits(self.criterion, chosen), residual_parts(self.criterion), weight)
        options = replace(
            self.options, tolerance=_LOOSE, max_iter=steps, max_halvings=_FEW_HALVINGS
        )
        return _iterate(barrier, np.where(self.held, 0.0, theta), options, None, self.held)

    def without_scoring(
        self, criterion: CriterionFunction, theta: FloatArray, options: NewtonOptions
    ) -> NewtonResult:
        """Of a criterion of the same theta, on the way to a singular end."""
        return _iterate(criterion, theta, options, None, self.held, leaves_barrier(criterion))

    def _of_some(
        self,
        theta: FloatArray,
        chosen: IntArray,
        options: NewtonOptions,
        scoring: Scoring | None,
        leaves: Leaves | None,
    ) -> NewtonResult:
        some = SomeFits(self.criterion, chosen)
        start = np.where(self.held, 0.0, theta)
        found = _iterate(some, start, options, scoring, self.held, leaves)
        if leaves is None:
            return found
        return brought_to_corners(found, some, self.corners, ~self.held, options, leaves)


def iterations(
    model: ReducedModel, criterion: Criterion, options: NewtonOptions, confounded: Sequence[int]
) -> Iterations:
    """Those of a model's criterion, with ``confounded`` terms held."""
    structured = model.design.residual is not None
    # Scoring in the entries of R would leave its structure.
    scoring = None if structured else Scoring(criterion)
    parts = residual_parts(criterion) if structured else ()
    leaves = leaves_to_few(model, criterion, becomes_singular(parts)) if parts else None
    corners = corners_of(model, criterion) if structured else ()
    leaves = leaves_to_corners(corners, leaves)
    return Iterations(criterion, options, scoring, _held(criterion, confounded), leaves, corners)


def _held(criterion: Criterion, blocks: Sequence[int]) -> BoolArray:
    """The parameters of some blocks, shape (n_theta,)."""
    held = np.zeros(criterion.n_theta, dtype=np.bool_)
    for block in blocks:
        held[criterion.theta_slices[block]] = True
    return held


def _iterate(
    criterion: CriterionFunction,
    theta: FloatArray,
    options: NewtonOptions,
    scoring: Scoring | None,
    held: BoolArray,
    leaves: Leaves | None = None,
) -> NewtonResult:
    """Newton's iteration over the parameters that are not held."""
    if not held.any():
        ahead = None
        if scoring is not None and leaves is None and isinstance(criterion, SomeFits):
            ahead = core_steps(criterion.criterion, criterion.chosen, options)
        return newton_raphson(criterion, theta, options, max_step, scoring, leaves, ahead)
    part = HeldCriterion(criterion, theta, np.flatnonzero(~held))
    held_too = None if leaves is None else _of_whole(leaves, held)
    found = newton_raphson(part, theta[:, ~held], options, max_step, None, held_too)
    return replace(
        found,
        theta=part.whole(found.theta, np.arange(len(theta))),
        curvature=_whole(found.curvature, held),
    )


def _of_whole(leaves: Leaves, held: BoolArray) -> Leaves:
    """The same question about the parameters that are not held; those that are do not matter."""

    def leave(before: FloatArray, after: FloatArray, progress: Progress) -> BoolArray:
        return leaves(_whole(before, held), _whole(after, held), progress)

    return leave


def _whole(curvature: FloatArray, held: BoolArray) -> FloatArray:
    out = np.zeros((len(curvature), len(held)))
    out[:, ~held] = curvature
    return out


def max_step(theta: FloatArray) -> FloatArray:
    """The longest step from theta (n_fits, n_theta)."""
    # theta is in units where a random effect and the residual weigh the same in a unit's mean.
    return np.asarray(1.0 + 2.0 * np.sqrt((theta * theta).sum(axis=1)))
