"""Factor-analytic covariance without variances of its own for each level: FA0(q) of PROC MIXED."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.base import CovarianceStructure
from mlmfast.covariance.factor_analytic.loadings import LoadingsAlone
from mlmfast.covariance.jet import Jet, concatenate
from mlmfast.covariance.structures.unstructured import Unstructured
from mlmfast.running.cached import cached_property

#: Diagonal loading, over the largest, below which a factor has no derivatives by the covariances.
_SINGULAR = 1e-7


@dataclass(frozen=True)
class FactorAnalyticAlone(LoadingsAlone):
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
    by_loadings
        Whether steps are those of the loadings where q = K, too.

    Examples
    --------
    >>> fa0 = FactorAnalyticAlone(2)
    >>> fa0.matrix(fa0.from_natural(np.array([[2.0, 1.0, 1.0]])))[0].tolist()
    [[4.0, 2.0], [2.0, 2.0]]
    """

    order: int | None = None
    by_loadings: bool = False

    keyword: ClassVar[str] = "fa0"
    space: ClassVar[str] = "fa0"
    label: ClassVar[str] = "factor analytic, factors alone"
    formula: ClassVar[str] = "sum_k lambda_ik lambda_jk"
    parameters: ClassVar[str] = "q (2 K - q + 1) / 2: loadings"
    use: ClassVar[str] = "as us, or effects with few common causes and nothing of their own"
    sas: ClassVar[str | None] = "FA0(q)"
    glmmtmb: ClassVar[str | None] = "rr"
    first_theta: ClassVar[Literal["logarithm", "root"] | None] = "root"
    compared: ClassVar[Literal["always", "several columns", "never"]] = "never"

    @property
    def is_regular(self) -> bool:
        return self.n_factors == self.size

    def frees_combinations(self, levels: Sequence[int]) -> bool:
        return self._whole is not None

    @property
    def n_factors(self) -> int:
        return self.size if self.order is None else self.order

    def by_parameters(self) -> CovarianceStructure:
        # Near a singular matrix the entries tell a loading as a root of rounding.
        return replace(self, by_loadings=True)

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        if self._whole is None:
            return super().chart(theta, weight)
        return self._whole.chart(theta, weight)

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        if self._whole is not None:
            return self._whole.move(theta, step)
        return self.signed(self.factor(theta + step))

    def move_far(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        if self._whole is None:
            return super().move_far(theta, step)
        return self._whole.move_far(theta, step)

    def move_far_by_theta(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        if self._whole is None:
            return super().move_far(theta, step)
        return self._whole.move_far_by_theta(theta, step)

    def theta(self, matrix: FloatArray) -> FloatArray:
        if self._whole is not None:
            return self._whole.theta(matrix)
        return super().theta(matrix)

    def natural_jet(self, theta: FloatArray) -> Jet:
        plain = super().natural_jet(theta)
        if self._whole is None:
            return plain
        # Local coordinates are those of `us`: loadings by these through the entries of G.
        diagonal = np.abs(np.diagonal(self.factor(theta), axis1=1, axis2=2))
        regular = diagonal.min(axis=1) > _SINGULAR * diagonal.max(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            signs = np.where(np.diagonal(self.factor(theta), axis1=1, axis2=2) < 0, -1.0, 1.0)
            found = _cholesky(self._whole.entry_jet(theta), self.size) * signs[:, self.loadings[1]]
        return Jet(
            plain.value,
            np.where(regular[:, None, None], found.first, plain.first),
            np.where(regular[:, None, None, None], found.second, plain.second),
        )

    @cached_property
    def _whole(self) -> Unstructured | None:
        """The same matrices where q = K, whose steps stay well conditioned near singular ones."""
        full = self.n_factors == self.size and not self.by_loadings
        return Unstructured(self.size) if full else None


def _cholesky(entries: Jet, size: int) -> Jet:
    """The elements of L by rows, with derivatives, from those of L L' by rows."""
    out: list[Jet] = []

    def at(row: int, column: int) -> Jet:
        return out[row * (row + 1) // 2 + column]

    for row in range(size):
        for column in range(row + 1):
            place = row * (row + 1) // 2 + column
            rest = entries[slice(place, place + 1)]
            for k in range(column):
                mine = at(row, k)
                rest = rest - mine * (mine if row == column else at(column, k))
            if row == column:
                root = np.sqrt(rest.value)
                out.append(rest.through(root, 0.5 / root, -0.25 / root**3))
            else:
                pivot = at(column, column)
                inverse = 1.0 / pivot.value
                out.append(rest * pivot.through(inverse, -(inverse**2), 2.0 * inverse**3))
    return concatenate(out)
