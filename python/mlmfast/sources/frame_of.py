"""The frame of what a user gives: a table in memory as it is, of a source the columns needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlmfast.data.frame import Frame

#: Types that every frame library has for a table in memory, of which no source need be made.
_TABLES = {"pandas", "polars", "pyarrow"}


def frame_of(data: object, names: Sequence[str]) -> Frame:
    """A frame of a table in memory, or of the columns named of a source (`open_source`).

    Examples
    --------
    >>> frame_of({"x": [1.0], "y": [2.0]}, ["x"]).columns
    ('x', 'y')
    """
    if _is_table(data) or isinstance(data, Frame | Mapping):
        return Frame.from_native(data)
    from mlmfast.sources.in_memory import read_into_memory
    from mlmfast.sources.open_source import is_source, open_source

    return (
        read_into_memory(open_source(data), names) if is_source(data) else Frame.from_native(data)
    )


def _is_table(data: object) -> bool:
    library = str(type(data).__module__).partition(".")[0]
    return library in _TABLES and type(data).__name__ in {"DataFrame", "Table"}
