"""What a fit without its rows keeps of them: levels, means and frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from mlmfast.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    pass


#: Labels of a factor's levels, and the levels as the data hold them.
Levels: TypeAlias = tuple[tuple[str, ...], tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class RowFacts:
    """Levels, means and frequencies over the rows of a fit.

    Attributes
    ----------
    levels : by factor.
    means : by covariate.
    spreads : standard deviations by covariate, for fits of reductions.
    offset : mean of an offset that was given as an argument.
    factors : those of `cells`.
    cells : shape (n_cells, n_factors), levels of each combination that occurs; None where there
        are too many.
    counts : shape (n_cells,), rows of each.
    """

    levels: Mapping[str, Levels]
    means: Mapping[str, float]
    offset: float
    factors: tuple[str, ...]
    cells: IntArray | None
    counts: FloatArray
    spreads: Mapping[str, float] = field(default_factory=dict)
