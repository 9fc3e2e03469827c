"""Data sets fitted by one method, together where they share a design."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.data.frame import Frame
from mlmfast.design.design import Design
from mlmfast.design.model_frame import ModelFrame, build_model_frame
from mlmfast.errors import MlmError
from mlmfast.formula.functions import variables_of
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.many_data_sets.fit_each import fit_each
from mlmfast.model import LMM
from mlmfast.simulation.rows.rebuild import RowColumns, columns_of, columns_read, repeated
from mlmfast.studies.plan.method import Method
from mlmfast.studies.replicates.arrangement import (
    Variables,
    arrange,
    plain_numbers,
)
from mlmfast.studies.replicates.data_set import DataSet, SharedRows
from mlmfast.studies.replicates.one_table import in_one_table

#: Fits of data sets that share rows; None where they are to be fitted alone.
_Fit: TypeAlias = Callable[[Method, SharedRows, Variables], FitBatch | None]
#: What `FitBatch.status` says of fits that there are.
STATUSES = ("converged", "singular", "not converged")
#: Fits, or why there are none, and the positions of their data sets.
Part = tuple[IntArray, FitBatch | MlmError]


def fit_together(method: Method, data: Sequence[DataSet]) -> Iterator[Part]:
    """Fit a method to data sets; what a later part says of one holds.

    Data sets that give no fit among others are fitted once more alone: what is said of them is then
    the same whoever their neighbours were.
    """
    variables = Variables.of(method)
    groups, left = _groups(data, variables)
    for fit, positions, shared in groups:
        batch = fit(method, shared, variables)
        if batch is None:
            left += positions.tolist()
            continue
        yield positions, batch
        left += positions[~is_sound(batch)].tolist()
    if left:
        left.sort()
        at = np.array(left)
        some = data.some(at) if isinstance(data, SharedRows) else [data[k] for k in left]
        yield at, _each(method, some, variables)


def _groups(
    data: Sequence[DataSet], variables: Variables
) -> tuple[list[tuple[_Fit, IntArray, SharedRows]], list[int]]:
    """Data sets by the way they are fitted together, and those that are fitted alone."""
    shared = data if isinstance(data, SharedRows) else _among(data)
    way = None if shared is None else _way(shared, variables)
    if shared is not None and way is not None:
        whole = _whole(shared, variables) if way is _alike else np.ones(len(shared), dtype=np.bool_)
        positions = np.flatnonzero(whole)
        if len(positions) > 1:
            return [(way, positions, shared.some(positions))], np.flatnonzero(~whole).tolist()
    every = list(data)
    found = arrange(every, variables)
    groups: list[tuple[_Fit, IntArray, SharedRows]] = []
    for fit, lists in ((_same, found.same), (_alike, found.alike)):
        for some in lists:
            names = [variables.response, *(variables.others if fit is _alike else ())]
            own = _of_list([every[k] for k in some], [n for n in names if n is not None])
            groups.append((fit, np.array(some), own))
    return groups, list(found.others)


def _among(data: Sequence[DataSet]) -> SharedRows | None:
    return SharedRows.among(data) if len(data) > 1 else None


def _of_list(data: Sequence[DataSet], names: Sequence[str]) -> SharedRows:
    """Data sets whose other columns are equal."""
    columns = {name: [plain_numbers(one.column(name)) for one in data] for name in names}
    varying = {
        name: np.stack([own for own in found if own is not None])
        for name, found in columns.items()
        if all(own is not None for own in found)
    }
    return SharedRows(data[0], varying)


def _way(shared: SharedRows, variables: Variables) -> _Fit | None:
    """How data sets that share rows are fitted; None where that has to be looked at closely."""
    varying = {
        name
        for name in (variables.response, *variables.structure, *variables.others)
        if name in shared.varying
    }
    if variables.response not in varying or len(shared) < 2:
        return None
    if len(varying) == 1:
        return None if np.isinf(shared.varying[variables.response]).any() else _same
    return _alike if variables.by_row and not varying & set(variables.structure) else None


def _whole(shared: SharedRows, variables: Variables) -> BoolArray:
    """Data sets with a finite number in every row of the columns that vary."""
    out = np.ones(len(shared), dtype=np.bool_)
    for name in (variables.response, *variables.others):
        if name in shared.varying:
            own = shared.varying[name]
            sums = np.isfinite(own.sum(axis=1))
            out &= sums if sums.all() else np.isfinite(own).all(axis=1)
    return out


def is_sound(batch: FitBatch) -> BoolArray:
    """Fits that there are, and of which all is determined, (n_fits,)."""
    fitted = [status in STATUSES for status in batch.status]
    return np.asarray(np.array(fitted) & (batch.undetermined == ""))


def _arguments(method: Method) -> dict[str, object]:
    names = ("residual", "residual_scale", "weights", "offset", "contrasts", "na_action")
    return {name: getattr(method, name) for name in names}


def _same(method: Method, data: SharedRows, variables: Variables) -> FitBatch | None:
    """Data sets that differ in their responses only; None where the design makes no model."""
    assert variables.response is not None
    Y = data.varying[variables.response].T
    if method.na_action == "raise" and np.isnan(Y).any():
        return None
    # A row without a response belongs to the design of the others.
    table = _used(data[0], variables).assign(**{variables.response: np.nan_to_num(Y[:, 0])})
    try:
        model = LMM(method.formula, table, **_arguments(method))  # type: ignore[arg-type]
        return model.fit_many(Y, method.method, method.options, method.ddf)
    except MlmError:
        # What concerns one of them must not be said of all.
        return None


def _used(data: DataSet, variables: Variables) -> pd.DataFrame:
    names = (variables.response, *variables.structure, *variables.others)
    columns = {name: data.column(name) for name in names if name is not None}
    return pd.DataFrame(columns).reset_index(drop=True)


def _alike(method: Method, data: SharedRows, variables: Variables) -> FitBatch | None:
    """Data sets of one structure that differ in numbers; None where their matrices do not stack."""
    assert variables.response is not None
    try:
        first, last = (_model(method, _used(data[k], variables)) for k in (0, -1))
        found = columns_of(first, Frame.from_native(_stacked(first, data)))
    except MlmError:
        return None
    n = first.design.n_obs
    if n != data.varying[variables.response].shape[1] or first.design.absorbed is not None:
        return None
    whole = _Matrices(first.design, found, len(data))
    ends = ((0, first.design), (len(data) - 1, last.design))
    if not whole.are_finite or not all(whole.has(k, own) for k, own in ends):
        return None
    return fit_each(
        y=data.varying[variables.response],
        X=whole.X,
        groups=whole.groups,
        Z=whole.Z,
        names=list(found.x_names),
        method=method.method,
        ddf=method.ddf,
    )


def _stacked(model: ModelFrame, data: SharedRows) -> dict[str, Any]:
    """Columns of all rows, data set after data set, that X and Z are made from."""
    out: dict[str, Any] = {name: own.ravel() for name, own in data.varying.items()}
    for name in columns_read(model):
        if name not in out:
            column = data.rows.column(name)
            numbers = plain_numbers(column)
            out[name] = repeated(column if numbers is None else numbers, len(data))
    return out


def _model(method: Method, table: pd.DataFrame) -> ModelFrame:
    return build_model_frame(method.formula, table, absorb=False)


class _Matrices:
    """X, Z and groups of stacked data sets, of which the first has a design."""

    def __init__(self, first: Design, columns: RowColumns, n_sets: int) -> None:
        self._first, self._columns = first, columns
        self._n_sets, self._n = n_sets, first.n_obs

    @property
    def X(self) -> FloatArray:
        return self._matrix(self._columns.x)

    @property
    def Z(self) -> dict[str, FloatArray]:
        """By factor; that of a random intercept alone is left out."""
        names = [factor.name for factor in self._first.factors]
        return {
            names[term.factor]: self._matrix(columns)
            for term, columns in zip(self._first.random, self._columns.z, strict=True)
            if columns != (None,)
        }

    @property
    def groups(self) -> dict[str, IntArray]:
        return {factor.name: factor.codes.astype(np.intp) for factor in self._first.factors}

    @property
    def are_finite(self) -> bool:
        """Whether a function of the formula, such as a logarithm, has a value in every row."""
        every = [*self._columns.x, *(c for columns in self._columns.z for c in columns)]
        return all(column is None or np.isfinite(column).all() for column in every)

    def _matrix(self, columns: Sequence[FloatArray | None]) -> FloatArray:
        out = np.empty((self._n_sets, self._n, len(columns)))
        for j, column in enumerate(columns):
            out[:, :, j] = 1.0 if column is None else column.reshape(self._n_sets, self._n)
        return out

    def has(self, position: int, own: Design) -> bool:
        """Whether a data set alone has these matrices: nothing goes by other sets' values."""
        first, all_columns = self._first, self._columns
        part = slice(position * self._n, (position + 1) * self._n)
        if own.n_obs != self._n or own.n_dropped or own.x_names != all_columns.x_names:
            return False
        if len(own.random) != len(first.random) or len(own.factors) != len(first.factors):
            return False
        pairs = list(zip(all_columns.x, own.x, strict=True))
        for one, other, columns in zip(first.random, own.random, all_columns.z, strict=True):
            if one.names != other.names or one.factor != other.factor:
                return False
            pairs += zip(columns, other.columns, strict=True)
        codes = zip(first.factors, own.factors, strict=True)
        return all(_equal(a, b, part) for a, b in pairs) and all(
            np.array_equal(a.codes, b.codes) for a, b in codes
        )


def _equal(whole: FloatArray | None, own: FloatArray | None, part: slice) -> bool:
    if whole is None or own is None:
        return whole is None and own is None
    return np.array_equal(whole[part], own)


def _each(method: Method, data: Sequence[DataSet], variables: Variables) -> FitBatch | MlmError:
    """Data sets of their own rows, levels and columns."""
    response = variables_of(parse_formula(method.formula).response)
    names = (*response, *variables.structure, *variables.others)
    table = in_one_table(data, names) if len(data) > 1 else None
    what = [one.source() for one in data] if table is None else table.columns
    arguments = _arguments(method)
    try:
        return fit_each(
            method.formula,
            what,
            by=None if table is None else table.by,
            method=method.method,
            ddf=method.ddf,
            options=method.options,
            progress=False,
            **arguments,  # type: ignore[arg-type]
        )
    except MlmError as error:
        return error
