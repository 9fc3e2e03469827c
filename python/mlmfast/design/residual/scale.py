"""Residual standard deviations that differ from row to row: ``residual_scale="power(x)"``.

A scale goes by columns d: the indicators of a factor's levels, log|x| or x, of which log s is
linear, and for ``constpower(x)`` an indicator and log|x| (`LogScale`). Products have the columns of
all factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.covariance.log_scale import (
    CONSTANT,
    POSITIVE,
    POWER,
    RATIO,
    SLOPE,
    LogScale,
    must_be_positive,
)
from mlmfast.data.factor import cross_factors
from mlmfast.data.finite import check_finite, row_of_table
from mlmfast.errors import DataError, FormulaError, ModelError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.syntax import Binary, Call, Name, Node, Paren, parse

if TYPE_CHECKING:
    from mlmfast.data.frame import Frame

#: Distinct rows of scale columns that are kept apart; beyond, each row of the data has its own.
MOST_DISTINCT = 64
#: The scale c + |x|^p, beside |x|^delta and exp(delta x).
CONSTANT_AND_POWER = "constpower"
_FUNCTIONS = ("power", "exp", CONSTANT_AND_POWER)
#: Values of |x| that tell a constant and a power from the variance.
_FEWEST_VALUES = 3


@dataclass(frozen=True)
class ScaleFactor:
    """One factor of a scale: ratios by level, |x|^delta, exp(delta x) or c + |x|^p.

    Attributes
    ----------
    kind
        "levels", "power", "exp" or "constpower".
    column
        The covariate; empty for levels.
    by
        Columns whose combinations are the levels, or have parameters each; empty for one set.
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
    """The residual scale of a design: that of row i goes by d = exponents[codes[i]].

    Attributes
    ----------
    formula
        The formula.
    codes : shape (n,), int32
        Row of `exponents` for each row of the data.
    exponents : shape (n_distinct, m)
    log_scale
        log s by d, with the m parameters: ratios of standard deviations to the first level's,
        deltas, constants and powers.
    levels
        Labels of the levels of each factor of the formula; one empty label without levels.
    """

    formula: ScaleFormula
    codes: CodeArray
    exponents: FloatArray
    log_scale: LogScale
    levels: tuple[tuple[str, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return self.log_scale.names

    @property
    def is_ratio(self) -> tuple[bool, ...]:
        """Whether each parameter is a ratio of standard deviations."""
        return self.log_scale.is_ratio


def parse_scale(text: str) -> ScaleFormula:
    """Parse the text of ``residual_scale=``.

    Raises
    ------
    FormulaError
        Where it is not a factor, ``power(x)``, ``exp(x)``, ``constpower(x)``, or a product of such.

    Examples
    --------
    >>> parse_scale("site * power(age | sex)").factors[1]
    ScaleFactor(kind='power', column='age', by=('sex',))
    """
    if not isinstance(text, str):
        raise FormulaError(
            f"residual_scale is text such as 'sex' or 'power(x)', not {type(text).__name__}"
        )
    factors = tuple(_factors(parse(text), text))
    twice = next(
        (f for f in factors if f.kind == CONSTANT_AND_POWER and factors.count(f) > 1), None
    )
    if twice is not None:
        raise FormulaError(
            f"residual_scale={text!r} takes {CONSTANT_AND_POWER}({twice.column}) twice"
        )
    return ScaleFormula(factors, text)


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
            "(residual_scale='sex'), 'power(x)', 'exp(x)', 'constpower(x)', one delta a level "
            "('power(x | sex)'), or a product ('sex * power(x)')"
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
    kinds = tuple(kind for part in parts for kind in part.kinds)
    center, spread = _center(exponents, kinds, share)
    names = tuple(name for part in parts for name in part.names)
    log_scale = LogScale(names, kinds, center, spread)
    _check_identified(formula, _told_apart(log_scale, exponents), np.sqrt(share))
    labels = tuple(part.labels for part in parts)
    return ScaleDesign(formula, codes.astype(np.int32), exponents, log_scale, labels)


def _center(
    exponents: FloatArray, kinds: tuple[str, ...], share: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Centre and spread of the columns, of those of constants and powers as `LogScale` says."""
    center, spread = np.zeros(len(kinds)), np.ones(len(kinds))
    for k, kind in enumerate(kinds):
        weights, values = share, exponents[:, k]
        if kind == RATIO:
            continue
        if kind in {POWER, POSITIVE}:
            weights = share * exponents[:, k - 1] * np.isfinite(values)
            values, weights = np.where(np.isfinite(values), values, 0.0), weights / weights.sum()
        center[k] = weights @ values
        if kind != CONSTANT:
            width = float(np.sqrt(weights @ (values - center[k]) ** 2))
            spread[k] = width if width > 0 else 1.0
    return center, spread


def parameter_kinds(factor: ScaleFactor, n_levels: int) -> tuple[str, ...]:
    """Kinds of the parameters of one factor, as `LogScale` has them.

    Examples
    --------
    >>> parameter_kinds(ScaleFactor("levels", "", ("sex",)), 2)
    ('ratio',)
    """
    if factor.kind == "levels":
        return (RATIO,) * (n_levels - 1)
    return (
        (CONSTANT, POWER) * n_levels if factor.kind == CONSTANT_AND_POWER else (SLOPE,) * n_levels
    )


def kinds_of(formula: ScaleFormula, levels: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Kinds of all parameters of a scale."""
    pairs = zip(formula.factors, levels, strict=True)
    return tuple(kind for factor, own in pairs for kind in parameter_kinds(factor, len(own)))


def is_positive(formula: ScaleFormula, levels: tuple[tuple[str, ...], ...]) -> tuple[bool, ...]:
    """Whether each parameter of a scale must be positive, whatever the data."""
    return must_be_positive(kinds_of(formula, levels))


def scale_columns_of(
    factor: ScaleFactor, formula: ScaleFormula, frame: Frame, codes: CodeArray, n_levels: int
) -> FloatArray:
    """Columns d of one factor for the rows of a frame, whose levels are known as codes."""
    if factor.kind == "levels":
        return np.eye(n_levels)[codes, 1:]
    return _by_level(factor, _covariate(factor, formula, frame), np.eye(n_levels)[codes])


def _by_level(factor: ScaleFactor, values: FloatArray, levels: FloatArray) -> FloatArray:
    """Columns of values for the level of each row, 0 for the others."""
    own = np.where(levels > 0, values[:, None], 0.0)
    if factor.kind != CONSTANT_AND_POWER:
        return own
    return np.stack([levels, own], axis=2).reshape(len(own), -1)


@dataclass(frozen=True)
class _Columns:
    """Columns of one factor: row i is table[codes[i]]."""

    codes: CodeArray
    table: FloatArray
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    labels: tuple[str, ...]


def _columns(factor: ScaleFactor, formula: ScaleFormula, frame: Frame) -> _Columns:
    codes, labels = _levels(factor, formula, frame)
    if factor.kind == "levels":
        table = np.eye(len(labels))[:, 1:]
        names = tuple(f"SD({label})/SD({labels[0]})" for label in labels[1:])
        return _Columns(codes, table, names, parameter_kinds(factor, len(labels)), labels)
    values = _covariate(factor, formula, frame)
    distinct, inverse = np.unique(values, return_inverse=True)
    combined = inverse.astype(np.int64) * len(labels) + codes
    kept, combined_codes = np.unique(combined, return_inverse=True)
    table = _by_level(
        factor, distinct[kept // len(labels)], np.eye(len(labels))[kept % len(labels)]
    )
    written = f"{factor.kind}({factor.column})"
    names = tuple(f"{written}: {label}" for label in labels) if factor.by else (written,)
    kinds = parameter_kinds(factor, len(labels))
    if factor.kind == CONSTANT_AND_POWER:
        names = tuple(f"{name} {part}" for name in names for part in ("constant", "power"))
        # Where some x is 0, |x|^p is a scale for positive p alone.
        with_zero = np.asarray(np.isneginf(table)).sum(axis=0) > 0
        zero = np.repeat(np.asarray(with_zero)[1::2], 2)
        kinds = tuple(POSITIVE if z and k == POWER else k for z, k in zip(zero, kinds, strict=True))
    return _Columns(combined_codes.astype(np.int32), table, names, kinds, labels)


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
    if factor.kind == CONSTANT_AND_POWER:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.abs(values)))
    zeros = np.flatnonzero(values == 0.0)
    if zeros.size:
        first = row_of_table(int(zeros[0]), frame.rows_used)
        raise DataError(
            f"power({name}) in residual_scale={formula.text!r} gives rows with {name} = 0 a "
            f"standard deviation of 0 or infinity ({zeros.size} such rows; the first is row "
            f"{first}, counting from 0); write constpower({name}), whose constant is theirs, or "
            f"exp({name})"
        )
    return np.log(np.abs(values))


def _told_apart(scale: LogScale, exponents: FloatArray) -> FloatArray:
    """Columns that depend on each other where the parameters cannot be told apart.

    A constant and a power bend log s over log|x|: beside log|x| itself there is its square.
    """
    out = scale.columns(exponents)
    for k, kind in enumerate(scale.kinds):
        if kind == CONSTANT:
            mine, w = out[:, k] > 0, out[:, k + 1]
            lowest = w[mine & np.isfinite(w)].min(initial=0.0) - 1.0
            w = np.where(mine, np.maximum(w, lowest), 0.0)
            n_values = len(np.unique(w[mine]))
            out[:, k] = w**2 if n_values >= _FEWEST_VALUES else w
            out[:, k + 1] = w
    return out


def _check_identified(formula: ScaleFormula, columns: FloatArray, weights: FloatArray) -> None:
    """Refuse columns that depend on each other or on the constant."""
    whole = np.column_stack([np.ones(len(columns)), columns]) * weights[:, None]
    if np.linalg.matrix_rank(whole, tol=1e-9 * np.linalg.norm(whole)) < whole.shape[1]:
        raise ModelError(
            f"residual_scale={formula.text!r}: its parameters cannot be told apart, or from the "
            "residual variance; use covariates that vary (within levels, where each level has its "
            "own delta), three values of |x| at least for constpower, and each factor once"
        )
