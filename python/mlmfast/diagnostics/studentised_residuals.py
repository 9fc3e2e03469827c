"""Residuals over their standard deviations."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.clusters.blocks import cluster_blocks, large_clusters
from mlmfast.clusters.noise import noise_sd
from mlmfast.clusters.shared_effects import LargeCluster
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.rows import columns_at
from mlmfast.diagnostics.deletion_pieces import NOTHING_LEFT, BlockPieces
from mlmfast.fitted.record import FitRecord
from mlmfast.reduction.engines.independence import independent_clusters


def studentised_residuals(design: Design, record: FitRecord, marginal: bool) -> FloatArray:
    """Residuals over their standard deviations, shape (n,).

    Marginal ones r = y - X beta have Var r = V - X M X', conditional ones R P y have R P R
    (SAS/STAT PROC MIXED, "Residual Diagnostics").
    """
    if record.groups:
        codes, n_clusters = independent_clusters(design, record.levels)
        clusters = GroupingFactor("cluster", codes, tuple(map(str, range(n_clusters))))
    else:
        labels = tuple(map(str, range(design.n_obs)))
        clusters = GroupingFactor("row", np.arange(design.n_obs, dtype=np.int32), labels)
    out = np.empty(design.n_obs)
    for blocks in cluster_blocks(design, record, clusters, compressed=False):
        assert blocks.rows is not None
        if marginal:
            hat = blocks.x @ record.vcov @ np.swapaxes(blocks.x, 1, 2)
            variance, values = blocks.v - hat, blocks.e
        else:
            pieces = BlockPieces.of(design, record, blocks)
            variance = pieces.r @ pieces.p @ pieces.r
            values = (pieces.r @ pieces.py[:, :, None])[:, :, 0]
        total = np.diagonal(blocks.v, axis1=1, axis2=2)
        out[blocks.rows] = _over_sd(values, np.diagonal(variance, axis1=1, axis2=2), total)
    for _, cluster in large_clusters(design, record, clusters, "studentised residuals"):
        out[cluster.rows] = _of_large(cluster, marginal)
    return out


def _of_large(cluster: LargeCluster, marginal: bool) -> FloatArray:
    rows, design, record = cluster.rows, cluster.design, cluster.record
    total = noise_sd(design, record)[rows] ** 2
    for term, effects in zip(record.terms, design.random, strict=True):
        z = columns_at(effects.columns, rows)
        own = ((z @ term.covariance) * z).sum(axis=1)
        related = design.factors[effects.factor].relationship
        if related is not None:
            own *= related.diagonal[design.factors[effects.factor].codes[rows]]
        total = total + own
    if marginal:
        variance, times = total, cluster.xe
    else:
        variance, times = cluster.residual_variance(), cluster.residual_part[1]
    x = times[:, :-1]
    return _over_sd(times[:, -1], variance - ((x @ record.vcov) * x).sum(axis=1), total)


def _over_sd(values: FloatArray, variance: FloatArray, total: FloatArray) -> FloatArray:
    # A row that the fixed effects fit exactly has no residual to compare.
    enough = variance > NOTHING_LEFT * total
    return np.where(enough, values / np.sqrt(np.where(enough, variance, 1.0)), 0.0)
