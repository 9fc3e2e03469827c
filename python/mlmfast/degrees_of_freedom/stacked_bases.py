"""What Satterthwaite's and Kenward and Roger's tests need, of many fits in one call.

For models whose covariance parameters are the entries of G and sigma^2: degrees of freedom do not
depend on how V is parameterised, so they are taken in the coordinates of the core. Formulas as in
`mlmfast.information.information`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.parameters.random_effects import STILL
from mlmfast.eigen import eigen, is_small
from mlmfast.reduction.reduced_model import ReducedModel

#: Smallest eigenvalue of the scaled information at which nothing is near to not identified.
_IDENTIFIED = 1e-6


class StackedBases(NamedTuple):
    """Derivatives of Phi by r parameters, and the covariance of these.

    gradient (a, r, rank, rank), covariance (a, r, r); usable (a,) where parameters are identified
    beyond doubt. extra (a, rank, rank), what Kenward and Roger add to Phi, where asked for.
    """

    gradient: FloatArray
    covariance: FloatArray
    usable: BoolArray
    extra: FloatArray | None = None


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
    n_obs: int | IntArray,
    adjusts: bool = False,
    singular: BoolArray | None = None,
    expected: bool = False,
) -> StackedBases:
    """Bases of fits of a regular model.

    A singular covariance moves among those of its rank, as `mlmfast.criterion.parameters` has it.

    Parameters
    ----------
    core, criterion
        The reductions, and what was minimised.
    theta : shape (a, n_theta)
    fits : shape (a,), which fits of ``core``.
    maps : shape (a, rank, rank), coefficients from the core's coordinates to the user's.
    n_obs
        Number of rows, or of those of each fit, (a,).
    adjusts
        Whether Kenward and Roger's adjustment of Phi is wanted.
    singular : shape (a, n_terms)
        Which covariances are; none where left out.
    expected
        Whether the covariance of the parameters is by their expected information under REML: that
        of all elements of G and sigma^2, singular or not.
    """
    g = criterion.covariances(theta)
    n = len(criterion.entries)
    parts = core.likelihood_derivatives(g, fits.tolist(), criterion.entries, criterion.reml)
    if singular is None or expected:
        singular = np.zeros((len(fits), len(criterion.terms)), dtype=np.bool_)
    if adjusts or expected or not is_small(n + 1):
        own = (theta, fits, maps)
        return _general(core, criterion, *own, n_obs, parts, singular, adjusts, expected)
    n_obs = np.full(len(fits), n_obs)
    degrees = (n_obs - (maps.shape[1] if criterion.reml else 0)).astype(np.float64)
    gamma = np.empty((len(fits), n))
    for k, (level, i, j) in enumerate(criterion.entries):
        gamma[:, k] = g[level][:, i, j]
    gradient, covariance, usable = _core.test_bases(
        parts, gamma, np.ascontiguousarray(maps), degrees
    )
    bases = StackedBases(gradient, covariance, usable > 0.0)
    if singular.any():
        rows = np.flatnonzero(singular.any(axis=1))
        some = [part[rows] for part in parts]
        own = (theta[rows], fits[rows], maps[rows])
        found = _general(core, criterion, *own, n_obs[rows], some, singular[rows], adjusts)
        for whole, part in zip(bases[:3], found[:3], strict=True):
            whole[rows] = part
    return bases


def _general(
    core: _core.NestedReduction | _core.NestedBatch,
    criterion: Criterion,
    theta: FloatArray,
    fits: IntArray,
    maps: FloatArray,
    n_obs: int | IntArray,
    parts: Sequence[FloatArray],
    singular: BoolArray,
    adjusts: bool,
    expected: bool = False,
) -> StackedBases:
    """Bases of fits whose covariances may be singular, from the likelihood's derivatives."""
    g, entries = criterion.covariances(theta), criterion.entries
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
    by_data = _bordered(rss2, -(2.0 * rss + rss_along), rss_corner) / (s**3)[:, None, None]
    # V is linear in the parameters: of log |V| + log |X'V^-1 X| the second derivatives are
    # -tr(P V_a P V_b), and those of the whole are expected to be as much above 0.
    second = -second if expected else second + by_data
    slope = logdet / s[:, None] + rss / (s**2)[:, None]
    moves = _moves(criterion, theta, singular, s, slope)
    covariance, usable = _inverse(moves.among(0.25 * (second + second.mT)))
    flat = information.reshape(n_fits, n, rank * rank)
    last = (gamma[:, None, :] @ flat).reshape(n_fits, 1, rank, rank)
    with np.errstate(invalid="ignore"):
        whole = np.linalg.inv(np.where(np.isfinite(c), c, np.eye(rank)))
    by = np.concatenate([information, -(whole[:, None] + last)], axis=1)
    phi = s[:, None, None] * c
    half = maps @ phi
    by = moves.along(by / (s**2)[:, None, None, None])
    gradient = -(half[:, None] @ by @ half.mT[:, None])
    usable &= np.isfinite(gradient).all(axis=(1, 2, 3))
    if not adjusts:
        return StackedBases(gradient, covariance, usable)
    weights = moves.back(covariance)
    second = _second_sum(core, g, fits, entries, weights, gamma, information, whole, s)
    weighted = (covariance @ by.reshape(n_fits, n + 1, -1)).reshape(by.shape)
    inner = 0.5 * second - (by @ phi[:, None] @ weighted).sum(axis=1)
    extra = half @ inner @ half.mT
    extra = extra + extra.mT
    return StackedBases(gradient, covariance, usable & np.isfinite(extra).all(axis=(1, 2)), extra)


