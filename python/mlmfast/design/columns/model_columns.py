"""Columns that a variable gives to a model matrix, and their products."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.factor import Factor
from mlmfast.design.columns.contrasts import Coding
from mlmfast.errors import DataError

NamedColumns: TypeAlias = tuple[list[str], list[FloatArray]]


@dataclass(frozen=True, eq=False)
class NumericColumns:
    """Numeric columns, which no coding changes."""

    names: tuple[str, ...]
    arrays: list[FloatArray]

    def columns(self, by_contrasts: bool) -> NamedColumns:
        """Names and values; `by_contrasts` has no effect."""
        return list(self.names), self.arrays


@dataclass(frozen=True, eq=False)
class FactorColumns:
    """Columns of a factor: indicators of all levels, or fewer by contrasts."""

    name: str
    factor: Factor
    coding: Coding | None

    def columns(self, by_contrasts: bool) -> NamedColumns:
        """Names and values of the contrasts or of all the indicators."""
        levels = self.factor.levels
        if not by_contrasts:
            codes = range(len(levels))
            return [self.name + level for level in levels], indicators(self.factor, codes)
        if self.coding is None:
            raise DataError(f"the contrasts of {self.name!r} are missing from the saved fit")
        names = [self.name + suffix for suffix in self.coding.suffixes]
        return names, coded_columns(self.factor, self.coding.matrix)


VariableColumns: TypeAlias = NumericColumns | FactorColumns


def indicators(factor: Factor, codes: range | list[int]) -> list[FloatArray]:
    """One column per code, 1 where the row has it and 0 elsewhere; NaN where it has none."""
    columns = [(factor.codes == code).astype(np.float64) for code in codes]
    if factor.has_missing():
        for column in columns:
            column[factor.codes < 0] = np.nan
    return columns


def coded_columns(factor: Factor, matrix: FloatArray) -> list[FloatArray]:
    """Columns of the contrast matrix, each looked up by the rows' codes."""
    is_indicator = (matrix.sum(axis=0) == 1) & ((matrix == 0) | (matrix == 1)).all(axis=0)
    if is_indicator.all():
        # Comparing codes is several times cheaper than looking them up.
        return indicators(factor, matrix.argmax(axis=0).tolist())
    # The appended row is the one that code -1 reaches.
    table = np.vstack([matrix, np.full(matrix.shape[1], np.nan)])
    return [np.ascontiguousarray(table[:, j])[factor.codes] for j in range(matrix.shape[1])]


def product_columns(parts: list[NamedColumns]) -> NamedColumns:
    """All products of one column from each part; the first part varies fastest."""
    return reduce(_product_of_two, parts)


def _product_of_two(first: NamedColumns, second: NamedColumns) -> NamedColumns:
    names = [f"{a}:{b}" for b in second[0] for a in first[0]]
    return names, [a * b for b in second[1] for a in first[1]]
