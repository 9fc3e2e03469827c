"""Influence of clusters and observations on the fixed effects, by exact deletion formulas.

The covariance parameters are held at their estimates, so nothing is refitted. With
M = (X'V^-1X)^-1, P = V^-1 - V^-1 X M X'V^-1 and D the unit columns of the rows U that are left out,

    beta - beta_U = M X'V^-1 D (D'PD)^-1 D'P y,     M_U = M + M X'V^-1 D (D'PD)^-1 D'V^-1 X M.

For a whole cluster M_U = (M^-1 - C_i)^-1 and beta - beta_U = M_U s_i with C_i = X_i'V_i^-1 X_i and
s_i = X_i'V_i^-1 (y_i - X_i beta).

References: Cook (1977), Technometrics 19, 15; Christensen, Pearson and Johnson (1992),
Technometrics 34, 38; Belsley, Kuh and Welsch (1980), Regression Diagnostics; SAS/STAT PROC MIXED,
option INFLUENCE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.cluster_blocks import ClusterBlocks, cluster_blocks, cluster_factor
from mlmfast.errors import ModelError
from mlmfast.marginal_covariance import cholesky_factors, residual_covariances, solve_lower

if TYPE_CHECKING:
    from mlmfast.design import Design
    from mlmfast.record import FitRecord
    from mlmfast.result import LMMResult

#: Share of a fixed effect's information that must remain after a deletion.
_NOTHING_LEFT = 1e-10
_SHOWN = 5


@dataclass(frozen=True)
class Influence:
    """Deletion diagnostics of the clusters and of the observations.

    A row is missing (NaN) where the fixed effects cannot be estimated without what is left out.

    Attributes
    ----------
    clusters
        One row a cluster: ``n_rows``, ``cooks_distance`` (beta - beta_U)'M^-1(beta - beta_U) / p,
        ``mdffits`` (the same with M_U), ``covtrace`` |tr(M^-1 M_U) - p|, ``covratio``
        |M_U| / |M|, ``leverage`` (trace of the cluster's block of X M X'V^-1).
    observations
        One row an observation: the same, with ``leverage`` the derivative of its fitted value
        X beta + Z g by its response, ``leverage_fixed`` that of X beta, and ``studentised`` the
        deleted residual over its standard deviation, (Py)_j / sqrt(P_jj).
    cluster_changes, observation_changes
        beta - beta_U, one column a fixed effect (DFBETA).
    cluster_dfbetas, observation_dfbetas
        The same over the standard errors after deletion (DFBETAS).

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> influence = fit.influence()
    >>> influence.clusters["cooks_distance"].idxmax()
    '309'
    >>> influence.cluster_dfbetas.loc["337"].round(3).to_dict()
    {'(Intercept)': 0.324, 'Days': 0.317}
    """

    clusters: pd.DataFrame
    observations: pd.DataFrame
    cluster_changes: pd.DataFrame
    observation_changes: pd.DataFrame
    cluster_dfbetas: pd.DataFrame
    observation_dfbetas: pd.DataFrame

    def __repr__(self) -> str:
        parts = []
        for what, frame in (("clusters", self.clusters), ("observations", self.observations)):
            top = frame.nlargest(_SHOWN, "cooks_distance")
            table = top.to_string(float_format=lambda value: f"{value:.4g}")
            parts.append(f"Most influential {what} of {len(frame):,}\n{table}")
        lost = int(self.clusters["cooks_distance"].isna().sum())
        if lost:
            parts.append(
                f"{lost} cluster(s) cannot be left out: fixed effects would not be estimable"
            )
        return "\n\n".join(parts)


def influence(fit: LMMResult, cluster: object = None) -> Influence:
    """Deletion diagnostics; ``cluster`` as in `LMMResult.robust`.

    Raises
    ------
    ModelError, DataError
        For clusters the model says are correlated, or that are not known.
    """
    source = fit._needs_source("influence")
    design, record = source.design, fit._record
    clusters = cluster_factor(source, record, cluster)
    p = record.rank
    if p == 0:
        raise ModelError("influence is on fixed effects, and the model has no fixed effects")
    by_row, by_cluster = _Deletions.empty(design.n_obs, p), _Deletions.empty(clusters.n_levels, p)
    fixed, overall = np.empty(design.n_obs), np.empty(design.n_obs)
    studentised = np.empty(design.n_obs)
    for blocks in cluster_blocks(design, record, clusters, compressed=False):
        assert blocks.rows is not None
        pieces = _Pieces.of(blocks, record.vcov)
        by_cluster.put(blocks.clusters, *pieces.without_cluster())
        rows = blocks.rows.ravel()
        by_row.put(rows, *pieces.without_each())
        fixed[rows] = np.einsum("inp,pq,inq->in", blocks.x, record.vcov, pieces.vx).ravel()
        residual = residual_covariances(design, record, blocks.rows)
        overall[rows] = (1.0 - np.einsum("ijk,ikj->ij", residual, pieces.p)).ravel()
        diagonal = np.diagonal(pieces.p, axis1=1, axis2=2)
        studentised[rows] = (pieces.py / np.sqrt(np.maximum(diagonal, 1e-300))).ravel()
    names = [record.x_names[j] for j in record.kept]
    labels = pd.Index(clusters.labels, name=clusters.name)
    index = None if source.frame is None else source.frame.frame.index
    of_cluster = by_cluster.statistics(record.vcov)
    of_cluster.insert(0, "n_rows", np.bincount(clusters.codes, minlength=clusters.n_levels))
    of_cluster["leverage"] = np.bincount(clusters.codes, fixed, clusters.n_levels)
    of_row = by_row.statistics(record.vcov)
    of_row["leverage"], of_row["leverage_fixed"] = overall, fixed
    of_row["studentised"] = np.where(np.isnan(of_row["cooks_distance"]), np.nan, studentised)
    rows_index = pd.RangeIndex(design.n_obs) if index is None else index
    return Influence(
        of_cluster.set_axis(labels),
        of_row.set_axis(rows_index),
        pd.DataFrame(by_cluster.change, index=labels, columns=names),
        pd.DataFrame(by_row.change, index=rows_index, columns=names),
        pd.DataFrame(by_cluster.dfbetas(), index=labels, columns=names),
        pd.DataFrame(by_row.dfbetas(), index=rows_index, columns=names),
    )


@dataclass(frozen=True)
class _Deletions:
    """beta - beta_U (k, p) and M_U (k, p, p) of many deletions."""

    change: FloatArray
    covariance: FloatArray

    @classmethod
    def empty(cls, n: int, p: int) -> _Deletions:
        return cls(np.empty((n, p)), np.empty((n, p, p)))

    def put(self, at: IntArray, change: FloatArray, covariance: FloatArray) -> None:
        self.change[at], self.covariance[at] = change, covariance

    def dfbetas(self) -> FloatArray:
        variance = np.einsum("kpp->kp", self.covariance)
        return np.asarray(self.change / np.sqrt(variance))

    def statistics(self, bread: FloatArray) -> pd.DataFrame:
        p = len(bread)
        usable = np.isfinite(self.change).all(axis=1)
        out = np.full((len(self.change), 4), np.nan)
        change, covariance = self.change[usable], self.covariance[usable]
        information = np.linalg.inv(bread)
        out[usable, 0] = np.einsum("kp,pq,kq->k", change, information, change) / p
        solved = np.linalg.solve(covariance, change[:, :, None])[:, :, 0]
        out[usable, 1] = (change * solved).sum(axis=1) / p
        ratio = information @ covariance
        out[usable, 2] = np.abs(np.trace(ratio, axis1=1, axis2=2) - p)
        out[usable, 3] = np.linalg.det(ratio)
        columns = ["cooks_distance", "mdffits", "covtrace", "covratio"]
        return pd.DataFrame(out, columns=columns)


@dataclass(frozen=True)
class _Pieces:
    """V^-1 X, P and Py of clusters of one size, and C_i = X_i'V_i^-1 X_i, s_i = X_i'V_i^-1 e_i."""

    bread: FloatArray
    vx: FloatArray
    p: FloatArray
    py: FloatArray
    c: FloatArray
    s: FloatArray

    @classmethod
    def of(cls, blocks: ClusterBlocks, bread: FloatArray) -> _Pieces:
        factors = cholesky_factors(blocks.v)
        identity = np.broadcast_to(np.eye(blocks.v.shape[1]), blocks.v.shape)
        inverse = solve_lower(factors, identity)
        x = inverse @ blocks.x
        e = inverse @ blocks.e[:, :, None]
        back = np.swapaxes(inverse, 1, 2)
        vx = back @ x
        p = back @ inverse - vx @ bread @ np.swapaxes(vx, 1, 2)
        across = np.swapaxes(x, 1, 2)
        return cls(bread, vx, p, (back @ e)[:, :, 0], across @ x, (across @ e)[:, :, 0])

    def without_cluster(self) -> tuple[FloatArray, FloatArray]:
        """Changes and covariances when whole clusters are left out.

        In the basis where M = I: I - K'C K, K = M^1/2, is what the others know.
        """
        root = np.linalg.cholesky(self.bread)
        left = np.eye(len(root)) - root.T @ self.c @ root
        values, vectors = np.linalg.eigh((left + np.swapaxes(left, 1, 2)) / 2)
        enough = values[:, :1] > _NOTHING_LEFT
        inverse = np.where(enough, 1.0 / np.where(enough, values, 1.0), np.nan)
        k = root @ vectors
        covariance = (k * inverse[:, None, :]) @ np.swapaxes(k, 1, 2)
        return (covariance @ self.s[:, :, None])[:, :, 0], covariance

    def without_each(self) -> tuple[FloatArray, FloatArray]:
        """The same for single observations, clusters and rows in one axis."""
        diagonal = np.diagonal(self.p, axis1=1, axis2=2)
        whole = np.einsum("inp,pq,inq->in", self.vx, self.bread, self.vx) + diagonal
        enough = diagonal > _NOTHING_LEFT * whole
        inverse = np.where(enough, 1.0 / np.where(enough, diagonal, 1.0), np.nan)
        mx = self.vx @ self.bread
        change = mx * (self.py * inverse)[:, :, None]
        n = len(self.bread)
        mx = mx.reshape(-1, n)
        covariance = self.bread + inverse.reshape(-1, 1, 1) * (mx[:, :, None] * mx[:, None, :])
        return change.reshape(-1, n), covariance


def studentised_residuals(design: Design, record: FitRecord, marginal: bool) -> FloatArray:
    """Residuals over their standard deviations, shape (n,).

    Marginal ones r = y - X beta have Var r = V - X M X', conditional ones R P y have R P R
    (SAS/STAT PROC MIXED, "Residual Diagnostics").
    """
    from mlmfast.clusters import independent_clusters
    from mlmfast.design import GroupingFactor

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
            pieces = _Pieces.of(blocks, record.vcov)
            residual = residual_covariances(design, record, blocks.rows)
            variance = residual @ pieces.p @ residual
            values = (residual @ pieces.py[:, :, None])[:, :, 0]
        diagonal = np.diagonal(variance, axis1=1, axis2=2)
        total = np.diagonal(blocks.v, axis1=1, axis2=2)
        # A row that the fixed effects fit exactly has no residual to compare.
        enough = diagonal > _NOTHING_LEFT * total
        out[blocks.rows] = np.where(enough, values / np.sqrt(np.where(enough, diagonal, 1.0)), 0.0)
    return out