class _Moves(NamedTuple):
    """Free coordinates of the fits ``rows`` whose covariances are singular.

    first (r, n + 1, n + 1), derivatives of the coordinates by the free ones, columns of 0 where
    there are fewer of these; bend (r, n + 1, n + 1), what second ones add to the information;
    spare (r, n + 1), which columns are of 0.
    """

    rows: IntArray
    first: FloatArray
    bend: FloatArray
    spare: BoolArray

    def among(self, information: FloatArray) -> FloatArray:
        """Information of the free coordinates; 1 for one that there is not."""
        if self.rows.size == 0:
            return information
        own = self.first.mT @ information[self.rows] @ self.first + self.bend
        spare = self.spare[:, :, None] | self.spare[:, None, :]
        own = np.where(spare, np.eye(self.spare.shape[1]), own)
        return _with_rows(information, self.rows, own)

    def along(self, by: FloatArray) -> FloatArray:
        """Derivatives (a, n + 1, rank, rank) by the free coordinates."""
        if self.rows.size == 0:
            return by
        own = by[self.rows]
        flat = own.reshape(len(own), own.shape[1], -1)
        return _with_rows(by, self.rows, (self.first.mT @ flat).reshape(own.shape))

    def back(self, weights: FloatArray) -> FloatArray:
        """Weights of pairs of free coordinates as those of pairs of all."""
        if self.rows.size == 0:
            return weights
        own = self.first @ weights[self.rows] @ self.first.mT
        return _with_rows(weights, self.rows, own)


def _with_rows(array: FloatArray, rows: IntArray, own: FloatArray) -> FloatArray:
    out = array.copy()
    out[rows] = own
    return out


