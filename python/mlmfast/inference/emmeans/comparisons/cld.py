"""Tables of means with compact letters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.display.frame_cells import table_of
from mlmfast.display.table_result import TableResult
from mlmfast.display.tables import Table
from mlmfast.errors import ModelError
from mlmfast.inference.emmeans.comparisons.letters import compact_letters, significance
from mlmfast.inference.emmeans.estimates.table import TableOfEstimates


class LetteredMeans(TableResult):
    """Means with letters.

    Attributes
    ----------
    frame : DataFrame
        The rows of the means, sorted, with a column "group".
    labels : tuple of str
        Columns that name the rows.
    """

    _metadata = ["title", "notes", "labels"]  # noqa: RUF012
    labels: tuple[str, ...]

    def _tables(self) -> list[Table]:
        return [table_of(self.frame, "", [*self.labels, "group"])]


def lettered(
    means: TableOfEstimates,
    pairs: TableOfEstimates,
    p: FloatArray,
    alpha: float,
    reverse: bool,
    delta: float,
) -> LetteredMeans:
    """Compact letters within each family, from the p-values of all its pairs."""
    functions = means._functions
    groups, parts = functions.groups(), []
    place = 0
    for _, rows in groups:
        k = len(rows)
        pairs_of = [(i, j) for i in range(k) for j in range(i + 1, k)]
        own = p[place : place + len(pairs_of)]
        place += len(pairs_of)
        parts.append(_family(means, rows, pairs_of, own, alpha, reverse, bool(delta)))
    frame = pd.concat(parts, ignore_index=True)
    test = "p of equivalence" if delta else "p"
    what = "differ significantly" if delta == 0 else "are not shown to be equivalent"
    notes = [
        *(note for note in pairs.notes if note not in means._about),
        f"Means that share a letter are not shown to differ ({test} of pairs, alpha {alpha:g})"
        if not delta
        else f"Means that share no letter {what} (alpha {alpha:g}, margin {delta:g})",
    ]
    out = LetteredMeans(frame, [*means._about, *notes])
    out.labels = tuple(str(name) for name in means._functions.labels.columns)
    return out


def _family(
    means: TableOfEstimates,
    rows: Any,
    pairs: list[tuple[int, int]],
    p: Any,
    alpha: float,
    reverse: bool,
    equivalence: bool,
) -> pd.DataFrame:
    part: pd.DataFrame = means.frame.iloc[rows]
    values = part[means._estimate_name].to_numpy(dtype=np.float64)
    if not np.isfinite(values).all() or not np.isfinite(p).all():
        raise ModelError(
            "letters need every mean and every comparison; some are not estimable or have no test "
            "(see the table of means), so take others by at=, weights='cells' or by="
        )
    differs = significance(len(values), pairs, (p > alpha) if equivalence else (p <= alpha))
    order = np.argsort(-values if reverse else values, kind="stable")
    letters = compact_letters(differs[np.ix_(order, order)])
    shown: pd.DataFrame = part.iloc[order].assign(group=letters)
    return shown
