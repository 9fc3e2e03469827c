"""What is done to the data before a fit, each as a line of code and as what the line does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from mlmfast.errors import DataError
from mlmfast.translation.call_text import literal


class Preparation(Protocol):
    """A step on a pandas frame."""

    def code(self, data: str) -> str:
        """The step as a line of Python on the frame of this name."""

    def __call__(self, data: pd.DataFrame) -> pd.DataFrame:
        """The frame after the step."""


@dataclass(frozen=True)
class Levels:
    """Columns read as factors, levels in sorted order."""

    columns: tuple[str, ...]

    def code(self, data: str) -> str:
        """As a line of Python."""
        kinds = dict.fromkeys(self.columns, "category")
        return f"{data} = {data}.astype({literal(kinds)})"

    def __call__(self, data: pd.DataFrame) -> pd.DataFrame:
        """The frame after the step."""
        return data.astype(dict.fromkeys(self.columns, "category"))


@dataclass(frozen=True)
class LevelsAsTheyCome:
    """A column read as a factor, levels in the order of the rows (ORDER=DATA)."""

    column: str

    def code(self, data: str) -> str:
        """As a line of Python."""
        name = literal(self.column)
        own = f"{data}[{name}]"
        made = f"{own}.astype(pd.CategoricalDtype({own}.dropna().unique()))"
        return f"{data} = {data}.assign(**{{{name}: {made}}})"

    def __call__(self, data: pd.DataFrame) -> pd.DataFrame:
        """The frame after the step."""
        own = data[self.column]
        kind = pd.CategoricalDtype(list(own.dropna().unique()))
        return data.assign(**{self.column: own.astype(kind)})


@dataclass(frozen=True)
class LevelsSeen:
    """A column read as a factor, with the levels that complete rows have (mmrm's visits)."""

    column: str
    complete: tuple[str, ...]

    def code(self, data: str) -> str:
        """As two lines of Python."""
        name, used = literal(self.column), literal(list(self.complete))
        own = f'[{name}].astype("category")'
        seen = f"{data}.dropna(subset={used}){own}.cat.remove_unused_categories()"
        made = f"{data}{own}.cat.set_categories(seen_.cat.categories)"
        return f"seen_ = {seen}\n{data} = {data}.assign(**{{{name}: {made}}})"

    def __call__(self, data: pd.DataFrame) -> pd.DataFrame:
        """The frame after the step."""
        seen = data.dropna(subset=list(self.complete))[self.column]
        levels = seen.astype("category").cat.remove_unused_categories().cat.categories
        own = data[self.column].astype("category").cat.set_categories(levels)
        return data.assign(**{self.column: own})


@dataclass(frozen=True)
class CompleteRows:
    """Rows without a missing value in any of these columns."""

    columns: tuple[str, ...]

    def code(self, data: str) -> str:
        """As a line of Python."""
        return f"{data} = {data}.dropna(subset={literal(list(self.columns))})"

    def __call__(self, data: pd.DataFrame) -> pd.DataFrame:
        """The frame after the step."""
        return data.dropna(subset=list(self.columns))


@dataclass(frozen=True)
class RowNumber:
    """The number of each row within its subject, in the order of the data."""

    column: str
    by: tuple[str, ...]

    def code(self, data: str) -> str:
        """As a line of Python."""
        number = f"{data}.groupby({list(self.by)!r}).cumcount() + 1"
        return f"{data} = {data}.assign({self.column}={number})"

    def __call__(self, data: pd.DataFrame) -> pd.DataFrame:
        """The frame after the step."""
        number = data.groupby(list(self.by), observed=True).cumcount() + 1
        return data.assign(**{self.column: number})


@dataclass(frozen=True)
class OneValueWithin:
    """A column that has one value in each combination of others; the data stay as they are."""

    column: str
    by: tuple[str, ...]

    def code(self, data: str) -> str:
        """As a line of Python."""
        groups = f"{data}.groupby({literal(list(self.by))}, observed=True)"
        return f"assert ({groups}[{literal(self.column)}].nunique() <= 1).all()"

    def __call__(self, data: pd.DataFrame) -> pd.DataFrame:
        """The frame, refused where the column varies."""
        counts = data.groupby(list(self.by), observed=True)[self.column].nunique()
        if (counts > 1).any():
            at = int(np.argmax(counts.to_numpy() > 1))
            level = counts.index.to_frame().iloc[at].tolist()
            raise DataError(
                f"{self.column!r} has {counts.iloc[at]} values at one level of "
                f"{', '.join(self.by)} ({', '.join(map(str, level))}); a level of a random effect "
                "lies in one place"
            )
        return data


@dataclass(frozen=True)
class Reciprocal:
    """Weights that are one over a column."""

    column: str
    of: str

    def code(self, data: str) -> str:
        """As a line of Python."""
        return f"{data} = {data}.assign({self.column}=1 / {data}[{literal(self.of)}])"

    def __call__(self, data: pd.DataFrame) -> pd.DataFrame:
        """The frame after the step."""
        return data.assign(**{self.column: 1.0 / data[self.of].to_numpy(dtype=np.float64)})


def pandas_frame(data: Any) -> pd.DataFrame:
    """A frame of any library, or a dict of arrays, as one of pandas.

    Raises
    ------
    DataError
    """
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, Mapping):
        return pd.DataFrame({name: _values(column) for name, column in data.items()})
    try:
        frame = nw.from_native(data, eager_only=True)
    except TypeError:
        raise DataError(
            f"the data are {type(data).__name__}; give a data frame or a dict of arrays"
        ) from None
    return pd.DataFrame({name: _values(frame[name].to_native()) for name in frame.columns})


