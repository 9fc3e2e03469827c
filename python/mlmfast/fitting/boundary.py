"""Fits that end at a singular covariance: exact zeros, and the proof that no way leads down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.newton.iteration import NewtonResult
from mlmfast.newton.step import newton_step
from mlmfast.reduction.blocks import TermBlock
from mlmfast.running.interruptible import interruptible

#: Eigenvalues of G (orthonormal basis: 1 is a unit's mean square) tried as exactly 0.
TRY_ZERO = 1e-5
#: Those that are 0, in a covariance that its structure does not let round to one.
ZERO = 1e-9
#: Rise of -2 log-likelihood that setting them to 0 may cost.
FREE = 1e-9
#: Returns to the iteration from a singular covariance that was no minimum.
_ROUNDS = 6
#: Steps tried from such a point; slopes and curvatures that count as downward.
_STEPS = (0.3, 0.1, 0.03, 0.01)
_DOWN = 1e-6
#: Newton's iteration from theta for the listed fits.
Iterate: TypeAlias = Callable[[FloatArray, IntArray], NewtonResult]


@dataclass(frozen=True)
class Settled:
    """Where iterations ended: theta, terms with a singular G (n_fits, n_terms), the iterations."""

    theta: FloatArray
    singular: BoolArray
    newton: NewtonResult

    def put(self, rows: IntArray, other: Settled, takes: BoolArray) -> None:
        """Replace ``rows`` by the rows of another search where ``takes``, and count its cost."""
        self.theta[rows[takes]] = other.theta[takes]
        self.singular[rows[takes]] = other.singular[takes]
        replace_rows(self.newton, rows, other.newton, takes)


def replace_rows(
    newton: NewtonResult, rows: IntArray, other: NewtonResult, takes: BoolArray
) -> None:
    """Replace ``rows`` of an iteration by another's where ``takes``; evaluations of both count."""
    newton.n_evaluations[rows] += other.n_evaluations
    for name in NewtonResult.__dataclass_fields__:
        if name != "n_evaluations":
            getattr(newton, name)[rows[takes]] = getattr(other, name)[takes]


def settle(criterion: Criterion, newton: NewtonResult, iterate: Iterate, fits: IntArray) -> Settled:
    """Set what is nearly singular to exactly that, and go on from there if a way leads down.

    ``newton`` has a row for each of ``fits``; its arrays become those of the result.
    """
    out = set_zeros(criterion, newton, fits)
    newton = out.newton
    if not out.singular.any():
        return out
    # The other terms leave no parameter undetermined.
    open_ended = np.array([t.by_row and not t.is_residual for t in criterion.terms])
    rows = np.arange(len(fits))
    for _ in range(_ROUNDS):
        rows = rows[(out.singular[rows] & open_ended).any(axis=1)]
        if rows.size == 0:
            break
        views = [_look_round(criterion, out.theta[r], out.singular[r], fits[r]) for r in rows]
        newton.n_evaluations[rows] += [view.n_evaluations for view in views]
        for row, view in zip(rows, views, strict=True):
            if view.way_down is None and not newton.converged[row]:
                # The iteration had stopped for want of a step that leads down: there is none.
                newton.decrement[row], newton.min_eigenvalue[row] = view.decrement, view.curvature
                newton.converged[row] = view.decrement <= FREE and view.curvature > -_DOWN
        starts = [view.way_down for view in views if view.way_down is not None]
        rows = rows[[view.way_down is not None for view in views]]
        if rows.size:
            again = set_zeros(criterion, iterate(np.stack(starts), fits[rows]), fits[rows])
            out.put(rows, again, np.ones(len(rows), dtype=np.bool_))
    return out


