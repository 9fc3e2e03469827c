"""The table of smooth terms in a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlmfast.display import numbers
from mlmfast.display.tables import Table
from mlmfast.errors import ModelError

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Rows above which a report does not wait for tests of curves.
_MOST_ROWS = 200_000


def smooth_table(fit: Fitted) -> Table | None:
    """Effective degrees of freedom and tests of the curves; None where they are not at hand."""
    if not fit._record.smooth_terms or fit._source is None or fit.nobs > _MOST_ROWS:
        return None
    from mlmfast.smooths.table import smooths

    try:
        found = smooths(fit)
    except ModelError:
        return None
    columns = [
        numbers.column(found["edf"].tolist()),
        numbers.column(found["ref_df"].tolist()),
        numbers.column(found["F"].tolist()),
        [numbers.p_value(p) for p in found["p_value"].tolist()],
    ]
    rows = tuple(zip(map(str, found.index), *columns, strict=True))
    return Table("Smooth terms", ("", "edf", "Ref. df", "F", "p value"), rows)
