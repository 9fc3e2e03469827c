"""Rows as a model reads them: repeated by their weights, with the columns that a formula names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.errors import DataError, ModelError
from mlmfast.formula.mixed_formula import MixedFormula, parse_formula


def repetitions(sample_weight: FloatArray | None) -> IntArray | None:
    """How often each row counts; None for once.

    Raises
    ------
    DataError
        For a weight that is no whole number: a random effect is shared by the rows of a group, so
        that a part of a row has no meaning.

    Examples
    --------
    >>> repetitions(np.array([1.0, 0.0, 2.0]))
    array([1, 0, 2])
    """
    if sample_weight is None or (sample_weight == 1.0).all():
        return None
    counts = np.rint(sample_weight).astype(np.intp)
    if (counts != sample_weight).any():
        raise DataError(
            "sample_weight counts repetitions of rows, so with groups it takes whole numbers "
            f"(found {sample_weight[counts != sample_weight][0]:g}); for residual variances "
            "sigma^2 / weight give weights="
        )
    return counts


def named_formula(formula: str) -> MixedFormula:
    """A formula whose response is a name; "y" where nothing stands left of ``~``.

    Raises
    ------
    ModelError
        For an expression: y is given by itself.

    Examples
    --------
    >>> named_formula("~ x + (1 | g)").text
    'y ~ x + (1 | g)'
    """
    parsed = parse_formula(f"y {formula}" if formula.lstrip().startswith("~") else formula)
    name = parsed.response.strip("`")
    if name == parsed.response and not name.replace(".", "_").isidentifier():
        raise ModelError(
            f"the response {name!r} of the formula is an expression, and y is given by itself; "
            "name it, and transform it by sklearn.compose.TransformedTargetRegressor"
        )
    return parsed


def as_frame(X: Any, names: list[str]) -> dict[str, Any]:
    """Columns of X by name, those of an array as x0, x1, ..."""
    if hasattr(X, "columns"):
        return {str(name): X[name] for name in X.columns}
    matrix = np.asarray(X)
    return {name: matrix[:, j] for j, name in enumerate(names)}


def unnamed_factor(parsed: MixedFormula, columns: Any) -> str:
    """The grouping factor of a formula that X does not hold."""
    needed = dict.fromkeys(name for term in parsed.random for name in term.group)
    missing = [name for name in needed if name not in columns]
    if len(missing) != 1:
        raise DataError(
            f"groups have no name, and the formula's grouping factors ({', '.join(needed)}) leave "
            f"{len(missing)} that X does not hold; give them by name, groups={{'site': labels}}"
        )
    return missing[0]


def taken(values: Any, rows: IntArray | None) -> Any:
    """Rows of an array, a list or a column; all of them for None."""
    if rows is None or values is None:
        return values
    if isinstance(values, pd.Series):
        return values.iloc[rows]
    return np.asarray(values)[rows] if isinstance(values, list | tuple) else values[rows]


def n_rows(X: Any) -> int:
    """Rows of an array, a frame or a list."""
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def rows_of(sample_weight: FloatArray | None) -> Any:
    """Positions of the rows, each as often as it counts; None for all once."""
    counts = repetitions(sample_weight)
    return None if counts is None else np.repeat(np.arange(len(counts)), counts)


def without(X: Any, names: Sequence[str]) -> Any:
    """X without the columns that are groups."""
    if not names:
        return X
    # Of pandas and polars alike.
    return X[[name for name in X.columns if name not in names]]
