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
from mlmfast.newton.tails import Tails
from mlmfast.reduction.engines.cores import stepping_core


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
    core = stepping_core(criterion.reduction)
    if core is None or criterion.flat is not None or not is_small(criterion.n_theta):
        return None
    terms = criterion.terms
    if any(term.is_residual or not term.shared.has_core_chart for term in terms):
        return None
    blocks = [(term.level, term.first, term.structure.size) for term in terms]
    return CoreSteps(criterion, chosen, options, core, blocks)
