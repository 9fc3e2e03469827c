"""Data frames as sources: one, several, or what an iterator gives one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from mlmfast.data.frame import columns_of
from mlmfast.errors import DataError
from mlmfast.running.cached import cached_property
from mlmfast.sources.part import Part
from mlmfast.sources.source import Column, Source, library_of


class FramesSource(Source):
    """Frames of one table, each with its columns.

    Parameters
    ----------
    frames
        pandas, polars or pyarrow frames, or dicts of arrays.
    title
        What they are.
    repeatable
        Whether ``frames`` can be gone through again.
    """

    def __init__(self, frames: Iterable[Any], title: str, repeatable: bool) -> None:
        self._frames, self.title, self.repeatable = frames, title, repeatable
        self._first: Any = None

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Those of the first frame, which a generator has to make for it."""
        frames = iter(self._frames)
        try:
            first = next(frames)
        except StopIteration:
            raise DataError(f"{self.title} gave no frame; a model needs observations") from None
        if not self.repeatable:
            self._frames = chain([first], frames)
        table = columns_of(first)
        twice = next((n for n in table.names if table.names.count(n) > 1), None)
        if twice is not None:
            raise DataError(f"frame 1 has several columns named {twice!r}; rename them")
        return tuple(Column(name, table.dtype_name(name)) for name in table.names)

    @cached_property
    def n_rows(self) -> int | None:
        """Rows of frames that are at hand."""
        if not isinstance(self._frames, Sequence):
            return None
        return sum(columns_of(frame).n_rows for frame in self._frames)

    def _parts(self, columns: Sequence[str]) -> Iterator[Part]:
        rows = self.rows_at_once(columns)
        for k, frame in enumerate(self._frames):
            name, first = f"frame {k + 1}", 0
            for piece in pieces_of(frame, columns, rows):
                yield Part(piece, name, first)
                first += columns_of(piece).n_rows


def pieces_of(frame: Any, columns: Sequence[str], rows: int) -> Iterator[Any]:
    """Some columns of a frame, some rows at a time; a frame that lacks one is left as it is.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"x": [1, 2, 3], "y": 0})
    >>> [len(piece) for piece in pieces_of(frame, ["x"], 2)]
    [2, 1]
    """
    table = columns_of(frame)
    if isinstance(frame, Mapping) or not set(columns) <= set(table.names):
        yield frame
        return
    take = _TAKE.get(library_of(frame))
    if take is None or len(set(table.names)) < len(table.names):
        yield frame
        return
    for first in range(0, max(table.n_rows, 1), rows):
        yield take(frame, list(columns), first, rows)


def _of_pandas(frame: Any, columns: list[str], first: int, rows: int) -> Any:
    # Names of pandas columns need not be text.
    places = {str(key): k for k, key in enumerate(frame.columns)}
    return frame.iloc[first : first + rows, [places[name] for name in columns]]


def _of_polars(frame: Any, columns: list[str], first: int, rows: int) -> Any:
    return frame.select(columns).slice(first, rows)


def _of_arrow(frame: Any, columns: list[str], first: int, rows: int) -> Any:
    return frame.select(columns).slice(first, rows)


_TAKE = {"pandas": _of_pandas, "polars": _of_polars, "pyarrow": _of_arrow}
