"""Base of results that are a table: a data frame, notes below it, and how both print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.display import numbers
from mlmfast.display.tables import Table
from mlmfast.display.text import WIDE, table_text
from mlmfast.handed_out import copied

_P_VALUES = frozenset({"p_value", "Pr(>F)", "Pr(>Chisq)", "Pr(mixture)"})
_STATISTICS = frozenset({"statistic", "t_ratio", "z_ratio", "F value", "Chisq", "LRT"})
_CRITERIA = frozenset({"AIC", "AICc", "BIC", "logLik", "deviance"})
_COUNTS = frozenset({"npar", "Df", "n", "n_failed"})
_ESTIMATES = frozenset({"emmean", "estimate"})
_DEGREES = frozenset({"df", "NumDF", "DenDF", "num_df", "den_df"})


class TableResult:
    """A data frame with notes, printed with the digits a reader can use.

    Columns are read with ``result["name"]``, as from the frame.

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

    frame: pd.DataFrame = copied()

    def __init__(self, frame: pd.DataFrame, notes: Sequence[str] = ()) -> None:
        self.frame = frame
        self.notes = tuple(notes)

    def __getitem__(self, key: Any) -> Any:
        return self.frame[key]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def columns(self) -> pd.Index:
        """Names of the columns."""
        return self.frame.columns

    @property
    def index(self) -> pd.Index:
        """Labels of the rows."""
        return self.frame.index

    @property
    def loc(self) -> Any:
        """Rows and columns by label."""
        return self.frame.loc

    @property
    def iloc(self) -> Any:
        """Rows and columns by position."""
        return self.frame.iloc

    def tidy(self) -> pd.DataFrame:
        """The table as a data frame."""
        return self.frame

    def _title(self) -> str:
        return ""

    def _tables(self) -> list[Table]:
        return [table_of(self.frame, self._title())]

    def __repr__(self) -> str:
        parts = [table_text(table, WIDE) for table in self._tables()]
        return "\n\n".join(parts) + "".join(f"\n{note}" for note in self.notes)

    def _repr_html_(self) -> str:
        from mlmfast.display.html import tables_html

        return tables_html(self._tables(), self.notes)


def table_of(frame: pd.DataFrame, title: str, labels: Sequence[str] | None = None) -> Table:
    """Write a frame as cells of text.

    Parameters
    ----------
    frame
        The table.
    title
        What stands above it.
    labels
        Columns that hold names; None for the index.
    """
    n = len(frame)
    named = [list(map(str, frame.index))] if labels is None else []
    heads = [""] if labels is None else []
    for name in labels or ():
        named.append([str(value) for value in frame[name]])
        heads.append(str(name))
    numeric = [name for name in frame.columns if name not in (labels or ())]
    cells = named + _numeric_cells(frame, numeric)
    heads += [_head(str(name)) for name in numeric]
    rows = tuple(tuple(column[i] for column in cells) for i in range(n))
    return Table(title, tuple(heads), rows, n_labels=len(named))


def _head(name: str) -> str:
    return name if name in _P_VALUES and name != "p_value" else name.replace("_", " ")


def _numeric_cells(frame: pd.DataFrame, names: Sequence[Any]) -> list[list[str]]:
    decimals, scientific = _decimals(frame)
    cells = []
    for name in names:
        values = np.asarray(frame[name], dtype=np.float64).tolist()
        if name in _P_VALUES:
            cells.append([numbers.p_value(value) for value in values])
        elif name in _STATISTICS:
            cells.append([numbers.statistic(value) for value in values])
        elif name in _CRITERIA:
            cells.append([numbers.number(value, 2) for value in values])
        elif name in _COUNTS:
            cells.append([numbers.number(value, 0) for value in values])
        elif name in _DEGREES:
            cells.append([_degrees(value) for value in values])
        else:
            missing = "nonEst" if name in _ESTIMATES else ""
            cells.append([_estimate(value, decimals, scientific, missing) for value in values])
    return cells


def _degrees(value: float) -> str:
    return "Inf" if np.isinf(value) else numbers.degrees_of_freedom(value) if value == value else ""


def _decimals(frame: pd.DataFrame) -> tuple[int, bool]:
    """Decimals that show the smallest standard error; whether that takes scientific notation."""
    if "SE" not in frame:
        return numbers.DIGITS, False
    errors: FloatArray = np.asarray(frame["SE"], dtype=np.float64)
    known = errors[np.isfinite(errors) & (errors > 0)].tolist()
    decimals = numbers.decimals_of(known)
    return decimals, any(numbers.needs_exponent(error, decimals) for error in known)


def _estimate(value: float, decimals: int, scientific: bool, missing: str) -> str:
    if np.isnan(value):
        return missing
    return numbers.number(value, decimals, scientific or abs(value) >= 1e9)
