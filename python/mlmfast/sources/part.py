"""A part of a source."""

from __future__ import annotations

from typing import Any, NamedTuple


class Part(NamedTuple):
    """Some rows of a source.

    Attributes
    ----------
    frame
        pandas, polars or pyarrow frame, or what else `mlmfast.data.frame.Frame` reads.
    name
        Where it comes from: a file, a partition, a relation.
    first_row
        Position of its first row there, counted from 0.
    """

    frame: Any
    name: str
    first_row: int

    def place(self, position: int) -> str:
        """One of its rows in words, by where it comes from.

        Examples
        --------
        >>> Part(None, "data/part-37.parquet", 1000).place(204)
        'row 1,204 of data/part-37.parquet, counted from 0'
        """
        return f"row {self.first_row + position:,} of {self.name}, counted from 0"
