"""A criterion of some of the fits of a batch."""

from __future__ import annotations

from dataclasses import dataclass

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.newton.iteration import Derivatives


@dataclass(frozen=True)
class SomeFits:
    """The criterion of some fits, numbered from 0."""

    criterion: Criterion
    chosen: IntArray

    def __call__(self, theta: FloatArray, fits: IntArray) -> Derivatives:
        """The criterion of the listed fits."""
        return self.criterion(theta, self.chosen[fits])

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """See `Criterion.move`."""
        return self.criterion.move(theta, step)
