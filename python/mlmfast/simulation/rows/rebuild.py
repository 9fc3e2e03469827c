"""The design of other rows, read as a model read its own: same columns, bases and contrasts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.arrays import NumpyExtensionArray

from mlmfast.arrays import FloatArray
from mlmfast.data.frame import Frame
from mlmfast.design.checks import check_identified
from mlmfast.design.columns.expressions import evaluate_numeric
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.model_frame import ModelFrame, design_columns, grouping_factor
from mlmfast.design.residual.design import ResidualDesign, independent_rows, with_scale
from mlmfast.design.residual.read import residual_design
from mlmfast.design.residual.scale import scale_design
from mlmfast.errors import ModelError
from mlmfast.formula.functions import variables_of


def variables_of_model(model: ModelFrame) -> tuple[str, ...]:
    """Columns of the data that a model reads, its response aside."""
    from mlmfast.design.input_columns import variables_used

    residual = model.design.residual
    formula = None if residual is None else residual.formula
    scale = None if residual is None or residual.scale is None else residual.scale.formula
    names = variables_used(model.formula, formula, scale, (model.weights,))
    return tuple(dict.fromkeys(name for name in names if name != model.formula.response))


def table_of(frame: Frame, names: tuple[str, ...]) -> pd.DataFrame:
    """Columns of the rows used, numbers as numbers and the rest as categories.

    Raises
    ------
    ModelError
        For dates, which a design of more rows cannot go on with.
    """
    columns: dict[str, object] = {}
    for name in names:
        if frame.is_date(name):
            raise ModelError(
                f"{name!r} holds dates, which a design cannot be extended with; use numbers, such "
                "as days since the first date"
            )
        if frame.is_numeric(name):
            values = frame.numeric(name)
            whole = bool((values == np.round(values)).all()) and np.abs(values).max() < 2**53
            columns[name] = values.astype(np.int64) if whole else values.copy()
        else:
            factor = frame.factor(name)
            labels = list(factor.declared or factor.levels)
            codes = np.array([labels.index(level) for level in factor.levels], dtype=np.intp)
            columns[name] = pd.Categorical.from_codes(
                codes[factor.codes], categories=pd.Index(labels)
            )
    return pd.DataFrame(columns)


class RowColumns(NamedTuple):
    """Columns of X with their names, those of Z by term, and the offset, over some rows."""

    x_names: tuple[str, ...]
    x: tuple[FloatArray | None, ...]
    z: tuple[tuple[FloatArray | None, ...], ...]
    offset: FloatArray | None

    def some(self, rows: slice) -> RowColumns:
        """The columns over some of the rows."""
        z = tuple(_some(columns, rows) for columns in self.z)
        [offset] = _some((self.offset,), rows)
        return RowColumns(self.x_names, _some(self.x, rows), z, offset)


def _some(columns: tuple[FloatArray | None, ...], rows: slice) -> tuple[FloatArray | None, ...]:
    return tuple(None if column is None else column[rows] for column in columns)


def columns_of(model: ModelFrame, frame: Frame) -> RowColumns:
    """The columns of a model over the rows of a frame."""
    fixed = model.fixed.build(frame)
    offset: FloatArray | None = None
    for expression in model.formula.offsets:
        values = evaluate_numeric(expression, frame, "the offset")
        offset = values if offset is None else offset + values
    z = tuple(design_columns(spec.build(frame)) for spec in model.random)
    return RowColumns(fixed.names, design_columns(fixed), z, offset)


def columns_read(model: ModelFrame) -> tuple[str, ...]:
    """Columns of the data that `columns_of` reads: those of X, Z and the offset."""
    names = [name for spec in (model.fixed, *model.random) for name in spec.variables]
    names += [name for text in model.formula.offsets for name in variables_of(text)]
    return tuple(dict.fromkeys(names))


def design_of(model: ModelFrame, table: pd.DataFrame) -> Design:
    """The design of a table's rows; the response is 0.

    Raises
    ------
    DataError, ModelError
        Where the rows have levels that the model does not know, or cannot be told by its residual.
    """
    frame, base = Frame.from_native(table), model.design
    factors = tuple(_factor(factor, frame) for factor in base.factors)
    found = columns_of(model, frame)
    design = Design(
        y=np.zeros(frame.n_rows),
        x=found.x,
        x_names=found.x_names,
        factors=factors,
        random=tuple(
            replace(term, columns=columns)
            for term, columns in zip(base.random, found.z, strict=True)
        ),
        weights=None if model.weights is None else frame.numeric(model.weights),
        offset=found.offset,
        response=base.response,
        residual=None if base.residual is None else _residual(base.residual, frame),
    )
    check_identified(design)
    return design


def repeated(column: Any, n: int) -> Any:
    """A column of rows that are repeated n times over."""
    if isinstance(column, pd.Series):
        column = column.array
    if isinstance(column, pd.Categorical):
        codes = np.tile(column.codes, n)
        return pd.Categorical.from_codes(codes, dtype=column.dtype, validate=False)
    if isinstance(column, np.ndarray | NumpyExtensionArray):
        return np.tile(np.asarray(column), n)
    return column.take(np.tile(np.arange(len(column)), n))


def check_extensible(model: ModelFrame) -> None:
    """Refuse to extend a model that has something for its own rows alone.

    Raises
    ------
    ModelError
    """
    design = model.design
    residual = design.residual
    what = ""
    if design.absorbed is not None:
        what = "a factor is absorbed (fit with absorb=False)"
    elif any(factor.relationship is not None for factor in design.factors):
        what = (
            "its levels are related by a known matrix (cov=), which says nothing of other levels; "
            "simulate on the rows of the fit, as mlm.power(fit, test) without along= does"
        )
    elif design.weights is not None and model.weights is None:
        what = "its weights are an array; give the name of a column"
    elif model.offset_given:
        what = "its offset is an argument; write offset(z) in the formula"
    elif residual is not None and residual.structure.takes_matrices:
        what = "its residual has known matrices (lin=)"
    if what:
        raise ModelError(f"the model cannot be read from other rows: {what}")


def _factor(factor: GroupingFactor, frame: Frame) -> GroupingFactor:
    found = grouping_factor(factor.columns, frame)
    return GroupingFactor(factor.name, found.codes, found.levels, factor.columns)


def _residual(base: ResidualDesign, frame: Frame) -> ResidualDesign:
    rows = None if base.scale is None else scale_design(base.scale.formula, frame)
    if base.formula is None:
        assert rows is not None, "residuals without a structure have a scale"
        return independent_rows(rows)
    out = residual_design(base.formula, frame, None, rows is not None)
    return out if rows is None else with_scale(out, rows)
