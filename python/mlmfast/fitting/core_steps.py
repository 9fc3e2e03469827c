"""Ordinary Newton steps of a criterion, taken by the core: see `mlmfast.newton.ahead`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.eigen import is_small
from mlmfast.newton import Derivatives, NewtonOptions
from mlmfast.newton.ahead import LEFT, Went
from mlmfast.newton.record import NewtonResult
from mlmfast.newton.tails import Tails
from mlmfast.reduction.engines.cores import nested_core, stepping_core


@dataclass(frozen=True)
class CoreSteps:
    """Steps of some fits of a criterion, numbered from 0, of whose covariances the core has charts.

    Attributes
    ----------
    core
        What takes the steps.
    blocks
        Level, first row and order of each term's covariance.
    """

    criterion: Criterion
    chosen: IntArray
    options: NewtonOptions
    core: _core.NestedReduction | _core.NestedBatch
    blocks: list[tuple[int, int, int]]

    def go(
        self,
        theta: FloatArray,
        fits: IntArray,
        known: Derivatives | None,
        tails: Tails,
        stretch: FloatArray,
        most: IntArray | int,
    ) -> Went | None:
        """Take the steps of the listed fits."""
        options = self.options
        n, t = theta.shape
        at = None
        if known is not None:
            by = (known.natural_gradient, known.natural_hessian, known.natural_expected)
            at = [np.ascontiguousarray(part) for part in (known.value, *by)]
        left = np.full(n, most, dtype=np.int64) if isinstance(most, int) else most.astype(np.int64)
        last = (tails.way[fits], tails.run[fits].astype(np.int64, copy=False), stretch[fits])
        found = self.core.ordinary_steps(
            self.blocks,
            self.chosen[fits].tolist(),
            (np.ascontiguousarray(theta), at, *last, left),
            (options.tolerance, options.floor, options.near, options.flat),
            self.criterion.reml,
        )
        if found is None:
            return None
        numbers, stands = found
        stretch[fits] = numbers[:, 3 * t + 6]
        return self._went(numbers, np.frombuffer(stands, np.uint8), fits, tails, t)

    def _went(
        self,
        numbers: FloatArray,
        stand: np.ndarray[tuple[int], np.dtype[np.uint8]],
        fits: IntArray,
        tails: Tails,
        t: int,
    ) -> Went:
        """What the core says of each fit, in a row of numbers."""
        theta, way = numbers[:, :t].copy(), numbers[:, t : 2 * t]
        at = 3 * t + 3
        n_steps, n_evaluations, run = numbers[:, at : at + 3].astype(np.intp).T
        left = (stand == LEFT).nonzero()[0]
        if left.size:
            tails.follow(fits[left], way[left], run[left], n_steps[left])
        return Went(
            theta,
            way,
            numbers[:, 2 * t : 3 * t],
            numbers[:, at - 3],
            numbers[:, at - 2],
            numbers[:, at - 1],
            n_steps,
            n_evaluations,
            stand,
            self._state(theta, numbers[:, at + 4 :], left, t),
        )

    def _state(self, theta: FloatArray, numbers: FloatArray, rows: IntArray, t: int) -> Derivatives:
        """The criterion with its derivatives at the rows that are left."""
        if rows.size == 0:
            none, square = np.empty((0, t)), np.empty((0, t, t))
            return Derivatives(np.empty(0), none, square, square, none, square, square)
        own, shape = np.ascontiguousarray(numbers[rows]), (len(rows), t, t)
        gradient = np.ascontiguousarray(own[:, 1 : t + 1])
        squares = own[:, t + 1 :].reshape(len(rows), 2, t * t)
        hessian, expected = (np.ascontiguousarray(squares[:, k]).reshape(shape) for k in (0, 1))
        value = np.ascontiguousarray(own[:, 0])
        return self.criterion.led(theta[rows], value, gradient, hessian, expected)


def core_steps(criterion: Criterion, chosen: IntArray, options: NewtonOptions) -> CoreSteps | None:
    """The core's ordinary steps, where it has those of this criterion."""
    core, blocks = stepping_core(criterion.reduction), _blocks(criterion)
    if core is None or blocks is None:
        return None
    return CoreSteps(criterion, chosen, options, core, blocks)


def _blocks(criterion: Criterion) -> list[tuple[int, int, int]] | None:
    """Level, first row and order of each covariance; None where the core has no chart of one."""
    terms = criterion.terms
    if criterion.flat is not None or not is_small(criterion.n_theta):
        return None
    if any(term.is_residual or not term.shared.has_core_chart for term in terms):
        return None
    return [(term.level, term.first, term.structure.size) for term in terms]


@dataclass(frozen=True)
class Ends:
    """What a fit begins and ends by.

    Attributes
    ----------
    n_levels
        Levels of the grouping factor with fewest.
    suspect
        Share of information that is not shared, under which a coordinate is worth a look.
    lift
        What eigenvalues of the start are lifted to, over the largest, and at least.
    small
        Eigenvalues of the end's covariances that are tried as 0.
    """

    n_levels: int
    suspect: float
    lift: float
    small: float


def whole_fit(criterion: Criterion, options: NewtonOptions, ends: Ends) -> NewtonResult | None:
    """A single fit from G = 0 to its end inside the covariances, in one call of the core.

    None where anything but ordinary steps is asked for: the fit is then taken from its beginning,
    and would have come to the same, bit for bit, where it is taken here.
    """
    core, blocks = nested_core(criterion.reduction), _blocks(criterion)
    if core is None or blocks is None:
        return None
    settings = (options.tolerance, options.floor, options.near, options.flat)
    limits = (ends.n_levels, ends.suspect, ends.lift, ends.small, options.max_iter)
    numbers = core.whole_fit(blocks, 0, settings, limits, criterion.reml)
    if numbers is None:
        return None
    t = criterion.n_theta
    n_steps, n_evaluations = numbers[:, 3 * t + 3 : 3 * t + 5].astype(np.intp).T
    return NewtonResult(
        theta=numbers[:, :t],
        value=numbers[:, 3 * t],
        decrement=numbers[:, 3 * t + 1],
        min_eigenvalue=numbers[:, 3 * t + 2],
        curvature=numbers[:, 2 * t : 3 * t],
        converged=np.ones(1, dtype=np.bool_),
        n_iterations=n_steps,
        n_evaluations=n_evaluations,
    )
