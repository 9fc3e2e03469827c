"""How random effects move with covariances that no data tell, as JSON-able data and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.prediction.undetermined_blups import OpenEffects, open_effects
from mlmfast.running.scipy_on_use import sparse
from mlmfast.saving.record import array, positions, typed

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.record import FitRecord


def open_effects_to_dict(fit: Fitted) -> dict[str, Any] | None:
    """The nonzero elements of both matrices; None where no effect moves."""
    found = open_effects(fit)
    if found is None:
        return None
    size = found.size.tocoo()
    rows, columns = size.coords
    # An element of the one is never larger than that of the other.
    move = found.move.todok()
    return {
        "terms": list(found.terms),
        "rows": rows.tolist(),
        "columns": columns.tolist(),
        "size": size.data,
        "move": np.array([move[a, b] for a, b in zip(rows, columns, strict=True)]),
    }


def open_effects_from(data: Any, record: FitRecord) -> OpenEffects | None:
    """Read what `open_effects_to_dict` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError
        Where a field is missing, of another type, or does not fit the others.
    """
    if data is None:
        return None
    terms = positions(typed(data["terms"], list), len(record.terms))
    own = [record.terms[t] for t in terms]
    n_levels = tuple(record.groups[term.group].n_levels for term in own)
    n_effects = tuple(len(term.names) for term in own)
    n = sum(a * b for a, b in zip(n_levels, n_effects, strict=True))
    rows, columns = (positions(typed(data[name], list), n) for name in ("rows", "columns"))
    if len(rows) != len(columns):
        raise ValueError("the matrices of effects that are not determined have no shape")
    move, size = (
        sparse.csr_array((array(data[name], (len(rows),)), (rows, columns)), shape=(n, n))
        for name in ("move", "size")
    )
    return OpenEffects(terms, n_levels, n_effects, move, size)
