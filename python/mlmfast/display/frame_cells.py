"""A data frame as cells of text, with the digits a reader can use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.display import numbers
from mlmfast.display.tables import Table

_P_VALUES = frozenset({"p_value", "Pr(>F)", "Pr(>Chisq)", "Pr(mixture)"})
_STATISTICS = frozenset({"statistic", "t_ratio", "z_ratio", "F value", "Chisq", "LRT"})
_CRITERIA = frozenset({"AIC", "AICc", "BIC", "logLik", "deviance"})
_COUNTS = frozenset({"npar", "Df", "n", "n_failed"})
_ESTIMATES = frozenset({"emmean", "estimate", "response", "ratio"})
_DEGREES = frozenset({"df", "NumDF", "DenDF", "num_df", "den_df", "Error df"})


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
        if not pd.api.types.is_numeric_dtype(frame[name]):
            cells.append([value if isinstance(value, str) else "" for value in frame[name]])
            continue
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
            is_estimate = name in _ESTIMATES or str(name).endswith(".trend")
            missing = "nonEst" if is_estimate else ""
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
