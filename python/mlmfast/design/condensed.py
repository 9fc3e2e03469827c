"""What the rows of a design stand for, where they are fewer than those that were read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray


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
    y, x, z : the columns of the design, less constants; None where a column is a constant 1.
    counts : shape (n_units,)
        Subjects that each unit of a residual covariance stands for; None where residuals are
        independent.
    """

    n_obs: int
    log_weights: float
    weighted: bool
    y: Shifted
    x: tuple[Shifted | None, ...]
    z: tuple[tuple[Shifted | None, ...], ...]
    counts: NDArray[np.int64] | None = None
