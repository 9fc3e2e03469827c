"""What Newton's iteration asks of a criterion, and of what it may be helped by."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.newton.step import Derivatives


class CriterionFunction(Protocol):
    """What Newton minimises, one row a fit; coordinates of a step are local to theta."""

    def __call__(self, theta: FloatArray, fits: IntArray, /) -> Derivatives:
        """Value and derivatives of the listed fits."""

    def move(self, theta: FloatArray, step: FloatArray, /) -> FloatArray:
        """The point at local coordinates ``step`` around ``theta``."""


class Scoring(Protocol):
    """Scoring steps in the natural parameters, for points far from the optimum."""

    def target(
        self, theta: FloatArray, at: Derivatives, far: BoolArray, /
    ) -> tuple[FloatArray, FloatArray]:
        """Where the step leads, in theta (a, t), and the slope towards it (a,).

        ``far`` (a,) asks for the expected instead of the exact curvature. A slope of 0 says that
        there is no such step.
        """

    def between(self, theta: FloatArray, target: FloatArray, factor: FloatArray, /) -> FloatArray:
        """The point a fraction ``factor`` (a,) of the way, straight in the natural parameters."""


class Progress(NamedTuple):
    """Where a step began: the decrement, the smallest scaled eigenvalue, and whether it is slow.

    Slow is a decrement that falls by a factor a step, as on the way to a limit at infinity, not
    with its square.
    """

    decrement: FloatArray
    min_eigenvalue: FloatArray
    is_slow: BoolArray


#: Whether rows that went from one theta (a, t) to another are given up, shape (a,).
Leaves: TypeAlias = Callable[[FloatArray, FloatArray, Progress], BoolArray]
