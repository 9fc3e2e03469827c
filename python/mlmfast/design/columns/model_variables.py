"""What a model matrix keeps of each variable, so as to code new rows as it coded its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmfast.design.columns.contrasts import Coding


@dataclass(frozen=True, eq=False)
class NumericVariable:
    """A variable of the model that gives `n_columns` columns of numbers."""

    n_columns: int


@dataclass(frozen=True, eq=False)
class FactorVariable:
    """A factor of the model, with the levels and the contrasts of the rows it was made from.

    ``declared`` are all levels that its column declares, None where it declares none.
    """

    levels: tuple[str, ...]
    coding: Coding | None
    declared: tuple[str, ...] | None = None


def variable_to_dict(variable: NumericVariable | FactorVariable) -> dict[str, object]:
    """Return the variable as JSON-able data."""
    if isinstance(variable, NumericVariable):
        return {"n_columns": variable.n_columns}
    coding = variable.coding
    matrix = None if coding is None else coding.matrix.tolist()
    suffixes = None if coding is None else list(coding.suffixes)
    return {"levels": list(variable.levels), "matrix": matrix, "suffixes": suffixes}


def variable_from_dict(item: Mapping[str, Any]) -> NumericVariable | FactorVariable:
    """Read what `variable_to_dict` wrote."""
    if "n_columns" in item:
        if type(item["n_columns"]) is not int or item["n_columns"] < 0:
            raise ValueError("a number of columns is not a whole number")
        return NumericVariable(item["n_columns"])
    levels, matrix = tuple(map(str, item["levels"])), item["matrix"]
    if not levels or len(set(levels)) < len(levels) or not isinstance(item["levels"], list):
        raise ValueError("the levels of a factor are not distinct")
    if matrix is None:
        return FactorVariable(levels, None)
    coding = Coding(np.array(matrix, dtype=np.float64), tuple(map(str, item["suffixes"])))
    if coding.matrix.shape != (len(levels), len(coding.suffixes)):
        raise ValueError("the contrasts of a factor do not fit its levels")
    if not np.isfinite(coding.matrix).all():
        raise ValueError("the contrasts of a factor are not finite")
    return FactorVariable(levels, coding)
