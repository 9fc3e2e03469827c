"""Columns of X that go by factors alone: a table by their levels, known before any row is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.data.frame import Frame
from mlmfast.errors import MlmError
from mlmfast.formula.functions import variables_of
from mlmfast.mergeable.coding.levels import with_levels
from mlmfast.mergeable.coding.plan import Plan

#: Combinations of levels above which rows are coded one by one.
_MOST_CELLS = 20_000


@dataclass(frozen=True, eq=False)
class FactorColumns:
    """Columns that all rows of one combination of levels share.

    Attributes
    ----------
    terms
        Positions, in `ModelMatrix.terms` of the fixed part, of the terms that they are of.
    names, sizes
        The factors, and how many levels each has.
    values : shape (n_cells, n_columns)
        By combination, the last factor varying fastest, all columns that are kept, less the origin;
        NaN in the others.
    """

    terms: frozenset[int]
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    values: FloatArray

    def cells(self, codes: Sequence[CodeArray]) -> CodeArray:
        """The combination of each row, from its codes by factor."""
        out = codes[0]
        for own, size in zip(codes[1:], self.sizes[1:], strict=True):
            out = out * np.int32(size) + own
        return out


@lru_cache(4)
def factor_columns(plan: Plan) -> FactorColumns | None:
    """Those of a plan; None where there are none, or too many combinations."""
    within, visits = plan.within, list[str]()
    if within is not None:
        visits = [*([] if within.arm is None else [within.arm]), *within.coordinates]
    others = [n for n in plan.fixed.variables if n in plan.levels and n not in visits]
    for names in ([*others, *visits], visits):
        sizes = [len(plan.levels[name].labels) for name in names]
        if names and 0 < np.prod(np.array(sizes, dtype=np.float64)) <= _MOST_CELLS:
            return _by_levels(plan, names, sizes)
    return None


def _by_levels(plan: Plan, names: Sequence[str], sizes: Sequence[int]) -> FactorColumns | None:
    frame = _cells(plan, names, sizes)
    matrix, known = plan.fixed_matrix, set(names)
    made_of = matrix.spec.factors
    terms = frozenset(
        t
        for t, label in enumerate(matrix.terms)
        if {v for text in made_of.get(label, ()) for v in variables_of(text)} <= known
    )
    try:
        with np.errstate(all="ignore"):
            built = matrix.spec.build(frame, terms)
    except MlmError:
        # Perhaps of a combination that no row has; where one has it, its row is named.
        return None
    values = np.full((frame.n_rows, plan.places.n), np.nan)
    places = plan.places.of_terms(matrix.term_of_column, terms)
    own = [
        (place, column)
        for place, column in zip(places, built.columns, strict=True)
        if place is not None
    ]
    for place, column in own:
        values[:, place] = column - plan.origin[place]
    if not own or not all(np.isfinite(column).all() for _, column in own):
        # What is infinite is told with its row.
        return None
    return FactorColumns(terms, tuple(names), tuple(sizes), values)


def _cells(plan: Plan, names: Sequence[str], sizes: Sequence[int]) -> Frame:
    """A row for each combination of levels."""
    codes, columns = np.arange(int(np.prod(sizes))), dict[str, Any]()
    for name, size in zip(reversed(names), reversed(sizes), strict=True):
        codes, own = np.divmod(codes, size)
        columns[name] = plan.levels[name].taken(own)
    return with_levels(Frame.from_native(columns), {name: plan.levels[name] for name in names})
