"""The curves of a fit: which there are, and their columns at any values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.smooths.basis import MARGIN, curved_part, outer_knots, straight_part
from mlmfast.fitted.record import FitRecord
from mlmfast.formula.deparse import deparse
from mlmfast.formula.smooth_terms import PART, SmoothTerm, read_smooth
from mlmfast.formula.syntax import Call, Text
from mlmfast.formula.terms import term_list
from mlmfast.formula.transform_options import State


@dataclass(frozen=True, eq=False)
class FittedCurve:
    """A curve of a fit.

    Attributes
    ----------
    term
        Position of its random-effects term.
    name
        mgcv's name: `s(x)`, `s(x):fA`.
    smooth
        The smooth term, of a part.
    straight
        Names of the columns of its straight part.
    state
        What it remembers of the rows.
    """

    term: int
    name: str
    smooth: SmoothTerm
    straight: tuple[str, ...]
    state: State

    @property
    def variable(self) -> str:
        """What it is a function of."""
        return deparse(self.smooth.variable)

    @property
    def level(self) -> str | None:
        """The level of `by` whose curve it is; None where there is one curve."""
        value = dict(self.smooth.call.keywords)[PART]
        return value.value if isinstance(value, Text) else None

    @property
    def bounds(self) -> tuple[float, float]:
        """Knots beyond which it is straight: the range of the data, and 0.1 % of it."""
        return outer_knots(self.state)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value of the rows."""
        low, high = self.bounds
        margin = MARGIN / (1.0 + 2.0 * MARGIN) * (high - low)
        return low + margin, high - margin

    def columns(self, x: FloatArray, order: int = 0) -> FloatArray:
        """Columns of its effects at values x, or their first derivatives, (n, effects)."""
        straight = straight_part(x, self.state)
        if order:
            straight = [np.zeros_like(x)] * (len(straight) - 1) + [np.ones_like(x)]
        return np.column_stack([*straight, curved_part(x, self.state, order)])


def curves_of(record: FitRecord) -> tuple[FittedCurve, ...]:
    """The curves of a fit, in the order of the formula."""
    out = []
    for t in record.smooth_terms:
        term = record.terms[t]
        assert term.spec is not None, "curves are of a formula"
        call = term_list(term.spec.rhs).variables[0]
        assert isinstance(call, Call), "the term was made of one"
        smooth = read_smooth(call)
        state = term.spec.states[smooth.text]
        numbers = ("",) if state["centred"] else ("1", "2")
        straight = tuple(term.text + number for number in numbers)
        out.append(FittedCurve(t, term.text, smooth, straight, state))
    return tuple(out)
