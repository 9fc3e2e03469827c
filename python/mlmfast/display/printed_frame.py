"""A data frame that prints with the digits a reader can use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pandas as pd

from mlmfast.display.frame_cells import table_of
from mlmfast.display.framed import as_gt
from mlmfast.display.tables import Table
from mlmfast.display.text import WIDE, notes_text, table_text

_Own = TypeVar("_Own", bound="PrintedFrame")


class PrintedFrame(pd.DataFrame):
    """A data frame of numbers with a title above and notes below when printed.

    It is a data frame in all else, at full precision; what is taken from it is a plain one. All
    results that are a table derive from it; those that hold more name it in ``_metadata``, and are
    then copied and pickled with it.

    Examples
    --------
    >>> table = PrintedFrame({"Chisq": [42.8368], "Df": [2], "Pr(>Chisq)": [5e-10]}, index=["a"])
    >>> table.title, table.notes = "Tests", ("one test",)
    >>> table
    Tests:
        Chisq  Df  Pr(>Chisq)
    a  42.837   2    5.00e-10
    Note: one test
    >>> type(table.frame).__name__, type(table.round(1)).__name__
    ('DataFrame', 'DataFrame')
    """

    _metadata = ["title", "notes"]  # noqa: RUF012 (what pandas asks of a subclass)

    title: str = ""
    notes: tuple[str, ...] = ()

    def __init__(self, *data: Any, **how: Any) -> None:
        super().__init__(*data, **how)

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    @property
    def frame(self) -> pd.DataFrame:
        """The table as a plain data frame, a copy."""
        return pd.DataFrame(self).copy()

    @property
    def values(self) -> Any:
        """The numbers as an array, a copy: pandas would hand out its own."""
        return pd.DataFrame(self).to_numpy(copy=True)

    def to_frame(self) -> pd.DataFrame:
        """The table as a plain data frame, a copy."""
        return self.frame

    def to_gt(self, **options: Any) -> Any:
        """A table of great_tables with title and notes; ``options`` are those of its ``GT``.

        Raises
        ------
        MlmError
            Where great_tables is not installed.
        """
        return as_gt(self.frame, self._title(), self.notes, **options)

    def __copy__(self: _Own, deep: bool = False) -> _Own:
        return self._of_same_kind(pd.DataFrame(self).copy())

    def __deepcopy__(self: _Own, memo: dict[int, object] | None = None) -> _Own:
        """A frame of the same kind; pandas would make a plain one."""
        return self._of_same_kind(pd.DataFrame(self).copy())

    def _of_same_kind(self: _Own, frame: pd.DataFrame) -> _Own:
        own = type(self).__new__(type(self))
        pd.DataFrame.__init__(own, frame)  # type: ignore[call-arg]
        for name in self._metadata:
            if hasattr(self, name):
                object.__setattr__(own, name, getattr(self, name))
        return own

    def _title(self) -> str:
        return self.title

    def _table(self) -> Table:
        return table_of(pd.DataFrame(self), self.title)

    def __repr__(self) -> str:
        return "\n".join([table_text(self._table(), WIDE), *notes_text(self.notes)])

    def _repr_html_(self) -> str:
        from mlmfast.display.html import tables_html

        return tables_html([self._table()], tuple(f"Note: {note}" for note in self.notes))


def printed(frame: pd.DataFrame, title: str, notes: tuple[str, ...] = ()) -> PrintedFrame:
    """The frame with a title and notes."""
    out = PrintedFrame(frame)
    out.title, out.notes = title, notes
    return out
