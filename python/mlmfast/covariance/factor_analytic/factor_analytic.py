"""Factor-analytic covariance: a few common factors and a variance of its own for each level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.covariance.factor_analytic.loadings import Loadings
from mlmfast.covariance.structures.unstructured import (
    product_curvature,
    product_jacobian,
    shrunk_roots,
)
from mlmfast.eigen import is_singular

#: Principal-factor iterations of a start, and the smallest share of a variance left specific.
_ITERATIONS, _SPECIFIC = 200, 1e-3
#: Root of a specific variance, over the typical standard deviation, that is as good as 0.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class FactorAnalytic(Loadings):
    """R = Lambda Lambda' + diag(psi), Lambda K x k with zeros above the diagonal.

    theta = (Lambda by rows, sqrt psi): a specific variance of 0 (a Heywood case) is then a point
    inside, with R positive definite still as long as no more than k of them are 0. R is positive
    definite over the whole space but there. The signs of the columns of Lambda are arbitrary.
    Natural parameters are psi and Lambda.

    References: Jennrich and Schluchter (1986), Biometrics 42, 805-820; SAS/STAT User's Guide, The
    MIXED Procedure, REPEATED statement, TYPE=FA(q).

    Parameters
    ----------
    order
        Number k of factors.

    Examples
    --------
    >>> fa = FactorAnalytic(2, order=1)
    >>> fa.matrix(fa.from_natural(np.array([[1.0, 2.0, 3.0, 1.0]])))[0].round(12).tolist()
    [[10.0, 3.0], [3.0, 3.0]]
    """

    order: int = 1

    keyword: ClassVar[str] = "fa"
    space: ClassVar[str] = "fa"
    label: ClassVar[str] = "factor analytic"
    formula: ClassVar[str] = "sum_k lambda_ik lambda_jk + psi_i 1(i = j)"
    parameters: ClassVar[str] = "K + k (2 K - k + 1) / 2: specific variances, loadings"
    use: ClassVar[str] = "many levels with few common causes: between diag and us"
    sas: ClassVar[str | None] = "FA(q)"
    glmmtmb: ClassVar[str | None] = "rr + diag"
    contains_residual: ClassVar[bool] = True

    @property
    def n_factors(self) -> int:
        return self.order

    @property
    def n_theta(self) -> int:
        return self.size + len(self.loadings[0])

    def matrix(self, theta: FloatArray) -> FloatArray:
        factor, specific = self._parts(theta)
        out = np.asarray(factor @ factor.mT)
        index = np.arange(self.size)
        out[:, index, index] += specific**2
        return out

    def jacobian(self, theta: FloatArray) -> FloatArray:
        factor, specific = self._parts(theta)
        rows, columns = self.places
        out = np.zeros((len(theta), len(rows), self.n_theta))
        out[:, :, : -self.size] = product_jacobian(factor, self.loadings, self.places)
        diagonal = np.flatnonzero(rows == columns)
        out[:, diagonal, np.arange(-self.size, 0)] = 2.0 * specific
        return out

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        rows, columns = self.places
        out = np.zeros((len(theta), self.n_theta, self.n_theta))
        out[:, : -self.size, : -self.size] = product_curvature(
            self.weights_of_entries(weight), self.loadings
        )
        last = np.arange(-self.size, 0)
        out[:, last, last] = 2.0 * weight[:, rows == columns]
        return out

    def theta(self, matrix: FloatArray) -> FloatArray:
        # A singular matrix too has members of the structure nearby.
        small = 1e-12 * np.abs(matrix).max(axis=(1, 2)) + 1e-300
        matrix = matrix + small[:, None, None] * np.eye(self.size)
        variances = np.diagonal(matrix, axis1=1, axis2=2)
        sd = np.sqrt(variances)
        correlation = matrix / (sd[:, :, None] * sd[:, None, :])
        loadings, specific = _principal_factors(correlation, self.order)
        elements = self.rotated(sd[:, :, None] * loadings)
        return np.concatenate([elements, np.sqrt(specific) * sd], axis=1)

    def move_far(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        out = theta + step
        own = slice(-self.size, None)
        out[:, own] = shrunk_roots(theta[:, own], step[:, own])
        return out

    def scaled(self, theta: FloatArray, factor: FloatArray) -> FloatArray:
        if factor.shape[1] == 1:
            return theta * factor
        return np.asarray(theta * np.concatenate([factor[:, self.loadings[0]], factor], axis=1))

    def at_boundary(self, theta: FloatArray, small: float) -> tuple[FloatArray, BoolArray]:
        out = theta.copy()
        factor, specific = self._parts(theta)
        out[:, -self.size :] = np.where(specific**2 <= small, 0.0, specific)
        absent = (factor**2).sum(axis=1) <= small
        out[:, : -self.size][absent[:, self.loadings[1]]] = 0.0
        return out, is_singular(self.matrix(out), small)

    def off_zero(self, theta: FloatArray) -> FloatArray:
        """The same covariance to rounding, without roots of specific variances that are 0.

        By the variance itself second derivatives are differences over the square of its root.
        """
        out = theta.copy()
        own = out[:, -self.size :]
        variances = np.diagonal(self.matrix(theta), axis1=1, axis2=2)
        least = _ROUNDING * np.sqrt(variances.mean(axis=1, keepdims=True))
        own[:] = np.where(np.abs(own) < least, np.copysign(least, own), own)
        return out

    @property
    def parameter_names(self) -> tuple[str, ...]:
        specific = (f"Var({a + 1})" for a in range(self.size))
        return (*specific, *self.loading_names)

    def natural(self, theta: FloatArray) -> FloatArray:
        return np.concatenate([theta[:, -self.size :] ** 2, theta[:, : -self.size]], axis=1)

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        n, k = self.n_theta, self.size
        out = np.zeros((len(theta), n, n))
        out[:, np.arange(k), np.arange(n - k, n)] = 2.0 * theta[:, -k:]
        out[:, np.arange(k, n), np.arange(n - k)] = 1.0
        return out

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        n, k = self.n_theta, self.size
        out = np.zeros((len(theta), n, n, n))
        scales = np.arange(n - k, n)
        out[:, np.arange(k), scales, scales] = 2.0
        return out

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self._check_natural(values)
        specific, loadings = values[:, : self.size], values[:, self.size :]
        outside = ~(np.isfinite(values).all(axis=1) & (specific >= 0).all(axis=1))
        if outside.any():
            raise self._outside(values[outside][0])
        return np.concatenate([loadings, np.sqrt(specific)], axis=1)

    def _parts(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        return self.factor(theta[:, : -self.size]), theta[:, -self.size :]


def _principal_factors(correlation: FloatArray, order: int) -> tuple[FloatArray, FloatArray]:
    """Loadings and specific variances of correlation matrices, by principal factors.

    From half the variance that the other levels leave unexplained (Joereskog 1967).
    """
    size = correlation.shape[1]
    index = np.arange(size)
    specific = (1.0 - 0.5 * order / size) / np.diagonal(
        np.linalg.inv(correlation), axis1=1, axis2=2
    )
    reduced = correlation.copy()
    for _ in range(_ITERATIONS):
        reduced[:, index, index] = 1.0 - specific
        values, vectors = np.linalg.eigh(reduced)
        scale = np.sqrt(np.maximum(values[:, None, -order:], 0.0))
        loadings = vectors[:, :, -order:] * scale
        previous, specific = specific, np.maximum(1.0 - (loadings**2).sum(axis=2), _SPECIFIC)
        if np.abs(specific - previous).max() < 1e-10:
            break
    return loadings, specific
