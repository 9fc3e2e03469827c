"""One step of the covariance parameters when rows are left out, Newton's or Fisher's.

With f_U the criterion (-2 log-likelihood, restricted for REML) of the rows that are left, at the
estimates of all rows, the step is -H^-1 g with g and H the exact gradient and Hessian of f_U by the
free covariance parameters. V^-1, X'V^-1 X and beta are those without U:

    g_k  = tr(V^-1 V_k) - tr(M D_k) - e'V^-1 V_k V^-1 e
    H_kl = -tr(V^-1 V_k V^-1 V_l) + tr(V^-1 V_kl)
           + tr M(Q_kl + Q_lk - R_kl) - tr(M D_k M D_l)
           + 2 e'V^-1 V_k V^-1 V_l V^-1 e - e'V^-1 V_kl V^-1 e - 2 b_k'M b_l

M = (X'V^-1 X)^-1, D_k = X'V^-1 V_k V^-1 X, Q_kl = X'V^-1 V_k V^-1 V_l V^-1 X,
R_kl = X'V^-1 V_kl V^-1 X, b_k = X'V^-1 V_k V^-1 e; terms with M in a trace are REML's. The expected
H, which scoring takes, is tr(V^-1 V_k V^-1 V_l) - tr M(Q_kl + Q_lk) + tr(M D_k M D_l).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.clusters.by_parameters import Bends
from mlmfast.diagnostics.deletion import Contribution

#: Share of a fixed effect's information that must remain after a deletion.
NOTHING_LEFT = 1e-10
#: Scaled information below which the data do not tell a combination of parameters.
_UNIDENTIFIED = 1e-9


@dataclass(frozen=True)
class Totals:
    """Contributions of all rows: `Contribution` summed over the clusters, second ones whole."""

    crossed: FloatArray
    slopes: FloatArray
    traces: FloatArray
    products: FloatArray
    seconds: FloatArray
    bends: Bends
    bend_traces: Bends

    @classmethod
    def of(cls, parts: Contribution) -> Totals:
        """Of the clusters of one size."""
        return cls(
            parts.crossed.sum(axis=0),
            parts.slopes.sum(axis=0),
            parts.traces.sum(axis=0),
            parts.products.sum(axis=0),
            parts.all_seconds(),
            {pair: value.sum(axis=0) for pair, value in parts.bends.items()},
            {pair: value.sum(axis=0) for pair, value in parts.bend_traces.items()},
        )

    def plus(self, other: Totals) -> Totals:
        """Of both."""
        return Totals(
            self.crossed + other.crossed,
            self.slopes + other.slopes,
            self.traces + other.traces,
            self.products + other.products,
            self.seconds + other.seconds,
            {pair: value + other.bends[pair] for pair, value in self.bends.items()},
            {pair: value + other.bend_traces[pair] for pair, value in self.bend_traces.items()},
        )


@dataclass(frozen=True)
class Deleted:
    """The criterion of the rows that are left, for m deletions; NaN where beta is not estimable.

    Attributes
    ----------
    m : shape (m, p, p), M in the basis where it is I with all rows.
    change : shape (m, p), beta - beta_U there, the covariance parameters held.
    gradient : shape (m, r)
    hessian, expected : shape (m, r, r), the Hessian and its expected value.
    """

    m: FloatArray
    change: FloatArray
    gradient: FloatArray
    hessian: FloatArray
    expected: FloatArray


def deleted(totals: Totals, whole: Contribution, left: Contribution | None, reml: bool) -> Deleted:
    """Derivatives without some rows of each of m clusters.

    Parameters
    ----------
    totals : of all rows.
    whole : the clusters with all their rows.
    left : the clusters without the rows left out; None where whole clusters are.
    reml : whether the criterion is REML's.
    """
    crossed = _remaining(totals.crossed, whole.crossed, None if left is None else left.crossed)
    m, change = _without(crossed)
    # Residuals at the new beta: e + X (beta - beta_U).
    v = np.concatenate([change, np.ones((len(m), 1))], axis=1)
    slopes = _remaining(totals.slopes, whole.slopes, None if left is None else left.slopes)
    d = slopes[:, :, :-1, :-1]
    at_v = (slopes @ v[:, None, :, None])[..., 0]
    squares, b = np.einsum("mkp,mp->mk", at_v, v), at_v[:, :, :-1]
    gradient = (
        _remaining(totals.traces, whole.traces, None if left is None else left.traces) - squares
    )
    expected = _remaining(totals.products, whole.products, None if left is None else left.products)
    hessian = -expected + 2.0 * _seconds(totals, whole, left, v[:, :, None])
    half = m @ np.swapaxes(b, 1, 2)
    hessian = hessian - 2.0 * (b @ half)
    if reml:
        root = np.concatenate([_root(m), np.zeros((len(m), 1, m.shape[1]))], axis=1)
        q = _seconds(totals, whole, left, root)
        md = m[:, None] @ d
        gradient = gradient - np.einsum("mkpp->mk", md)
        pairs = np.einsum("mkab,mlba->mkl", md, md, optimize=True)
        hessian = hessian + 2.0 * q - pairs
        expected = expected - 2.0 * q + pairs
    for (k, el), total in totals.bends.items():
        bend = _remaining(total, whole.bends[k, el], None if left is None else left.bends[k, el])
        trace = _remaining(
            totals.bend_traces[k, el],
            whole.bend_traces[k, el],
            None if left is None else left.bend_traces[k, el],
        )
        value = trace - np.einsum("ma,mab,mb->m", v, bend, v)
        if reml:
            value = value - np.einsum("mab,mba->m", m, bend[:, :-1, :-1])
        hessian[:, k, el] += value
        if k != el:
            hessian[:, el, k] += value
    return Deleted(m, change, gradient, hessian, expected)


def _remaining(total: FloatArray, whole: FloatArray, left: FloatArray | None) -> FloatArray:
    rest = total - whole
    return np.asarray(rest if left is None else rest + left)


def _seconds(
    totals: Totals, whole: Contribution, left: Contribution | None, weights: FloatArray
) -> FloatArray:
    """tr(F'Y'G_k G_l Y F) of what remains, (m, r, r)."""
    square = weights @ np.swapaxes(weights, 1, 2)
    total = np.einsum("klab,mab->mkl", totals.seconds, square, optimize=True)
    return _remaining(total, whole.second(weights), None if left is None else left.second(weights))


def _without(crossed: FloatArray) -> tuple[FloatArray, FloatArray]:
    """M and beta - beta_U from [X e]'V^-1[X e] of what remains, in the basis where all have I."""
    information = crossed[:, :-1, :-1]
    values, vectors = np.linalg.eigh((information + np.swapaxes(information, 1, 2)) / 2)
    enough = values[:, :1] > NOTHING_LEFT
    inverse = np.where(enough, 1.0 / np.where(enough, values, 1.0), np.nan)
    m = (vectors * inverse[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    # The scores of all rows are 0: those of the rows left out are minus those that remain.
    return m, -(m @ crossed[:, :-1, -1:])[:, :, 0]


def _root(m: FloatArray) -> FloatArray:
    """A root of M; NaN where M is."""
    usable = np.isfinite(m).all(axis=(1, 2))
    out = np.full_like(m, np.nan)
    out[usable] = np.linalg.cholesky(m[usable])
    return out


def newton_steps(at: Deleted, information: str) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Steps (m, r), twice the curvature (m, r, r) they go by, and where this is the expected one.

    Parameters
    ----------
    at : derivatives without the rows.
    information
        "expected" for Fisher's scoring; "observed" for Newton's step, with the expected Hessian
        where the exact one is not positive definite at the estimates of all rows.

    Directions that the data do not tell are held; their curvature is 0.
    """
    m, r = at.gradient.shape
    steps, curvature = np.full((m, r), np.nan), np.full((m, r, r), np.nan)
    scoring = np.full(m, information == "expected")
    for i in np.flatnonzero(np.isfinite(at.gradient).all(axis=1)):
        scale = np.sqrt(np.maximum(np.diag(at.expected[i]), 1e-300))
        matrix = at.expected[i] if scoring[i] else at.hessian[i]
        values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
        if values[0] < -_UNIDENTIFIED:
            scoring[i] = True
            values, vectors = np.linalg.eigh(at.expected[i] / np.outer(scale, scale))
        kept = values > _UNIDENTIFIED
        half = vectors[:, kept] / np.sqrt(values[kept]) / scale[:, None]
        steps[i] = -(half @ (half.T @ at.gradient[i]))
        root = scale[:, None] * vectors[:, kept] * np.sqrt(values[kept])
        curvature[i] = root @ root.T
    return steps, curvature, scoring