def _moves(
    criterion: Criterion,
    theta: FloatArray,
    singular: BoolArray,
    scale: FloatArray,
    slope: FloatArray,
) -> _Moves:
    """Moves of singular covariances among those of their rank, as `random_block` has those of one.

    Parameters
    ----------
    scale : shape (a,), sigma^2.
    slope : shape (a, n), first derivatives of -2 log-likelihood by the elements of G.
    """
    n = slope.shape[1]
    rows = np.flatnonzero(singular.any(axis=1))
    m = len(rows)
    first = np.repeat(np.eye(n + 1)[None], m, axis=0)
    bend, spare = np.zeros((m, n + 1, n + 1)), np.zeros((m, n + 1), dtype=np.bool_)
    if m == 0:
        return _Moves(rows, first, bend, spare)
    places = zip(criterion.terms, criterion.theta_slices, criterion.entry_slices, strict=True)
    for k, (term, own, entries) in enumerate(places):
        some = np.flatnonzero(singular[rows, k])
        fits = rows[some]
        jacobian, bends = term.chart(theta[fits, own], np.ascontiguousarray(slope[fits, entries]))
        sizes = np.abs(jacobian).max(axis=1, initial=0.0)
        still = sizes <= STILL * sizes.max(axis=1, initial=0.0)[:, None]
        first[some, entries, entries] = scale[fits, None, None] * jacobian * ~still[:, None, :]
        bend[some, entries, entries] = 0.25 * scale[fits, None, None] * (bends + bends.mT)
        spare[some, entries] = still
    return _Moves(rows, first, bend, spare)


def _second_sum(
    core: _core.NestedReduction | _core.NestedBatch,
    g: list[FloatArray],
    fits: IntArray,
    entries: list[tuple[int, int, int]],
    weights: FloatArray,
    gamma: FloatArray,
    information: FloatArray,
    whole: FloatArray,
    s: FloatArray,
) -> FloatArray:
    """`Information.second_sum` of each fit, (a, rank, rank), in the core's coordinates."""
    by_scale, own = weights[:, :-1, -1], weights[:, -1, -1]
    cross = by_scale[:, :, None] * gamma[:, None, :]
    square = gamma[:, :, None] * gamma[:, None, :]
    effective = weights[:, :-1, :-1] - cross - cross.mT + own[:, None, None] * square
    effective = np.ascontiguousarray((effective + effective.mT) / 2)
    out = core.information_second_sums(g, fits.tolist(), entries, effective)
    flat = information.reshape(len(s), len(entries), -1)
    first, scaled = ((w[:, None, :] @ flat).reshape(out.shape) for w in (gamma, by_scale))
    out = out - 4.0 * scaled + 4.0 * own[:, None, None] * first + 2.0 * own[:, None, None] * whole
    return np.asarray(out / (s**3)[:, None, None])


def are_definite(matrices: FloatArray) -> BoolArray:
    """Which covariances (a, rank, rank) are positive definite, by their correlations."""
    diagonal = np.einsum("aii->ai", matrices)
    positive = (diagonal > 0).all(axis=1)
    safe = np.where(positive[:, None, None], matrices, np.eye(matrices.shape[1]))
    scale = 1.0 / np.sqrt(np.einsum("aii->ai", safe))
    values = eigen(safe * (scale[:, :, None] * scale[:, None, :]))[0]
    return np.asarray(positive & (values > 0.0).all(axis=1))


def coefficients(bases: StackedBases, vcov: FloatArray) -> FloatArray:
    """Degrees of freedom of each coefficient, (a, rank), by the steps of `satterthwaite`."""
    variance = np.einsum("aii->ai", vcov)
    slopes = np.einsum("arii->ari", bases.gradient).copy().mT
    spread = ((slopes @ bases.covariance) * slopes).sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(spread > 0, 2.0 * variance**2 / spread, np.inf))


def _inverse(matrix: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Inverses of information matrices, and which of them are clearly positive definite."""
    diagonal = np.einsum("aii->ai", matrix)
    usable = np.isfinite(matrix).all(axis=(1, 2)) & (diagonal > 0).all(axis=1)
    safe = np.where(usable[:, None, None], matrix, np.eye(matrix.shape[1]))
    scale = 1.0 / np.sqrt(np.einsum("aii->ai", safe))
    values, vectors = eigen(safe * (scale[:, :, None] * scale[:, None, :]))
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
