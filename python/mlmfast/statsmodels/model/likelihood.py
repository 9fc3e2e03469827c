"""The log-likelihood of a mixed model with its derivatives, at any parameters.

Parameters are beta and u = (G / sigma^2, variance components / sigma^2); sigma^2 is profiled out,
and beta too where wanted. A fit does not come here: this is for `loglike`, `score` and `hessian`,
for joint standard errors, and for fits with parameters held.

Rows enter by cross-products of each group's Z with Z, X and y alone. With B the covariance of the
group's effects and A = Z'Z, V = I + Z B Z', V^-1 = I - Z M Z' where M = (I + B A)^-1 B, which asks
for no inverse of B: it may be singular.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.errors import DataError
from mlmfast.running.cached import cached_property


@dataclass(frozen=True, eq=False)
class GroupProducts:
    """Groups with the same numbers of effects.

    Attributes
    ----------
    owner : shape (m,), component of each column of Z, -1 - j for the j-th correlated effect.
    members : shape (g,), which groups they are.
    zz, zw, ww : shapes (g, m, m), (g, m, p + 1), (p + 1, p + 1)
        Cross-products of Z and W = [X y]; those of W summed over the groups.
    """

    owner: IntArray
    members: IntArray
    zz: FloatArray
    zw: FloatArray
    ww: FloatArray


def products_of(
    groups: Sequence[IntArray],
    x: FloatArray,
    y: FloatArray,
    z: FloatArray | None,
    components: Sequence[Sequence[FloatArray]],
) -> list[GroupProducts]:
    """Cross-products of groups, given the rows of each.

    Parameters
    ----------
    z : shape (n, k_re) or None
    components : matrices by variance component and group
    """
    w = np.column_stack([x, y])
    found: dict[tuple[int, ...], list[tuple[Any, ...]]] = {}
    for g, rows in enumerate(groups):
        own = [] if z is None else [z[rows]]
        own += [_dense(matrices[g]) for matrices in components]
        sizes = tuple(block.shape[1] for block in own)
        zg = np.column_stack(own) if own else np.zeros((len(rows), 0))
        wg = w[rows]
        found.setdefault(sizes, []).append((g, zg.T @ zg, zg.T @ wg, wg.T @ wg))
    out = []
    for sizes, stack in found.items():
        first = 0 if z is None else 1
        owner = [-1 - j for j in range(sizes[0] if first else 0)]
        owner += [k for k, size in enumerate(sizes[first:]) for _ in range(size)]
        members, zz, zw, ww = (np.array(part) for part in zip(*stack, strict=True))
        out.append(GroupProducts(np.array(owner, dtype=np.intp), members, zz, zw, ww.sum(axis=0)))
    return out


def _dense(matrix: object) -> FloatArray:
    toarray = getattr(matrix, "toarray", None)
    dense = np.asarray(matrix if toarray is None else toarray(), dtype=np.float64)
    return dense[:, None] if dense.ndim == 1 else dense


class Likelihood:
    """The log-likelihood at one u, by REML or ML.

    Parameters
    ----------
    products
        The data.
    n, k_fe, k_re, k_vc
        Rows, fixed effects, correlated effects, variance components.
    cov_re, vcomp
        Covariances over the residual variance.
    """

    def __init__(
        self,
        products: Sequence[GroupProducts],
        shape: tuple[int, int, int, int],
        cov_re: FloatArray,
        vcomp: FloatArray,
        reml: bool,
    ) -> None:
        self._products, self._reml = products, reml
        self.n, self.k_fe, self.k_re, self.k_vc = shape
        self._cov_re = np.asarray(cov_re, dtype=np.float64)
        self._vcomp = np.asarray(vcomp, dtype=np.float64)

    @property
    def degrees(self) -> int:
        """What sums of squares are divided by."""
        return self.n - self.k_fe if self._reml else self.n

    def _covariance(self, group: GroupProducts) -> FloatArray:
        m = len(group.owner)
        out = np.zeros((m, m))
        out[: self.k_re, : self.k_re] = self._cov_re
        rest = np.arange(self.k_re, m)
        out[rest, rest] = self._vcomp[group.owner[self.k_re :]]
        return out

    @cached_property
    def _solved(self) -> tuple[float, FloatArray, list[tuple[FloatArray, FloatArray]]]:
        """log|V|, W'V^-1 W, and for each class of groups Z'V^-1 Z and Z'V^-1 W."""
        logdet, total, parts = 0.0, 0.0, []
        for group in self._products:
            covariance = self._covariance(group)
            system = np.eye(len(covariance)) + covariance @ group.zz
            logdet += float(np.linalg.slogdet(system)[1].sum()) if len(covariance) else 0.0
            m = np.linalg.solve(system, np.broadcast_to(covariance, group.zz.shape))
            mw = m @ group.zw
            total = total + group.ww - (group.zw.mT @ mw).sum(axis=0)
            parts.append((group.zz - group.zz @ m @ group.zz, group.zw - group.zz @ mw))
        return logdet, np.asarray(total), parts

    @cached_property
    def beta(self) -> FloatArray:
        """The generalised least-squares estimate."""
        _, w, _ = self._solved
        return np.asarray(np.linalg.solve(w[:-1, :-1], w[:-1, -1]))

    def _residual(self, beta: FloatArray) -> FloatArray:
        """What W is multiplied by to give residuals."""
        return np.append(-np.asarray(beta, dtype=np.float64), 1.0)

    def scale(self, beta: FloatArray) -> float:
        """The residual variance at beta.

        Raises
        ------
        DataError
            Where nothing but rounding is left of it.
        """
        r = self._residual(beta)
        squares = float(r @ self._solved[1] @ r)
        if not squares > 0.0:
            raise DataError(
                "the response has no residual variance: the fixed and random effects reproduce it "
                "exactly, so the likelihood has no maximum; check how the response was made, or "
                "leave out the random effects that give it"
            )
        return squares / self.degrees

    def value(self, beta: FloatArray) -> float:
        """The log-likelihood with sigma^2 profiled out, all constants but log|X'X|."""
        logdet, w, _ = self._solved
        d = self.degrees
        out = -0.5 * (logdet + d * (np.log(2.0 * np.pi * self.scale(beta)) + 1.0))
        if self._reml:
            out -= 0.5 * float(np.linalg.slogdet(w[:-1, :-1])[1])
        return float(out)

    @cached_property
    def directions(self) -> list[tuple[int, int]]:
        """Entries of u: pairs (a, b) of effects, a >= b, then (-1, k) for component k."""
        triangle = [(a, b) for a in range(self.k_re) for b in range(a + 1)]
        return triangle + [(-1, k) for k in range(self.k_vc)]

    def _direction(self, group: GroupProducts, entry: tuple[int, int]) -> FloatArray:
        """dB by one entry of u, (m, m)."""
        m = len(group.owner)
        out = np.zeros((m, m))
        a, b = entry
        if a < 0:
            own = np.flatnonzero(group.owner == b)
            out[own, own] = 1.0
        else:
            out[a, b] = out[b, a] = 1.0
        return out

    def effects(self, beta: FloatArray) -> list[FloatArray]:
        """Means of each group's effects given the data, B Z'V^-1 (y - X beta)."""
        r, parts = self._residual(beta), self._solved[2]
        return self._by_group(
            [(q @ r) @ self._covariance(g) for g, (_, q) in zip(self._products, parts, strict=True)]
        )

    def effects_covariance(self) -> list[FloatArray]:
        """Covariances of each group's effects given the data, over sigma^2: B - B Z'V^-1 Z B."""
        found = []
        for group, (p, _) in zip(self._products, self._solved[2], strict=True):
            b = self._covariance(group)
            found.append(b - b @ p @ b)
        return self._by_group(found)

    def _by_group(self, stacks: list[FloatArray]) -> list[FloatArray]:
        out: dict[int, FloatArray] = {}
        for group, stack in zip(self._products, stacks, strict=True):
            out.update(zip(group.members.tolist(), stack, strict=True))
        return [out[k] for k in range(len(out))]

    def score(self, beta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives by beta and by u."""
        _, w, parts = self._solved
        r = self._residual(beta)
        s2 = self.scale(beta)
        xtx = w[:-1, :-1]
        inverse = np.linalg.inv(xtx) if self.k_fe else np.zeros((0, 0))
        by_beta = w[:-1] @ r / s2
        by_u = np.zeros(len(self.directions))
        for group, (p, q) in zip(self._products, parts, strict=True):
            qr = q @ r
            for j, entry in enumerate(self.directions):
                e = self._direction(group, entry)
                by_u[j] -= 0.5 * np.einsum("ab,gba->", e, p)
                by_u[j] += 0.5 * np.einsum("ga,ab,gb->", qr, e, qr) / s2
                if self._reml:
                    qx = q[:, :, :-1]
                    by_u[j] += 0.5 * np.einsum("gap,ab,gbq,pq->", qx, e, qx, inverse, optimize=True)
        return by_beta, by_u

    def log_scale_slopes(self, beta: FloatArray) -> FloatArray:
        """Derivatives of log sigma^2 by u, -r'V^-1 E V^-1 r / r'V^-1 r."""
        r = self._residual(beta)
        out = np.zeros(len(self.directions))
        for group, (_, q) in zip(self._products, self._solved[2], strict=True):
            qr = q @ r
            for j, entry in enumerate(self.directions):
                out[j] -= np.einsum("ga,ab,gb->", qr, self._direction(group, entry), qr)
        return out / (self.scale(beta) * self.degrees)

    def hessian(self, beta: FloatArray) -> FloatArray:
        """Second derivatives by (beta, u)."""
        _, w, parts = self._solved
        r, s2, d = self._residual(beta), self.scale(beta), self.degrees
        k, m = self.k_fe, len(self.directions)
        qf = s2 * d
        inverse = np.linalg.inv(w[:k, :k]) if k else np.zeros((0, 0))
        cross, single = np.zeros((m, k)), np.zeros(m)
        pairs, traces = np.zeros((m, m)), np.zeros((m, m))
        xex, xeex = np.zeros((m, k, k)), np.zeros((m, m, k, k))
        for group, (p, q) in zip(self._products, parts, strict=True):
            qr, qx = q @ r, q[:, :, :-1]
            e = np.array([self._direction(group, entry) for entry in self.directions])
            er = np.einsum("jab,gb->gja", e, qr)
            ex = np.einsum("jab,gbp->gjap", e, qx)
            ep = np.einsum("jab,gbc->gjac", e, p)
            single += np.einsum("gja,ga->j", er, qr)
            cross += np.einsum("gja,gap->jp", er, qx)
            pairs += np.einsum("gja,gab,glb->jl", er, p, er, optimize=True)
            traces += np.einsum("gjab,glba->jl", ep, ep)
            xex += np.einsum("gap,gjaq->jpq", qx, ex)
            if self._reml:
                xeex += np.einsum("gjap,gab,glbq->jlpq", ex, p, ex, optimize=True)
        out = np.zeros((k + m, k + m))
        rx = w[:k] @ r
        out[:k, :k] = -w[:k, :k] / s2 + 2.0 * d * np.outer(rx, rx) / qf**2
        out[k:, :k] = -cross / s2 + d * np.outer(single, rx) / qf**2
        out[:k, k:] = out[k:, :k].T
        second = 0.5 * traces - pairs / s2 + 0.5 * d * np.outer(single, single) / qf**2
        if self._reml:
            own = np.einsum("pq,jqr->jpr", inverse, xex)
            second += 0.5 * np.einsum("jpq,lqp->jl", own, own)
            second -= 0.5 * np.einsum("pq,jlqp->jl", inverse, xeex + xeex.transpose(1, 0, 2, 3))
        out[k:, k:] = second
        return out
