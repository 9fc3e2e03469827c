"""What deletions need of V^-1: by clusters of one size, or from a large one's equations.

The formulas stand in `influence`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.clusters.blocks import ClusterBlocks, blocks_of_sets, large_clusters
from mlmfast.clusters.covariance import cholesky_factors, solve_lower
from mlmfast.clusters.residual_covariance import residual_covariances
from mlmfast.clusters.shared_effects import LargeCluster
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.fitted.record import FitRecord
from mlmfast.running.cached import cached_property

#: Share of a fixed effect's information that must remain after a deletion.
NOTHING_LEFT = 1e-10


class Pieces(Protocol):
    """Rows of one cluster, or of several of one size one after the other."""

    @property
    def clusters(self) -> IntArray:
        """Positions of the clusters, shape (m,)."""

    @property
    def rows(self) -> IntArray:
        """Rows of the data, shape (n,)."""

    @property
    def e(self) -> FloatArray:
        """Marginal residuals, shape (n,)."""

    @property
    def leverage(self) -> FloatArray:
        """See `Influence`, shape (n,)."""

    @property
    def leverage_fixed(self) -> FloatArray:
        """See `Influence`, shape (n,)."""

    @property
    def studentised(self) -> FloatArray:
        """See `Influence`, shape (n,)."""

    def without_cluster(self) -> tuple[FloatArray, FloatArray]:
        """Changes (m, p) and covariances (m, p, p) when whole clusters are left out."""

    def without_rows(self, places: IntArray) -> tuple[FloatArray, FloatArray]:
        """The same when some rows of a single cluster are, by their places."""

    def without_each(self) -> tuple[FloatArray, FloatArray]:
        """The same for single observations."""


def pieces_of_sets(
    design: Design, record: FitRecord, clusters: GroupingFactor, independent: GroupingFactor
) -> Iterator[Pieces]:
    """Yield the pieces of all independent blocks of rows."""
    for blocks in blocks_of_sets(design, record, clusters, independent):
        yield BlockPieces.of(design, record, blocks)
    for position, cluster in large_clusters(design, record, independent, "influence"):
        yield LargePieces(position, cluster)


@dataclass(frozen=True)
class BlockPieces:
    """V^-1 X, P and Py of clusters of one size, and C_i = X_i'V_i^-1 X_i, s_i = X_i'V_i^-1 e_i."""

    blocks: ClusterBlocks
    r: FloatArray
    bread: FloatArray
    inverse: FloatArray
    white: tuple[FloatArray, FloatArray]
    vx: FloatArray
    p: FloatArray
    py: FloatArray
    c: FloatArray
    s: FloatArray

    @classmethod
    def of(cls, design: Design, record: FitRecord, blocks: ClusterBlocks) -> BlockPieces:
        """From the clusters' V."""
        assert blocks.rows is not None, "not compressed"
        bread = record.vcov
        factors = cholesky_factors(blocks.v)
        identity = np.broadcast_to(np.eye(blocks.v.shape[1]), blocks.v.shape)
        inverse = solve_lower(factors, identity)
        x = inverse @ blocks.x
        e = inverse @ blocks.e[:, :, None]
        back = np.swapaxes(inverse, 1, 2)
        vx = back @ x
        p = back @ inverse - vx @ bread @ np.swapaxes(vx, 1, 2)
        across = np.swapaxes(x, 1, 2)
        s = (across @ e)[:, :, 0]
        r = residual_covariances(design, record, blocks.rows)
        return cls(blocks, r, bread, inverse, (x, e), vx, p, (back @ e)[:, :, 0], across @ x, s)

    @property
    def clusters(self) -> IntArray:
        """See `Pieces`."""
        return self.blocks.clusters

    @property
    def rows(self) -> IntArray:
        """See `Pieces`."""
        assert self.blocks.rows is not None, "not compressed"
        return self.blocks.rows.ravel()

    @property
    def e(self) -> FloatArray:
        """See `Pieces`."""
        return self.blocks.e.ravel()

    @property
    def leverage(self) -> FloatArray:
        """See `Pieces`."""
        return np.asarray(1.0 - np.einsum("ijk,ikj->ij", self.r, self.p)).ravel()

    @property
    def leverage_fixed(self) -> FloatArray:
        """See `Pieces`."""
        own = np.einsum("inp,pq,inq->in", self.blocks.x, self.bread, self.vx)
        return np.asarray(own).ravel()

    @property
    def studentised(self) -> FloatArray:
        """See `Pieces`."""
        diagonal = np.diagonal(self.p, axis1=1, axis2=2)
        return np.asarray(self.py / np.sqrt(np.maximum(diagonal, 1e-300))).ravel()

    def without_cluster(self) -> tuple[FloatArray, FloatArray]:
        """See `Pieces`."""
        return without(self.bread, self.c, self.s)

    def without_rows(self, places: IntArray) -> tuple[FloatArray, FloatArray]:
        """See `Pieces`."""
        q = np.linalg.qr(self.inverse[:, :, places])[0]
        # What goes is the part of L^-1 X and L^-1 e along L^-1 D.
        x, e = (np.swapaxes(q, 1, 2) @ part for part in self.white)
        across = np.swapaxes(x, 1, 2)
        return without(self.bread, across @ x, (across @ e)[:, :, 0])

    def without_each(self) -> tuple[FloatArray, FloatArray]:
        """See `Pieces`; clusters and rows in one axis."""
        diagonal = np.diagonal(self.p, axis1=1, axis2=2).ravel()
        return without_each(
            self.bread, self.vx.reshape(-1, len(self.bread)), self.py.ravel(), diagonal
        )


