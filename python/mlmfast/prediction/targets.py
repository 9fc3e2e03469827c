"""What is predicted, x'beta + m'g, and how m'g varies with the data's random effects.

Matrices G come as a list, one for each random-effects term in the order of the formula; any
symmetric matrices will do, such as derivatives of G.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray, SparseArray
from mlmfast.clusters.effect_columns import weights_at
from mlmfast.design.design import Design
from mlmfast.design.rows import columns_at
from mlmfast.fitted.record import FitRecord
from mlmfast.prediction.rows import PredictionRows
from mlmfast.running.scipy_on_use import sparse

if TYPE_CHECKING:
    from mlmfast.design.factors.relationship import Relationship


class Targets(Protocol):
    """n linear functions of fixed and random effects.

    Attributes
    ----------
    x : shape (n, rank), over the columns kept.
    """

    @property
    def x(self) -> FloatArray:
        """Weights of the fixed effects."""

    def within(self, g: Sequence[FloatArray], but: Sequence[BoolArray] | None = None) -> FloatArray:
        """m'G m, shape (n,); without the effects of the levels marked in ``but``, by term."""

    def by_cluster(self, design: Design, of_row: CodeArray) -> list[tuple[int, IntArray]]:
        """Clusters of the data (``of_row``, (n_obs,)) and the targets they tell something of."""

    def across(
        self, design: Design, g: Sequence[FloatArray], data: IntArray, own: IntArray
    ) -> FloatArray:
        """Covariance m'G Z' of the targets ``own`` with the rows ``data``."""

    def effects(self, term: int, own: IntArray, n_levels: int) -> SparseArray:
        """m of the targets ``own`` over a term's effects, (len(own), n_levels times effects)."""


@dataclass(frozen=True)
class RowTargets:
    """Rows to predict: m has the row's columns of Z at its own levels."""

    rows: PredictionRows
    record: FitRecord

    @property
    def x(self) -> FloatArray:
        """See `Targets`."""
        everything = np.arange(self.rows.n_rows)
        return columns_at([self.rows.x[j] for j in self.record.kept], everything)

    def within(self, g: Sequence[FloatArray], but: Sequence[BoolArray] | None = None) -> FloatArray:
        """See `Targets`; 0 where rows have no columns of Z."""
        out = np.zeros(self.rows.n_rows)
        everything = np.arange(self.rows.n_rows)
        for t, columns in enumerate(self.rows.z):
            z = columns_at(columns, everything)
            own = ((z @ g[t]) * z).sum(axis=1)
            if but is not None and self.rows.codes:
                codes = self.rows.codes[self.record.terms[t].group]
                own[np.append(but[t], False)[codes]] = 0.0
            out += own
        return out

    def by_cluster(self, design: Design, of_row: CodeArray) -> list[tuple[int, IntArray]]:
        """See `Targets`: those that share a level."""
        if not self.rows.codes:
            return []
        touched = []
        for factor, codes in zip(design.factors, self.rows.codes, strict=True):
            parent = np.full(factor.n_levels + 1, -1, dtype=np.int32)
            parent[factor.codes] = of_row
            touched.append(np.stack([parent[codes], np.arange(self.rows.n_rows)], axis=1))
        pairs = np.unique(np.concatenate(touched), axis=0)
        pairs = pairs[pairs[:, 0] >= 0]
        if not len(pairs):
            return []
        clusters, first = np.unique(pairs[:, 0], return_index=True)
        return list(zip(clusters.tolist(), np.split(pairs[:, 1], first[1:]), strict=True))

    def across(
        self, design: Design, g: Sequence[FloatArray], data: IntArray, own: IntArray
    ) -> FloatArray:
        """See `Targets`."""
        out = np.zeros((len(own), len(data)))
        terms = zip(self.record.terms, g, self.rows.z, design.random, strict=True)
        for term, matrix, columns, effects in terms:
            if not matrix.any():
                continue
            codes = self.rows.codes[term.group][own]
            z, z_data = columns_at(columns, own), columns_at(effects.columns, data)
            same = codes[:, None] == design.factors[term.group].codes[data]
            out += np.where(same, z @ matrix @ z_data.T, 0.0)
        return out

    def effects(self, term: int, own: IntArray, n_levels: int) -> SparseArray:
        """See `Targets`."""
        codes = self.rows.codes[self.record.terms[term].group][own]
        return weights_at(codes, columns_at(self.rows.z[term], own), n_levels)


@dataclass(frozen=True)
class EffectTargets:
    """Linear functions of the effects themselves.

    Attributes
    ----------
    x : shape (n, rank)
    weights : of the effects of each term, (n, n_levels, q).
    relationships : by term how its levels are related; None where they are independent.
    """

    x: FloatArray
    weights: tuple[FloatArray, ...]
    relationships: tuple[Relationship | None, ...]

    def within(self, g: Sequence[FloatArray], but: Sequence[BoolArray] | None = None) -> FloatArray:
        """See `Targets`."""
        out = np.zeros(len(self.x))
        for t, matrix in enumerate(g):
            m, related = self.weights[t], self.relationships[t]
            if related is None:
                own = m if but is None else m[:, ~but[t]]
                out += ((own @ matrix) * own).sum(axis=(1, 2))
                continue
            told = np.zeros(m.shape[1], dtype=np.bool_)
            if but is not None:
                told[: len(but[t])] = but[t]
            out += ((related.beyond(told, m) @ matrix) * m).sum(axis=(1, 2))
        return out

    def by_cluster(self, design: Design, of_row: CodeArray) -> list[tuple[int, IntArray]]:
        """See `Targets`: those whose levels, or levels related to them, have weights."""
        pairs: set[tuple[int, int]] = set()
        for effects, m, related in zip(
            design.random, self.weights, self.relationships, strict=True
        ):
            n_levels = int(design.factors[effects.factor].codes.max()) + 1
            parent = np.zeros(n_levels, dtype=np.int32)
            parent[design.factors[effects.factor].codes] = of_row
            met = np.asarray(m.any(axis=2))
            if related is not None:
                met = related.reached(met)
            for target, level in zip(*np.nonzero(met[:, :n_levels]), strict=True):
                pairs.add((int(parent[level]), int(target)))
        return [
            (cluster, np.array(sorted(t for c, t in pairs if c == cluster)))
            for cluster in sorted({c for c, _ in pairs})
        ]

    def across(
        self, design: Design, g: Sequence[FloatArray], data: IntArray, own: IntArray
    ) -> FloatArray:
        """See `Targets`."""
        out = np.zeros((len(own), len(data)))
        for t, (matrix, effects) in enumerate(zip(g, design.random, strict=True)):
            codes = design.factors[effects.factor].codes[data]
            z = columns_at(effects.columns, data)
            m, related = self.weights[t][own], self.relationships[t]
            if related is not None:
                m = related.times(m)
            out += ((m @ matrix)[:, codes] * z).sum(axis=2)
        return out

    def effects(self, term: int, own: IntArray, n_levels: int) -> SparseArray:
        """See `Targets`; of levels without rows, what levels with rows tell of them."""
        m, related = self.weights[term][own], self.relationships[term]
        m = m[:, :n_levels] if related is None else related.onto_rows(m)
        return sparse.csr_array(m.reshape(len(own), -1))
