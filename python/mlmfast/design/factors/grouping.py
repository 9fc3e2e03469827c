"""Grouping factors, and the random effects that vary by them."""

from __future__ import annotations

from dataclasses import dataclass

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.design.factors.relationship import Relationship
from mlmfast.handed_out import freeze

#: Name of the factor with one level, all rows, by which the effects of smooths vary; the level.
ALL_ROWS, EVERY_ROW = "smooths", "all rows"


@dataclass(frozen=True)
class GroupingFactor:
    """A grouping factor.

    Parameters
    ----------
    name
        Column name, or names joined by a colon for an interaction.
    codes : shape (n,), int32
        Level of each row, every code in ``0..n_levels`` met.
    labels
        Label of each level.
    columns
        Columns of the data whose combinations are the levels.
    relationship
        How the levels are related; None where they are independent.
    """

    name: str
    codes: CodeArray
    labels: tuple[str, ...]
    columns: tuple[str, ...] = ()
    relationship: Relationship | None = None

    def __post_init__(self) -> None:
        freeze(self, "codes")

    @property
    def has_all_rows(self) -> bool:
        """Whether it has one level, all rows: that of smooths, or of a multiple membership."""
        return self.labels == (EVERY_ROW,) and not self.columns

    @property
    def has_curves(self) -> bool:
        """Whether it is that of the smooths."""
        return self.has_all_rows and self.name == ALL_ROWS

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.labels)


@dataclass(frozen=True)
class RandomEffects:
    """One random-effects term: columns of Z and the structure of their covariance.

    Parameters
    ----------
    factor
        Position of its grouping factor in ``Design.factors``.
    names
        Column names.
    columns : each of shape (n,), or ``None`` for a constant 1
    structure
        Covariance structure of G.
    text
        The term as written.
    bounded
        Whether G is a covariance matrix; else V alone has to be one (NOBOUND).
    """

    factor: int
    names: tuple[str, ...]
    columns: tuple[FloatArray | None, ...]
    structure: CovarianceStructure
    text: str
    bounded: bool = True

    def __post_init__(self) -> None:
        freeze(self, "columns")

    @property
    def iterated(self) -> CovarianceStructure:
        """The structure in the parameters of the iteration."""
        return self.structure.closed() if self.bounded else self.structure.opened()
