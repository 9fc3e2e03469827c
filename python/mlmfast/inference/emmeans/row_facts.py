"""What marginal means take from the rows of the data, for a fit that has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.fitted.row_facts import Levels, RowFacts

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Cells above which a saved fit holds no frequencies.
MOST_CELLS = 2_000


def row_facts(
    fit: Fitted,
    names: Sequence[str],
    levels_of: Callable[[Fitted, str], Levels | None],
    offset: float,
) -> RowFacts:
    """The facts of a fit that holds its rows.

    Parameters
    ----------
    fit, names
        The fit, and the variables of its fixed part.
    levels_of
        Finds the levels of a factor; None for a covariate.
    offset
        Mean of the offset argument.
    """
    source = fit._source
    assert source is not None, "the caller looked"
    assert source.frame is not None, "the caller looked"
    frame = source.frame.frame
    found = {name: levels_of(fit, name) for name in names}
    levels = {name: (own[0], tuple(map(_plain, *own))) for name, own in found.items() if own}
    means = {n: float(frame.numeric(n).mean()) for n, own in found.items() if own is None}
    codes = [frame.factor(name).recode(own[0])[0] for name, own in levels.items()]
    table = np.stack(codes, axis=1) if codes else np.zeros((frame.n_rows, 0), dtype=np.int32)
    cells, counts = np.unique(table, axis=0, return_counts=True)
    few = len(cells) <= MOST_CELLS
    return RowFacts(
        levels,
        means,
        offset,
        tuple(levels),
        cells.astype(np.intp) if few else None,
        counts.astype(np.float64) if few else np.zeros(0),
    )


def _plain(label: str, value: Any) -> Any:
    """A level as JSON can hold it: by its text, where it is a date or the like."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | bool | int | float) else label
