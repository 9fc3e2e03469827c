"""Newton's steps for hundreds of parameters: by Cholesky factors instead of eigenvalues.

The eigenvalues of a matrix of order t cost some 10 t^3 operations, half of them bound by memory;
its factor costs t^3 / 3. What the iteration asks of the eigenvalues is the smallest one, by
Lanczos's method from the factor, in t^2 operations a step.

Reference: Golub and Van Loan (2013), Matrix Computations, section 10.1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.running.interruptible import interruptible
from mlmfast.running.scipy_on_use import linalg

#: Parameters from which it pays.
MANY = 200
#: Most steps of Lanczos' method, and the residual, over the value, at which it has ended.
_MOST, _ENOUGH = 120, 1e-10
#: The same where the sign is asked for.
_FEW, _ROUGHLY = 60, 1e-3


def large_step(
    gradient: FloatArray, hessian: FloatArray, expected: FloatArray, floor: float
) -> tuple[FloatArray, float, float] | None:
    """A step, its slope and the smallest scaled eigenvalue; None where eigenvalues must tell.

    Newton's step where the Hessian is positive definite; the scoring step -E^-1 g, by the expected
    Hessian E, where it is not. Neither where an eigenvalue may be below ``floor``.
    """
    if not (np.isfinite(gradient).all() and np.isfinite(hessian).all()):
        return None
    diagonal = np.maximum(np.diag(expected), np.abs(np.diag(hessian)))
    scale = np.sqrt(np.maximum(diagonal, 1e-12 * diagonal.max(initial=1e-300)))
    scaled = hessian / (scale[:, None] * scale)
    factor = _factor(scaled)
    if factor is not None:
        # The inverse's largest eigenvalue is soon found.
        solve = partial(_solved, factor)
        smallest = -1.0 / smallest_by(lambda v: -solve(v), len(scale))
    else:
        smallest = smallest_by(lambda v: scaled @ v, len(scale), _FEW, _ROUGHLY)
        factor = _factor(expected / (scale[:, None] * scale))
        if factor is None or smallest >= 0.0:
            return None
    if 0.0 <= smallest <= floor:
        return None
    step = -_solved(factor, gradient / scale) / scale
    return step, float(gradient @ step), smallest


def _factor(matrix: FloatArray) -> tuple[FloatArray, bool] | None:
    """The Cholesky factor; None where the matrix is not positive definite."""
    try:
        return interruptible(linalg.cho_factor, matrix, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return None


def _solved(factor: tuple[FloatArray, bool], right: FloatArray) -> FloatArray:
    return np.asarray(linalg.cho_solve(factor, right, check_finite=False))


def smallest_by(
    times: Callable[[FloatArray], FloatArray], n: int, most: int = _MOST, enough: float = _ENOUGH
) -> float:
    """The smallest eigenvalue of a symmetric matrix A of order n, by products ``times(v)`` = A v.

    Lanczos' method, every vector made orthogonal to all before it.

    Examples
    --------
    >>> d = np.linspace(-3.0, 5.0, 50)
    >>> round(smallest_by(lambda v: d * v, 50), 8)
    -3.0
    """
    # Any vector that no eigenvector is likely to be orthogonal to, the same every time.
    v = np.cos(1.0 + np.arange(n) * (1.0 + np.arange(n) % 7))
    basis = (v / np.linalg.norm(v))[None]
    diagonal: list[float] = []
    beside: list[float] = []
    smallest = 0.0
    for k in range(min(n, most)):
        w = times(basis[k])
        diagonal.append(float(basis[k] @ w))
        for _ in range(2):
            w = w - basis.T @ (basis @ w)
        beside.append(float(np.linalg.norm(w)))
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside[:-1], -1), UPLO="L")
        smallest = float(values[0])
        if beside[-1] * abs(vectors[-1, 0]) <= enough * abs(smallest) or beside[-1] == 0.0:
            break
        basis = np.concatenate([basis, (w / beside[-1])[None]])
    return smallest
