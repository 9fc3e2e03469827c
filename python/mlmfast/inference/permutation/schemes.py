"""Schemes of a permutation test: what an arrangement makes of the responses, or of the design."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.design.design import Design
from mlmfast.inference.permutation.arrangements import Arrangements
from mlmfast.inference.permutation.hypotheses import Hypothesis

#: Numbers in a batch of responses.
_NUMBERS, _MOST = 20_000_000, 1024


class Exchange(Protocol):
    """A scheme."""

    @property
    def arrangements(self) -> Arrangements:
        """What changes places."""

    def statistics(self, hypothesis: Hypothesis, orders: Iterable[IntArray]) -> FloatArray:
        """The statistic under arrangements."""


@dataclass(frozen=True)
class Residuals:
    """Residuals of the null model, exchanged within sets (Freedman and Lane 1983, JBES 1:292).

    Attributes
    ----------
    mean, residuals : shape (n,)
        What the null model says without offset, and the rest: y = mean + residuals.
    blocks
        Rows of each thing that changes places.
    factors
        Rows (m, k) and lower triangles (m, k, k) by which exchanged residuals are multiplied; none
        where they stand for themselves.
    """

    arrangements: Arrangements
    mean: FloatArray
    residuals: FloatArray
    blocks: IntArray
    factors: tuple[tuple[IntArray, FloatArray], ...] = ()

    def statistics(self, hypothesis: Hypothesis, orders: Iterable[IntArray]) -> FloatArray:
        """The statistic under arrangements, in batches."""
        size = max(1, min(_MOST, _NUMBERS // len(self.mean)))
        parts = []
        for some in _batches(orders, size):
            responses = np.stack([self._response(order) for order in some])
            parts.append(hypothesis.statistics(responses))
        return np.concatenate(parts)

    def _response(self, order: IntArray) -> FloatArray:
        moved = np.empty_like(self.residuals)
        moved[self.blocks] = self.residuals[self.blocks[order]]
        if self.factors:
            colored = np.empty_like(moved)
            for rows, lower in self.factors:
                colored[rows] = (lower @ moved[rows][:, :, None])[:, :, 0]
            moved = colored
        return np.asarray(self.mean + moved)


@dataclass(frozen=True)
class Labels:
    """Values of the tested columns of X, which are constant within clusters, among the clusters.

    Attributes
    ----------
    columns
        Positions of those columns.
    codes : shape (n,), cluster of each row.
    values : shape (n_clusters, n_columns)
    """

    arrangements: Arrangements
    response: FloatArray
    columns: tuple[int, ...]
    codes: IntArray
    values: FloatArray

    def statistics(self, hypothesis: Hypothesis, orders: Iterable[IntArray]) -> FloatArray:
        """The statistic under arrangements, each a design of its own."""
        response = self.response[None]
        found = [hypothesis.statistics(response, self._design(hypothesis, o)) for o in orders]
        return np.concatenate(found)

    def _design(self, hypothesis: Hypothesis, order: IntArray) -> Design:
        x = list(hypothesis.design.x)
        # The label of cluster order[k] goes to where that of k was.
        moved = np.empty_like(self.values)
        moved[order] = self.values
        for k, column in enumerate(self.columns):
            x[column] = np.ascontiguousarray(moved[self.codes, k])
        return replace(hypothesis.design, x=tuple(x))


def _batches(orders: Iterable[IntArray], size: int) -> Iterator[list[IntArray]]:
    rest = iter(orders)
    while some := list(islice(rest, size)):
        yield some
