"""Symmetric matrices of few rows, many at once: what the iteration asks of them, in one call."""

from __future__ import annotations

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.running.interruptible import interruptible

#: Order up to which the core has code of its own, several times faster than LAPACK's.
SMALL = 6
#: The most that is left of an eigenvalue that counts as 0 in a matrix that is not exactly singular.
_LEFT = 1e-8


def eigen(matrices: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues (a, k), ascending, and eigenvectors (a, k, k) of symmetric matrices.

    A matrix has the same bits alone and among others.

    Examples
    --------
    >>> values, vectors = eigen(np.array([[[2.0, 1.0], [1.0, 2.0]]]))
    >>> values.round(12).tolist()
    [[1.0, 3.0]]
    """
    if 0 < matrices.shape[-1] <= SMALL:
        return _core.symmetric_eigen(np.ascontiguousarray(matrices))
    return interruptible(np.linalg.eigh, matrices)


def is_singular(matrices: FloatArray, small: float) -> BoolArray:
    """Whether matrices (a, k, k) are singular after what is at most ``small`` has been set to 0.

    Their parameters may reach no matrix that is exactly singular, so that what is left counts.
    """
    return np.asarray(np.linalg.eigvalsh(matrices)[:, 0] <= min(small, _LEFT))


def is_small(order: int) -> bool:
    """Whether the core has steps and derivatives for this number of parameters."""
    return 0 < order <= SMALL
