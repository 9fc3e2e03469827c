"""Cluster-robust covariances of the fixed effects, CR0 to CR3, with Satterthwaite's df.

The model's own V is the working covariance: W_i = V_i^-1, M = (X'WX)^-1, and

    V_CR = M [sum_i X_i'W_i A_i e_i e_i'A_i'W_i X_i] M

with A_i = I (CR0); sqrt(m / (m - 1)) I for m clusters (CR1); the bias-reduced CR2, which makes the
estimate unbiased should the model be right; (I - X_i M X_i'W_i)^-1 (CR3, close to the jackknife).

CR2's condition A_i (V_i - X_i M X_i') A_i' = V_i has several solutions. With V_i = D_i'D_i,

    "cholesky"   A_i = D_i'[D_i (V_i - X_i M X_i') D_i']^-1/2 D_i       (Pustejovsky and Tipton)
    "whitened"   A_i = D_i'(I - D_i^-T X_i M X_i'D_i^-1)^-1/2 D_i^-T    (as the R package mmrm)

and both depend on V_i alone, not on the order of its rows. They differ by some 0.5 % where
clusters are unbalanced, and are equal where V_i is a multiple of I.

References: Bell and McCaffrey (2002), Survey Methodology 28, 169; Pustejovsky and Tipton (2018),
JBES 36, 672, eqs. 5-12; Liang and Zeger (1986), Biometrika 73, 13.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.clusters.blocks import ClusterBlocks, cluster_blocks, cluster_factor, large_clusters
from mlmfast.clusters.covariance import cholesky_factors, solve_lower
from mlmfast.design.design import Design, check_rows_are_here
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.errors import ModelError
from mlmfast.fitted.origin.source import FitSource
from mlmfast.fitted.record import FitRecord
from mlmfast.handed_out import hands_out_copies
from mlmfast.running.cached import cached_property
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

KINDS = ("CR0", "CR1", "CR2", "CR3")
SQUARE_ROOTS = ("cholesky", "whitened")

#: Eigenvalues of I - H_i that count as 0: the cluster alone determines a fixed effect.
_NOTHING_LEFT = 1e-12


@hands_out_copies
@dataclass(frozen=True)
class RobustCovariance:
    """A cluster-robust covariance and what its degrees of freedom are made of.

    Attributes
    ----------
    kind
        "CR0" to "CR3".
    n_clusters
        Number of clusters m.
    covariance : shape (p, p)
    bread : shape (p, p), M = (X'V^-1 X)^-1
    meat : shape (m, p, p), X_i'W_i A_i V_i A_i'W_i X_i, the expected squares of the scores.
    leverage : shape (m, p, p), B_i = X_i'A_i'W_i X_i
    """

    kind: str
    n_clusters: int
    covariance: FloatArray
    bread: FloatArray
    meat: FloatArray
    leverage: FloatArray

    def df(self, rows: FloatArray) -> FloatArray:
        """Satterthwaite's degrees of freedom of c'beta for each row c, shape (k,).

        2 E(c'V_CR c)^2 / Var(c'V_CR c) under the model: with p_i = (I-H)_i'A_i'W_i X_i M c,
        nu = (sum_i p_i'V p_i)^2 / sum_ij (p_i'V p_j)^2 (Pustejovsky and Tipton 2018, eq. 11),
        where p_i'V p_j = delta_ij s_i - b_i'M b_j, s_i = c'M meat_i M c, b_i = B_i M c.
        """
        out = np.empty(len(rows))
        for k, c in enumerate(rows):
            mc = self.bread @ c
            s = np.einsum("iab,a,b->i", self.meat, mc, mc)
            b = self.leverage @ mc
            h = np.einsum("ia,ab,ib->i", b, self.bread, b)
            cross = self.bread @ (b.T @ b)
            # sum_ij (b_i'M b_j)^2 = tr (M sum b b')^2.
            spread = (s * s - 2.0 * s * h).sum() + np.einsum("ab,ba->", cross, cross)
            total = (s - h).sum()
            out[k] = total * total / spread if spread > 0 else np.nan
        return out

    def wald_test(self, rows: FloatArray, difference: FloatArray) -> tuple[float, float, float]:
        """F, numerator and denominator df of C beta = d by Hotelling's T^2 (HTZ).

        Pustejovsky and Tipton (2018), section 3.2 (after Zhang 2012): Q = d'(C V_CR C')^-1 d is
        close to Hotelling's T^2 with eta degrees of freedom, so (eta - q + 1) / (eta q) Q is close
        to F(q, eta - q + 1).

        Parameters
        ----------
        rows : shape (q, p), of full rank
        difference : shape (q,), C beta - d
        """
        q = len(rows)
        covariance = rows @ self.covariance @ rows.T
        statistic = float(difference @ np.linalg.solve(covariance, difference))
        half = self._working_root(rows)
        mc = self.bread @ rows.T @ half.T
        t = np.einsum("ap,iab,bq->ipq", mc, self.meat, mc)
        root = np.linalg.cholesky(self.bread)
        x = root.T @ (self.leverage @ mc)
        h = np.swapaxes(x, 1, 2) @ x
        n = t - h
        own = np.einsum("ipq,iqp->", n, n) + (np.trace(n, axis1=1, axis2=2) ** 2).sum()
        again = np.einsum("ipq,iqp->", h, h) + (np.trace(h, axis1=1, axis2=2) ** 2).sum()
        sums = np.einsum("ias,ibt->asbt", x, x)
        pairs = np.einsum("asbt,atbs->", sums, sums) + np.einsum("asbt,asbt->", sums, sums)
        eta = q * (q + 1) / float(own - again + pairs)
        df = eta - q + 1.0
        return statistic * max(df, 0.0) / (eta * q), float(q), df

    def _working_root(self, rows: FloatArray) -> FloatArray:
        """Omega^-1/2 with Omega = E(C V_CR C') under the model, shape (q, q)."""
        inner = self.meat - np.swapaxes(self.leverage, 1, 2) @ self.bread @ self.leverage
        omega = rows @ self.bread @ inner.sum(axis=0) @ self.bread @ rows.T
        values, vectors = np.linalg.eigh((omega + omega.T) / 2)
        return np.asarray((vectors / np.sqrt(values)) @ vectors.T)


def robust_covariance(
    fit: Fitted, kind: str, cluster: object = None, square_root: str | None = None
) -> RobustCovariance:
    """Cluster-robust covariance of the fixed effects that are not aliased.

    Parameters
    ----------
    kind
        "CR0", "CR1", "CR2" or "CR3".
    cluster
        See `LMMResult.robust`; the outermost grouping factor by default.
    square_root
        Square root of CR2, "cholesky" or "whitened"; by default that of the R package people
        compare with: "whitened" with a residual structure, "cholesky" without.

    Raises
    ------
    ModelError, DataError
        For unknown words, or clusters that are not independent under the model.
    """
    if not is_one_of(kind, KINDS):
        raise ModelError(f"kind is {kind!r}; use one of {', '.join(KINDS)}")
    source = fit._needs_source("a cluster-robust covariance", of_sums=True)
    design, record = source.design, fit._record
    if square_root is None:
        square_root = "cholesky" if design.residual is None else "whitened"
    if not is_one_of(square_root, SQUARE_ROOTS):
        raise ModelError(f"square_root is {square_root!r}; use 'cholesky' or 'whitened'")
    check_rows_are_here(design)
    if design.condensed is not None:
        _check_sums(source, record, cluster, kind == "CR2" and square_root == "cholesky")
    clusters = cluster_factor(source, record, cluster)
    p, m = record.rank, clusters.n_levels
    scores, meat, leverage = np.empty((m, p)), np.empty((m, p, p)), np.empty((m, p, p))
    scale = _Adjustment(kind, square_root, record.vcov, m)
    for blocks in _blocks(design, record, clusters, kind == "CR2" and square_root == "cholesky"):
        parts = scale.adjusted(blocks)
        scores[blocks.clusters], meat[blocks.clusters], leverage[blocks.clusters] = parts
    covariance = record.vcov @ (scores.T @ scores) @ record.vcov
    return RobustCovariance(kind, m, (covariance + covariance.T) / 2, record.vcov, meat, leverage)


def _check_sums(source: FitSource, record: FitRecord, cluster: object, by_row: bool) -> None:
    """Refuse what sums over the rows of each cluster do not tell.

    Raises
    ------
    ModelError
    """
    known = [group.name for group in record.groups]
    if source.design.residual is not None:
        what = "a cluster-robust covariance goes by single subjects, and a reduction by visits"
    elif cluster is not None and not is_one_of(cluster, known):
        what = f"clusters are those of the model ({', '.join(known)}), and a reduction by these"
    elif by_row:
        raise ModelError(
            "the Cholesky root of CR2 goes by single rows, and a reduction holds sums over those "
            "of each cluster; use square_root='whitened', or kind='CR3'"
        )
    else:
        return
    raise ModelError(f"{what} holds sums; fit the rows: mlm.lmm(formula, data)")


def _blocks(
    design: Design, record: FitRecord, clusters: GroupingFactor, needs_v: bool
) -> Iterator[ClusterBlocks]:
    """All clusters, large ones in p + 1 coordinates unless their V itself is needed."""
    try:
        yield from cluster_blocks(design, record, clusters, compressed=True, large=needs_v)
    except ModelError as error:
        if not needs_v:
            raise
        raise ModelError(
            f"{error}, and the square root of CR2 takes V itself; square_root='whitened', or "
            "kind='CR3', needs no V"
        ) from None
    if needs_v:
        return
    for position, cluster in large_clusters(design, record, clusters, "a robust covariance"):
        # All that these kinds ask of a cluster is [X e]'V^-1[X e]: any root of it will do.
        crossed = cluster.information
        scale = np.sqrt(np.maximum(np.diag(crossed), 1e-300))
        values, vectors = np.linalg.eigh(crossed / np.outer(scale, scale))
        root = (vectors * np.sqrt(np.maximum(values, 0.0))).T * scale
        yield ClusterBlocks(
            np.array([position]),
            root[None, :, :-1],
            np.eye(len(root))[None],
            root[None, :, -1],
            None,
        )


@dataclass(frozen=True)
class _Adjustment:
    """A_i of one kind, applied to clusters."""

    kind: str
    square_root: str
    bread: FloatArray
    n_clusters: int

    @cached_property
    def _root(self) -> FloatArray:
        return np.asarray(np.linalg.cholesky(self.bread))

    def adjusted(self, blocks: ClusterBlocks) -> tuple[FloatArray, FloatArray, FloatArray]:
        """X'W A e, X'W A V A'W X and X'A'W X of each cluster."""
        factors = cholesky_factors(blocks.v)
        joined = np.concatenate([blocks.x, blocks.e[:, :, None]], axis=2)
        white = solve_lower(factors, joined)
        x, e = white[:, :, :-1], white[:, :, -1:]
        if self.kind == "CR2" and self.square_root == "cholesky":
            adjusted = self._pustejovsky_tipton(factors, blocks.x, x)
        else:
            adjusted = self._whitened(x)
        # With a = L^-1 A L: X'W A e = x'a e, X'W A V A'W X = x'a a'x and X'A'W X = x'a'x.
        across = np.swapaxes(adjusted, 1, 2)
        return (across @ e)[:, :, 0], across @ adjusted, np.swapaxes(x, 1, 2) @ adjusted

    def _whitened(self, x: FloatArray) -> FloatArray:
        """a'x for the kinds whose a is a function of I - H."""
        if self.kind == "CR0":
            return x
        if self.kind == "CR1":
            return np.asarray(x * np.sqrt(self.n_clusters / (self.n_clusters - 1.0)))
        power = -1.0 if self.kind == "CR3" else -0.5
        # H = z z' with z = x M^1/2: functions of it act on the p columns of z only.
        z = x @ self._root
        values, vectors = np.linalg.eigh(np.swapaxes(z, 1, 2) @ z)
        left = 1.0 - values
        gain = np.where(left > _NOTHING_LEFT, np.maximum(left, _NOTHING_LEFT) ** power, 0.0)
        mapped = z @ ((vectors * gain[:, None, :]) @ np.swapaxes(vectors, 1, 2))
        return np.asarray(np.linalg.solve(self._root.T, np.swapaxes(mapped, 1, 2)).swapaxes(1, 2))

    def _pustejovsky_tipton(
        self, factors: FloatArray, x: FloatArray, white: FloatArray
    ) -> FloatArray:
        """a'x with the square root in the coordinates of D = L'; a = B^-1/2 L'L."""
        upper = np.swapaxes(factors, 1, 2)
        z = upper @ (x @ self._root)
        square = upper @ factors
        inner = square @ square - z @ np.swapaxes(z, 1, 2)
        values, vectors = np.linalg.eigh((inner + np.swapaxes(inner, 1, 2)) / 2)
        usable = values > _NOTHING_LEFT * values[:, -1:]
        gain = np.where(usable, 1.0 / np.sqrt(np.where(usable, values, 1.0)), 0.0)
        root = (vectors * gain[:, None, :]) @ np.swapaxes(vectors, 1, 2)
        return np.asarray(square @ (root @ white))
