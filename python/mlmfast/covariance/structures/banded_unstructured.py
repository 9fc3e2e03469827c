"""Unstructured covariance within a band, 0 outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure, symmetric
from mlmfast.covariance.by_lag import ByLag, banded_entries
from mlmfast.covariance.other_parameters import OtherParameters
from mlmfast.covariance.scaled_correlation import shrink_factor
from mlmfast.covariance.structures.unstructured import product_curvature, product_jacobian
from mlmfast.eigen import is_singular
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class BandedUnstructured(ByLag):
    """R = L L' with L lower triangular and banded, R[i, j] = 0 from lag ``order`` on.

    Levels may leave out steps (``places``): a lag is the number of steps between them.

    theta is L by rows, the diagonal by its logarithm: R is positive definite whatever theta, and
    every positive definite matrix of this band has such a factor (it is a Cholesky factor without
    fill). Natural parameters are the entries.

    References: SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=UN(q).

    Parameters
    ----------
    order
        Number of bands, the diagonal included; all of them by default.

    Examples
    --------
    >>> un = BandedUnstructured(3, order=2)
    >>> theta = un.from_natural(np.array([[4.0, 2.0, 5.0, -1.0, 3.0]]))
    >>> un.matrix(theta)[0].round(12).tolist()
    [[4.0, 2.0, 0.0], [2.0, 5.0, -1.0], [0.0, -1.0, 3.0]]
    """

    order: int | None = None

    keyword: ClassVar[str] = "un"
    space: ClassVar[str] = "un"
    label: ClassVar[str] = "banded unstructured"
    formula: ClassVar[str] = "sigma_ij 1(|i - j| < q)"
    parameters: ClassVar[str] = "q (2 K - q + 1) / 2: the elements within the band"
    use: ClassVar[str] = "ordered levels, nothing assumed but independence beyond a lag"
    sas: ClassVar[str | None] = "UN(q)"
    scales: ClassVar[bool] = True
    option: ClassVar[str | None] = "order"
    option_names: ClassVar[tuple[str, ...]] = ("order", "q")
    unnumbered: ClassVar[str | None] = "us"

    natural_entries: ClassVar[bool] = True
    first_theta: ClassVar[Literal["logarithm", "root"] | None] = "logarithm"
    random_option: ClassVar[str | None] = "order"
    contains_residual: ClassVar[bool] = True
    compared: ClassVar[Literal["always", "several columns", "never"]] = "never"
    contained_in: ClassVar[tuple[str, ...]] = ("us",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_bands(self.order)

    @classmethod
    def counts_steps(cls, number: float | None) -> bool:
        # All bands are all entries, in whatever order.
        return number is not None and number > 1

    @classmethod
    def is_diagonal(cls, number: float | None) -> bool:
        return number == 1

    def frees_combinations(self, levels: Sequence[int]) -> bool:
        # Within the band every covariance is free, and those with other levels may be 0.
        within = {*self.entries}
        return all((max(a, b), min(a, b)) in within for a in levels for b in levels)

    @cached_property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return banded_entries(self.standing, self.order)

    @property
    def n_theta(self) -> int:
        return len(self.entries)

    def matrix(self, theta: FloatArray) -> FloatArray:
        factor = self._factor(theta)
        return np.asarray(factor @ factor.mT)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        plain = product_jacobian(self._factor(theta), self._places, self._places)
        return np.asarray(plain * self._slopes(theta)[:, None, :])

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        factor, slopes = self._factor(theta), self._slopes(theta)
        rows, columns = self._places
        s = np.zeros_like(factor)
        s[:, rows, columns] = weight
        plain = product_curvature(s, self._places)
        out = plain * slopes[:, :, None] * slopes[:, None, :]
        # log of the diagonal: its second derivative is the diagonal again.
        first = ((s + s.mT) @ factor)[:, rows, columns]
        index = np.arange(self.n_theta)
        out[:, index, index] += np.where(self._diagonal, first * slopes, 0.0)
        return np.asarray(out)

    def theta(self, matrix: FloatArray) -> FloatArray:
        rows, columns = self._places
        sd = np.sqrt(np.diagonal(matrix, axis1=1, axis2=2))
        scale = sd[:, rows] * sd[:, columns]
        correlation = matrix[:, rows, columns] / scale
        full = symmetric(correlation, self.size, rows, columns)
        correlation *= np.where(self._diagonal, 1.0, shrink_factor(full))
        return self.from_natural(correlation * scale)

    def closed(self) -> CovarianceStructure:
        return ClosedBanded(self.size, self)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(f"UN({a + 1},{b + 1})" for a, b in self.entries)

    def natural(self, theta: FloatArray) -> FloatArray:
        rows, columns = self._places
        return np.asarray(self.matrix(theta)[:, rows, columns])

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        return self.jacobian(theta)

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        return self.entry_hessians(theta)

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self._check_natural(values)
        rows, columns = self._places
        matrices = symmetric(values, self.size, rows, columns)
        if not np.isfinite(values).all():
            raise self._outside(values[~np.isfinite(values).all(axis=1)][0])
        try:
            out = np.asarray(np.linalg.cholesky(matrices)[:, rows, columns], dtype=np.float64)
        except np.linalg.LinAlgError:
            worst = np.argmin(np.linalg.eigvalsh(matrices)[:, 0])
            raise self._outside(values[worst]) from None
        out[:, self._diagonal] = np.log(out[:, self._diagonal])
        return out

    @cached_property
    def _places(self) -> tuple[IntArray, IntArray]:
        rows, columns = np.array(self.entries, dtype=np.intp).T
        return rows, columns

    @cached_property
    def _diagonal(self) -> BoolArray:
        rows, columns = self._places
        return np.asarray(rows == columns)

    def _slopes(self, theta: FloatArray) -> FloatArray:
        """Derivative of each element of L by its theta."""
        out = np.ones_like(theta)
        out[:, self._diagonal] = np.exp(theta[:, self._diagonal])
        return out

    def _factor(self, theta: FloatArray) -> FloatArray:
        rows, columns = self._places
        factor = np.zeros((len(theta), self.size, self.size))
        factor[:, rows, columns] = np.where(self._diagonal, self._slopes(theta), theta)
        return factor


@dataclass(frozen=True)
class ClosedBanded(OtherParameters):
    """R = L L' with the diagonal of the banded L as it stands, 0 included.

    Examples
    --------
    >>> BandedUnstructured(2, 1).closed().matrix(np.array([[2.0, 0.0]]))[0].tolist()
    [[4.0, 0.0], [0.0, 0.0]]
    """

    structure: BandedUnstructured

    def matrix(self, theta: FloatArray) -> FloatArray:
        factor = self._factor(theta)
        return np.asarray(factor @ factor.mT)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        places = self.structure._places
        return product_jacobian(self._factor(theta), places, places)

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        return product_curvature(self._factor(weight), self.structure._places)

    def theta(self, matrix: FloatArray) -> FloatArray:
        small = 1e-12 * np.abs(matrix).max(axis=(1, 2)) + 1e-300
        inside = self.structure.theta(matrix + small[:, None, None] * np.eye(self.size))
        return np.where(self.structure._diagonal, self.structure._slopes(inside), inside)

    def scaled(self, theta: FloatArray, factor: FloatArray) -> FloatArray:
        rows, _ = self.structure._places
        return theta * (factor if factor.shape[1] == 1 else factor[:, rows])

    def at_boundary(self, theta: FloatArray, small: float) -> tuple[FloatArray, BoolArray]:
        _, columns = self.structure._places
        factor = self._factor(theta)
        diagonal = np.diagonal(factor, axis1=1, axis2=2)
        # Either a column of L vanishes or only its first element.
        column = (factor**2).sum(axis=1) <= small
        zero = column[:, columns] | (
            self.structure._diagonal & (diagonal[:, columns] ** 2 <= small)
        )
        out = np.where(zero, 0.0, theta)
        return out, is_singular(self.matrix(out), small)

    def natural(self, theta: FloatArray) -> FloatArray:
        rows, columns = self.structure._places
        return np.asarray(self.matrix(theta)[:, rows, columns])

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        return self.jacobian(theta)

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        return self.entry_hessians(theta)

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self.structure._check_natural(values)
        # Singular matrices are inside here: lifted by rounding error they have a factor.
        small = 1e-12 * np.abs(values).max(axis=1, keepdims=True) + 1e-300
        inside = self.structure.from_natural(values + small * self.structure._diagonal)
        return np.where(self.structure._diagonal, self.structure._slopes(inside), inside)

    def _factor(self, elements: FloatArray) -> FloatArray:
        rows, columns = self.structure._places
        factor = np.zeros((len(elements), self.size, self.size))
        factor[:, rows, columns] = elements
        return factor
