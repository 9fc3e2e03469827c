"""Build a model matrix: which variables are factors, and how each is coded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import mul

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.frame import Frame
from mlmfast.design.columns.contrasts import Coding, ContrastLike, contrast_coding
from mlmfast.design.columns.expressions import States, evaluate
from mlmfast.design.columns.model_columns import (
    FactorColumns,
    VariableColumns,
)
from mlmfast.design.columns.model_matrix import (
    INTERCEPT,
    ModelMatrix,
    ModelMatrixSpec,
    _assemble,
    _numeric_columns,
    constant,
    contrast_flags,
)
from mlmfast.design.columns.model_size import check_size
from mlmfast.design.columns.model_variables import (
    FactorVariable,
    NumericVariable,
)
from mlmfast.design.columns.values import CodedFactor, Variable
from mlmfast.errors import DataError, FormulaError
from mlmfast.formula.functions import variables_of
from mlmfast.formula.smooth_terms import is_smooth, read_smooth
from mlmfast.formula.syntax import Call
from mlmfast.formula.terms import TermList, term_list
from mlmfast.running.memory import RESERVE


def build_model_matrix(
    rhs: str,
    frame: Frame,
    contrasts: Mapping[str, ContrastLike] | None = None,
    absorb: int | None = None,
    states: States | None = None,
) -> ModelMatrix:
    """Build the model matrix of one side of a formula.

    Parameters
    ----------
    rhs : text such as "a * b + poly(x, 2)"; an intercept is implied.
    frame : the data.
    contrasts : for a factor, the name of its contrast or a matrix (levels x columns).
    absorb : levels from which on a factor's columns are not formed; None for no such factor.
    states : what `poly`, `scale`, ... remember already, by call.

    Returns
    -------
    ModelMatrix

    Examples
    --------
    >>> frame = Frame.from_native({"age": [8.0, 10.0], "Sex": ["Female", "Male"]})
    >>> build_model_matrix("age * Sex", frame).names
    ('(Intercept)', 'age', 'SexMale', 'age:SexMale')
    """
    structure = term_list(rhs)
    asked = contrasts is not None and (type(contrasts) is not dict or contrasts)
    plain = None if asked else _columns_of_numbers(structure, frame)
    if plain is not None:
        return _of_numbers(rhs, structure, plain, {}, frame.n_rows)
    known = {} if states is None else states
    # A curve of a smooth is written with an option that its state is not known by.
    smooths = [
        read_smooth(node).text
        for node in structure.variables
        if isinstance(node, Call) and is_smooth(node)
    ]
    texts = (rhs, *structure.variable_names, *smooths)
    states = {call: known[call] for call in known if any(call in text for text in texts)}
    values = [evaluate(node, frame, states) for node in structure.variables]
    numbers = [value for value in values if isinstance(value, np.ndarray)]
    if not asked and len(numbers) == len(values):
        return _of_numbers(rhs, structure, numbers, states, frame.n_rows)
    chosen = _contrasts_by_variable(structure, values, {} if contrasts is None else contrasts)
    needs_contrasts = _needs_contrasts(structure, values)
    left_out = None if absorb is None else _absorbed(structure, values, chosen, absorb)
    check_size(structure, values, frame.n_rows, left_out)
    coded: dict[str, NumericVariable | FactorVariable] = {}
    columns: list[VariableColumns] = []
    for k, (name, value) in enumerate(zip(structure.variable_names, values, strict=True)):
        if isinstance(value, CodedFactor):
            own = k in needs_contrasts
            coding = None if k == left_out else _coding(name, value, chosen.get(name), own)
            variable = FactorVariable(value.factor.levels, coding, value.factor.declared)
            coded[name] = variable
            columns.append(FactorColumns(name, value.factor, coding))
        else:
            column = _numeric_columns(name, value)
            coded[name] = NumericVariable(len(column.names))
            columns.append(column)
    absorbed = None if left_out is None else structure.variable_names[left_out]
    spec = ModelMatrixSpec(rhs, coded, states, absorbed)
    return _assemble(spec, structure, columns, frame.n_rows)


def _columns_of_numbers(structure: TermList, frame: Frame) -> list[FloatArray] | None:
    """Values where every variable is a column of numbers by itself; None where one is not."""
    names = structure.columns
    if names is None or not all(frame.has(name) and frame.is_numeric(name) for name in names):
        return None
    return [frame.numeric(name) for name in names]


def _of_numbers(
    rhs: str, structure: TermList, values: Sequence[FloatArray], states: States, n_rows: int
) -> ModelMatrix:
    """The matrix where a term is a product of numeric variables: one column, of the term's name."""
    if 8.0 * n_rows * (len(structure.terms) + 1) >= RESERVE:
        check_size(structure, values, n_rows, None)
    spec = ModelMatrixSpec(rhs, dict.fromkeys(structure.variable_names, NumericVariable(1)), states)
    columns = [constant(n_rows)] if structure.intercept else []
    columns += [reduce(mul, [values[k] for k in term]) for term in structure.terms]
    names = (INTERCEPT, *structure.labels) if structure.intercept else structure.labels
    return ModelMatrix(columns, names, tuple(range(len(names))), names, spec)


