"""Performance as tables of text: a table a measure, a row a condition, a column a method."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from mlmfast.display.numbers import number
from mlmfast.display.tables import Table
from mlmfast.display.text import WIDE, table_text
from mlmfast.studies.performance.by_condition import Shown, conditions_of, label, of_condition

#: Measures that have a table each, in order.
TABLES = (
    "convergence",
    "singular",
    "bias",
    "relative_bias",
    "empirical_se",
    "model_se",
    "relative_error",
    "rmse",
    "coverage",
    "bias_eliminated_coverage",
    "power",
    "relative_precision",
    "correlation",
)
_PER_CENT = ("relative_error", "relative_precision")
#: Those of a short summary.
_SHORT = ("convergence", "bias", "empirical_se", "model_se", "coverage", "power")


def summary(result: Shown) -> str:
    """The measures that matter most, as text."""
    performance = result.performance(_SHORT)
    parts = []
    for estimand in result.estimands:
        own = performance[performance["estimand"] == estimand]
        parts += [f"Estimand {estimand}"]
        parts += [table_text(table, WIDE) for table in measure_tables(result, own)]
    return "\n\n".join([*parts, "Monte Carlo standard errors in parentheses."])


def measure_tables(result: Shown, rows: pd.DataFrame) -> Iterator[Table]:
    """Tables of one estimand's rows of the performance; value and Monte Carlo error in a cell."""
    conditions = conditions_of(rows, result.factors)
    for measure in TABLES:
        own = rows[(rows["measure"] == measure) & rows["value"].notna()]
        if own.empty:
            continue
        title = measure.replace("_", " ") + (" (%)" if measure in _PER_CENT else "")
        cells = tuple(
            (label(condition), *_cells(of_condition(own, condition), result.methods))
            for condition in conditions
        )
        yield Table(title.capitalize(), ("", *result.methods), cells)


def _cells(rows: pd.DataFrame, methods: list[str]) -> list[str]:
    out = []
    for method in methods:
        own = rows[rows["method"] == method]
        out.append("" if own.empty else cell_text(*own[["value", "mcse"]].to_numpy(np.float64)[0]))
    return out


def cell_text(value: float, mcse: float) -> str:
    """A value to the digits that its Monte Carlo error leaves, and that error."""
    if not np.isfinite(mcse) or mcse <= 0:
        return number(value, 4)
    decimals = int(np.clip(1 - np.floor(np.log10(mcse)), 0, 8))
    return f"{number(value, decimals)} ({number(mcse, decimals)})"