def set_zeros(criterion: Criterion, newton: NewtonResult, fits: IntArray) -> Settled:
    """Make small eigenvalues of G exactly 0 where that costs nothing."""
    theta = newton.theta.copy()
    rounded, singular = rounded_to_boundary(criterion, theta)
    try_rows = ((rounded != theta).any(axis=1) | singular.any(axis=1)).nonzero()[0]
    if try_rows.size == 0:
        return Settled(theta, singular, newton)
    tried = np.zeros(len(theta), dtype=np.intp)
    after = criterion.value(rounded[try_rows], fits[try_rows])
    tried[try_rows] = 1
    good = after <= newton.value[try_rows] + FREE
    theta[try_rows[good]] = rounded[try_rows[good]]
    singular[try_rows] = rounded_to_boundary(criterion, theta[try_rows], ZERO)[1]
    return Settled(theta, singular, replace(newton, n_evaluations=newton.n_evaluations + tried))


def rounded_to_boundary(
    criterion: Criterion, theta: FloatArray, small: float = TRY_ZERO
) -> tuple[FloatArray, BoolArray]:
    """theta with small eigenvalues of G exactly 0, and terms that had some, (n_fits, n_terms)."""
    rounded = theta.copy()
    singular = np.zeros((len(theta), len(criterion.terms)), dtype=np.bool_)
    for k, (term, s) in enumerate(zip(criterion.terms, criterion.theta_slices, strict=True)):
        if not term.is_residual:
            rounded[:, s], singular[:, k] = term.at_boundary(theta[:, s], small)
    return rounded, singular


class _View(NamedTuple):
    """What is seen at a singular covariance: a start lower down, and the certificate there."""

    way_down: FloatArray | None
    n_evaluations: int
    decrement: float
    curvature: float


def _look_round(
    criterion: Criterion, theta: FloatArray, singular: BoolArray, fit: np.intp
) -> _View:
    """Look for a way down that derivatives by theta do not show.

    Where a variance is 0 correlations are undetermined: first derivatives by the entries of G say
    whether the criterion falls as the variance leaves 0 with any of them.
    """
    fits = np.array([fit])
    at = criterion(theta[None], fits)
    step = newton_step(at, _DOWN)
    spent, lowest, way_down = 1, float(at.value[0]) - 10 * FREE, None
    entries = criterion.entry_slices
    for term, s, e, here in zip(
        criterion.terms, criterion.theta_slices, entries, singular, strict=True
    ):
        if term.is_residual or not here:
            continue
        directions = _directions(term, theta[s], at.natural_gradient[0, e])
        if directions is None:
            continue
        start, steps = directions
        trials = np.repeat(theta[None], len(steps), axis=0)
        trials[:, s] = term.shared.move(np.repeat(start[None], len(steps), axis=0), steps)
        values = criterion.value(trials, np.repeat(fits, len(steps)))
        spent += len(steps)
        best = int(np.argmin(values))
        if values[best] < lowest:
            lowest, way_down = float(values[best]), trials[best]
    return _View(way_down, spent, float(step.decrement[0]), float(step.min_eigenvalue[0]))


def _directions(
    term: TermBlock, theta: FloatArray, gradient: FloatArray
) -> tuple[FloatArray, FloatArray] | None:
    """Parameters of the same covariance and steps from them along which the criterion may fall."""
    tried = term.shared.alternatives(theta)
    if len(tried) == 0:
        return None
    weight = np.repeat(gradient[None], len(tried), axis=0)
    jacobian, curvature = term.shared.chart(tried, weight)
    slope = (weight[:, None, :] @ jacobian)[:, 0]
    moves = np.abs(jacobian).max(axis=1) > 1e-9
    # Second derivatives of the criterion are these alone where the entries do not move at once.
    flat = np.where(moves[:, :, None] | moves[:, None, :], 0.0, curvature)
    values, vectors = interruptible(np.linalg.eigh, flat)
    steep = np.sqrt((slope * slope).sum(axis=1))
    fall = np.maximum(_STEPS[0] * steep, -0.5 * _STEPS[0] ** 2 * values[:, 0])
    best = int(np.argmax(fall))
    if fall[best] <= _DOWN:
        return None
    along = np.stack([slope[best] / max(steep[best], 1e-300), vectors[best, :, 0]])
    sizes = np.array([sign * size for size in _STEPS for sign in (1.0, -1.0)])
    return tried[best], (along[:, None, :] * sizes[:, None]).reshape(-1, len(theta))
