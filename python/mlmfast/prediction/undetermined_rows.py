"""New rows whose mean the data of a fit do not determine, such as cells that no row has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray
from mlmfast.data.frame import Frame
from mlmfast.design.rows import columns_at
from mlmfast.errors import ModelError, NonEstimableWarning, warn
from mlmfast.formula.functions import variables_of
from mlmfast.inference.contrasts.estimability import aliasing_of_fit
from mlmfast.prediction.rows import PredictionRows
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

_WAYS = ("nan", "value")
_ROWS_NAMED = 5
#: Entries of X that are formed at once.
_ENTRIES_AT_ONCE = 1 << 21


def check_way(nonestimable: object) -> None:
    """Refuse a word for what is done with rows that are not estimable."""
    if not is_one_of(nonestimable, _WAYS):
        raise ModelError(
            f"nonestimable is {nonestimable!r}; use {' or '.join(map(repr, _WAYS))} (what the "
            "coding of the factors makes of such rows)"
        )


def undetermined(fit: Fitted, rows: PredictionRows) -> BoolArray:
    """Whether x'beta of each row is no estimable function, shape (n_rows,)."""
    out = np.zeros(rows.n_rows, dtype=np.bool_)
    if not fit.aliased:
        return out
    step = max(1, _ENTRIES_AT_ONCE // len(rows.x)) if rows.n_rows else 1
    for start in range(0, rows.n_rows, step):
        some = np.arange(start, min(start + step, rows.n_rows))
        out[some] = ~aliasing_of_fit(fit).estimable(columns_at(rows.x, some))
    return out


def warn_of(fit: Fitted, frame: Frame | None, rows: BoolArray) -> None:
    """Warn of rows of a frame that are predicted as NaN, naming them."""
    count = np.count_nonzero(rows)
    if not count:
        return
    assert frame is not None, "new rows are those of a frame"
    which = np.flatnonzero(rows)
    named = [f"row {k}{_cell(fit, frame, int(k))}" for k in which[:_ROWS_NAMED]]
    more = ", ..." if count > _ROWS_NAMED else ""
    warn(
        f"the data of the fit do not determine the mean of {count} of {frame.n_rows} rows, which "
        f"are predicted as NaN: {', '.join(named)}{more}; nonestimable='value' gives what the "
        "coding of the factors makes of them",
        NonEstimableWarning,
        "MLM501",
    )


def _cell(fit: Fitted, frame: Frame, row: int) -> str:
    """Values of the variables that depended on each other in the data, and do not in this row."""
    mask = np.zeros(frame.n_rows, dtype=np.bool_)
    mask[row] = True
    one = frame.take(mask)
    shown = [f"{name} = {_value(one, name)}" for name in _variables(fit, one)]
    return f" ({', '.join(shown)})" if shown else ""


def _value(one: Frame, name: str) -> str:
    if one.is_categorical(name):
        return one.factor(name).levels[0]
    return f"{one.numeric(name)[0]:.6g}"


def _variables(fit: Fitted, one: Frame) -> Iterator[str]:
    spec, aliasing = fit._record.fixed_spec, aliasing_of_fit(fit)
    assert spec is not None, "new rows are read by a formula"
    x = columns_at(spec.build(one).columns, np.zeros(1, dtype=np.intp))
    labels, term_of_column = fit._record.terms_of_x
    broken = np.flatnonzero(aliasing.broken(x)[0]).tolist()
    at_fault = {labels[term_of_column[j]] for k in broken for j in aliasing.members(k)}
    texts = [text for label, own in spec.factors.items() if label in at_fault for text in own]
    yield from dict.fromkeys(name for text in texts for name in variables_of(text))
