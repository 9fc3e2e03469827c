"""`MixedLM.from_formula`: formulas and a data frame -> a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import evaluate_numeric
from mlmfast.errors import DataError, FormulaError
from mlmfast.statsmodels.errors import MissingDataError, PatsyFormulaError
from mlmfast.statsmodels.formula.matrix import (
    MatrixSpec,
    build_matrix,
    columns_used,
    lone_factor,
)
from mlmfast.statsmodels.formula.terms import Terms, read_formula
from mlmfast.statsmodels.model.components import (
    Component,
    component_of,
    indicator_matrices,
    level_names,
    nested_levels,
)
from mlmfast.statsmodels.model.data import ModelData
from mlmfast.statsmodels.model.input import (
    Groups,
    check_infinite,
    check_missing,
    check_order,
    groups_of,
)
from mlmfast.statsmodels.parameters import VCSpec


class UnknownColumnError(DataError, KeyError):
    """A column that the data do not have."""

    __str__ = Exception.__str__


@dataclass(frozen=True, eq=False)
class FormulaSource:
    """How a model's columns are read from new rows.

    Attributes
    ----------
    names
        Names of the fixed effects.
    fixed
        How X is built; it may know fewer levels than new rows have.
    random
        How the random effects' columns are built; None for an intercept.
    groups
        Column of the groups; None where they were given as an array.
    used
        Columns of the fixed part.
    """

    names: tuple[str, ...]
    fixed: MatrixSpec
    random: MatrixSpec | None
    groups: str | None
    used: tuple[str, ...]

    def complete(self, frame: Frame) -> BoolArray | None:
        """Rows without a missing value; None for all."""
        return _complete(frame, self.used)

    def random_columns(self, frame: Frame) -> list[FloatArray]:
        """Columns of the random effects."""
        if self.random is None:
            return [np.ones(frame.n_rows)]
        return self.random.build(frame)[1]


def read_model(
    cls: Any,
    formula: Any,
    data: Any,
    options: dict[str, Any],
    formulas: tuple[Any, Any],
    subset: Any,
    missing: str,
) -> Any:
    """A model of the class ``cls``; `from_formula` documents the arguments."""
    re_formula, vc_formula = formulas
    groups = options.pop("groups")
    use_sqrt = options.pop("use_sqrt", True)
    options.pop("eval_env", None)
    if options:
        name = next(iter(options))
        raise ValueError(f"argument {name} not permitted for MixedLM initialization")
    missing = check_missing(missing, True)
    text, groups_name = str(formula), groups if isinstance(groups, str) else None
    response, fixed = read_formula(text)
    if response is None:
        raise PatsyFormulaError(f"{text!r}: the response is missing; write y ~ {text}")
    frame = Frame.from_native(data)
    labels = _groups(data, frame, groups)
    random = None if _is_intercept(re_formula) else read_formula(str(re_formula))[1]
    components = _component_terms(vc_formula)
    factors = [response, *fixed.factors]
    if random is not None:
        factors += random.factors
    factors += [name for terms in components.values() for name in terms.factors]
    columns = columns_used(factors)
    for name in columns:
        if not frame.has(name):
            raise _unknown(frame, name)
    index = data.index if isinstance(data, pd.DataFrame) else None
    frame, labels, index = _subset(frame, labels, index, subset)
    frame, labels, index, left_out = _without_missing(frame, labels, index, columns, missing)
    x = build_matrix(fixed, frame)
    if not x.columns:
        raise PatsyFormulaError(f"{text!r}: the fixed part has no column")
    return _assemble(
        cls,
        _Parts(text, response, frame, x, labels, index, data, left_out),
        (re_formula, random, components, vc_formula),
        groups_name,
        use_sqrt,
    )


@dataclass(frozen=True, eq=False)
class _Parts:
    text: str
    response: str
    frame: Frame
    x: Any
    labels: Any
    index: pd.Index | None
    data: Any
    left_out: list[int] | None


def _assemble(
    cls: Any,
    parts: _Parts,
    effects: tuple[Any, Terms | None, dict[str, Terms], Any],
    groups_name: str | None,
    use_sqrt: bool,
) -> Any:
    re_formula, random, components, vc_formula = effects
    frame, x = parts.frame, parts.x
    y = _response(parts.response, frame)
    matrix = np.column_stack(x.columns)
    check_infinite("the fixed part", matrix)
    index = pd.RangeIndex(len(y)) if parts.index is None else parts.index
    model = cls.__new__(cls)
    model.data = ModelData(
        endog=y,
        exog=matrix,
        is_pandas=True,
        xnames=list(x.names),
        ynames=parts.response,
        row_labels=index,
        frame=parts.data,
        formula=parts.text,
        missing_row_idx=parts.left_out,
    )
    groups = groups_of(parts.labels, len(y))
    model._set_model(y, matrix, groups, use_sqrt)
    name = "Group" if groups_name is None else groups_name
    built = None if random is None else build_matrix(random, frame)
    z: FloatArray | None = None
    names: list[str] = []
    if built is not None:
        z = np.column_stack(built.columns)
        names = [column.replace("Intercept", name) for column in built.names]
    elif re_formula is not None or vc_formula is None:
        z, names = np.ones((len(y), 1)), [name]
    check_infinite("re_formula", z)
    spec, own = _variance_components(components, frame, groups)
    model._set_effects(z, spec, own)
    model._set_names(names)
    spec_random = None if built is None else built.spec
    used = tuple(columns_used(x.spec.terms.factors))
    model._source = FormulaSource(x.names, x.spec, spec_random, groups_name, used)
    return model


def _is_intercept(re_formula: Any) -> bool:
    return re_formula is None or str(re_formula).strip() in ("1", "~1", "~ 1")


def _component_terms(vc_formula: Any) -> dict[str, Terms]:
    if vc_formula is None:
        return {}
    return {str(name): read_formula(str(vc_formula[name]))[1] for name in sorted(vc_formula)}


def _unknown(frame: Frame, name: str) -> FormulaError:
    try:
        frame.numeric(name)
    except DataError as error:
        return PatsyFormulaError(str(error))
    raise AssertionError("the column is known")


def _groups(data: Any, frame: Frame, groups: Any) -> Any:
    if not isinstance(groups, str):
        array = np.asarray(groups)
        if array.ndim != 1 or len(array) != frame.n_rows:
            raise DataError(
                f"groups has shape {array.shape}; give the name of a column, or one label for each "
                f"of the {frame.n_rows} rows"
            )
        check_order("groups", groups, data.index if isinstance(data, pd.DataFrame) else None)
        return array
    if not frame.has(groups):
        known = ", ".join(map(repr, frame.columns[:20]))
        raise UnknownColumnError(f"the data have no column {groups!r}; they have {known}")
    if isinstance(data, pd.DataFrame):
        return np.asarray(data[groups])
    factor = frame.factor(groups)
    values = np.array([*factor.values.tolist(), None], dtype=object)
    return values[factor.codes]


def _subset(
    frame: Frame, labels: Any, index: pd.Index | None, subset: Any
) -> tuple[Frame, Any, pd.Index | None]:
    """The rows of a subset, in the order of the data."""
    if subset is None:
        return frame, labels, index
    positions = pd.Series(np.arange(frame.n_rows), index=index)
    try:
        chosen = np.asarray(positions.loc[subset]).ravel()
    except (KeyError, IndexError) as error:
        raise DataError(f"subset names rows that the data do not have: {error}") from None
    kept = np.zeros(frame.n_rows, dtype=bool)
    kept[chosen] = True
    return frame.take(kept), labels[kept], None if index is None else index[kept]


def _complete(frame: Frame, columns: Sequence[str]) -> BoolArray | None:
    bad: Any = None
    for name in columns:
        missing = frame.missing(name)
        if missing is not None:
            bad = missing if bad is None else bad | missing
    return None if bad is None else ~bad


def _without_missing(
    frame: Frame, labels: Any, index: pd.Index | None, columns: Sequence[str], missing: str
) -> tuple[Frame, Any, pd.Index | None, list[int] | None]:
    kept = _complete(frame, columns)
    unlabelled = pd.isna(labels)
    if unlabelled.any():
        kept = ~unlabelled if kept is None else kept & ~unlabelled
    if kept is None:
        return frame, labels, index, None
    n = int(np.count_nonzero(~kept))
    if missing != "drop":
        lacking = [name for name in columns if frame.missing(name) is not None]
        lacking += ["groups"] * bool(unlabelled.any())
        raise MissingDataError(
            f"{n} rows have missing values ({', '.join(lacking)}); missing='drop' leaves them out"
        )
    if not kept.any():
        raise MissingDataError("every row has a missing value in a variable of the model")
    rows = np.flatnonzero(~kept).tolist()
    return frame.take(kept), labels[kept], None if index is None else index[kept], rows


def _response(text: str, frame: Frame) -> FloatArray:
    if frame.has(text) and frame.is_categorical(text):
        raise DataError(
            f"the response {text!r} is not numeric (it holds text, categories or logicals)"
        )
    try:
        y = evaluate_numeric(text, frame, "the response")
    except FormulaError as error:
        raise PatsyFormulaError(str(error)) from None
    check_infinite(text, y)
    return y


def _variance_components(
    terms: dict[str, Terms], frame: Frame, groups: Groups
) -> tuple[VCSpec, list[tuple[str, Component]]]:
    own: list[tuple[str, Component]] = []
    mats, colnames = [], []
    for name, one in terms.items():
        matrices, labels, component = _component(name, one, frame, groups)
        own.append((name, component))
        mats.append(matrices)
        colnames.append(labels)
    return VCSpec(list(terms), colnames, mats), own


def _component(name: str, terms: Terms, frame: Frame, groups: Groups) -> tuple[Any, Any, Component]:
    lone = lone_factor(terms, frame)
    if lone is not None:
        factor, labels = lone
        nested = nested_levels(groups.codes, factor.codes, factor.n_levels)
        return indicator_matrices(nested, groups), level_names(nested, factor, labels), nested
    matrices, names = [], []
    for rows in groups.rows:
        # Group by group, as statsmodels does: a factor has the levels that the group's rows have.
        mask = np.zeros(frame.n_rows, dtype=bool)
        mask[rows] = True
        built = build_matrix(terms, frame.take(mask))
        matrices.append(np.column_stack(built.columns))
        names.append(list(built.names))
    return matrices, names, component_of(name, matrices, groups.rows, frame.n_rows)
