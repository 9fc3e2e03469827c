"""What can be had as a data frame, under one name for all results that are tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from mlmfast.running.optional import optional_package


def as_gt(frame: pd.DataFrame, title: str = "", notes: tuple[str, ...] = (), **options: Any) -> Any:
    """A table of great_tables: row labels as its stub, notes below.

    Raises
    ------
    MlmError
        Where great_tables is not installed.
    """
    package = optional_package("great_tables", "tables", "to_gt")
    stub = None
    if not isinstance(frame.index, pd.RangeIndex):
        stub = str(frame.index.name or "row")
        frame = frame.rename_axis(stub).reset_index()
    # A table of great_tables finds columns by text.
    table = package.GT(frame.rename(columns=str), **{"rowname_col": stub, **options})
    if title:
        table = table.tab_header(title=title)
    for note in notes:
        table = table.tab_source_note(note)
    return table


class Framed:
    """A result that is no data frame itself and can be had as one; `to_frame` says which.

    ``pandas.DataFrame(result)`` reads it by rows, polars and pyarrow by the Arrow interface.

    Examples
    --------
    >>> class Result(Framed):
    ...     def to_frame(self):
    ...         return pd.DataFrame({"estimate": [1.25]}, index=["x"])
    >>> pd.DataFrame(Result()).equals(Result().frame)
    True
    >>> Result().round(1).loc["x", "estimate"].item()
    1.2
    """

    def to_frame(self) -> pd.DataFrame:
        """The result as a data frame."""
        raise NotImplementedError

    @property
    def frame(self) -> pd.DataFrame:
        """`to_frame`, as an attribute."""
        return self.to_frame()

    def to_csv(self, *arguments: Any, **options: Any) -> Any:
        """As `pandas.DataFrame.to_csv`."""
        return self.to_frame().to_csv(*arguments, **options)

    def round(self, decimals: Any = 0) -> pd.DataFrame:
        """The frame with rounded numbers."""
        return self.to_frame().round(decimals)

    def to_gt(self, **options: Any) -> Any:
        """The frame as a table of great_tables; ``options`` are those of its ``GT``."""
        return as_gt(self.to_frame(), **options)

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        return self.to_frame().__arrow_c_stream__(requested_schema)

    def __iter__(self) -> Iterator[pd.Series[Any]]:
        frame = self.to_frame()
        # Objects keep what is a count a count.
        return (row for _, row in frame.astype(object).iterrows())
