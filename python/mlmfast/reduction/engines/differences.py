"""Derivatives along lines through a covariance, by differences of analytic functions.

What the engine says depends on G analytically, with poles no nearer than where G loses rank. Eight
points at steps of a fiftieth of that distance give first derivatives to about 1e-11 of their size,
second ones to 1e-10: what exact derivatives of 1e5 coefficients would add is their cost. Two points
at steps of 1e-4 of it give first derivatives to about 1e-8, for a fourth of that cost.

A singular G = L L' has no line to both sides. Along the matrices of its rank, G' = M L' + L M',
there is the path (L + t M)(L + t M)' = G + t G' + t^2 K, K = M M'. Its first derivative is that of
the line; the second has twice the derivative along K besides, which is the second derivative along
G + t^2 K. Along matrices of a higher rank there is one side, on which eight points do for a first
derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import ModelError

_Function = Callable[[list[FloatArray]], FloatArray]


class Stencil(NamedTuple):
    """Points that a first derivative is taken from.

    step, over the distance at which G loses rank; weights of the points 1, 2, ... steps ahead,
    those behind having minus these.
    """

    step: float
    weights: tuple[float, ...]


#: To about 1e-11 of a derivative's size, and to 1e-8.
EIGHT_POINTS = Stencil(0.02, (4 / 5, -1 / 5, 4 / 105, -1 / 280))
TWO_POINTS = Stencil(1e-4, (1 / 2,))
#: Weights of second derivatives, at the eight points.
_SECOND = np.array([8 / 5, -1 / 5, 8 / 315, -1 / 560])
#: Weights of the points 1, 2, ..., 8 steps ahead alone.
_FORWARD = np.array([8, -14, 56 / 3, -35 / 2, 56 / 5, -14 / 3, 8 / 7, -1 / 8])
#: Part of a trace that the first step ahead takes.
_SHARE = 0.005
#: Eigenvalues of G over the largest that are 0.
_ZERO = 1e-12
#: Part of a direction that rounding may leave where G has no rank.
_OUTSIDE = 1e-7


@dataclass(frozen=True)
class Path:
    """A way through covariances to both sides.

    Attributes
    ----------
    start : covariances, each (1, q, q).
    way, bends : G' and K of each, (q, q).
    reach : about the distance at which G loses rank.
    """

    start: Sequence[FloatArray]
    way: list[FloatArray]
    bends: list[FloatArray]
    reach: float

    def at(self, size: float) -> list[FloatArray]:
        """G + t G' + t^2 K."""
        parts = zip(self.start, self.way, self.bends, strict=True)
        return [g + size * way + size**2 * bend for g, way, bend in parts]

    def bent(self, size: float) -> list[FloatArray]:
        """G + t^2 K."""
        return [g + size**2 * k for g, k in zip(self.start, self.bends, strict=True)]


def path(g: Sequence[FloatArray], way: Sequence[FloatArray]) -> Path | None:
    """The path from covariances, each (1, q, q), along matrices (q, q); None where these are 0.

    Raises
    ------
    ModelError
        Where a covariance is singular and the way leads to matrices of a higher rank.

    Examples
    --------
    >>> path([np.array([[[4.0]]])], [np.array([[2.0]])]).reach
    2.0
    """
    largest = 0.0
    ways, bends = [], []
    for matrix, direction in zip(g, way, strict=True):
        own, bend, size = direction, np.zeros_like(direction), 0.0
        if direction.any():
            own, bend, size = _path(matrix[0], direction)
        largest = max(largest, size)
        ways.append(own)
        bends.append(bend)
    return None if largest == 0.0 else Path(g, ways, bends, 1.0 / largest)


def has_path(g: Sequence[FloatArray], way: Sequence[FloatArray]) -> bool:
    """Whether `path` leads along the way, whose matrices may be of a higher rank.

    Examples
    --------
    >>> has_path([np.zeros((1, 1, 1))], [np.eye(1)]), has_path([np.ones((1, 1, 1))], [np.eye(1)])
    (False, True)
    """
    try:
        path(g, way)
    except ModelError:
        return False
    return True


