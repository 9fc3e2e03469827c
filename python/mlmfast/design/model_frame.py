"""Formula and data -> the rows used, the design, and what rebuilds it from new rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.catalogue.entry import Notice
from mlmfast.data.factor import Factor, cross_factors
from mlmfast.data.finite import check_finite, check_weights
from mlmfast.data.frame import Frame
from mlmfast.data.suspect_values import warn_of_suspect_values
from mlmfast.design.absorbed.choice import absorbed_factor, absorbed_from, no_absorbed_factor
from mlmfast.design.by_level import at_level, with_levels
from mlmfast.design.checks import check_columns, check_identified
from mlmfast.design.columns.build_matrix import build_model_matrix
from mlmfast.design.columns.expressions import States, evaluate_numeric
from mlmfast.design.columns.model_matrix import INTERCEPT, ModelMatrix, ModelMatrixSpec
from mlmfast.design.columns.model_variables import FactorVariable
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import (
    EVERY_ROW,
    GroupingFactor,
    RandomEffects,
)
from mlmfast.design.factors.related_levels import with_relationships
from mlmfast.design.input_columns import (
    ColumnOrArray,
    complete_rows,
    input_column,
    label_of,
    rows_of,
    variables_used,
)
from mlmfast.design.plain_design import plain_design, plain_formula
from mlmfast.design.random_structure import check_not_residual, term_structure
from mlmfast.design.residual.design import independent_rows, with_scale
from mlmfast.design.residual.read import residual_design
from mlmfast.design.residual.scale import parse_scale, scale_design
from mlmfast.design.smooths.terms import with_smooths
from mlmfast.errors import DataError, ModelError, taken_down
from mlmfast.formula.functions import variables_of
from mlmfast.formula.mixed_formula import MixedFormula, RandomTerm, parse_formula
from mlmfast.formula.residual_formula import parse_residual, takes_matrices
from mlmfast.sources.frame_of import frame_of
from mlmfast.words import is_one_of


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
    notices
        What the data were warned of.
    variables
        Columns of the data that the model reads.
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
    notices: tuple[Notice, ...] = ()
    variables: tuple[str, ...] = ()


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
    with taken_down() as heard:
        found = _read(
            formula,
            data,
            weights=weights,
            offset=offset,
            contrasts=contrasts,
            na_action=na_action,
            residual=residual,
            residual_scale=residual_scale,
            lin=lin,
            cov=cov,
            absorb=absorb,
        )
    return replace(found, notices=tuple(heard)) if heard else found


def _read(
    formula: str,
    data: object,
    *,
    weights: ColumnOrArray,
    offset: ColumnOrArray,
    contrasts: Mapping[str, Any] | None,
    na_action: str,
    residual: str | None,
    residual_scale: str | None,
    lin: Any,
    cov: Mapping[str, Any] | None,
    absorb: bool | None,
) -> ModelFrame:
    """A model's columns; see `build_model_frame`."""
    if not is_one_of(na_action, ("drop", "raise")):
        raise DataError(f"na_action is {na_action!r}; use 'drop' or 'raise'")
    parsed = parse_formula(formula)
    within = None if residual is None else parse_residual(residual)
    if lin is not None and (within is None or not takes_matrices(within)):
        raise ModelError("lin= gives the known matrices of residual='lin(visit | subject)'")
    scale = None if residual_scale is None else parse_scale(residual_scale)
    # Libraries that read frames may end the process where they find no memory.
    _core.require_room()
    names = variables_used(parsed, within, scale, (weights, offset))
    frame = frame_of(data, names)
    n_input = frame.n_rows
    weights = input_column(weights, "weights", frame)
    offset = input_column(offset, "offset", frame)
    given = {} if isinstance(offset, str) else {"offset": offset}
    used = complete_rows(frame, names, given, na_action)
    if used is not None:
        frame = frame.take(used)
    warn_of_suspect_values(frame, names)
    unrelated = cov is None or (isinstance(cov, Mapping) and not cov)
    plain = residual is None and residual_scale is None and unrelated
    if plain and weights is None and offset is None and contrasts is None and absorb is None:
        found = _plain_frame(parsed, frame, used, n_input - frame.n_rows, names)
        if found is not None:
            return found
    y = _response(parsed.response, frame)
    if parsed.smooths and absorb:
        raise ModelError(
            "absorb=True goes without smooth terms; leave it out, or write them as bs()"
        )
    least = None if parsed.smooths else absorbed_from(absorb, plain)
    parsed, states = with_smooths(with_levels(parsed, frame), frame)
    fixed = build_model_matrix(parsed.fixed, frame, contrasts, least, states)
    if absorb and fixed.absorbed is None:
        raise no_absorbed_factor()
    random = [_random_matrix(term, frame, contrasts, states) for term in parsed.random]
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
        weights=check_weights(
            rows_of(weights, frame, used), label_of(weights, "weights"), frame.rows_used
        ),
        offset=_offset(
            parsed.offsets, rows_of(offset, frame, used), label_of(offset, "offset"), frame
        ),
        response=parsed.response,
        residual=residuals,
        n_dropped=n_input - frame.n_rows,
        absorbed=absorbed_factor(fixed),
        statistics=frame.statistics,
    )
    check_columns(design, frame.rows_used)
    check_identified(design)
    if residuals is None and design.weights is None:
        for term, position, matrix in zip(parsed.random, positions, random, strict=True):
            if factors[position].relationship is None:
                check_not_residual(term, matrix, factors[position].codes)
    return ModelFrame(
        design,
        fixed.spec,
        tuple(
            at_level(term, matrix, frame).spec
            for term, matrix in zip(parsed.random, random, strict=True)
        ),
        parsed,
        used,
        frame,
        fixed.terms,
        fixed.term_of_column,
        offset is not None,
        weights if isinstance(weights, str) else None,
        variables=tuple(dict.fromkeys(names)),
    )


