"""What the rows of a design stand for, where they are fewer than those that were read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray
from mlmfast.running.cached import cached_property


class Shifted(NamedTuple):
    """A column less a constant, which holds digits that the column itself has no room for."""

    values: FloatArray
    origin: float


@dataclass(frozen=True, eq=False)
class Condensed:
    """Of rows with weights that have the sums of squares and products of those that were read.

    Attributes
    ----------
    n_obs
        Observations that were read.
    log_weights
        Sum of the logarithms of their weights.
    weighted
        Whether they had weights.
    columns
        Columns of the design, each with itself less a constant.
    counts : shape (n_units,)
        Subjects that each unit of a residual covariance stands for; None where residuals are
        independent.
    parts
        Fingerprints of the parts that were read.
    unweighted : shapes (k, p) and (k,)
        Of rows with weights, rows of X that have the sums of all of them without their weights,
        and how many each stands for; None where that is not known.
    by_parts
        Whether the rows themselves stay elsewhere, in parts: what stands here has sums over all of
        them, and no clusters.
    """

    n_obs: int
    log_weights: float
    weighted: bool
    columns: tuple[tuple[FloatArray, Shifted], ...]
    counts: NDArray[np.int64] | None = None
    parts: tuple[str, ...] = ()
    unweighted: tuple[FloatArray, FloatArray] | None = None
    by_parts: bool = False

    @cached_property
    def _by_column(self) -> dict[int, Shifted]:
        # The columns are kept beside, so that their addresses stay their own.
        return {id(column): shifted for column, shifted in self.columns}

    def shifted(self, column: FloatArray) -> Shifted | None:
        """The column less a constant; None for one that is not the design's."""
        return self._by_column.get(id(column))

    def __getstate__(self) -> dict[str, object]:
        # A copy has arrays of its own.
        return {name: value for name, value in self.__dict__.items() if name != "_by_column"}