def _path(matrix: FloatArray, direction: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """G', K, and one over the distance at which G loses rank on the way."""
    values, vectors = np.linalg.eigh(matrix)
    inside = values > _ZERO * values[-1]
    turned = vectors.T @ direction @ vectors
    outside = np.abs(turned[np.ix_(~inside, ~inside)]).max(initial=0.0)
    # In units of the residual's share of a unit's mean.
    if not inside.any() and outside <= _OUTSIDE:
        # Rounding along a variance that is held at 0.
        return np.zeros_like(direction), np.zeros_like(direction), 0.0
    if not inside.any() or outside > _OUTSIDE * max(float(np.abs(turned).max()), 1.0):
        raise ModelError(
            "a covariance of the random effects is singular, and derivatives along matrices of a "
            "higher rank, which these degrees of freedom need, are not formed beside an eliminated "
            "factor; use ddf='satterthwaite' or 'residual', or leave out the effect whose variance "
            "is 0"
        )
    root = 1.0 / np.sqrt(values[inside])
    scaled = turned[np.ix_(inside, inside)] * root[:, None] * root
    size = float(np.abs(np.linalg.eigvalsh(scaled)).max())
    if inside.all():
        return direction, np.zeros_like(direction), size
    # M = (A / 2, B') S^-1/2 for G' = (A B; B' 0) in the eigenvectors of G.
    turned[np.ix_(~inside, ~inside)] = 0.0
    m = turned[:, inside] * root
    m[inside] /= 2.0
    m = vectors @ m
    bend = m @ m.T
    return (
        vectors @ turned @ vectors.T,
        bend,
        max(size, 2.0 * float(np.sqrt(np.linalg.eigvalsh(bend)[-1]))),
    )


def along(
    function: _Function,
    g: Sequence[FloatArray],
    way: Sequence[FloatArray],
    middle: FloatArray | None = None,
    stencil: Stencil = EIGHT_POINTS,
) -> tuple[FloatArray | float, FloatArray | float | None]:
    """First and, given its value in the ``middle``, second derivative of a function of G.

    Parameters
    ----------
    function : of covariances, each (1, q, q).
    g, way : where, and along what, see `path`.
    middle : wants the eight points.
    stencil : which points.

    Examples
    --------
    >>> g = [np.array([[[2.0]]])]
    >>> first, second = along(lambda g: 1 / g[0][0, 0], g, [np.eye(1)], np.array([0.5]))
    >>> np.allclose(first, -0.25, rtol=1e-10), np.allclose(second, 0.25, rtol=1e-9)
    (True, True)
    """
    found = path(g, way)
    first: FloatArray | float = 0.0
    second: FloatArray | float = 0.0
    if found is None:
        return first, second
    is_bent = any(bend.any() for bend in found.bends)
    step = stencil.step * found.reach
    for k, weight in enumerate(stencil.weights):
        size = (k + 1) * step
        ahead, behind = function(found.at(size)), function(found.at(-size))
        first = first + weight * (ahead - behind)
        if middle is None:
            continue
        # The weights add up to 0 with that of the middle, whose share is taken off here.
        second = second + _SECOND[k] * ((ahead - middle) + (behind - middle))
        if is_bent:
            second = second - 2.0 * _SECOND[k] * (function(found.bent(size)) - middle)
    return first / step, None if middle is None else second / step**2


def second_derivatives(
    first: _Function,
    g: list[FloatArray],
    entries: Sequence[tuple[int, int, int]],
    nothing: float,
    stencil: Stencil = EIGHT_POINTS,
) -> FloatArray:
    """Second derivatives of log-determinants by entries of G from the first ones, (n, n).

    Parameters
    ----------
    first : tr(P B) by entry, P the inverse of W (within the fixed effects' complement, for REML).
    nothing : tr(P B) of a positive semidefinite B that is rounding.
    stencil : which points, where G has its rank on both sides.
    """
    ways = [direction(g, entry) for entry in entries]
    rows = [_slope(first, g, entries, way, nothing, stencil) for way in ways]
    out = np.array(rows).reshape(len(entries), len(entries))
    return np.asarray((out + out.T) / 2)


def _slope(
    first: _Function,
    g: list[FloatArray],
    entries: Sequence[tuple[int, int, int]],
    way: list[FloatArray],
    nothing: float,
    stencil: Stencil,
) -> FloatArray:
    """Derivative of traces along any symmetric matrices, those of a rank that G lacks too."""
    inside, outside = _parts(g, way)
    out = np.zeros(len(entries)) + along(first, g, inside, stencil=stencil)[0]
    for share, level, vector in outside:
        ahead = [np.zeros_like(matrix) for matrix in way]
        ahead[level] = np.outer(vector, vector)
        out = out + share * _ahead(first, g, entries, ahead, nothing)
    return out


def _parts(
    g: Sequence[FloatArray], way: Sequence[FloatArray]
) -> tuple[list[FloatArray], list[tuple[float, int, FloatArray]]]:
    """A way without what it has where G has no rank; that as sums of c v v': (c, level, v)."""
    inside, outside = [], []
    for level, (matrix, own) in enumerate(zip(g, way, strict=True)):
        values, vectors = np.linalg.eigh(matrix[0])
        null = vectors[:, values <= _ZERO * values[-1]]
        if not own.any() or not null.shape[1]:
            inside.append(own)
            continue
        shares, turned = np.linalg.eigh(null.T @ own @ null)
        keep = np.abs(shares) > _OUTSIDE * float(np.abs(own).max())
        found = zip(shares[keep], turned.T[keep], strict=True)
        outside += [(float(share), level, null @ vector) for share, vector in found]
        rest = own - null @ (null.T @ own @ null) @ null.T
        inside.append(rest if null.shape[1] < len(own) else np.zeros_like(own))
    return inside, outside


def _ahead(
    first: _Function,
    g: Sequence[FloatArray],
    entries: Sequence[tuple[int, int, int]],
    way: Sequence[FloatArray],
    nothing: float,
) -> FloatArray:
    """Derivative of traces from a singular G along positive semidefinite matrices.

    With B that of the way, tr(P B) = sum of k / (1 + t k) over eigenvalues k of P B at t = 0: how
    fast it falls says where the poles are, and steps are a small part of the way to these.
    """
    shares = np.array([way[level][a, b] for level, a, b in entries])
    middle = first(list(g))
    trace = float(shares @ middle)
    if trace <= nothing:
        return np.zeros(len(entries))

    def at(size: float) -> FloatArray:
        return first([matrix + size * own for matrix, own in zip(g, way, strict=True)])

    probe = _SHARE / trace
    step = _SHARE / ((1.0 - float(shares @ at(probe)) / trace) / probe)
    slope = np.zeros(len(entries))
    for k, weight in enumerate(_FORWARD, 1):
        slope = slope + weight * (at(k * step) - middle)
    return slope / step


def direction(g: Sequence[FloatArray], entry: tuple[int, int, int]) -> list[FloatArray]:
    """The derivative of covariances by one entry."""
    out = [np.zeros(matrix.shape[1:]) for matrix in g]
    level, a, b = entry
    out[level][a, b] = out[level][b, a] = 1.0
    return out