def _plain_frame(
    parsed: MixedFormula,
    frame: Frame,
    used: BoolArray | None,
    n_dropped: int,
    names: Sequence[str],
) -> ModelFrame | None:
    """The model frame where formula and data are those of `plain_design`, else None."""
    plain = plain_formula(parsed.text)
    design = None if plain is None else plain_design(plain, frame, n_dropped)
    if plain is None or design is None:
        return None
    labels = plain.fixed.names
    return ModelFrame(
        design,
        plain.fixed.spec,
        (plain.random.spec,),
        parsed,
        used,
        frame,
        labels,
        tuple(range(len(labels))),
        False,
        variables=tuple(dict.fromkeys(names)),
    )


def _response(expression: str, frame: Frame) -> FloatArray:
    is_text = frame.has(expression) and frame.is_categorical(expression)
    if is_text and frame.logical(expression) is None:
        raise DataError(
            f"the response {expression!r} is not numeric (it holds text or categories); a Gaussian "
            "model needs numbers"
        )
    y = evaluate_numeric(expression, frame, "the response")
    if not frame.statistics.one(y).is_finite:
        check_finite(expression, y, frame.rows_used)
    return y


def design_columns(matrix: ModelMatrix) -> tuple[FloatArray | None, ...]:
    """Columns of a model matrix as a design holds them."""
    # The intercept is a constant to the core, not a column of ones in memory.
    return tuple(
        None if name == INTERCEPT else column
        for name, column in zip(matrix.names, matrix.columns, strict=True)
    )


def _random_matrix(
    term: RandomTerm, frame: Frame, contrasts: Mapping[str, Any] | None, states: States
) -> ModelMatrix:
    used = set(variables_of(term.expression)) if term.group else set()
    own = {name: value for name, value in (contrasts or {}).items() if name in used}
    matrix = build_model_matrix(term.expression, frame, own, states=states)
    if not matrix.columns:
        raise ModelError(f"the random-effects term {term.text} has no column left of the bar")
    if term.shared and any(isinstance(v, FactorVariable) for v in matrix.spec.coded.values()):
        raise ModelError(
            f"{term.text}: by mm an effect is that of numbers, and what stands left of the bar is "
            "a factor; write a term for each level with dummy(f, 'level')"
        )
    return matrix


def _factors(
    terms: tuple[RandomTerm, ...], frame: Frame
) -> tuple[tuple[GroupingFactor, ...], list[int]]:
    factors: dict[tuple[str, ...], GroupingFactor] = {}
    positions = []
    for term in terms:
        key = term.group or (term.shared,)
        if key not in factors:
            factor = grouping_factor(term.group, frame)
            name = ":".join(key)
            factors[key] = GroupingFactor(name, factor.codes, factor.levels, term.group)
        positions.append(list(factors).index(key))
    return tuple(factors.values()), positions


def grouping_factor(group: tuple[str, ...], frame: Frame) -> Factor:
    """The factor whose levels are the combinations of columns that occur; of none, one level."""
    if not group:
        codes = np.zeros(frame.n_rows, dtype=np.int32)
        return Factor(codes, (EVERY_ROW,), np.array([EVERY_ROW], dtype=object))
    return cross_factors([frame.factor(name) for name in group])


def _effects(term: RandomTerm, position: int, matrix: ModelMatrix, frame: Frame) -> RandomEffects:
    structure = term_structure(term, matrix, frame)
    matrix = at_level(term, matrix, frame)
    return RandomEffects(position, matrix.names, design_columns(matrix), structure, term.text)


def _offset(
    expressions: tuple[str, ...], argument: FloatArray | None, name: str, frame: Frame
) -> FloatArray | None:
    total = argument
    if total is not None:
        check_finite(name, total, frame.rows_used)
    for expression in expressions:
        values = evaluate_numeric(expression, frame, "the offset")
        check_finite(expression, values, frame.rows_used)
        total = values if total is None else total + values
    return total
