"""Columns of X and Z of a smooth term, from its variable, its `by`, and its state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.data.factor import Factor
from mlmfast.data.finite import row_of_table
from mlmfast.design.columns.values import Basis
from mlmfast.design.smooths.basis import curved_part, fit_basis, straight_part
from mlmfast.errors import DataError
from mlmfast.formula.deparse import deparse
from mlmfast.formula.smooth_terms import PART, SmoothTerm
from mlmfast.formula.syntax import Text
from mlmfast.formula.transform_options import State, labels_in


def fill_state(
    term: SmoothTerm,
    x: FloatArray,
    by: FloatArray | Factor | None,
    state: State,
    used: BoolArray | None = None,
) -> None:
    """What a smooth remembers of the rows that it was made from.

    Raises
    ------
    DataError
        For values that give no curve.
    """
    _check_finite(x, f"{term.label}: {deparse(term.variable)}", used)
    centred = True
    if isinstance(by, np.ndarray):
        _check_finite(by, f"{term.label}: by={_by(term)}", used)
        if not by.any():
            raise DataError(f"{term.label}: by={_by(term)} is 0 in every row")
        centred = bool(by.min() == by.max())
    try:
        fit_basis(x, term.k, centred, state)
    except DataError as error:
        raise DataError(f"{term.label}: {error}") from None
    if isinstance(by, Factor):
        state["levels"] = list(by.levels)


def smooth_columns(
    term: SmoothTerm,
    x: FloatArray,
    by: FloatArray | Factor | None,
    state: State,
    used: BoolArray | None = None,
) -> Basis:
    """Columns of the fixed effects of a smooth or, by its call, of random effects."""
    if not state:
        fill_state(term, x, by, state, used)
    part = next((value for name, value in term.call.keywords if name == PART), None)
    level = part.value if isinstance(part, Text) else None
    if isinstance(by, Factor) != ("levels" in state):
        kinds = ("numbers", "labels") if isinstance(by, Factor) else ("labels", "numbers")
        raise DataError(f"{term.label}: by={_by(term)} was {kinds[0]} in the fit, here {kinds[1]}")
    weights = _weights(term, by, state)
    if part is not None:
        weight = weights[level]
        values = curved_part(x, state) if weight is None else _weighted(weight, x, state)
        names = tuple(f"{term.name(level)}.{j + 1}" for j in range(values.shape[1]))
        return Basis(values, names)
    columns, names_of_all = [], []
    for one, weight in weights.items():
        own = straight_part(x, state)
        numbers = [""] if len(own) == 1 else [str(j + 1) for j in range(len(own))]
        columns += own if weight is None else [column * weight for column in own]
        names_of_all += [term.name(one) + number for number in numbers]
    return Basis(np.stack(columns, axis=1), tuple(names_of_all))


def smooth_levels(state: State) -> Sequence[str | None]:
    """The levels of `by` that have a curve each; None for one curve."""
    return labels_in(state["levels"]) if "levels" in state else (None,)


def _weights(
    term: SmoothTerm, by: FloatArray | Factor | None, state: State
) -> dict[str | None, FloatArray | None]:
    """What each curve is multiplied by, in every row; None for nothing."""
    if not isinstance(by, Factor):
        return {None: by}
    levels = labels_in(state["levels"])
    codes, unknown = by.recode(levels)
    if unknown:
        raise DataError(
            f"{term.label}: {_by(term)} has the level {unknown[0]!r}, which the data of the fit "
            f"did not have; known are {', '.join(levels[:20])}"
        )
    return {level: (codes == k).astype(np.float64) for k, level in enumerate(levels)}


def _weighted(weight: FloatArray, x: FloatArray, state: State) -> FloatArray:
    """The curved part times a weight; the rows of a level alone are evaluated."""
    met = np.flatnonzero(weight)
    own = curved_part(x[met], state)
    out = np.zeros((len(x), own.shape[1]))
    out[met] = weight[met, None] * own
    return out


def _by(term: SmoothTerm) -> str:
    return "" if term.by is None else deparse(term.by)


def _check_finite(values: FloatArray, what: str, used: BoolArray | None) -> None:
    bad: BoolArray = ~np.isfinite(values)
    if bad.any():
        raise DataError(
            f"{what} is missing or infinite in {np.count_nonzero(bad)} rows (first in row "
            f"{row_of_table(int(bad.argmax()), used)}); leave those rows out"
        )
