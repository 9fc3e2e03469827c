"""A model matrix as products: what factors give of each column, and what covariates give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.frame import Frame
from mlmfast.design.columns.model_columns import (
    FactorColumns,
    NamedColumns,
    NumericColumns,
    VariableColumns,
)
from mlmfast.design.columns.model_matrix import ModelMatrixSpec, _assemble
from mlmfast.formula.terms import term_list


class _Ones(FactorColumns):
    """As many columns as a factor gives, of ones."""

    def columns(self, by_contrasts: bool) -> NamedColumns:
        names, arrays = super().columns(by_contrasts)
        return names, [np.ones_like(array) for array in arrays]


def factor_part(spec: ModelMatrixSpec, frame: Frame) -> FloatArray:
    """The columns with 1 in place of every covariate, shape (n, p).

    Examples
    --------
    >>> from mlmfast.design.columns.build_matrix import build_model_matrix
    >>> frame = Frame.from_native({"x": [2.0, 3.0], "f": ["a", "b"]})
    >>> factor_part(build_model_matrix("f * x", frame).spec, frame).tolist()
    [[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
    """
    return _stacked(spec, frame, _without_covariate)


def covariate_part(spec: ModelMatrixSpec, frame: Frame) -> FloatArray:
    """The columns with 1 in place of every factor's columns, shape (n, p).

    The product of both parts is the matrix.

    Examples
    --------
    >>> from mlmfast.design.columns.build_matrix import build_model_matrix
    >>> frame = Frame.from_native({"x": [2.0, 3.0], "f": ["a", "b"]})
    >>> covariate_part(build_model_matrix("f * x", frame).spec, frame).tolist()
    [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0]]
    """
    return _stacked(spec, frame, _without_factor)


def _without_covariate(variable: VariableColumns) -> VariableColumns:
    if isinstance(variable, FactorColumns):
        return variable
    return replace(variable, arrays=[np.ones_like(array) for array in variable.arrays])


def _without_factor(variable: VariableColumns) -> VariableColumns:
    if isinstance(variable, NumericColumns):
        return variable
    return _Ones(variable.name, variable.factor, variable.coding)


def _stacked(spec: ModelMatrixSpec, frame: Frame, changed: object) -> FloatArray:
    structure = term_list(spec.rhs)
    assert callable(changed)
    variables = [changed(spec.variable(name, frame)) for name in structure.variable_names]
    columns = _assemble(spec, structure, variables, frame.n_rows).columns
    return np.stack(columns, axis=1) if columns else np.zeros((frame.n_rows, 0))
