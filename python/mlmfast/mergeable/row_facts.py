"""Means and frequencies over the rows read: what marginal means take from the rows of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import mlmfast._core as _core
from mlmfast.data.factor import count_codes
from mlmfast.data.frame import Frame
from mlmfast.design.columns.model_variables import FactorVariable
from mlmfast.fitted.row_facts import RowFacts
from mlmfast.formula.functions import variables_of
from mlmfast.mergeable.coding.plan import Plan

#: Combinations of levels above which none are counted.
MOST_CELLS = 2_000


@dataclass(frozen=True)
class Facts:
    """Of the rows of a part, or of several.

    Attributes
    ----------
    n
        Rows.
    means, squares
        By covariate of the fixed part and of offsets: the mean, and the sum of squares about it.
    offset
        Mean of an offset given as an argument.
    cells
        Rows of each combination of levels, by positions; None where there are too many.
    """

    n: int = 0
    means: Mapping[str, float] = field(default_factory=dict)
    squares: Mapping[str, float] = field(default_factory=dict)
    offset: float = 0.0
    cells: Mapping[tuple[int, ...], int] | None = field(default_factory=dict)

    def __add__(self, other: Facts) -> Facts:
        if not self.n or not other.n:
            return self if self.n else other
        n, share = self.n + other.n, other.n / (self.n + other.n)
        gaps = {name: other.means[name] - own for name, own in self.means.items()}
        means = {name: own + gaps[name] * share for name, own in self.means.items()}
        squares = {
            name: own + other.squares[name] + gaps[name] ** 2 * self.n * share
            for name, own in self.squares.items()
        }
        cells: Mapping[tuple[int, ...], int] | None = None
        if self.cells is not None and other.cells is not None:
            both = Counter(self.cells) + Counter(other.cells)
            cells = both if len(both) <= MOST_CELLS else None
        offset = self.offset + (other.offset - self.offset) * share
        return Facts(n, means, squares, offset, cells)

    def to_json(self) -> dict[str, Any]:
        """JSON-able data."""
        cells = None if self.cells is None else [[*k, n] for k, n in sorted(self.cells.items())]
        return {
            "n": self.n,
            "means": dict(self.means),
            "squares": dict(self.squares),
            "offset": self.offset,
            "cells": cells,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Facts:
        """Read what `to_json` wrote."""
        cells = None
        if data["cells"] is not None:
            cells = {tuple(map(int, item[:-1])): int(item[-1]) for item in data["cells"]}
        means = {str(name): float(value) for name, value in data["means"].items()}
        squares = {str(name): float(value) for name, value in data["squares"].items()}
        return cls(int(data["n"]), means, squares, float(data["offset"]), cells)


def _variables(plan: Plan) -> list[str]:
    names = list(plan.fixed.variables)
    for expression in plan.parsed.offsets:
        names += [name for name in variables_of(expression) if name not in names]
    return names


def levels_of(plan: Plan) -> dict[str, tuple[tuple[str, ...], tuple[Any, ...]]]:
    """Labels and values of the factors among the variables of the fixed part, in their order."""
    out = {}
    for name in _variables(plan):
        if name not in plan.levels:
            continue
        own = plan.levels[name]
        value = dict(zip(own.labels, own.values, strict=True))
        coded = plan.fixed.coded.get(name)
        labels = coded.levels if isinstance(coded, FactorVariable) else own.labels
        out[name] = (labels, tuple(value[label] for label in labels))
    return out


def facts_of_part(plan: Plan, frame: Frame, offset: float) -> Facts:
    """Those of the complete rows of one part."""
    levels = levels_of(plan)
    numbers = {name: frame.numeric(name) for name in _variables(plan) if name not in levels}
    known = frame.statistics.of(list(numbers.values()))
    means = {name: own.mean for name, own in zip(numbers, known, strict=True)}
    squares = {
        name: _core.squares_about(np.ascontiguousarray(values), means[name])
        for name, values in numbers.items()
    }
    codes = [frame.factor(name).recode(labels)[0] for name, (labels, _) in levels.items()]
    cells = _cells(codes, [len(labels) for labels, _ in levels.values()])
    return Facts(frame.n_rows, means, squares, offset, cells)


def _cells(codes: Sequence[Any], sizes: Sequence[int]) -> dict[tuple[int, ...], int] | None:
    if not codes:
        return {}
    n_cells = float(np.prod(np.array(sizes, dtype=np.float64)))
    if n_cells > 1e9:
        return None
    flat = codes[0] if len(codes) == 1 else np.ravel_multi_index(tuple(codes), tuple(sizes))
    if n_cells <= len(flat):
        of_all = count_codes(flat, int(n_cells))
        places = np.flatnonzero(of_all)
        counts = of_all[places]
    else:
        places, counts = np.unique(flat, return_counts=True)
    if len(places) > MOST_CELLS:
        return None
    cells = np.stack(np.unravel_index(places, tuple(sizes)), axis=1)
    return {tuple(cell): n for cell, n in zip(cells.tolist(), counts.tolist(), strict=True)}


def row_facts(plan: Plan, facts: Facts) -> RowFacts:
    """The facts as a fit holds them."""
    levels = levels_of(plan)
    if facts.cells is None:
        cells, counts = None, np.zeros(0)
    else:
        keys = sorted(facts.cells) if levels else [()]
        cells = np.array(keys, dtype=np.intp).reshape(len(keys), len(levels))
        counts = np.array([facts.cells.get(key, facts.n) for key in keys], dtype=np.float64)
    spreads = {name: float(np.sqrt(own / facts.n)) for name, own in facts.squares.items()}
    return RowFacts(levels, dict(facts.means), facts.offset, tuple(levels), cells, counts, spreads)
