"""How far a prediction of x'beta + m'g may be off: its error variance and that variance's slopes.

With M = Var(beta-hat) and c the covariance of m'g with the data, the prediction is w'y,

    w = V^-1 (c + X M d),   d = x - X'V^-1 c,

and its error has variance m'G m - 2 c'w + w'V w = m'G m - c'V^-1 c + d'M d (Henderson 1975,
Biometrics 31, 423; "universal kriging"). w minimises it, so the derivative by a covariance
parameter is that with w held,

    m'G_k m - 2 c_k'w + w'V_k w.

What estimating the parameters adds is, to second order and with W their covariance,
2 sum_kl W_kl q_k'P q_l with q_k = c_k - V_k w (Kackar and Harville 1984, JASA 79, 853; Prasad and
Rao 1990, JASA 85, 163; Kenward and Roger's Lambda where m = 0). Without random effects in the
prediction, m'g is new: m'G m + x'M x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.clusters.by_parameters import RowCovariances
from mlmfast.clusters.covariance import cholesky_factors, marginal_covariances, solve_lower
from mlmfast.clusters.shared_effects import LargeCluster, is_large
from mlmfast.degrees_of_freedom.satterthwaite import gradient_of_phi
from mlmfast.design.design import Design
from mlmfast.design.rows import columns_at
from mlmfast.fitted.record import FitRecord
from mlmfast.information.information import Information
from mlmfast.prediction.targets import Targets
from mlmfast.reduction.engines.independence import independent_clusters


@dataclass(frozen=True)
class ErrorSlopes:
    """Error variances of n predictions by r covariance parameters.

    Attributes
    ----------
    gradient : shape (n, r)
    inflation : shape (n,), what estimating the parameters adds.
    """

    gradient: FloatArray
    inflation: FloatArray


def error_variance(targets: Targets, record: FitRecord, design: Design | None) -> FloatArray:
    """Variance of predicted minus true x'beta + m'g, shape (n,).

    Parameters
    ----------
    targets : what is predicted.
    record : the estimates.
    design : the rows of the fit; None for targets whose g are new.
    """
    g = [term.covariance for term in record.terms]
    told = _told(targets, record, design)
    large = [
        (LargeCluster.of(design, record, data, "the interval"), own)
        for data, own in told
        if design is not None and is_large(len(data))
    ]
    d, variance = targets.x.copy(), targets.within(g, _in_equations(design, large))
    for cluster, own in large:
        assert design is not None, "data tell of them"
        found = cluster.told(
            [
                targets.effects(t, own, design.factors[term.factor].n_levels)
                for t, term in enumerate(design.random)
            ]
        )
        variance[own] += found.variance
        d[own] -= found.shift
    for data, own in told:
        # Clusters are independent, so what each tells about a target adds up.
        assert design is not None, "data tell of them"
        if is_large(len(data)):
            continue
        factor = cholesky_factors(marginal_covariances(design, record, data[None]))
        c = targets.across(design, g, data, own)
        x = columns_at([design.x[j] for j in record.kept], data)
        a = solve_lower(factor, c.T[None])[0]
        variance[own] -= (a**2).sum(axis=0)
        d[own] -= a.T @ solve_lower(factor, x[None])[0]
    # Rounding may leave a variance that should be 0 a little below it.
    variance = np.maximum(variance, 0.0)
    return np.asarray(variance + np.einsum("ij,jk,ik->i", d, record.vcov, d))


def _told(
    targets: Targets, record: FitRecord, design: Design | None
) -> list[tuple[IntArray, IntArray]]:
    """Rows of each cluster that tells something, and the targets it tells of."""
    if design is None or not record.terms:
        return []
    of_row, _ = independent_clusters(design, record.levels)
    out = []
    for cluster, own in targets.by_cluster(design, of_row):
        out.append((np.flatnonzero(of_row == cluster), own))
    return out


def _in_equations(
    design: Design | None, large: Sequence[tuple[LargeCluster, IntArray]]
) -> list[BoolArray] | None:
    """By term the levels whose effects large clusters solve for; None where there are none."""
    if design is None or not large:
        return None
    out = [np.zeros(design.factors[term.factor].n_levels, dtype=np.bool_) for term in design.random]
    for cluster, _ in large:
        for t, levels in zip(cluster.split.shared, cluster.levels, strict=True):
            out[t][levels] = True
    return out


def largest_told(targets: Targets, record: FitRecord, design: Design | None) -> int:
    """Rows of the largest cluster that tells something of the targets."""
    if design is None or not record.terms:
        return 0
    of_row, n = independent_clusters(design, record.levels)
    sizes = np.bincount(of_row, minlength=n)
    return int(max((sizes[c] for c, _ in targets.by_cluster(design, of_row)), default=0))


def error_slopes(
    targets: Targets,
    record: FitRecord,
    design: Design | None,
    about: Information,
    weights: FloatArray,
) -> ErrorSlopes:
    """Derivatives of `error_variance` by the free covariance parameters, exact.

    Parameters
    ----------
    targets, record, design : as there.
    about : information of the fit, over covariance matrices.
    weights : shape (r, r), covariance W of the parameters.
    """
    return _Slopes(targets, record, design, about, weights).found()


class _Slopes:
    """Sums over the clusters, for all targets."""

    def __init__(
        self,
        targets: Targets,
        record: FitRecord,
        design: Design | None,
        about: Information,
        weights: FloatArray,
    ) -> None:
        self.targets, self.record, self.design = targets, record, design
        self.moves, self.weights = RowCovariances(about), weights
        self.g = [term.covariance for term in record.terms]
        self.g_slopes = self.moves.effect_slopes()
        self.phi_slopes = gradient_of_phi(about)
        maps = about.contrasts(np.eye(len(about.c)))
        inner = 0.5 * about.second_sum(weights)
        #: M (sum W Q) M.
        self.second = maps @ about.phi @ inner @ about.phi @ maps.T
        n, p = targets.x.shape
        r = len(weights)
        #: d; sums of c'V^-1 V_k V^-1 c - 2 c_k'V^-1 c, and of X'V^-1 (V_k V^-1 c - c_k).
        self.d = targets.x.copy()
        self.alone = np.zeros((n, r))
        some = design is not None and bool(record.terms)
        self.mixed = np.zeros((n if some else 1, r, p))

    def found(self) -> ErrorSlopes:
        """The slopes, and the inflation."""
        told = _told(self.targets, self.record, self.design)
        pieces = [self._cluster(data, own) for data, own in told]
        d, vcov = self.d, self.record.vcov
        md = d @ vcov
        within = np.array([self.targets.within(slopes) for slopes in self.g_slopes]).T
        gradient = within.reshape(self.alone.shape) + self.alone
        gradient += 2.0 * (self.mixed @ md[:, :, None])[:, :, 0]
        # M D_k d for each k: V_k enters w'V_k w through the fixed effects of all clusters.
        fixed = np.einsum("kpq,nq->nkp", self.phi_slopes, d)
        gradient += (fixed @ d[:, :, None])[:, :, 0]
        # q'P q = q'V^-1 q - s'M s, s = X'V^-1 q.
        inflation = np.einsum("np,pq,nq->n", d, self.second, d)
        for piece, (_, own) in zip(pieces, told, strict=True):
            inflation[own] += piece.excess(md[own], self.weights)
        s = -(self.mixed @ vcov) - fixed
        inner = np.linalg.solve(vcov, np.swapaxes(s, 1, 2))
        inflation -= np.einsum("kl,nkp,npl->n", self.weights, s, inner, optimize=True)
        return ErrorSlopes(gradient, 2.0 * inflation)

    def _cluster(self, data: IntArray, own: IntArray) -> _Piece:
        assert self.design is not None, "data tell of the targets"
        v = marginal_covariances(self.design, self.record, data[None])
        slopes = self.moves.derivatives(data[None])[0][0]
        inverse = solve_lower(cholesky_factors(v), np.eye(len(data))[None])[0]
        x = inverse.T @ (inverse @ columns_at([self.design.x[j] for j in self.record.kept], data))
        c = self.targets.across(self.design, self.g, data, own)
        h = (c @ inverse.T) @ inverse
        by = [self.targets.across(self.design, g, data, own) for g in self.g_slopes]
        c_k = np.array(by).reshape(len(slopes), *c.shape).swapaxes(0, 1)
        vh = np.einsum("kij,nj->nki", slopes, h)
        self.d[own] -= c @ x
        self.alone[own] += np.einsum("nki,ni->nk", vh - 2.0 * c_k, h)
        self.mixed[own] += (vh - c_k) @ x
        return _Piece(inverse, c_k - vh, slopes @ x)


@dataclass(frozen=True)
class _Piece:
    """q_k of one cluster: c_k - V_k V^-1 c (n, r, rows) less V_k V^-1 X (r, rows, p) M d."""

    inverse: FloatArray
    alone: FloatArray
    by_fixed: FloatArray

    def excess(self, md: FloatArray, weights: FloatArray) -> FloatArray:
        """sum W q_k'V^-1 q_l over what the fixed effects alone give, (n,)."""
        fixed = np.einsum("kip,np->nki", self.by_fixed, md)
        whole = self.alone - fixed
        return self._sum(whole, weights) - self._sum(fixed, weights)

    def _sum(self, q: FloatArray, weights: FloatArray) -> FloatArray:
        white = q @ self.inverse.T
        return np.asarray(((weights @ white) * white).sum(axis=(1, 2)))
