"""Many data sets: the parts of a table, several tables, or arrays with a leading axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray, unmasked
from mlmfast.data.factor import Factor, cross_factors
from mlmfast.data.frame import Frame
from mlmfast.data.split_frame import SplitFrame
from mlmfast.design.from_arrays import labels_by_factor
from mlmfast.design.input_columns import input_column
from mlmfast.errors import DataError
from mlmfast.many_data_sets.known_relationships import check_relationships
from mlmfast.model import LMM
from mlmfast.sources.frame_of import frame_of

#: Arrays beside the responses, and their dimensions for one fit.
_ARRAYS = {"X": 2, "groups": 1, "Z": 2, "weights": 1, "offset": 1}
#: Arguments of a model that may be a column's name or an array with a number a row.
_BY_ROW = ("weights", "offset")


@dataclass(frozen=True)
class Levels:
    """The rows of each level of ``by``.

    Attributes
    ----------
    labels
        Text of each level.
    by
        For each column of ``by`` its value in each part.
    """

    split: SplitFrame
    arguments: Mapping[str, Any]
    labels: tuple[str, ...]
    by: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, frame: Frame, by: Any, arguments: Mapping[str, Any]) -> Levels:
        """Cut a table by one or several columns; rows that have no level are in no part.

        Raises
        ------
        DataError
            For a column that is not there, or without any level.
        """
        names = [by] if isinstance(by, str) else by
        if (
            not isinstance(names, Sequence)
            or not names
            or not all(isinstance(name, str) for name in names)
        ):
            raise DataError(f"by is {by!r}; give the name of a column, or a list of names")
        factors = [frame.factor(name) for name in names]
        crossed = cross_factors(factors)
        if crossed.has_missing() and arguments["na_action"] == "raise":
            count = int((crossed.codes < 0).sum())
            raise DataError(
                f"by={by!r} has {count} missing values; remove them, or use na_action='drop'"
            )
        crossed = _met(crossed)
        if crossed.n_levels == 0:
            raise DataError(f"by={by!r} has no value that is not missing")
        first = np.full(crossed.n_levels, -1)
        rows = np.flatnonzero(crossed.codes >= 0)[::-1]
        first[crossed.codes[rows]] = rows
        values = {
            name: factor.values[factor.codes[first]]
            for name, factor in zip(names, factors, strict=True)
        }
        given = {role: input_column(arguments[role], role, frame) for role in _BY_ROW}
        split = SplitFrame(frame, crossed.codes, crossed.n_levels)
        return cls(split, {**arguments, **given}, crossed.levels, values)

    def __len__(self) -> int:
        return len(self.labels)

    def model(self, position: int) -> LMM:
        """The model of one level's rows."""
        own = dict(self.arguments)
        for role in _BY_ROW:
            if isinstance(own[role], np.ndarray):
                own[role] = own[role][self.split.rows(position)]
        return LMM(own.pop("formula"), self.split.part(position), **own)


def _met(factor: Factor) -> Factor:
    """Without levels that no row has: a logical has both."""
    return factor.take(np.ones(factor.codes.size, dtype=np.bool_))


