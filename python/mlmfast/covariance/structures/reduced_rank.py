"""Reduced rank covariance: a few common factors and nothing besides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure, lower_entries
from mlmfast.covariance.structures.unstructured import product_curvature, product_jacobian
from mlmfast.errors import ModelError
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class ReducedRank(CovarianceStructure):
    """G = Lambda Lambda', Lambda K x k with zeros above the diagonal: of rank k by design.

    theta is Lambda by rows, the natural parameters too; the signs of its columns are arbitrary.
    With k = K it is unstructured. glmmTMB's `rr`, PROC MIXED's FA0(q) of fewer factors than levels.

    References: Hui et al. (2015), Methods in Ecology and Evolution 6, 399-411; SAS/STAT User's
    Guide, The MIXED Procedure, TYPE=FA0(q).

    Parameters
    ----------
    order
        Number k of factors.

    Examples
    --------
    >>> rr = ReducedRank(3, order=1)
    >>> rr.matrix(np.array([[1.0, 2.0, 3.0]]))[0].tolist()
    [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 6.0, 9.0]]
    """

    order: int = 2

    keyword: ClassVar[str] = "rr"
    space: ClassVar[str] = "rr"
    label: ClassVar[str] = "reduced rank"
    formula: ClassVar[str] = "sum_k lambda_ik lambda_jk"
    parameters: ClassVar[str] = "k (2 K - k + 1) / 2: loadings"
    use: ClassVar[str] = "random effects of many levels by few latent variables"
    glmmtmb: ClassVar[str | None] = "rr"
    compared: ClassVar[Literal["always", "several columns", "never"]] = "never"
    for_residuals: ClassVar[bool] = False
    holds_sums: ClassVar[bool] = False
    option: ClassVar[str | None] = "order"
    option_names: ClassVar[tuple[str, ...]] = ("order", "k", "q", "d")
    random_option: ClassVar[str | None] = "order"
    exchangeable: ClassVar[bool] = True
    scales: ClassVar[bool] = True
    variances_by_level: ClassVar[bool] = False
    contained_in: ClassVar[tuple[str, ...]] = ("us", "fa")
    minimum_size: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.order <= self.size:
            raise ModelError(
                f"rr({self.order}) over {self.size} levels: the rank must lie between 1 and "
                f"{self.size}"
            )

    @cached_property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return lower_entries(self.size)

    @property
    def n_theta(self) -> int:
        return len(self._loadings[0])

    def matrix(self, theta: FloatArray) -> FloatArray:
        factor = self._factor(theta)
        return np.asarray(factor @ factor.mT)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return product_jacobian(self._factor(theta), self._loadings, self._places)

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        rows, columns = self._places
        s = np.zeros((len(theta), self.size, self.size))
        s[:, rows, columns] = weight
        return product_curvature(s, self._loadings)

    def theta(self, matrix: FloatArray) -> FloatArray:
        # The nearest matrix of the rank, rotated to zeros above the diagonal.
        values, vectors = np.linalg.eigh(matrix)
        scale = np.sqrt(np.maximum(values[:, None, -self.order :], 0.0))
        factor = np.asarray(np.linalg.qr((vectors[:, :, -self.order :] * scale).mT, mode="r")).mT
        signs = np.where(np.diagonal(factor, axis1=1, axis2=2) < 0, -1.0, 1.0)
        rows, columns = self._loadings
        return np.asarray((factor * signs[:, None, :])[:, rows, columns])

    def scaled(self, theta: FloatArray, factor: FloatArray) -> FloatArray:
        if factor.shape[1] == 1:
            return theta * factor
        return np.asarray(theta * factor[:, self._loadings[0]])

    def at_boundary(self, theta: FloatArray, small: float) -> tuple[FloatArray, BoolArray]:
        """Where the rank is below that of the structure: a factor too many."""
        factor = self._factor(theta)
        values = np.linalg.eigvalsh(factor.mT @ factor)
        below = np.asarray(values[:, 0] <= small)
        out = theta.copy()
        absent = (factor**2).sum(axis=1) <= small
        out[absent[:, self._loadings[1]]] = 0.0
        return out, below

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(f"FA({a + 1},{b + 1})" for a, b in zip(*self._loadings, strict=True))

    def natural(self, theta: FloatArray) -> FloatArray:
        return theta.copy()

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        return np.repeat(np.eye(self.n_theta)[None], len(theta), axis=0)

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        return np.zeros((len(theta), self.n_theta, self.n_theta, self.n_theta))

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self._check_natural(values)
        outside = ~np.isfinite(values).all(axis=1)
        if outside.any():
            raise self._outside(values[outside][0])
        return values.copy()

    def powers(self, theta: FloatArray) -> FloatArray | None:
        return np.full(theta.shape, 0.5)

    @cached_property
    def _loadings(self) -> tuple[IntArray, IntArray]:
        """Rows and columns of the free loadings."""
        rows, columns = np.tril_indices(self.size, 0, self.order)
        return rows, columns

    @cached_property
    def _places(self) -> tuple[IntArray, IntArray]:
        rows, columns = np.tril_indices(self.size)
        return rows, columns

    def _factor(self, theta: FloatArray) -> FloatArray:
        rows, columns = self._loadings
        factor = np.zeros((len(theta), self.size, self.order))
        factor[:, rows, columns] = theta
        return factor
