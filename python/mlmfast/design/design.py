"""Design: the arrays of one model, whatever they were made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.statistics import KnownStatistics
from mlmfast.design.factors.grouping import GroupingFactor, RandomEffects
from mlmfast.errors import ModelError
from mlmfast.handed_out import freeze

if TYPE_CHECKING:
    from mlmfast.design.absorbed.factor import AbsorbedFactor
    from mlmfast.design.condensed import Condensed
    from mlmfast.design.residual.design import ResidualDesign


@dataclass(frozen=True)
class Design:
    """Contiguous columns of y, X and Z with names; nothing of formulas or data frames.

    Parameters
    ----------
    y : shape (n,), the response with nothing subtracted.
    x : columns of X, each of shape (n,), or ``None`` for a constant 1
    x_names
        Names of the columns of X.
    factors, random
        Grouping factors and random-effects terms.
    weights, offset : shape (n,) or None
    response
        Name of the response.
    residual
        Covariance of the residuals within subjects; None for independent ones.
    absorbed
        A factor of the fixed part, with the intercept, that has no columns in X: see
        `mlmfast.reduction.absorbed`.
    condensed
        What the rows stand for, where they are fewer than those that were read.
    """

    y: FloatArray
    x: tuple[FloatArray | None, ...]
    x_names: tuple[str, ...]
    factors: tuple[GroupingFactor, ...] = ()
    random: tuple[RandomEffects, ...] = ()
    weights: FloatArray | None = None
    offset: FloatArray | None = None
    response: str = "y"
    residual: ResidualDesign | None = None
    #: Rows of the input that were left out because a variable was missing.
    n_dropped: int = 0
    absorbed: AbsorbedFactor | None = None
    condensed: Condensed | None = None
    #: Of the columns, as far as they have been looked at.
    statistics: KnownStatistics = field(default_factory=KnownStatistics, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Often the user's own memory, which results must not let anybody write to.
        freeze(self, "y", "x", "weights", "offset")
        columns = [self.y, *self.x, *(column for term in self.random for column in term.columns)]
        object.__setattr__(self, "statistics", self.statistics.among(columns))

    @property
    def n_obs(self) -> int:
        """Number of rows that the columns have."""
        return len(self.y)

    @property
    def n_observations(self) -> int:
        """Number of rows used: those of the columns, or those that they stand for."""
        return self.n_obs if self.condensed is None else self.condensed.n_obs

    @property
    def is_weighted(self) -> bool:
        """Whether the rows used have weights."""
        return self.weights is not None if self.condensed is None else self.condensed.weighted

    @property
    def is_in_parts(self) -> bool:
        """Whether the rows themselves stay elsewhere, in parts."""
        return self.condensed is not None and self.condensed.by_parts

    @property
    def n_absorbed(self) -> int:
        """Fixed effects that have no column in X."""
        return 0 if self.absorbed is None else self.absorbed.n_levels

    @property
    def working_response(self) -> FloatArray:
        """y minus the offset, shape (n,)."""
        return self.y if self.offset is None else self.y - self.offset

    @property
    def is_bounded(self) -> bool:
        """Whether every G is a covariance matrix; else V alone has to be one."""
        return all(term.bounded for term in self.random)

    @property
    def fixed_matrix(self) -> FloatArray:
        """X, shape (n, p), Fortran order."""
        out = np.empty((self.n_obs, len(self.x)), order="F")
        for j, column in enumerate(self.x):
            out[:, j] = 1.0 if column is None else column
        return out


def check_rows_are_here(design: Design) -> None:
    """Refuse a design whose rows stay elsewhere, in parts.

    Raises
    ------
    ModelError
    """
    if design.is_in_parts:
        raise ModelError(
            "the rows of this fit stay in parts, with the workers that hold them, and this would "
            "read them once more; fit the rows in memory, mlm.lmm(formula, data)"
        )
