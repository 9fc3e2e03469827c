"""Derivatives along lines through a covariance, by differences of analytic functions.

What the engine says depends on G analytically, with poles no nearer than where G loses rank. Eight
points at steps of a fiftieth of that distance give first derivatives to about 1e-11 of their size,
second ones to 1e-10: what exact derivatives of 1e5 coefficients would add is their cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import ModelError

#: Weights of the points 1, 2, 3, 4 steps ahead (behind: minus, or the same).
_FIRST = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
_SECOND = np.array([8 / 5, -1 / 5, 8 / 315, -1 / 560])
#: Step over the distance at which G loses rank.
_STEP = 0.02
#: Part of a direction outside the range of G that rounding may leave.
_OUTSIDE = 1e-7


def step_along(g: Sequence[FloatArray], way: Sequence[FloatArray]) -> float:
    """Length of a step from covariances, each (1, q, q), along symmetric matrices (q, q).

    Raises
    ------
    ModelError
        Where a covariance is singular and the way leads out of its range.

    Examples
    --------
    >>> step_along([np.array([[[4.0]]])], [np.array([[2.0]])])
    0.04
    """
    largest = 0.0
    for matrix, direction in zip(g, way, strict=True):
        if not direction.any():
            continue
        values, vectors = np.linalg.eigh(matrix[0])
        inside = values > 1e-12 * values[-1]
        turned = vectors.T @ direction @ vectors
        outside = np.abs(turned[~inside]).max(initial=0.0)
        if not inside.any() or outside > _OUTSIDE * np.abs(turned).max():
            raise ModelError(
                "a covariance of the random effects is singular, where derivatives that these "
                "degrees of freedom need are not formed for models of this size; use "
                "ddf='residual' or 'asymptotic', or leave out the effect whose variance is 0"
            )
        root = 1.0 / np.sqrt(values[inside])
        scaled = turned[np.ix_(inside, inside)] * root[:, None] * root
        largest = max(largest, float(np.abs(np.linalg.eigvalsh(scaled)).max()))
    return _STEP / largest


def along(
    function: Callable[[list[FloatArray]], FloatArray],
    g: Sequence[FloatArray],
    way: Sequence[FloatArray],
    middle: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray | None]:
    """First and, given its value in the ``middle``, second derivative of a function of G.

    Parameters
    ----------
    function : of covariances, each (1, q, q).
    g, way : where, and along what, see `step_along`.

    Examples
    --------
    >>> g = [np.array([[[2.0]]])]
    >>> first, second = along(lambda g: 1 / g[0][0, 0], g, [np.eye(1)], np.array([0.5]))
    >>> np.allclose(first, -0.25, rtol=1e-10), np.allclose(second, 0.25, rtol=1e-9)
    (True, True)
    """
    h = step_along(g, way)
    first: FloatArray | float = 0.0
    second: FloatArray | float = 0.0
    for k in range(4):
        size = (k + 1) * h
        ahead = function([m + size * w for m, w in zip(g, way, strict=True)])
        behind = function([m - size * w for m, w in zip(g, way, strict=True)])
        first = first + _FIRST[k] * (ahead - behind)
        if middle is not None:
            second = second + _SECOND[k] * ((ahead - middle) + (behind - middle))
    # The weights add up to 0 with that of the middle, whose share is taken off above.
    return np.asarray(first / h), None if middle is None else np.asarray(second / h**2)


def second_derivatives(
    first: Callable[[list[FloatArray]], FloatArray],
    g: list[FloatArray],
    entries: Sequence[tuple[int, int, int]],
) -> FloatArray:
    """Second derivatives by entries of G from the first ones, (n, n), symmetric."""
    rows = [along(first, g, direction(g, entry))[0] for entry in entries]
    out = np.array(rows).reshape(len(entries), len(entries))
    return np.asarray((out + out.T) / 2)


def direction(g: Sequence[FloatArray], entry: tuple[int, int, int]) -> list[FloatArray]:
    """The derivative of covariances by one entry."""
    out = [np.zeros(matrix.shape[1:]) for matrix in g]
    level, a, b = entry
    out[level][a, b] = out[level][b, a] = 1.0
    return out
