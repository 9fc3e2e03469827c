"""Loadings on common factors, Lambda K x k with zeros above the diagonal: `fa`, `fa0`, `rr`."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure, lower_entries
from mlmfast.covariance.natural_coordinates import NaturalCoordinates
from mlmfast.covariance.structures.unstructured import product_curvature, product_jacobian
from mlmfast.errors import ModelError
from mlmfast.running.cached import cached_property
from mlmfast.running.interruptible import interruptible

#: What a level has of its own, over the largest level, that is rounding.
_SPARE = 1e-9


@dataclass(frozen=True)
class Loadings(CovarianceStructure):
    """A covariance of which Lambda Lambda' is a part; loadings stand by rows in theta."""

    holds_sums: ClassVar[bool] = False
    option: ClassVar[str | None] = "order"
    option_names: ClassVar[tuple[str, ...]] = ("order", "k", "q")
    random_option: ClassVar[str | None] = "order"
    exchangeable: ClassVar[bool] = True
    scales: ClassVar[bool] = True
    variances_by_level: ClassVar[bool] = False
    contained_in: ClassVar[tuple[str, ...]] = ("us",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.n_factors <= self.size:
            raise ModelError(
                f"{self.keyword}({self.n_factors}) over {self.size} levels: the number of factors "
                f"must lie between 1 and {self.size}"
            )

    @property
    @abstractmethod
    def n_factors(self) -> int:
        """Number k of factors."""

    @cached_property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return lower_entries(self.size)

    @property
    def loading_names(self) -> tuple[str, ...]:
        """PROC MIXED's names of the loadings."""
        return tuple(f"FA({a + 1},{b + 1})" for a, b in zip(*self.loadings, strict=True))

    @cached_property
    def loadings(self) -> tuple[IntArray, IntArray]:
        """Rows and columns of the free loadings."""
        rows, columns = np.tril_indices(self.size, 0, self.n_factors)
        return rows, columns

    @cached_property
    def places(self) -> tuple[IntArray, IntArray]:
        """Rows and columns of the entries."""
        rows, columns = np.tril_indices(self.size)
        return rows, columns

    def factor(self, loadings: FloatArray) -> FloatArray:
        """Lambda (n_fits, K, k) of the loadings by rows."""
        rows, columns = self.loadings
        out = np.zeros((len(loadings), self.size, self.n_factors))
        out[:, rows, columns] = loadings
        return out

    def signed(self, factor: FloatArray) -> FloatArray:
        """The loadings by rows, with columns whose diagonal is not negative."""
        rows, columns = self.loadings
        signs = np.where(np.diagonal(factor, axis1=1, axis2=2) < 0, -1.0, 1.0)
        return np.asarray((factor * signs[:, None, :])[:, rows, columns])

    def rotated(self, root: FloatArray) -> FloatArray:
        """The loadings by rows of root root', root (n_fits, K, k)."""
        return self.signed(np.asarray(np.linalg.qr(root.mT, mode="r")).mT)

    def echelon(self, root: FloatArray) -> FloatArray:
        """The loadings by rows of root root' of lower rank, root (K, k): spare factors are 0.

        Every factor begins at the first level that those before it do not make up. A QR
        factorization would leave the root of rounding in what is 0.
        """
        out = np.zeros((self.size, self.n_factors))
        basis = np.zeros((self.n_factors, root.shape[1]))
        smallest, found = _SPARE * np.sqrt((root**2).sum(axis=1)).max(initial=0.0), 0
        for level, row in enumerate(root):
            left = row
            for _ in range(2):
                own = basis @ left
                left = left - own @ basis
                out[level] += own
            length = np.sqrt(left @ left)
            if length > smallest and found < self.n_factors:
                basis[found], out[level, found] = left / length, length
                found += 1
        return np.asarray(out[self.loadings])

    def weights_of_entries(self, weight: FloatArray) -> FloatArray:
        """Weights of the entries as matrices, (n_fits, K, K), 0 above the diagonal."""
        out = np.zeros((len(weight), self.size, self.size))
        out[:, self.places[0], self.places[1]] = weight
        return out


@dataclass(frozen=True)
class LoadingsAlone(NaturalCoordinates, Loadings):
    """G = Lambda Lambda': of rank k; theta is Lambda by rows, the natural parameters too."""

    @property
    def n_theta(self) -> int:
        return len(self.loadings[0])

    def matrix(self, theta: FloatArray) -> FloatArray:
        factor = self.factor(theta)
        return np.asarray(factor @ factor.mT)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return product_jacobian(self.factor(theta), self.loadings, self.places)

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        return product_curvature(self.weights_of_entries(weight), self.loadings)

    def theta(self, matrix: FloatArray) -> FloatArray:
        # The nearest matrix of the rank.
        values, vectors = np.linalg.eigh(matrix)
        scale = np.sqrt(np.maximum(values[:, None, -self.n_factors :], 0.0))
        return self.rotated(vectors[:, :, -self.n_factors :] * scale)

    def at_boundary(self, theta: FloatArray, small: float) -> tuple[FloatArray, BoolArray]:
        """Where the rank is below that of the structure: a factor too many."""
        vectors, d, _ = interruptible(np.linalg.svd, self.factor(theta), full_matrices=False)
        below = np.asarray((d**2 <= small).any(axis=1))
        out = theta.copy()
        for row in np.flatnonzero(below):
            out[row] = self.echelon(vectors[row] * np.where(d[row] ** 2 <= small, 0.0, d[row]))
        return out, below

    def scaled(self, theta: FloatArray, factor: FloatArray) -> FloatArray:
        return np.asarray(theta * (factor if factor.shape[1] == 1 else factor[:, self.loadings[0]]))

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return self.loading_names

    def powers(self, theta: FloatArray) -> FloatArray | None:
        return np.full_like(theta, 0.5)
