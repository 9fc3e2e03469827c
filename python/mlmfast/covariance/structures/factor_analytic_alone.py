"""Factor-analytic covariance without variances of its own for each level: FA0(q) of PROC MIXED."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure, lower_entries
from mlmfast.covariance.structures.unstructured import (
    Unstructured,
    product_curvature,
    product_jacobian,
)
from mlmfast.eigen import eigen
from mlmfast.errors import ModelError
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class FactorAnalyticAlone(CovarianceStructure):
    """G = Lambda Lambda', Lambda K x q with zeros above the diagonal; theta is Lambda by rows.

    Of rank q. With q = K every covariance matrix, as `us`, in the parameters that the guidance of
    the FDA on replicate bioequivalence studies names: TYPE=FA0(2) over two treatments. Columns of
    Lambda have their sign from the diagonal, which is not negative.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=FA0(q); FDA
    (2001), Guidance for Industry: Statistical Approaches to Establishing Bioequivalence, appendix
    E.

    Parameters
    ----------
    order
        Number q of factors; that of the levels by default.

    Examples
    --------
    >>> fa0 = FactorAnalyticAlone(2)
    >>> fa0.matrix(fa0.from_natural(np.array([[2.0, 1.0, 1.0]])))[0].tolist()
    [[4.0, 2.0], [2.0, 2.0]]
    """

    order: int | None = None

    keyword: ClassVar[str] = "fa0"
    space: ClassVar[str] = "fa0"
    label: ClassVar[str] = "factor analytic, factors alone"
    formula: ClassVar[str] = "sum_k lambda_ik lambda_jk"
    parameters: ClassVar[str] = "q (2 K - q + 1) / 2: loadings"
    use: ClassVar[str] = "as us, or effects with few common causes and nothing of their own"
    sas: ClassVar[str | None] = "FA0(q)"
    glmmtmb: ClassVar[str | None] = "rr"
    holds_sums: ClassVar[bool] = False
    option: ClassVar[str | None] = "order"
    option_names: ClassVar[tuple[str, ...]] = ("order", "k", "q")
    exchangeable: ClassVar[bool] = True
    scales: ClassVar[bool] = True
    first_theta: ClassVar[Literal["logarithm", "root"] | None] = "root"
    random_option: ClassVar[str | None] = "order"
    variances_by_level: ClassVar[bool] = False
    compared: ClassVar[Literal["always", "several columns", "never"]] = "never"
    contained_in: ClassVar[tuple[str, ...]] = ("us",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.rank <= self.size:
            raise ModelError(
                f"fa0({self.order}) over {self.size} levels: the number of factors must lie "
                f"between 1 and {self.size}"
            )

    @property
    def is_regular(self) -> bool:
        return self.rank == self.size

    @property
    def rank(self) -> int:
        """Number of factors."""
        return self.size if self.order is None else self.order

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

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        if self._whole is None:
            return super().chart(theta, weight)
        return self._whole.chart(theta, weight)

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        if self._whole is not None:
            return self._whole.move(theta, step)
        return self._signed(self._factor(theta + step))

    def move_far(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        if self._whole is None:
            return super().move_far(theta, step)
        return self._whole.move_far(theta, step)

    def scaled(self, theta: FloatArray, factor: FloatArray) -> FloatArray:
        rows = self._loadings[0]
        return np.asarray(theta * (factor if factor.shape[1] == 1 else factor[:, rows]))

    def at_boundary(self, theta: FloatArray, small: float) -> tuple[FloatArray, BoolArray]:
        # Of rank q by construction: at the boundary where it is less.
        values, vectors = eigen(self.matrix(theta))
        own = values[:, self.size - self.rank :]
        rows = np.asarray((own <= small).any(axis=1))
        out = theta.copy()
        if rows.any():
            kept = np.where(values <= small, 0.0, values)[rows]
            out[rows] = self.theta((vectors[rows] * kept[:, None, :]) @ vectors[rows].mT)
        return out, rows

    def theta(self, matrix: FloatArray) -> FloatArray:
        if self._whole is not None:
            return self._whole.theta(matrix)
        values, vectors = np.linalg.eigh(matrix)
        largest = np.sqrt(np.maximum(values[:, -self.rank :], 0.0))
        root = vectors[:, :, -self.rank :] * largest[:, None, :]
        return self._signed(np.asarray(np.linalg.qr(root.mT, mode="r")).mT)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(f"FA({a + 1},{b + 1})" for a, b in zip(*self._loadings, strict=True))

    def powers(self, theta: FloatArray) -> FloatArray:
        return np.full_like(theta, 0.5)

    def natural(self, theta: FloatArray) -> FloatArray:
        return theta.copy()

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        return np.repeat(np.eye(self.n_theta)[None], len(theta), axis=0)

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        return np.zeros((len(theta), *(self.n_theta,) * 3))

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self._check_natural(values)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise self._outside(values[~finite][0])
        return values.copy()

    @cached_property
    def _whole(self) -> Unstructured | None:
        """The same matrices where q = K, whose steps stay well conditioned near singular ones."""
        return Unstructured(self.size) if self.rank == self.size else None

    @cached_property
    def _loadings(self) -> tuple[IntArray, IntArray]:
        rows, columns = np.tril_indices(self.size, 0, self.rank)
        return rows, columns

    @cached_property
    def _places(self) -> tuple[IntArray, IntArray]:
        rows, columns = np.tril_indices(self.size)
        return rows, columns

    def _factor(self, theta: FloatArray) -> FloatArray:
        rows, columns = self._loadings
        factor = np.zeros((len(theta), self.size, self.rank))
        factor[:, rows, columns] = theta
        return factor

    def _signed(self, factor: FloatArray) -> FloatArray:
        rows, columns = self._loadings
        signs = np.where(np.diagonal(factor, axis1=1, axis2=2) < 0, -1.0, 1.0)
        return np.asarray((factor * signs[:, None, :])[:, rows, columns])
