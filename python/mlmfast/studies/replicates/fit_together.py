"""Data sets fitted by one method, together where they share a design."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.design.design import Design
from mlmfast.design.model_frame import build_model_frame
from mlmfast.errors import MlmError
from mlmfast.many_data_sets.fit_each import fit_each
from mlmfast.model import LMM
from mlmfast.studies.plan.method import Method
from mlmfast.studies.replicates.arrangement import (
    Arrangement,
    Variables,
    arrange,
    plain_numbers,
)
from mlmfast.studies.replicates.data_set import DataSet, SharedRows

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
    if isinstance(data, SharedRows) and data.name == variables.response:
        found = Arrangement((tuple(range(len(data))),), (), ())
        if np.isinf(data.values).any():
            found = arrange(list(data), variables)
    else:
        data = list(data)
        found = arrange(data, variables)
    left = list(found.others)
    for fit, lists in ((_same, found.same), (_alike, found.alike)):
        for some in lists:
            own = data if len(some) == len(data) else [data[k] for k in some]
            batch = fit(method, own, variables)
            if batch is None:
                left += some
                continue
            yield np.array(some), batch
            left += np.array(some)[~is_sound(batch)].tolist()
    if left:
        left.sort()
        yield np.array(left), _one_by_one(method, [data[k] for k in left])


def is_sound(batch: FitBatch) -> BoolArray:
    """Fits that there are, and of which all is determined, (n_fits,)."""
    fitted = [status in STATUSES for status in batch.status]
    return np.asarray(np.array(fitted) & (batch.undetermined == ""))


def _arguments(method: Method) -> dict[str, object]:
    names = ("residual", "residual_scale", "weights", "offset", "contrasts", "na_action")
    return {name: getattr(method, name) for name in names}


def _same(method: Method, data: Sequence[DataSet], variables: Variables) -> FitBatch | None:
    """Data sets that differ in their responses only; None where the design makes no model."""
    assert variables.response is not None
    if isinstance(data, SharedRows):
        Y = data.values
    else:
        columns = [one.column(variables.response) for one in data]
        Y = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
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


def _alike(method: Method, data: Sequence[DataSet], variables: Variables) -> FitBatch | None:
    """Data sets of one structure that differ in numbers; None where their matrices do not stack."""
    try:
        design = _design(method, _stacked(data, variables))
        ends = [_design(method, _used(data[k], variables)) for k in (0, -1)]
    except MlmError:
        return None
    n = ends[0].n_obs
    if design.n_obs != n * len(data) or design.n_dropped or design.absorbed is not None:
        return None
    whole = _Matrices(design, len(data))
    if not all(whole.has(k, own) for k, own in zip((0, len(data) - 1), ends, strict=True)):
        return None
    groups, Z = whole.groups, whole.Z
    return fit_each(
        y=design.y.reshape(len(data), n),
        X=whole.X,
        groups=groups,
        Z=Z,
        names=list(design.x_names),
        method=method.method,
        ddf=method.ddf,
    )


def _stacked(data: Sequence[DataSet], variables: Variables) -> pd.DataFrame:
    """One table of all rows, data set after data set."""
    first = _used(data[0], variables)
    rows = np.tile(np.arange(len(first)), len(data))
    table = first.take(rows).reset_index(drop=True)
    assert variables.response is not None
    for name in (variables.response, *variables.others):
        if name not in variables.structure and plain_numbers(data[0].column(name)) is not None:
            table[name] = np.concatenate([np.asarray(one.column(name)) for one in data])
    return table


def _design(method: Method, table: pd.DataFrame) -> Design:
    return build_model_frame(method.formula, table, absorb=False).design


class _Matrices:
    """y, X, Z and groups of stacked data sets."""

    def __init__(self, design: Design, n_sets: int) -> None:
        self.design, self._n_sets = design, n_sets
        self._n = design.n_obs // n_sets

    @property
    def X(self) -> FloatArray:
        return self._matrix(self.design.x)

    @property
    def Z(self) -> dict[str, FloatArray]:
        names = [factor.name for factor in self.design.factors]
        return {names[term.factor]: self._matrix(term.columns) for term in self.design.random}

    @property
    def groups(self) -> dict[str, IntArray]:
        return {
            factor.name: factor.codes[: self._n].astype(np.intp) for factor in self.design.factors
        }

    def _matrix(self, columns: Sequence[FloatArray | None]) -> FloatArray:
        out = np.empty((self._n_sets, self._n, len(columns)))
        for j, column in enumerate(columns):
            out[:, :, j] = 1.0 if column is None else column.reshape(self._n_sets, self._n)
        return out

    def has(self, position: int, own: Design) -> bool:
        """Whether a data set alone has these matrices: nothing goes by other sets' values."""
        mine = self.design
        part = slice(position * self._n, (position + 1) * self._n)
        if own.n_obs != self._n or own.n_dropped or own.x_names != mine.x_names:
            return False
        pairs = list(zip(mine.x, own.x, strict=True))
        if len(own.random) != len(mine.random) or len(own.factors) != len(mine.factors):
            return False
        for one, other in zip(mine.random, own.random, strict=True):
            if one.names != other.names or one.factor != other.factor:
                return False
            pairs += zip(one.columns, other.columns, strict=True)
        codes = zip(mine.factors, own.factors, strict=True)
        return all(_equal(a, b, part) for a, b in pairs) and all(
            np.array_equal(a.codes[part], b.codes) for a, b in codes
        )


def _equal(whole: FloatArray | None, own: FloatArray | None, part: slice) -> bool:
    if whole is None or own is None:
        return whole is None and own is None
    return np.array_equal(whole[part], own)


def _one_by_one(method: Method, data: Sequence[DataSet]) -> FitBatch | MlmError:
    tables = [one.source() for one in data]
    arguments = _arguments(method)
    try:
        return fit_each(
            method.formula,
            tables,
            method=method.method,
            ddf=method.ddf,
            options=method.options,
            **arguments,  # type: ignore[arg-type]
        )
    except MlmError as error:
        return error
