"""Structures in parameters that reach their singular matrices, as random effects need them.

A variance of random effects is often estimated as 0, and a correlation as 1. Here these are points
inside the parameter space at which the derivatives vanish, as they are for G = L L'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance.other_parameters import OtherParameters


@dataclass(frozen=True)
class SumOfSquares(OtherParameters):
    """G = sum_j theta_j^2 A_j for fixed positive semidefinite matrices A_j with disjoint ranges.

    theta_j^2 are then multiples of the eigenvalues of G, so that G is singular where one is 0.

    Parameters
    ----------
    forms : shape (n_entries, n_theta), the entries of A_j.
    to_natural : shape (n_theta, n_theta), natural parameters of theta^2.

    Examples
    --------
    >>> from mlmfast.covariance.structures.compound_symmetry import CompoundSymmetry
    >>> CompoundSymmetry(2).closed().matrix(np.array([[2.0, 0.0]]))[0].tolist()
    [[2.0, 2.0], [2.0, 2.0]]
    """

    forms: FloatArray
    to_natural: FloatArray

    def matrix(self, theta: FloatArray) -> FloatArray:
        return self.on_entries((theta * theta) @ self.forms.T)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return 2.0 * theta[:, None, :] * self.forms

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        return np.asarray(2.0 * (weight @ self.forms)[:, :, None] * np.eye(self.n_theta))

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        return np.asarray(np.abs(theta + step))

    def theta(self, matrix: FloatArray) -> FloatArray:
        rows, columns = np.array(self.entries, dtype=np.intp).T
        # Orthogonal projection onto the span of the A_j, off-diagonal entries standing twice.
        twice = np.where(rows == columns, 1.0, 2.0)
        weighted = self.forms.T * twice
        squares = np.linalg.solve(weighted @ self.forms, (weighted @ matrix[:, rows, columns].T)).T
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)))

    def at_boundary(self, theta: FloatArray, small: float) -> tuple[FloatArray, BoolArray]:
        zero = theta * theta <= small
        return np.where(zero, 0.0, theta), np.asarray(zero.any(axis=1))

    def natural(self, theta: FloatArray) -> FloatArray:
        return np.asarray((theta * theta) @ self.to_natural.T)

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        return 2.0 * theta[:, None, :] * self.to_natural

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        second = 2.0 * self.to_natural[:, :, None] * np.eye(self.n_theta)
        return np.repeat(second[None], len(theta), axis=0)

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self.structure._check_natural(values)
        squares = np.linalg.solve(self.to_natural, values.T).T
        noise = 1e-12 * np.abs(values).max(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return self.checked(np.sqrt(np.where(np.abs(squares) <= noise, 0.0, squares)), values)
