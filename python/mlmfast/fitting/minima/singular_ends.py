"""Fits of a batch at a singular residual covariance: brought to their end, and reported through V.

`ways` has the way to the end of one fit, `through_v` what is exact there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.barrier import ResidualPart, residual_parts
from mlmfast.criterion.criterion import Criterion, ThroughV
from mlmfast.criterion.some_fits import SomeFits
from mlmfast.fitting.boundary import Settled, set_zeros
from mlmfast.fitting.minima.counted import falls_by_counting
from mlmfast.fitting.minima.guarded import OpenEnds
from mlmfast.fitting.minima.near_singular import (
    is_lost,
    is_near_singular,
    may_become_singular,
    smallest_eigenvalue,
)
from mlmfast.fitting.minima.through_v import FEW_OPERATIONS, MANY_OPERATIONS, through_v
from mlmfast.fitting.minima.vanishing import vanishing_variances
from mlmfast.fitting.minima.ways import Minimise, SingularEnd, falls_without_bound, follow
from mlmfast.newton.iteration import NewtonResult
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.reduced_model import ReducedModel

#: Fall of -2 log-likelihood for which an end is taken that is not proven to be a minimum.
_CLEARLY = 1e-3
#: Scaled eigenvalue of a Hessian that is lost in rounding.
_LOST = 1e-13
#: Smallest eigenvalue of R, over the mean variance, below which an engine that inverts R has lost
#: digits that are reported.
INVERTED = 1e-7
#: Rise of -2 log-likelihood that is rounding of such an engine.
_ROUNDING = 1e-4
#: Fall of -2 log-likelihood below an end that no rounding makes.
_FAR_BELOW = 1.0
#: No other ends.
_NOWHERE = OpenEnds(np.empty((0, 0)), np.empty((0, 0)))


@dataclass(frozen=True)
class SingularEnds:
    """Fits of a batch whose residual covariance is singular.

    Attributes
    ----------
    singular, without_bound
        Those that are so at their infimum, and those whose -2 log-likelihood has none.
    unbounded_elsewhere
        Those at a minimum of their own that fall without bound somewhere else: theta (1, n_theta)
        on the way there.
    through_v
        How the first, and others as near to singular, are evaluated; None where by the criterion.
    """

    singular: tuple[int, ...] = ()
    without_bound: tuple[int, ...] = ()
    through_v: ThroughV | None = None
    unbounded_elsewhere: Mapping[int, FloatArray] = field(default_factory=dict)


NO_ENDS = SingularEnds()


def bring_to_singular_ends(
    model: ReducedModel,
    criterion: Criterion,
    found: Settled,
    options: NewtonOptions,
    lower: dict[int, OpenEnds],
    n_elsewhere: IntArray,
    minimise: Minimise,
) -> SingularEnds:
    """Bring fits that stalled at a nearly singular residual covariance to their end.

    Parameters
    ----------
    found
        Where the iterations ended; becomes where the fits end.
    lower
        What other starts came to, behind the barrier, by fit.
    n_elsewhere : shape (n_fits,)
        Evaluations from other starts, which those of the ways on from ``lower`` are added to.
    minimise
        Newton's iteration.
    """
    parts = residual_parts(criterion)
    if not parts:
        return NO_ENDS
    lower = {row: ends for row, ends in lower.items() if len(ends.theta) or len(ends.lost)}
    rows = sorted({*_stalled(parts, found), *_inverted(parts, found), *lower})
    through = through_v(model, criterion, rows, FEW_OPERATIONS)
    way = _Way(model, criterion, parts, found, n_elsewhere, options, minimise, through)
    singular, without_bound, elsewhere = _follow_all(way, lower)
    others = np.setdiff1d(np.arange(len(found.theta)), [*without_bound, *elsewhere])
    vanishing, spent = vanishing_variances(model, criterion, found.theta, others)
    # An iteration that did not end is on that way itself.
    gone = {row for row in vanishing if not found.newton.converged[row]}
    without_bound = tuple(sorted({*without_bound, *gone}))
    elsewhere |= {row: theta for row, theta in vanishing.items() if row not in gone}
    n_elsewhere += spent
    inverted, ended = _inverted(parts, found), set(singular)
    if through is None:
        # Too many operations to iterate by, but what an inverse of R has lost is not reported.
        inverted = [row for row in inverted if row not in without_bound]
        through, ended = through_v(model, criterion, inverted, MANY_OPERATIONS), set()
        way = replace(way, through=through)
    if through is None or through.criterion is criterion:
        return SingularEnds(singular, without_bound, None, elsewhere)
    inverted = [row for row in inverted if row in through.places]
    for row in set(inverted) - ended - set(without_bound):
        way.refine(row)
    places = {row: through.places[row] for row in inverted}
    again = replace(through, places=places) if places else None
    return SingularEnds(singular, without_bound, again, elsewhere)


@dataclass(frozen=True)
class _Way:
    """What is needed to bring a fit to its end."""

    model: ReducedModel
    criterion: Criterion
    parts: tuple[ResidualPart, ...]
    found: Settled
    n_elsewhere: IntArray
    options: NewtonOptions
    minimise: Minimise
    through: ThroughV | None

    def of_fit(self, row: int) -> SomeFits:
        """The criterion of a fit: through V where it is there."""
        if self.through is None:
            return SomeFits(self.criterion, np.array([row]))
        return SomeFits(self.through.criterion, np.array([self.through.places[row]]))

    def end(
        self, row: int, theta: FloatArray, is_guarded: bool, is_other: bool = True
    ) -> SingularEnd:
        """See `ways.follow`; theta (1, n_theta), and whether of another start."""
        is_exact = self.through is not None
        own = self.of_fit(row)
        end = follow(own, self.parts, theta, self.options, self.minimise, is_guarded, is_exact)
        self.count(row, end, is_other)
        return end

    def is_held_by_few(self, row: int) -> bool:
        """Whether a fit that stalled on a steep way falls without bound, by counting subjects."""
        return falls_by_counting(self.model, self.criterion, self.found, row)

    def count(self, row: int, end: SingularEnd, is_other: bool) -> None:
        """Count the evaluations of an end."""
        spent = self.n_elsewhere if is_other else self.found.newton.n_evaluations
        spent[row] += end.n_evaluations

    def falls(self, row: int, lost: FloatArray) -> FloatArray | None:
        """Where -2 log-likelihood falls without bound, seen from where iterations were lost."""
        for theta in lost:
            own = SomeFits(self.criterion, np.array([row]))
            end = falls_without_bound(own, self.parts, theta[None], self.options, self.minimise)
            self.count(row, end, True)
            if end.without_bound:
                return theta[None] if end.unproven is None else end.unproven.theta
        return None

    def is_far_below(self, row: int, theta: FloatArray) -> bool:
        """Whether -2 log-likelihood at theta (1, n_theta) is far below where the fit has ended."""
        own = self.of_fit(row)
        self.n_elsewhere[row] += 1
        value = own.criterion.value(theta, own.chosen)[0]
        return bool(value < self.found.newton.value[row] - _FAR_BELOW)

    def revalue(self, row: int) -> None:
        """Take the value of where a fit is through V, to be compared with others."""
        if self.through is not None and self.through.criterion is not self.criterion:
            own, theta = self.of_fit(row), self.found.theta[[row]]
            self.found.newton.value[row] = own.criterion.value(theta, own.chosen)[0]

    def refine(self, row: int) -> None:
        """Iterate once more from where a fit has converged, without what the engine had lost."""
        newton = self.minimise(self.of_fit(row), self.found.theta[[row]], self.options)
        self.found.newton.n_evaluations[row] += int(newton.n_evaluations[0])
        if newton.converged[0] and newton.value[0] < self.found.newton.value[row] + _ROUNDING:
            self.put(row, newton)

    def put(self, row: int, newton: NewtonResult) -> None:
        """Replace a fit by an iteration of one row, whose evaluations have been counted.

        The iteration may have ended at other singular covariances of random effects than the fit.
        """
        own = self.of_fit(row)
        other = replace(newton, n_evaluations=np.zeros(1, dtype=np.intp))
        settled = set_zeros(own.criterion, other, own.chosen)
        self.found.put(np.array([row]), settled, np.ones(1, dtype=np.bool_))


def _follow_all(
    way: _Way, lower: dict[int, OpenEnds]
) -> tuple[tuple[int, ...], tuple[int, ...], dict[int, FloatArray]]:
    """Fits that are singular at their infimum, that have none, and that fall without bound too."""
    found, singular, without_bound = way.found, set[int](), set[int]()
    elsewhere: dict[int, FloatArray] = {}
    stalled = _stalled(way.parts, found)
    for row in sorted({*stalled, *lower}):
        own = lower.get(row, _NOWHERE)
        fell = None
        if row not in stalled:
            if is_near_singular(way.parts, found.theta[[row]])[0]:
                way.revalue(row)
            fell = _follow_others(way, row, own, singular, 0)
        else:
            has_no_end, fell = _follow_stalled(way, row, own, singular)
            if has_no_end:
                without_bound.add(row)
                continue
        fell = way.falls(row, own.lost) if fell is None else fell
        if fell is not None:
            elsewhere[row] = fell
    return tuple(sorted(singular)), tuple(sorted(without_bound)), elsewhere


def _follow_stalled(
    way: _Way, row: int, own: OpenEnds, singular: set[int]
) -> tuple[bool, FloatArray | None]:
    """Bring a fit that stalled to its end; whether there is none, and where others have none.

    Other starts have come to rest behind the barrier where there is an end, and so has one from
    where the fit had stalled: the way goes on from the lowest, unless it leads no lower.
    """
    found, newton = way.found, way.found.newton
    was_converged = not _is_stalled(newton, row)
    way.revalue(row)
    stalled, value = found.theta[[row]].copy(), newton.value[row]
    fell, others = None, len(own.theta) > 0 and len(own.lost) == 0
    if others:
        fell = _follow_others(way, row, own, singular, 1)
        if fell is None and row in singular and newton.value[row] < value + _CLEARLY:
            return False, None
    if not was_converged and way.is_held_by_few(row):
        singular.discard(row)
        return True, None
    is_where_it_was = bool((found.theta[row] == stalled[0]).all())
    end = way.end(row, stalled, False, False)
    if end.without_bound and not was_converged:
        singular.discard(row)
        _goes_on(way, row, end)
        return True, None
    if _takes(way, row, end, in_any_case=not was_converged and is_where_it_was):
        singular.discard(row)
        singular |= {row} if end.is_singular else set()
    if not others:
        fell = _follow_others(way, row, own, singular, 0)
    return False, fell


def _follow_others(
    way: _Way, row: int, own: OpenEnds, singular: set[int], n_counted: int
) -> FloatArray | None:
    """Follow the ways that other starts came to; where one falls without bound, (1, n_theta).

    The first ``n_counted`` ones count as the fit's own.
    """
    found, fell, nowhere = way.found, None, list[FloatArray]()
    for k, theta in enumerate(own.theta):
        end = way.end(row, theta[None], True, k >= n_counted)
        if end.without_bound:
            fell = theta[None] if end.unproven is None else end.unproven.theta
        elif _takes(way, row, end, in_any_case=_is_stalled(found.newton, row)):
            singular.discard(row)
            singular |= {row} if end.is_singular else set()
        elif end.newton is None and end.unproven is None:
            nowhere.append(theta[None])
    for theta in nowhere if fell is None else ():
        # The way is lost in rounding: far below all ends, or told by the largest weight.
        fell = theta if way.is_far_below(row, theta) else way.falls(row, theta)
        if fell is not None:
            break
    return fell


def _goes_on(way: _Way, row: int, end: SingularEnd) -> None:
    """Report a fit without a maximum from where it was seen to fall, not from where that began.

    Unless nothing can be computed there.
    """
    found = way.found
    found.newton.converged[row] = False
    if end.unproven is not None and not is_lost(way.parts, end.unproven.theta)[0]:
        found.theta[row] = found.newton.theta[row] = end.unproven.theta[0]


def _takes(way: _Way, row: int, end: SingularEnd, in_any_case: bool) -> bool:
    """Put an end into what is found if it is lower than that, or a minimum ``in_any_case``.

    A lower end that is not proven to be a minimum says that it has not converged.
    """
    newton = end.unproven if end.newton is None else end.newton
    if newton is None:
        return False
    fall = way.found.newton.value[row] - newton.value[0]
    if end.newton is None:
        if not fall > _CLEARLY:
            return False
    elif not (in_any_case or fall > 0.0):
        return False
    way.put(row, newton)
    return True


def _stalled(parts: tuple[ResidualPart, ...], found: Settled) -> list[int]:
    """Fits that stalled at a nearly singular covariance."""
    rows = [row for row in range(len(found.theta)) if _is_stalled(found.newton, row)]
    return [row for row in rows if may_become_singular(parts, found.theta[[row]])[0]]


def _inverted(parts: tuple[ResidualPart, ...], found: Settled) -> list[int]:
    """Fits at covariances whose inverse has lost digits."""
    small = smallest_eigenvalue(parts, found.theta) < INVERTED
    rows: Iterable[int] = np.flatnonzero(small).tolist()
    return list(rows)


def _is_stalled(newton: NewtonResult, row: int) -> bool:
    """Whether an iteration has not converged, or ended where all derivatives have died out."""
    return not newton.converged[row] or bool(abs(newton.min_eigenvalue[row]) < _LOST)
