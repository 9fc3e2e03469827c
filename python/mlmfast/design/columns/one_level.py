"""Columns of random effects for the rows of one level of a factor: 0 in all others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlmfast.data.frame import Frame
from mlmfast.errors import DataError

if TYPE_CHECKING:
    from mlmfast.design.columns.model_matrix import ModelMatrix


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


def of_one_level(matrix: ModelMatrix, only: OneLevel, frame: Frame) -> ModelMatrix:
    """The matrix with 0 in the rows of other levels, and with names that say whose it is.

    Raises
    ------
    DataError
        Where rows have a level that is not known.
    """
    factor = frame.factor(only.column)
    codes, unknown = factor.recode(only.known)
    if unknown:
        raise DataError(
            f"{only.column!r} has the level {unknown[0]!r}, for which the model has no covariance "
            f"of random effects (by={only.column}); known are {', '.join(only.known)}"
        )
    inside = codes == only.known.index(only.level)
    return replace(
        matrix,
        columns=[np.where(inside, column, 0.0) for column in matrix.columns],
        names=tuple(f"{name}:{only.column}{only.level}" for name in matrix.names),
        spec=replace(matrix.spec, only=only),
    )
