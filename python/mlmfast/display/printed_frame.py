"""A data frame that prints with the digits a reader can use."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from mlmfast.display.table_result import table_of
from mlmfast.display.tables import Table
from mlmfast.display.text import WIDE, notes_text, table_text


class PrintedFrame(pd.DataFrame):
    """A data frame of numbers with a title above and notes below when printed.

    It is a data frame in all else, at full precision; what is taken from it is a plain one.

    Examples
    --------
    >>> table = PrintedFrame({"Chisq": [42.8368], "Df": [2], "Pr(>Chisq)": [5e-10]}, index=["a"])
    >>> table.title, table.notes = "Tests", ("one test",)
    >>> table
    Tests:
        Chisq  Df  Pr(>Chisq)
    a  42.837   2    5.00e-10
    Note: one test
    """

    _metadata = ["title", "notes"]  # noqa: RUF012 (what pandas asks of a subclass)

    title: str = ""
    notes: tuple[str, ...] = ()

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    def __deepcopy__(self, memo: dict[int, object] | None = None) -> PrintedFrame:
        """A frame of the same kind; pandas would make a plain one."""
        own = type(self)(pd.DataFrame(self).copy())
        for name in self._metadata:
            object.__setattr__(own, name, getattr(self, name))
        return own

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
