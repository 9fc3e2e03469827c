"""Residual standard deviations that differ from row to row: ``residual_scale="g"``, ``"power(x)"``.

Every scale is log-linear: log s_i = d_i'gamma, with d_i the indicators of a factor's levels, log|x|
or x. Products of scales add up their columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, CodeArray, FloatArray
from mlmfast.data.factor import cross_factors
from mlmfast.data.finite import check_finite, row_of_table
from mlmfast.errors import DataError, FormulaError, ModelError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.syntax import Binary, Call, Name, Node, Paren, parse

if TYPE_CHECKING:
    from mlmfast.data.frame import Frame

#: Distinct rows of scale columns that are kept apart; beyond, each row of the data has its own.
MOST_DISTINCT = 64
_FUNCTIONS = ("power", "exp")


@dataclass(frozen=True)
class ScaleFactor:
    """One factor of a scale: ratios by level ("levels"), |x|^delta ("power"), exp(delta x) ("exp").

    Attributes
    ----------
    kind
        "levels", "power" or "exp".
    column
        The covariate; empty for levels.
    by
        Columns whose combinations are the levels, or have a delta each; empty for one delta.
    """

    kind: str
    column: str
    by: tuple[str, ...]


@dataclass(frozen=True)
class ScaleFormula:
    """A parsed ``residual_scale=``."""

    factors: tuple[ScaleFactor, ...]
    text: str

    @property
    def variables(self) -> tuple[str, ...]:
        """Columns of the data that are used."""
        names = (name for f in self.factors for name in ((f.column,) if f.column else ()) + f.by)
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class ScaleDesign:
    """The residual scale of a design: s of row i is exp(exponents[codes[i]] gamma).

    Attributes
    ----------
    formula
        The formula.
    codes : shape (n,), int32
        Row of `exponents` for each row of the data.
    exponents : shape (n_distinct, m)
    center, spread : shape (m,)
        Centre and scale of the columns in the iteration.
    names
        Names of the m parameters: ratios of standard deviations to the first level's, or deltas.
    is_ratio : shape (m,)
        Whether the parameter reported is exp(gamma) rather than gamma.
    levels
        Labels of the levels of each factor of the formula; one empty label without levels.
    """

    formula: ScaleFormula
    codes: CodeArray
    exponents: FloatArray
    center: FloatArray
    spread: FloatArray
    names: tuple[str, ...]
    is_ratio: tuple[bool, ...]
    levels: tuple[tuple[str, ...], ...]


def parse_scale(text: str) -> ScaleFormula:
    """Parse the text of ``residual_scale=``.

    Raises
    ------
    FormulaError
        Where it is not a factor, ``power(x)``, ``exp(x)``, or a product of such.

    Examples
    --------
    >>> parse_scale("site * power(age | sex)").factors[1]
    ScaleFactor(kind='power', column='age', by=('sex',))
    """
    if not isinstance(text, str):
        raise FormulaError(
            f"residual_scale is text such as 'sex' or 'power(x)', not {type(text).__name__}"
        )
    return ScaleFormula(tuple(_factors(parse(text), text)), text)


def _factors(node: Node, text: str) -> list[ScaleFactor]:
    if isinstance(node, Paren):
        return _factors(node.inner, text)
    if isinstance(node, Binary) and node.operator == "*":
        return [*_factors(node.left, text), *_factors(node.right, text)]
    if isinstance(node, Call) and node.function in _FUNCTIONS:
        return [_function(node, text)]
    return [ScaleFactor("levels", "", _names(node, text))]


def _function(call: Call, text: str) -> ScaleFactor:
    if len(call.arguments) != 1 or call.keywords:
        raise FormulaError(f"{deparse(call)} in residual_scale={text!r} takes one column")
    column = call.arguments[0]
    by: tuple[str, ...] = ()
    if isinstance(column, Binary) and column.operator == "|":
        by, column = _names(column.right, text), column.left
    if not isinstance(column, Name):
        raise FormulaError(
            f"{deparse(column)} in residual_scale={text!r} is not the name of a column"
        )
    return ScaleFactor(call.function, column.name, by)


def _names(node: Node, text: str) -> tuple[str, ...]:
    if isinstance(node, Binary) and node.operator == ":":
        return (*_names(node.left, text), *_names(node.right, text))
    if not isinstance(node, Name):
        raise FormulaError(
            f"{deparse(node)} in residual_scale={text!r} is no residual scale; write a factor "
            "(residual_scale='sex'), 'power(x)', 'exp(x)', one delta a level ('power(x | sex)'), "
            "or a product ('sex * power(x)')"
        )
    return (node.name,)


def scale_design(formula: ScaleFormula, frame: Frame) -> ScaleDesign:
    """Read the residual scale of a model from its rows.

    Raises
    ------
    DataError
        For a covariate that is not numeric, or is 0 under ``power``.
    ModelError
        Where the parameters could not be told apart from each other or from the variance.
    """
    parts = [_columns(factor, formula, frame) for factor in formula.factors]
    codes = np.zeros(frame.n_rows, dtype=np.int64)
    n_distinct = 1
    for part in parts:
        codes = codes * len(part.table) + part.codes
        kept, codes = np.unique(codes, return_inverse=True)
        n_distinct = len(kept)
    rows = np.empty(n_distinct, dtype=np.intp)
    rows[codes] = np.arange(frame.n_rows)
    exponents = np.concatenate([part.table[part.codes[rows]] for part in parts], axis=1)
    share = np.bincount(codes, minlength=n_distinct) / frame.n_rows
    ratio = np.concatenate([part.is_ratio for part in parts])
    center = np.where(ratio, 0.0, share @ exponents)
    spread = np.sqrt(share @ (exponents - center) ** 2)
    spread = np.where(ratio | ~(spread > 0), 1.0, spread)
    _check_identified(formula, (exponents - center) / spread, np.sqrt(share))
    names = tuple(name for part in parts for name in part.names)
    return ScaleDesign(
        formula,
        codes.astype(np.int32),
        exponents,
        center,
        spread,
        names,
        tuple(ratio.tolist()),
        tuple(part.labels for part in parts),
    )


def scale_columns_of(
    factor: ScaleFactor, formula: ScaleFormula, frame: Frame, codes: CodeArray, n_levels: int
) -> FloatArray:
    """Columns d of one factor for the rows of a frame, whose levels are known as codes."""
    if factor.kind == "levels":
        return np.eye(n_levels)[codes, 1:]
    values = _covariate(factor, formula, frame)
    return np.asarray(values[:, None] * np.eye(n_levels)[codes])


@dataclass(frozen=True)
class _Columns:
    """Columns of one factor: row i is table[codes[i]]."""

    codes: CodeArray
    table: FloatArray
    names: tuple[str, ...]
    is_ratio: BoolArray
    labels: tuple[str, ...]


def _columns(factor: ScaleFactor, formula: ScaleFormula, frame: Frame) -> _Columns:
    codes, labels = _levels(factor, formula, frame)
    if factor.kind == "levels":
        table = np.eye(len(labels))[:, 1:]
        names = tuple(f"SD({label})/SD({labels[0]})" for label in labels[1:])
        return _Columns(codes, table, names, np.ones(len(names), dtype=np.bool_), labels)
    values = _covariate(factor, formula, frame)
    distinct, inverse = np.unique(values, return_inverse=True)
    combined = inverse.astype(np.int64) * len(labels) + codes
    kept, combined_codes = np.unique(combined, return_inverse=True)
    table = distinct[kept // len(labels)][:, None] * np.eye(len(labels))[kept % len(labels)]
    written = f"{factor.kind}({factor.column})"
    names = tuple(f"{written}: {label}" for label in labels) if factor.by else (written,)
    is_ratio = np.zeros(len(names), dtype=np.bool_)
    return _Columns(combined_codes.astype(np.int32), table, names, is_ratio, labels)


def _levels(
    factor: ScaleFactor, formula: ScaleFormula, frame: Frame
) -> tuple[CodeArray, tuple[str, ...]]:
    """Level of each row among those that occur, and their labels."""
    if not factor.by:
        return np.zeros(frame.n_rows, dtype=np.int32), ("",)
    levels = cross_factors([frame.factor(name) for name in factor.by])
    kept, codes = np.unique(levels.codes, return_inverse=True)
    labels = tuple(levels.levels[k] for k in kept)
    name = ":".join(factor.by)
    if len(labels) < 2:
        raise ModelError(
            f"residual_scale={formula.text!r}: {name!r} has 1 level ({labels[0]!r}); a scale by "
            "level needs at least 2"
        )
    if 2 * len(labels) > frame.n_rows:
        raise ModelError(
            f"residual_scale={formula.text!r}: {name!r} has {len(labels)} levels in "
            f"{frame.n_rows} rows, too many to estimate a standard deviation for each; for a "
            f"function of a number write power({name}) or exp({name})"
        )
    return codes.astype(np.int32), labels


def _covariate(factor: ScaleFactor, formula: ScaleFormula, frame: Frame) -> FloatArray:
    name = factor.column
    if not frame.is_numeric(name):
        raise DataError(
            f"{factor.kind}({name}) in residual_scale={formula.text!r} needs numbers, and column "
            f"{name!r} holds none"
        )
    values = frame.numeric(name)
    check_finite(name, values, frame.rows_used)
    if factor.kind == "exp":
        return values
    zeros = np.flatnonzero(values == 0.0)
    if zeros.size:
        first = row_of_table(int(zeros[0]), frame.rows_used)
        raise DataError(
            f"power({name}) in residual_scale={formula.text!r} gives rows with {name} = 0 a "
            f"standard deviation of 0 or infinity ({zeros.size} such rows; the first is row "
            f"{first}, counting from 0); shift the covariate, or write exp({name})"
        )
    return np.log(np.abs(values))


def _check_identified(formula: ScaleFormula, columns: FloatArray, weights: FloatArray) -> None:
    """Refuse columns that depend on each other or on the constant."""
    whole = np.column_stack([np.ones(len(columns)), columns]) * weights[:, None]
    if np.linalg.matrix_rank(whole, tol=1e-9 * np.linalg.norm(whole)) < whole.shape[1]:
        raise ModelError(
            f"residual_scale={formula.text!r}: its parameters cannot be told apart, or from the "
            "residual variance; use covariates that vary (within levels, where each level has its "
            "own delta), and each factor once"
        )
