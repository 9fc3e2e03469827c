"""Steps that a criterion takes by itself, where Newton's iteration would take just these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.newton.record import NewtonResult
from mlmfast.newton.step import Derivatives
from mlmfast.newton.tails import Tails

#: How rows stand: the next step is not ordinary, at a minimum, given up.
LEFT, ENDED, GIVEN_UP = 0, 1, 2


class StepsAhead(Protocol):
    """What takes ordinary steps: whole ones, of Newton or of scoring, that lead down.

    Those that are neither bounded, shortened nor lengthened. A row is left where its next step is
    none of them, as the iteration would have found it there; so it is the same fit.
    """

    def go(
        self,
        theta: FloatArray,
        fits: IntArray,
        known: Derivatives | None,
        tails: Tails,
        stretch: FloatArray,
        most: IntArray | int,
        /,
    ) -> Went | None:
        """Take the steps of the listed fits, ``most`` (a,) at most; None where it cannot.

        ``known`` is the criterion at theta; the steps taken are remembered in ``tails`` and, how
        far to go along the next scoring step, in ``stretch``.
        """


@dataclass(frozen=True)
class Went:
    """Where rows have gone.

    Attributes
    ----------
    theta, way, curvature : shape (a, t)
        Parameters, the last step, and the Hessian's diagonal where it was last looked at.
    value, decrement, min_eigenvalue : shape (a,), where the criterion was last looked at.
    n_steps, n_evaluations : shape (a,)
    stand : shape (a,), how each row stands.
    state
        The criterion with its derivatives at the rows that are left.
    """

    theta: FloatArray
    way: FloatArray
    curvature: FloatArray
    value: FloatArray
    decrement: FloatArray
    min_eigenvalue: FloatArray
    n_steps: IntArray
    n_evaluations: IntArray
    stand: NDArray[np.uint8]
    state: Derivatives

    def record(self, theta: FloatArray) -> NewtonResult:
        """The record of an iteration that begins with these steps; ``theta`` becomes its."""
        theta[:] = self.theta
        return NewtonResult(
            theta=theta,
            value=self.value,
            decrement=self.decrement,
            min_eigenvalue=self.min_eigenvalue,
            curvature=self.curvature,
            converged=self.stand == ENDED,
            n_iterations=self.n_steps,
            n_evaluations=self.n_evaluations,
        )

    def put(self, record: NewtonResult, rows: IntArray) -> None:
        """Add the steps to the record of an iteration."""
        record.theta[rows] = self.theta
        for name in ("value", "decrement", "min_eigenvalue", "curvature"):
            getattr(record, name)[rows] = getattr(self, name)
        record.converged[rows] = self.stand == ENDED
        record.n_iterations[rows] += self.n_steps
        record.n_evaluations[rows] += self.n_evaluations

    def left(self, rows: IntArray) -> tuple[IntArray, Derivatives]:
        """Which of the rows are left, and the criterion there."""
        return rows[self.stand == LEFT], self.state
