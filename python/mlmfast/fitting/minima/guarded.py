"""Other minima where a residual covariance may become singular.

Iterations from far starts run into singular covariances, where derivatives are lost in rounding and
values mean nothing, and stall on the way. A barrier (`near_singular`) holds them off: with a weight
that falls in stages every start comes to rest at one of a few points, which are then told apart by
their values. Minima with a regular covariance are refined without it; of the others the iteration
to the infimum is begun (`ways.follow` ends it).

Reference: Nocedal and Wright (2006), Numerical Optimization, section 19.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.barrier import ResidualPart
from mlmfast.criterion.criterion import Criterion
from mlmfast.fitting.minima.iterated_rows import rows_of, stacked
from mlmfast.fitting.minima.near_singular import GUARDED, is_lost, is_near_singular, lifted
from mlmfast.newton.iteration import NewtonResult

#: Weights of the barrier, Newton steps and ends of each fit that go on, after each round: with a
#: weight that smooths small minima away, and with one that leaves those near a singular covariance;
#: and where evaluations are dear.
_ROUNDS = (
    ((0.1, 5, 24), (0.1, 10, 16), (0.1, 25, 8), (GUARDED, 30, 3)),
    ((GUARDED, 5, 30), (GUARDED, 8, 20), (GUARDED, 15, 10), (GUARDED, 30, 4)),
)
_FEW_ROUNDS = (((0.1, 4, 10), (0.1, 8, 6), (0.1, 20, 4), (GUARDED, 20, 2)),)
#: Difference of two ends that are the same.
_SAME_END = 1e-3
#: Squared distance in standard errors (-2 log-likelihood, by the curvature) of rows that count as
#: on the way to the same end.
_SAME_WAY = 0.5
#: Height above the lowest end at which an end is not worth to be followed further: at the last
#: weight ends lie up to a tenth of it above their infimum.
_TOO_HIGH = 0.5

#: Newton's iteration from theta for the listed fits, over so many steps, with a barrier's weight.
Guarded: TypeAlias = Callable[[FloatArray, IntArray, int, float], NewtonResult]


@dataclass(frozen=True)
class GuardedEnds:
    """Where the guarded iterations of a batch of fits came to rest, lowest first within a fit.

    Attributes
    ----------
    theta : shape (n_ends, n_theta)
    rows : shape (n_ends,), position of the fit of each.
    near_singular : shape (n_ends,), whether a residual covariance is nearly singular there.
    n_evaluations : shape (n_fits,), evaluations of all rows.
    lost
        The lowest row of a fit, (1, n_theta) by position, that went where values mean nothing.
    """

    theta: FloatArray
    rows: IntArray
    near_singular: BoolArray
    n_evaluations: IntArray
    lost: dict[int, FloatArray]


@dataclass(frozen=True)
class OpenEnds:
    """Where iterations to a singular residual covariance of a fit are to go on.

    Attributes
    ----------
    theta : shape (n_ends, n_theta), minima with the barrier, lowest first.
    lost : shape (n_lost, n_theta), where iterations went through the barrier.
    """

    theta: FloatArray
    lost: FloatArray


def guarded_ends(
    criterion: Criterion,
    parts: tuple[ResidualPart, ...],
    theta: FloatArray,
    rows: IntArray,
    fits: IntArray,
    guarded: Guarded,
    is_dear: bool,
) -> GuardedEnds:
    """Iterate from all rows at once; rows that come to rest where another does are given up.

    Parameters
    ----------
    theta : shape (n_rows, n_theta), starts.
    rows : shape (n_rows,), position among ``fits`` of each.
    fits : shape (n_fits,)
    guarded
        The iteration.
    is_dear
        Whether evaluations are dear.
    """
    spent = np.zeros(len(fits), dtype=np.intp)
    at_rest, lost = [], dict[int, FloatArray]()
    for rounds in _FEW_ROUNDS if is_dear else _ROUNDS:
        at, own, newton = lifted(parts, theta), rows, None
        for weight, steps, most in rounds:
            newton = guarded(at, fits[own], steps, weight)
            np.add.at(spent, own, newton.n_evaluations)
            keep = distinct_ends(newton, own, most)
            gone = is_lost(parts, newton.theta[keep])
            for row in keep[gone].tolist():
                lost.setdefault(int(own[row]), newton.theta[[row]])
            keep = keep[~gone]
            at, own, newton = newton.theta[keep], own[keep], rows_of(newton, keep)
            if own.size == 0:
                break
        assert newton is not None, "there are rounds"
        at_rest.append((newton, own))
    newton, rows = stacked([part[0] for part in at_rest]), np.concatenate([p[1] for p in at_rest])
    keep = distinct_ends(newton, rows, len(rows))
    theta, rows, value = newton.theta[keep], rows[keep], newton.value[keep]
    lowest = np.full(len(fits), np.inf)
    np.minimum.at(lowest, rows, value)
    near = np.flatnonzero(value <= lowest[rows] + _TOO_HIGH)
    theta, rows = theta[near], rows[near]
    singular = is_near_singular(parts, theta) if rows.size else np.zeros(0, dtype=np.bool_)
    return GuardedEnds(theta, rows, singular, spent, lost)


def distinct_ends(newton: NewtonResult, rows: IntArray, most: int) -> IntArray:
    """The lowest ``most`` rows of each fit that are not on the way to where a lower one is."""
    out: list[int] = []
    for fit in np.unique(rows):
        own = np.flatnonzero((rows == fit) & np.isfinite(newton.value))
        kept: list[int] = []
        for row in own[np.argsort(newton.value[own], kind="stable")].tolist():
            if len(kept) < most and not any(_is_same(newton, row, other) for other in kept):
                kept.append(row)
        out += kept
    return np.array(out, dtype=np.intp)


def _is_same(newton: NewtonResult, row: int, other: int) -> bool:
    """Whether a row has the end of a lower one, or is on the way to it."""
    above = newton.value[row] - newton.value[other]
    if newton.converged[row] and newton.converged[other]:
        return bool(above < _SAME_END)
    way = newton.theta[row] - newton.theta[other]
    distance = float((np.abs(newton.curvature[other]) * way * way).sum())
    return bool(above < _SAME_WAY and distance < _SAME_WAY)
