"""What an expression can be worth, and the conversions between these kinds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.data.factor import Factor
from mlmfast.errors import DataError, FormulaError
from mlmfast.formula.contrast_calls import Contrast
from mlmfast.formula.deparse import deparse
from mlmfast.formula.syntax import Node


@dataclass(frozen=True, eq=False)
class Basis:
    """Several numeric columns, shape (n, k), that stand for one variable, such as `poly(x, 2)`.

    ``names`` are those of the columns, where these are not the variable with a number.
    """

    values: FloatArray
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class CodedFactor:
    """A factor, and the contrast it asks for itself, as in `C(x, contr.sum)`."""

    factor: Factor
    contrast: Contrast | None


Value: TypeAlias = FloatArray | BoolArray | Factor | Basis | CodedFactor | float | str | bool
Variable: TypeAlias = FloatArray | Basis | CodedFactor


def is_logical(value: Value) -> TypeGuard[BoolArray]:
    """Whether the value is an array of truth values."""
    return isinstance(value, np.ndarray) and value.dtype == np.bool_


def as_numbers(value: Value, node: Node) -> FloatArray:
    """Numbers of a value, a logical counting as 0 and 1; `node` is named in the refusal."""
    if isinstance(value, CodedFactor):
        value = value.factor
    if isinstance(value, Factor) and set(value.levels) <= {"FALSE", "TRUE"}:
        value = as_logical(value, node)
    if isinstance(value, Basis) and value.values.shape[1] == 1:
        return np.ascontiguousarray(value.values[:, 0])
    if isinstance(value, Factor | Basis | str):
        kind = "several columns" if isinstance(value, Basis) else "text"
        raise DataError(f"{deparse(node)} is {kind} and cannot be used as a number here")
    return np.asarray(value, dtype=np.float64)


def as_logical(value: Value, node: Node) -> BoolArray:
    """Truth values of a comparison or of a logical column."""
    if isinstance(value, bool):
        return np.asarray(value)
    if isinstance(value, Factor) and set(value.levels) <= {"FALSE", "TRUE"}:
        # The last entry is the one that code -1, a missing value, reaches.
        is_true = np.array([*(level == "TRUE" for level in value.levels), False])
        return np.asarray(is_true[value.codes])
    if is_logical(value):
        return value
    raise FormulaError(f"{deparse(node)} is not a logical; compare it first, as in x > 0")
