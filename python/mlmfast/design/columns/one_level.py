"""The rows of one level of a factor, to which columns of random effects may belong."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlmfast.arrays import BoolArray
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError


class OneLevel(NamedTuple):
    """The level of a column whose rows a matrix is of.

    Attributes
    ----------
    column
        The column.
    level
        The level.
    known
        All levels that the column had.
    """

    column: str
    level: str
    known: tuple[str, ...]

    def inside(self, frame: Frame) -> BoolArray:
        """Which rows have the level.

        Raises
        ------
        DataError
            Where rows have a level that is not known.
        """
        codes, unknown = frame.factor(self.column).recode(self.known)
        if unknown:
            raise DataError(
                f"{self.column!r} has the level {unknown[0]!r}, for which the model has no "
                f"covariance of random effects (by={self.column}); known are "
                f"{', '.join(self.known)}"
            )
        return np.asarray(codes == self.known.index(self.level))