@dataclass(frozen=True, eq=False)
class LargePieces:
    """One large cluster."""

    position: int
    cluster: LargeCluster

    @property
    def clusters(self) -> IntArray:
        """See `Pieces`."""
        return np.array([self.position])

    @property
    def rows(self) -> IntArray:
        """See `Pieces`."""
        return self.cluster.rows

    @property
    def e(self) -> FloatArray:
        """See `Pieces`."""
        return self.cluster.xe[:, -1]

    @property
    def leverage(self) -> FloatArray:
        """See `Pieces`."""
        own, times = self.cluster.residual_part
        vx, bread = self.cluster.times_xe[:, :-1], self._bread
        return np.asarray(1.0 - own + ((times[:, :-1] @ bread) * vx).sum(axis=1))

    @property
    def leverage_fixed(self) -> FloatArray:
        """See `Pieces`."""
        x, vx = self.cluster.xe[:, :-1], self.cluster.times_xe[:, :-1]
        return np.asarray(((x @ self._bread) * vx).sum(axis=1))

    @property
    def studentised(self) -> FloatArray:
        """See `Pieces`."""
        return self.cluster.times_xe[:, -1] / np.sqrt(np.maximum(self._p, 1e-300))

    def without_cluster(self) -> tuple[FloatArray, FloatArray]:
        """See `Pieces`."""
        return self._from(self.cluster.information)

    def without_rows(self, places: IntArray) -> tuple[FloatArray, FloatArray]:
        """See `Pieces`."""
        return self._from(self.cluster.of_rows(places))

    def without_each(self) -> tuple[FloatArray, FloatArray]:
        """See `Pieces`."""
        times = self.cluster.times_xe
        return without_each(self._bread, times[:, :-1], times[:, -1], self._p)

    def _from(self, crossed: FloatArray) -> tuple[FloatArray, FloatArray]:
        return without(self._bread, crossed[None, :-1, :-1], crossed[None, :-1, -1])

    @property
    def _bread(self) -> FloatArray:
        return self.cluster.record.vcov

    @cached_property
    def _p(self) -> FloatArray:
        """Diagonal of P."""
        vx = self.cluster.times_xe[:, :-1]
        return np.asarray(self.cluster.diagonal() - ((vx @ self._bread) * vx).sum(axis=1))


def without(bread: FloatArray, c: FloatArray, s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """M_U s and M_U = (M^-1 - C)^-1 for what is left out; C (m, p, p), s (m, p).

    In the basis where M = I: I - K'C K, K = M^1/2, is what the others know.
    """
    root = np.linalg.cholesky(bread)
    left = np.eye(len(root)) - root.T @ c @ root
    values, vectors = np.linalg.eigh((left + np.swapaxes(left, 1, 2)) / 2)
    enough = values[:, :1] > NOTHING_LEFT
    inverse = np.where(enough, 1.0 / np.where(enough, values, 1.0), np.nan)
    k = root @ vectors
    covariance = (k * inverse[:, None, :]) @ np.swapaxes(k, 1, 2)
    return (covariance @ s[:, :, None])[:, :, 0], covariance


def without_each(
    bread: FloatArray, vx: FloatArray, py: FloatArray, diagonal: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The same for single rows: V^-1 X (n, p), Py and the diagonal of P."""
    mx = vx @ bread
    whole = (mx * vx).sum(axis=1) + diagonal
    enough = diagonal > NOTHING_LEFT * whole
    inverse = np.where(enough, 1.0 / np.where(enough, diagonal, 1.0), np.nan)
    covariance = bread + inverse[:, None, None] * (mx[:, :, None] * mx[:, None, :])
    return mx * (py * inverse)[:, None], covariance
