"""Unstructured covariance: every variance and covariance free."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure


@dataclass(frozen=True)
class Unstructured(CovarianceStructure):
    """G = L L' with L lower triangular; theta is L by rows.

    The factor, not its logarithm: a variance of 0 is then an interior stationary point that
    Newton reaches in finitely many steps (Bates et al. 2015, section 2.1).

    Examples
    --------
    >>> Unstructured(2).matrix(np.array([[2.0, 1.0, 1.0]]))[0].tolist()
    [[4.0, 2.0], [2.0, 2.0]]
    """

    keyword: ClassVar[str] = "us"
    label: ClassVar[str] = "unstructured"
    mixes: ClassVar[bool] = True

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return tuple((a, b) for a in range(self.size) for b in range(a + 1))

    @property
    def n_theta(self) -> int:
        return self.size * (self.size + 1) // 2

    def matrix(self, theta: FloatArray) -> FloatArray:
        factor = self._factor(theta)
        return np.asarray(factor @ factor.mT)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        # Entries are quadratic forms theta'T_k theta / 2, so the Jacobian is T_k theta.
        return np.asarray((_quadratic(self.size) @ theta[:, None, :, None])[..., 0])

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        terms = weight[:, :, None, None] * _quadratic(self.size)
        return np.asarray(terms.sum(axis=1))

    def theta(self, matrix: FloatArray) -> FloatArray:
        # A triangular root by eigenvectors and QR exists for singular matrices too.
        values, vectors = np.linalg.eigh(matrix)
        root = vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
        upper = np.linalg.qr(root.mT, mode="r")
        rows, columns = _lower(self.size)
        return self.reflect(np.asarray(upper.mT[:, rows, columns]))

    def reflect(self, theta: FloatArray) -> FloatArray:
        rows, columns = _lower(self.size)
        factor = self._factor(theta)
        diagonal = np.diagonal(factor, axis1=1, axis2=2)
        factor = factor * np.where(diagonal < 0, -1.0, 1.0)[:, None, :]
        return np.asarray(factor[:, rows, columns])

    def _factor(self, theta: FloatArray) -> FloatArray:
        factor = np.zeros((len(theta), self.size, self.size))
        rows, columns = _lower(self.size)
        factor[:, rows, columns] = theta
        return factor


@cache
def _lower(size: int) -> tuple[IntArray, IntArray]:
    rows, columns = np.tril_indices(size)
    return rows, columns


@cache
def _quadratic(size: int) -> FloatArray:
    """T with G[a, b] = theta'T_ab theta / 2, shape (n_entries, n_theta, n_theta)."""
    rows, columns = (index.tolist() for index in _lower(size))
    tensor = np.zeros((len(rows), len(rows), len(rows)))
    for k, (a, b) in enumerate(zip(rows, columns, strict=True)):
        for i in range(len(rows)):
            for j in range(len(rows)):
                if columns[i] == columns[j]:
                    tensor[k, i, j] = (rows[i] == a and rows[j] == b) + (
                        rows[i] == b and rows[j] == a
                    )
    return tensor
