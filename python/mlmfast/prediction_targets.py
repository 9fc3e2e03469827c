"""What is predicted, x'beta + m'g, and how m'g varies with the data's random effects.

Matrices G come as a list, one for each random-effects term in the order of the formula; any
symmetric matrices will do, such as derivatives of G.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.design import Design
from mlmfast.marginal_covariance import columns_at
from mlmfast.prediction_rows import PredictionRows
from mlmfast.record import FitRecord


class Targets(Protocol):
    """n linear functions of fixed and random effects.

    Attributes
    ----------
    x : shape (n, rank), over the columns kept.
    """

    @property
    def x(self) -> FloatArray:
        """Weights of the fixed effects."""

    def within(self, g: Sequence[FloatArray]) -> FloatArray:
        """m'G m, shape (n,)."""

    def by_cluster(self, design: Design, of_row: CodeArray) -> list[tuple[int, IntArray]]:
        """Clusters of the data (``of_row``, (n_obs,)) and the targets they tell something of."""

    def across(
        self, design: Design, g: Sequence[FloatArray], data: IntArray, own: IntArray
    ) -> FloatArray:
        """Covariance m'G Z' of the targets ``own`` with the rows ``data``."""


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

    def within(self, g: Sequence[FloatArray]) -> FloatArray:
        """See `Targets`; 0 where rows have no columns of Z."""
        out = np.zeros(self.rows.n_rows)
        everything = np.arange(self.rows.n_rows)
        for matrix, columns in zip(g if self.rows.z else (), self.rows.z, strict=True):
            z = columns_at(columns, everything)
            out += ((z @ matrix) * z).sum(axis=1)
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


@dataclass(frozen=True)
class EffectTargets:
    """Linear functions of the effects themselves.

    Attributes
    ----------
    x : shape (n, rank)
    weights : of the effects of each term, (n, n_levels, q).
    """

    x: FloatArray
    weights: tuple[FloatArray, ...]

    def within(self, g: Sequence[FloatArray]) -> FloatArray:
        """See `Targets`."""
        out = np.zeros(len(self.x))
        for matrix, m in zip(g, self.weights, strict=True):
            out += ((m @ matrix) * m).sum(axis=(1, 2))
        return out

    def by_cluster(self, design: Design, of_row: CodeArray) -> list[tuple[int, IntArray]]:
        """See `Targets`: those whose levels have weights."""
        pairs: set[tuple[int, int]] = set()
        for effects, m in zip(design.random, self.weights, strict=True):
            parent = np.zeros(m.shape[1], dtype=np.int32)
            parent[design.factors[effects.factor].codes] = of_row
            for target, level in zip(*np.nonzero(m.any(axis=2)), strict=True):
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
        for matrix, effects, m in zip(g, design.random, self.weights, strict=True):
            codes = design.factors[effects.factor].codes[data]
            z = columns_at(effects.columns, data)
            out += ((m[own] @ matrix)[:, codes] * z).sum(axis=2)
        return out
