"""A data frame whose parts are found by the name of a grouping factor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, KeysView, Mapping, ValuesView
from functools import partial
from typing import Any

import pandas as pd

from mlmfast.design.factors.names import backwards, known_group
from mlmfast.design.factors.plain_methods import with_plain_methods
from mlmfast.display.html import in_text
from mlmfast.display.printed_frame import PrintedFrame


@with_plain_methods
class FrameByGroup(PrintedFrame):
    """One data frame to whatever takes a frame, and a mapping from grouping factors to frames.

    ``pandas.DataFrame(result)`` and its like read the rows of all factors below each other, while
    ``result["g"]``, ``list(result)``, ``len(result)``, ``result.items()`` are those of a mapping.
    A column is found by name where no grouping factor has that name.

    Methods of a data frame are those of the rows, but for ``keys``, ``values``, ``items`` and
    ``get``, which are the mapping's, as ``len``, ``in`` and iteration are. A function that asks a
    frame for its length or goes through its columns, such as `pandas.pivot_table`, takes
    ``to_frame()``.

    Parameters
    ----------
    rows
        The rows of all factors.
    parts
        The frame of each factor.

    Examples
    --------
    >>> both = FrameByGroup(pd.DataFrame({"x": [1, 2]}), {"a:b": pd.DataFrame({"x": [1]})})
    >>> list(both), len(both["b:a"]), len(both.to_frame()), both["x"].tolist()
    (['a:b'], 1, 2, [1, 2])
    """

    _metadata = ["title", "notes", "_parts"]  # noqa: RUF012 (what pandas asks of a subclass)

    def __init__(self, rows: pd.DataFrame, parts: Mapping[str, pd.DataFrame]) -> None:
        super().__init__(rows)
        self._parts = dict(parts)

    def _respelled(self, part: pd.DataFrame, spell: Callable[[str], str]) -> pd.DataFrame:
        """A part under the other spelling of its interaction; ``spell`` does so to a level."""
        return part

    def __getitem__(self, name: Any) -> Any:
        group = known_group(name, self._parts) if isinstance(name, str) else None
        if group is not None:
            part = self._parts[group].copy()
            if group == name:
                return part
            return self._respelled(part, partial(backwards, n_parts=group.count(":") + 1))
        if isinstance(name, str) and name not in self.columns:
            raise KeyError(f"{name!r}; grouping factors: {', '.join(self._parts) or 'none'}")
        return self.frame[name]

    def __contains__(self, name: object) -> bool:  # type: ignore[misc]
        return isinstance(name, str) and known_group(name, self._parts) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __bool__(self) -> bool:  # type: ignore[misc,override]
        return bool(self._parts)

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """Names of the grouping factors."""
        return self._parts.keys()

    def values(self) -> ValuesView[pd.DataFrame]:  # type: ignore[override]
        """Frames of the grouping factors."""
        return dict(self.items()).values()

    def items(self) -> Any:
        """Names of the grouping factors with their frames."""
        return {name: part.copy() for name, part in self._parts.items()}.items()

    def get(self, name: Any, default: Any = None) -> Any:
        """The frame of a grouping factor, or the default."""
        try:
            return self[name]
        except KeyError:
            return default

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        return self.frame.__arrow_c_stream__(requested_schema)

    def copy(self, deep: bool = True) -> FrameByGroup:  # type: ignore[misc]
        """A copy of the same kind."""
        own = self._of_same_kind(pd.DataFrame(self).copy(deep))
        own._parts = {name: part.copy(deep) for name, part in self._parts.items()}
        return own

    def __repr__(self) -> str:
        return "\n\n".join(f"{name}:\n{part}" for name, part in self._parts.items())

    def _repr_html_(self) -> str:
        return in_text(repr(self))
