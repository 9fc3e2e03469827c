"""Base of results that are a table: a data frame, notes below it, and how both print."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mlmfast.display.frame_cells import table_of
from mlmfast.display.printed_frame import PrintedFrame
from mlmfast.display.tables import Table
from mlmfast.display.text import WIDE, table_text


class TableResult(PrintedFrame):
    """A data frame with notes, printed with the digits a reader can use.

    Parameters
    ----------
    frame
        The table, at full precision.
    notes
        Sentences below it.

    Examples
    --------
    >>> frame = pd.DataFrame({"df": [9.0], "p_value": [0.04]}, index=["a"])
    >>> TableResult(frame, ("one test",))
       df  p value
    a   9   0.0400
    one test
    """

    def __init__(self, frame: pd.DataFrame, notes: Sequence[str] = ()) -> None:
        super().__init__(frame.copy())
        self.notes = tuple(notes)

    def tidy(self) -> pd.DataFrame:
        """The table as a data frame."""
        return self.frame

    def _title(self) -> str:
        return self.title

    def _tables(self) -> list[Table]:
        return [table_of(self.frame, self._title())]

    def __repr__(self) -> str:
        parts = [table_text(table, WIDE) for table in self._tables()]
        return "\n\n".join(parts) + "".join(f"\n{note}" for note in self.notes)

    def _repr_html_(self) -> str:
        from mlmfast.display.html import tables_html

        return tables_html(self._tables(), self.notes)