def _values(column: Any) -> Any:
    """A column of any library for pandas; levels that have an order keep it."""
    if isinstance(column, pd.Series):
        return column
    try:
        series = nw.from_native(column, series_only=True)
    except TypeError:
        return column
    # polars numbers the levels of a Categorical as they come, which is no order.
    has_order = isinstance(series.dtype, nw.Categorical) and not series.implementation.is_polars()
    if isinstance(series.dtype, nw.Enum) or has_order:
        levels = series.cat.get_categories().to_list()
        return pd.Categorical(series.to_list(), categories=levels)
    return series.to_numpy()


def by_groups(data: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Rows by the values of columns, in sorted order; missing values are a group, None, the first.

    Examples
    --------
    >>> data = pd.DataFrame({"g": ["b", None, "a"]})
    >>> [(key, len(own)) for key, own in by_groups(data, ["g"])]
    [(None, 1), ('a', 1), ('b', 1)]
    """
    coded = [pd.factorize(data[name], sort=True) for name in by]
    for codes, own in data.groupby([codes for codes, _ in coded], sort=True):
        found = zip(np.atleast_1d(np.asarray(codes)).tolist(), coded, strict=True)
        values = [None if k < 0 else levels[k] for k, (_, levels) in found]
        key = tuple(v.item() if isinstance(v, np.generic) else v for v in values)
        yield (key if len(key) > 1 else key[0]), own


def with_columns(data: pd.DataFrame, names: Sequence[str], folds_case: bool) -> pd.DataFrame:
    """A frame whose columns are named as the text names them.

    Raises
    ------
    DataError
        Where one is missing, or, with case ignored, stands for several.
    """
    found: dict[Any, str] = {}
    for name in names:
        if name in data.columns:
            continue
        alike = [c for c in data.columns if str(c).lower() == name.lower()] if folds_case else []
        if len(alike) > 1:
            raise DataError(f"{name!r} may be {' or '.join(map(repr, alike))}: rename the columns")
        if not alike:
            known = ", ".join(map(str, data.columns))
            raise DataError(f"there is no column {name!r} in the data; the columns are {known}")
        found[alike[0]] = name
    return data.rename(columns=found) if found else data
