"""What Satterthwaite's degrees of freedom need, of many fits in one call.

For models whose covariance parameters are the entries of G and sigma^2: degrees of freedom do not
depend on how V is parameterised, so they are taken in the coordinates of the core. Formulas as in
`mlmfast.information.information`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.reduction.reduced_model import ReducedModel

#: Smallest eigenvalue of the scaled information at which nothing is near to not identified.
_IDENTIFIED = 1e-6


class StackedBases(NamedTuple):
    """Derivatives of Phi by r parameters, and the covariance of these.

    gradient (a, r, rank, rank), covariance (a, r, r); usable (a,) where parameters are identified
    beyond doubt.
    """

    gradient: FloatArray
    covariance: FloatArray
    usable: BoolArray


def is_regular(model: ReducedModel) -> bool:
    """Whether the covariance parameters are the entries of G and sigma^2."""
    return (
        model.profiled
        and model.nested is not None
        and bool(model.blocks)
        and all(block.shared.natural_entries for block in model.blocks)
    )


def stacked_bases(
    core: _core.NestedReduction | _core.NestedBatch,
    criterion: Criterion,
    theta: FloatArray,
    fits: IntArray,
    maps: FloatArray,
    n_obs: int,
) -> StackedBases:
    """Bases of fits of a regular model.

    Parameters
    ----------
    core, criterion
        The reductions, and what was minimised.
    theta : shape (a, n_theta)
    fits : shape (a,), which fits of ``core``.
    maps : shape (a, rank, rank), coefficients from the core's coordinates to the user's.
    n_obs
        Number of rows.
    """
    g = criterion.covariances(theta)
    entries = criterion.entries
    parts = core.likelihood_derivatives(g, fits.tolist(), entries, criterion.reml)
    logdet, logdet2, rss, rss2, information, c, total = parts
    n_fits, n, rank = len(theta), len(entries), c.shape[1]
    nu = n_obs - (rank if criterion.reml else 0)
    s = total / nu
    gamma = np.stack([g[level][:, i, j] for level, i, j in entries], axis=1)
    by_logdet, by_rss = _inner(gamma, logdet), _inner(gamma, rss)
    along, rss_along = _times(logdet2, gamma), _times(rss2, gamma)
    corner = _inner(gamma, along) + 2.0 * by_logdet - nu
    rss_corner = _inner(gamma, rss_along) + 4.0 * by_rss + 2.0 * total
    second = _bordered(logdet2, -(logdet + along), corner) / (s**2)[:, None, None]
    second = second + _bordered(rss2, -(2.0 * rss + rss_along), rss_corner) / (s**3)[:, None, None]
    covariance, usable = _inverse(0.25 * (second + second.mT))
    flat = information.reshape(n_fits, n, rank * rank)
    last = (gamma[:, None, :] @ flat).reshape(n_fits, 1, rank, rank)
    with np.errstate(invalid="ignore"):
        whole = np.linalg.inv(np.where(np.isfinite(c), c, np.eye(rank)))
    by = np.concatenate([information, -(whole[:, None] + last)], axis=1)
    half = maps @ (s[:, None, None] * c)
    by = by / (s**2)[:, None, None, None]
    gradient = -(half[:, None] @ by @ half.mT[:, None])
    return StackedBases(gradient, covariance, usable & np.isfinite(gradient).all(axis=(1, 2, 3)))


def coefficients(bases: StackedBases, vcov: FloatArray) -> FloatArray:
    """Degrees of freedom of each coefficient, (a, rank), by the steps of `satterthwaite`."""
    rows = np.eye(vcov.shape[1])
    variance = ((rows @ vcov) * rows).sum(axis=2)
    slopes = ((rows @ bases.gradient) * rows).sum(axis=3).mT
    spread = ((slopes @ bases.covariance) * slopes).sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(spread > 0, 2.0 * variance**2 / spread, np.inf))


def _inverse(matrix: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Inverses of information matrices, and which of them are clearly positive definite."""
    diagonal = np.einsum("aii->ai", matrix)
    usable = np.isfinite(matrix).all(axis=(1, 2)) & (diagonal > 0).all(axis=1)
    safe = np.where(usable[:, None, None], matrix, np.eye(matrix.shape[1]))
    scale = 1.0 / np.sqrt(np.einsum("aii->ai", safe))
    values, vectors = np.linalg.eigh(safe * (scale[:, :, None] * scale[:, None, :]))
    usable &= values[:, 0] > _IDENTIFIED
    root = scale[:, :, None] * vectors / np.sqrt(np.maximum(values, _IDENTIFIED))[:, None, :]
    return root @ np.ascontiguousarray(root.mT), usable


def _inner(x: FloatArray, y: FloatArray) -> FloatArray:
    return np.asarray((x[:, None, :] @ y[:, :, None])[:, 0, 0])


def _times(matrix: FloatArray, x: FloatArray) -> FloatArray:
    return np.asarray((matrix @ x[:, :, None])[..., 0])


def _bordered(matrix: FloatArray, border: FloatArray, corner: FloatArray) -> FloatArray:
    n = matrix.shape[1]
    out = np.empty((len(matrix), n + 1, n + 1))
    out[:, :n, :n] = matrix
    out[:, n, :n] = out[:, :n, n] = border
    out[:, n, n] = corner
    return out