def _absorbed(
    structure: TermList, values: list[Variable], chosen: Mapping[str, ContrastLike], least: int
) -> int | None:
    """The factor of most levels, at least ``least``, whose columns need not be formed.

    It stands in one term, by itself, coded by treatment contrasts or indicators.
    """
    is_factor = [isinstance(value, CodedFactor) for value in values]
    flags = contrast_flags(structure, is_factor)
    sizes = {}
    for term, flag in zip(structure.terms, flags, strict=True):
        value = values[term[0]]
        if len(term) > 1 or not isinstance(value, CodedFactor):
            continue
        contrast = chosen.get(structure.variable_names[term[0]], value.contrast)
        alone = sum(term[0] in other for other in structure.terms) == 1
        plain = contrast in (None, "contr.treatment") if not hasattr(contrast, "shape") else False
        spans = structure.intercept or not flag[0]
        if alone and spans and (plain or not flag[0]) and len(value.factor.levels) >= least:
            sizes[term[0]] = len(value.factor.levels)
    return max(sizes, key=lambda k: sizes[k]) if sizes else None


def _needs_contrasts(structure: TermList, values: list[Variable]) -> set[int]:
    """Positions of the factors that some term codes by contrasts."""
    is_factor = [isinstance(value, CodedFactor) for value in values]
    return {
        k
        for term, flags in zip(structure.terms, contrast_flags(structure, is_factor), strict=True)
        for k, by_contrasts in zip(term, flags, strict=True)
        if by_contrasts and is_factor[k]
    }


def _contrasts_by_variable(
    structure: TermList, values: list[Variable], contrasts: Mapping[str, ContrastLike]
) -> dict[str, ContrastLike]:
    factors = [
        name
        for name, value in zip(structure.variable_names, values, strict=True)
        if isinstance(value, CodedFactor)
    ]
    if not isinstance(contrasts, Mapping):
        raise FormulaError(
            f"contrasts is {contrasts!r}; give the contrast of each factor by its name, such as "
            "{'f': 'contr.sum'}"
        )
    chosen: dict[str, ContrastLike] = {}
    for key, contrast in contrasts.items():
        # A factor written factor(x) is also known by its column's name.
        matching = [name for name in factors if name == key or variables_of(name) == (key,)]
        if not matching:
            raise FormulaError(
                f"contrasts are given for {key!r}, which is not a factor of the model; its "
                f"factors are {', '.join(factors) or 'none'}"
            )
        chosen.update(dict.fromkeys(matching, contrast))
    return chosen


def _coding(
    name: str, value: CodedFactor, chosen: ContrastLike | None, is_needed: bool
) -> Coding | None:
    contrast = chosen if chosen is not None else value.contrast
    levels = value.factor.levels
    if len(levels) < 2:
        if is_needed:
            found = f"one level, {levels[0]!r}" if levels else "no level"
            raise DataError(
                f"factor {name!r} has {found}; contrasts need at least two: leave it out"
            )
        return None
    chosen = "contr.treatment" if contrast is None else contrast
    return contrast_coding(chosen, levels, name, numeric=value.factor.is_numeric)