@dataclass(frozen=True)
class Frames:
    """Several tables; each is read when it is first used, of a file the columns named."""

    tables: Sequence[object]
    arguments: Mapping[str, Any]
    names: tuple[str, ...] = ()
    _read: dict[int, Frame] = field(default_factory=dict, repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """Their positions."""
        return tuple(map(str, range(len(self.tables))))

    @property
    def by(self) -> dict[str, NDArray[Any]]:
        """No columns: the tables have no names."""
        return {}

    def __len__(self) -> int:
        return len(self.tables)

    def frame(self, position: int) -> Frame:
        """One table."""
        if position not in self._read:
            self._read[position] = frame_of(self.tables[position], self.names)
        return self._read[position]

    def model(self, position: int) -> LMM:
        """The model of one table."""
        own = dict(self.arguments)
        return LMM(own.pop("formula"), self.frame(position), **own)

    def __getstate__(self) -> dict[str, Any]:
        """The tables as far as they were read."""
        tables = [self._read.get(k, table) for k, table in enumerate(self.tables)]
        own = {"arguments": self.arguments, "names": self.names}
        return {"tables": tables, **own, "_read": {}}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Stacked:
    """Arrays with a leading axis, or lists of arrays, of many data sets; others are shared.

    Attributes
    ----------
    y : shape (n_fits, n), or n_fits arrays
    X : shape (n, p) or (n_fits, n, p), or n_fits arrays
    groups : shape (n,) or (n_fits, n), or n_fits arrays; or a dict of those
    Z : shape (n, q) or (n_fits, n, q), or n_fits arrays; or a dict of those by factor
    weights, offset : shape (n,) or (n_fits, n), or n_fits arrays
    names : of the columns of X
    cov : known relationships by name of a factor, of all data sets
    """

    y: Any
    X: Any
    groups: Any
    Z: Any
    names: Any
    weights: Any
    offset: Any
    cov: Any = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Their positions."""
        return tuple(map(str, range(len(self.y))))

    @property
    def by(self) -> dict[str, NDArray[Any]]:
        """No columns: they have no names."""
        return {}

    def __len__(self) -> int:
        return len(self.y)

    def check(self) -> None:
        """Refuse arrays that fit none of the responses, and relationships that are none.

        Raises
        ------
        DataError, ModelError
        """
        if self.X is None:
            raise DataError("X= is needed beside y=: (n_fits, n, p), or (n, p) for all fits")
        for name, ndim in _ARRAYS.items():
            own = self._own(name, ndim, 0)
            for part in own.values() if isinstance(own, Mapping) else [own]:
                rows = None if part is None else len(part)
                if isinstance(self.y, np.ndarray) and rows not in {None, self.y.shape[1]}:
                    raise DataError(
                        f"{name} has {rows} rows a fit and y {self.y.shape[1]}: y is (n_fits, n), "
                        f"and {name} has rows of length n, with or without a leading axis"
                    )

        check_relationships(self.cov, list(labels_by_factor(self._own("groups", 1, 0))))

    def model(self, position: int) -> LMM:
        """The model of one data set, of its rows whose response is not missing."""
        y = one_of(self.y, position, len(self), 1, "y")
        rows = None
        values = np.asarray(unmasked(y))
        if values.dtype.kind == "f" and np.isnan(values).any():
            rows = ~np.isnan(values)
            if not rows.any():
                raise DataError("the response has no value that is not missing")
        own = {name: self._own(name, ndim, position) for name, ndim in _ARRAYS.items()}
        if rows is not None:
            y, own = values[rows], {name: _cut(value, rows) for name, value in own.items()}
        return LMM.from_arrays(y, own.pop("X"), **own, names=self.names, cov=self.cov)

    def _own(self, name: str, ndim: int, position: int) -> Any:
        given = getattr(self, name)
        if isinstance(given, Mapping):
            return {
                key: one_of(value, position, len(self), ndim, f"{name}[{key!r}]")
                for key, value in given.items()
            }
        return one_of(given, position, len(self), ndim, name)


def one_of(given: Any, position: int, n_fits: int, ndim: int, name: str) -> Any:
    """The part of one data set, where what was given is not shared by all.

    Examples
    --------
    >>> one_of(np.array([[1, 2], [3, 4]]), 1, 2, 1, "groups").tolist()
    [3, 4]
    """
    if given is None:
        return None
    if isinstance(given, list | tuple) and len(given) == n_fits and _holds_arrays(given, ndim):
        return given[position]
    found = np.ndim(given)
    if found != ndim + 1:
        return given
    if len(given) != n_fits:
        raise DataError(f"{name} has shape {np.shape(given)} for {n_fits} fits")
    return given[position]


def _holds_arrays(given: Sequence[Any], ndim: int) -> bool:
    return all(np.ndim(item) == ndim for item in given)


def _cut(given: Any, rows: NDArray[np.bool_]) -> Any:
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {name: _cut(value, rows) for name, value in given.items()}
    if isinstance(given, pd.Series | pd.DataFrame):
        return given.loc[rows]
    array = given if hasattr(given, "dtype") else np.asarray(given)
    return array[rows] if len(array) == rows.size else array


def response_matrix(y: Any) -> Sequence[Any] | FloatArray:
    """``y`` of `Stacked`, checked to be of many fits.

    Raises
    ------
    DataError
        Where it is not.
    """
    if isinstance(y, list | tuple) and y and _holds_arrays(y, 1):
        return y
    values = y.to_numpy() if isinstance(y, pd.DataFrame) else np.asarray(unmasked(y))
    if values.ndim != 2 or len(values) == 0:
        raise DataError(
            f"y has shape {values.shape}; (n_fits, n) is needed, a row a fit, or a list of arrays"
        )
    return values
