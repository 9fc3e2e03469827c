"""Formula and data -> the rows used, the design, and what rebuilds it from new rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, FloatArray, unmasked
from mlmfast.data.columns.labelled_rows import in_order_of
from mlmfast.data.factor import Factor, cross_factors
from mlmfast.data.frame import Frame, check_finite
from mlmfast.data.statistics import column_statistics
from mlmfast.data.suspect_values import warn_of_suspect_values
from mlmfast.design.absorbed.choice import absorbed_factor, absorbed_from, no_absorbed_factor
from mlmfast.design.columns.expressions import evaluate_numeric
from mlmfast.design.columns.model_matrix import (
    INTERCEPT,
    ModelMatrix,
    ModelMatrixSpec,
    build_model_matrix,
)
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor, RandomEffects
from mlmfast.design.factors.relationship import with_relationships
from mlmfast.design.random_structure import check_not_residual, term_structure
from mlmfast.design.residual.design import independent_rows, with_scale
from mlmfast.design.residual.read import residual_design
from mlmfast.design.residual.scale import ScaleFormula, parse_scale, scale_design
from mlmfast.errors import DataError, ModelError
from mlmfast.formula.functions import variables_of
from mlmfast.formula.mixed_formula import MixedFormula, RandomTerm, parse_formula
from mlmfast.formula.residual_formula import ResidualFormula, parse_residual, takes_matrices
from mlmfast.words import is_one_of

#: Share of a column outside the span of others, below which it counts as aliased.
_ALIASED = 1e-7
#: Numbers in the largest X whose rank decides whether residual degrees of freedom are left.
_LARGEST = 1_000_000

ColumnOrArray = Any  # a column name, or anything NumPy makes an array of


@dataclass(frozen=True)
class ModelFrame:
    """A design and how it was read.

    Attributes
    ----------
    design
        Columns of y, X and Z.
    fixed
        How X is built from data.
    random
        How the columns of each random-effects term are built from data.
    formula
        The parsed formula.
    used : shape (n_input,) or None
        Rows of the input that are used; None for all.
    frame
        The rows used.
    terms, term_of_column
        Labels of the fixed terms; for each column of X the position of its term.
    offset_given
        Whether an offset came as an argument.
    weights
        Column of the weights; None where there are none, or where they came as an array.
    """

    design: Design
    fixed: ModelMatrixSpec
    random: tuple[ModelMatrixSpec, ...]
    formula: MixedFormula
    used: BoolArray | None
    frame: Frame
    terms: tuple[str, ...]
    term_of_column: tuple[int, ...]
    offset_given: bool
    weights: str | None = None


def build_model_frame(
    formula: str,
    data: object,
    *,
    weights: ColumnOrArray = None,
    offset: ColumnOrArray = None,
    contrasts: Mapping[str, Any] | None = None,
    na_action: str = "drop",
    residual: str | None = None,
    residual_scale: str | None = None,
    lin: Any = None,
    cov: Mapping[str, Any] | None = None,
    absorb: bool | None = None,
) -> ModelFrame:
    """Read a model's columns from data.

    Raises
    ------
    FormulaError, DataError, ModelError
        As the formula, the data or their combination is at fault.
    """
    if not is_one_of(na_action, ("drop", "raise")):
        raise DataError(f"na_action is {na_action!r}; use 'drop' or 'raise'")
    parsed = parse_formula(formula)
    within = None if residual is None else parse_residual(residual)
    if lin is not None and (within is None or not takes_matrices(within)):
        raise ModelError("lin= gives the known matrices of residual='lin(visit | subject)'")
    scale = None if residual_scale is None else parse_scale(residual_scale)
    # Libraries that read frames may end the process where they find no memory.
    _core.require_room()
    frame = Frame.from_native(data)
    n_input = frame.n_rows
    weights = input_column(weights, "weights", frame)
    offset = input_column(offset, "offset", frame)
    names = variables_used(parsed, within, scale, (weights, offset))
    given = {} if isinstance(offset, str) else {"offset": offset}
    used = _complete_rows(frame, names, given, na_action)
    if used is not None:
        frame = frame.take(used)
    warn_of_suspect_values(frame, names)
    y = _response(parsed.response, frame)
    unrelated = cov is None or (isinstance(cov, Mapping) and not cov)
    plain = residual is None and residual_scale is None and unrelated
    least = absorbed_from(absorb, plain)
    fixed = build_model_matrix(parsed.fixed, frame, contrasts, least)
    if absorb and fixed.absorbed is None:
        raise no_absorbed_factor()
    random = [_random_matrix(term, frame, contrasts) for term in parsed.random]
    factors, positions = _factors(parsed.random, frame)
    factors = with_relationships(factors, cov)
    scaled = scale is not None
    residuals = None if within is None else residual_design(within, frame, lin, scaled)
    if residuals is not None and not factors:
        factors = (residuals.subject,)
    if scale is not None:
        rows = scale_design(scale, frame)
        residuals = independent_rows(rows) if residuals is None else with_scale(residuals, rows)
    design = Design(
        y=y,
        x=design_columns(fixed),
        x_names=fixed.names,
        factors=factors,
        random=tuple(
            _effects(term, position, matrix, frame)
            for term, position, matrix in zip(parsed.random, positions, random, strict=True)
        ),
        weights=check_weights(_rows(weights, frame, used), _label(weights, "weights")),
        offset=_offset(parsed.offsets, _rows(offset, frame, used), _label(offset, "offset"), frame),
        response=parsed.response,
        residual=residuals,
        n_dropped=n_input - frame.n_rows,
        absorbed=absorbed_factor(fixed),
    )
    _check_columns(design)
    check_identified(design)
    if residuals is None and design.weights is None:
        for term, position, matrix in zip(parsed.random, positions, random, strict=True):
            if factors[position].relationship is None:
                check_not_residual(term, matrix, factors[position].codes)
    return ModelFrame(
        design,
        fixed.spec,
        tuple(matrix.spec for matrix in random),
        parsed,
        used,
        frame,
        fixed.terms,
        fixed.term_of_column,
        offset is not None,
        weights if isinstance(weights, str) else None,
    )


def _leaves_rows(design: Design) -> bool:
    """Whether the rank of X, which has as many columns as rows, is below their number.

    Cells that no row has give columns of zeros. The rank of others is taken of small designs alone.
    """
    n = design.n_obs
    columns = [np.ones(n) if column is None else column for column in design.x]
    columns = [column for column in columns if column.any()]
    if len(columns) < n or n * len(columns) > _LARGEST:
        return len(columns) < n
    x = np.stack(columns, axis=1)
    return int(np.linalg.matrix_rank(x / np.linalg.norm(x, axis=0), tol=_ALIASED)) < n


def check_identified(design: Design) -> None:
    """Refuse designs that no data could estimate, saying why."""
    n, p = design.n_obs, len(design.x) + design.n_absorbed
    if p >= n and (design.absorbed is not None or not _leaves_rows(design)):
        raise ModelError(
            f"{p} fixed-effect columns and {n} rows: nothing is left to estimate the residual "
            "variance from; use fewer fixed effects or more data"
        )
    for factor in {term.factor: design.factors[term.factor] for term in design.random}.values():
        if factor.n_levels < 2:
            raise ModelError(
                f"grouping factor {factor.name!r} has 1 level ({factor.labels[0]!r}); a random "
                "effect needs at least 2"
            )
        if factor.n_levels >= n and factor.relationship is None and _has_equal_variances(design):
            raise ModelError(
                f"grouping factor {factor.name!r} has as many levels as there are rows ({n}); its "
                "effects cannot be told from the residual (unless weights= differ, as in a "
                "meta-analysis): leave the term out"
            )


def _has_equal_variances(design: Design) -> bool:
    """Whether residuals are independent with one variance, like effects with a level a row."""
    weights = design.weights
    return design.residual is None and (weights is None or bool((weights == weights[0]).all()))


def _check_columns(design: Design) -> None:
    """Refuse infinite values anywhere, and slopes on a constant."""
    named = [(name, c) for name, c in zip(design.x_names, design.x, strict=True) if c is not None]
    for (name, column), s in zip(named, column_statistics([c for _, c in named]), strict=True):
        if not s.is_finite:
            check_finite(name, column)
    for term in design.random:
        own = [(m, c) for m, c in zip(term.names, term.columns, strict=True) if c is not None]
        for (name, column), s in zip(own, column_statistics([c for _, c in own]), strict=True):
            if not s.is_finite:
                check_finite(name, column)
            if s.smallest == s.largest:
                raise ModelError(
                    f"in the random-effects term {term.text} the column {name!r} is constant "
                    f"({s.smallest:g}); a slope needs a covariate that varies, and 1 + ... an "
                    "intercept"
                )


def variables_used(
    parsed: MixedFormula,
    within: ResidualFormula | None,
    scale: ScaleFormula | None,
    arguments: Iterable[ColumnOrArray],
) -> list[str]:
    """Columns of the data that a model reads; ``arguments`` may name some."""
    names = _variables(parsed) + ([] if within is None else list(within.variables))
    names += [] if scale is None else list(scale.variables)
    return names + [column for column in arguments if isinstance(column, str)]


def _variables(parsed: MixedFormula) -> list[str]:
    names: dict[str, None] = {}
    expressions = [parsed.response, parsed.fixed, *parsed.offsets]
    expressions += [term.expression for term in parsed.random]
    for expression in expressions:
        names.update(dict.fromkeys(variables_of(expression)))
    for term in parsed.random:
        names.update(dict.fromkeys(term.group))
    return list(names)


def input_column(column: ColumnOrArray, role: str, frame: Frame) -> str | FloatArray | None:
    """Return an argument that is a column name or one number a row; the array is checked."""
    if column is None or isinstance(column, str):
        return column
    column = in_order_of(frame.index, column, role)
    try:
        values = np.ascontiguousarray(unmasked(column), dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{role} must be a column name or an array of numbers") from None
    if values.shape != (frame.n_rows,):
        raise DataError(
            f"{role} has shape {values.shape}; one number for each of the {frame.n_rows} rows of "
            "the data is needed"
        )
    return values


def _rows(
    column: str | FloatArray | None, frame: Frame, used: BoolArray | None
) -> FloatArray | None:
    if isinstance(column, str):
        return frame.numeric(column)
    return column if column is None or used is None else column[used]


def _complete_rows(
    frame: Frame, names: Iterable[str], arrays: Mapping[str, FloatArray | None], na_action: str
) -> BoolArray | None:
    """Rows without a missing value in any variable used; None for all rows."""
    missing: BoolArray | None = None
    masks = [(f"column {name!r}", frame.missing(name)) for name in names]
    masks += [(role, _missing(values)) for role, values in arrays.items()]
    for what, mask in masks:
        if mask is None:
            continue
        if na_action == "raise":
            raise DataError(
                f"{what} has {int(mask.sum())} missing values; remove them, or use na_action='drop'"
            )
        if mask.all():
            raise DataError(f"{what} has no value that is not missing")
        missing = mask if missing is None else missing | mask
    if missing is None:
        return None
    if missing.all():
        listing = ", ".join(dict.fromkeys([*names, *arrays]))
        raise DataError(
            "no rows are left: every row has a missing value in some variable of the model "
            f"({listing})"
        )
    return ~missing


def _missing(values: FloatArray | None) -> BoolArray | None:
    """Which values are missing; None where none is."""
    return None if values is None or not np.isnan(values).any() else np.isnan(values)


def _response(expression: str, frame: Frame) -> FloatArray:
    if frame.has(expression) and frame.is_categorical(expression):
        raise DataError(
            f"the response {expression!r} is not numeric (it holds text, categories or logicals); "
            "a Gaussian model needs numbers"
        )
    y = evaluate_numeric(expression, frame, "the response")
    check_finite(expression, y)
    return y


def design_columns(matrix: ModelMatrix) -> tuple[FloatArray | None, ...]:
    """Columns of a model matrix as a design holds them."""
    # The intercept is a constant to the core, not a column of ones in memory.
    return tuple(
        None if name == INTERCEPT else column
        for name, column in zip(matrix.names, matrix.columns, strict=True)
    )


def _random_matrix(
    term: RandomTerm, frame: Frame, contrasts: Mapping[str, Any] | None
) -> ModelMatrix:
    used = set(variables_of(term.expression))
    own = {name: value for name, value in (contrasts or {}).items() if name in used}
    matrix = build_model_matrix(term.expression, frame, own)
    if not matrix.columns:
        raise ModelError(f"the random-effects term {term.text} has no column left of the bar")
    return matrix


def _factors(
    terms: tuple[RandomTerm, ...], frame: Frame
) -> tuple[tuple[GroupingFactor, ...], list[int]]:
    factors: dict[tuple[str, ...], GroupingFactor] = {}
    positions = []
    for term in terms:
        if term.group not in factors:
            factor = grouping_factor(term.group, frame)
            name = ":".join(term.group)
            factors[term.group] = GroupingFactor(name, factor.codes, factor.levels, term.group)
        positions.append(list(factors).index(term.group))
    return tuple(factors.values()), positions


def grouping_factor(group: tuple[str, ...], frame: Frame) -> Factor:
    """The factor whose levels are the combinations of columns that occur."""
    return cross_factors([frame.factor(name) for name in group])


def _effects(term: RandomTerm, position: int, matrix: ModelMatrix, frame: Frame) -> RandomEffects:
    columns = design_columns(matrix)
    structure = term_structure(term, matrix, frame)
    return RandomEffects(position, matrix.names, columns, structure, term.text)


def check_weights(values: FloatArray | None, name: str = "weights") -> FloatArray | None:
    """Refuse weights that are missing, infinite, zero or negative."""
    if values is None:
        return None
    if np.isnan(values).any():
        raise DataError(f"{name} has missing values; give every row a positive weight")
    check_finite(name, values)
    if values.min() <= 0:
        raise DataError(
            f"weights must be positive, the smallest of {name} is {values.min():g}; drop rows that "
            "should not count"
        )
    return values


def _offset(
    expressions: tuple[str, ...], argument: FloatArray | None, name: str, frame: Frame
) -> FloatArray | None:
    total = argument
    if total is not None:
        check_finite(name, total)
    for expression in expressions:
        values = evaluate_numeric(expression, frame, "the offset")
        check_finite(expression, values)
        total = values if total is None else total + values
    return total


def _label(column: str | FloatArray | None, role: str) -> str:
    return column if isinstance(column, str) else role
