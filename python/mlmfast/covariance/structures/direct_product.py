"""Direct product of two covariance structures: several outcomes at several visits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure, floor_eigenvalues, symmetric
from mlmfast.errors import ModelError
from mlmfast.running.cached import cached_property

#: Smallest eigenvalue of a lifted matrix, over the largest.
_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class DirectProduct(CovarianceStructure):
    """R[(i, k), (j, l)] = A[i, j] B[k, l], the variance B[0, 0] held at 1.

    Only one of A and B can carry the scale, so the first variance of B is held at 1. theta =
    (theta of A, theta of B without the first); natural parameters are A's, and B's without its
    first (variance) parameter.

    References: Galecki (1994), Communications in Statistics - Theory and Methods 23, 3105-3119;
    SAS/STAT User's Guide, The MIXED Procedure, REPEATED statement, TYPE=UN@AR(1).

    Parameters
    ----------
    outer, inner
        A and B; ``size`` is the product of their sizes.

    Examples
    --------
    >>> from mlmfast.covariance import STRUCTURES
    >>> product = DirectProduct(4, STRUCTURES["us"](2), STRUCTURES["ar1"](2))
    >>> theta = product.from_natural(np.array([[4.0, 1.0, 9.0, 0.5]]))
    >>> product.matrix(theta)[0, :, 0].round(12).tolist()
    [4.0, 2.0, 1.0, 0.5]
    """

    outer: CovarianceStructure
    inner: CovarianceStructure

    def __post_init__(self) -> None:
        if self.size != self.outer.size * self.inner.size:
            raise ModelError("the size of a direct product is the product of its factors' sizes")
        if self.inner.first_theta is None:
            raise ModelError(
                f"{self.inner.keyword!r} cannot be the second factor of a direct product, whose "
                "scale is held; write it first"
            )

    @cached_property
    def _pairs(self) -> tuple[tuple[tuple[int, int], ...], IntArray, IntArray]:
        """Entries of R, and the entries of A and of B behind each."""
        k, found = self.inner.size, []
        for e, (i, j) in enumerate(self.outer.entries):
            for f, (a, b) in enumerate(self.inner.entries):
                for c, d in {(a, b), (b, a)} if i != j else {(a, b)}:
                    found.append((i * k + c, j * k + d, e, f))
        found.sort()
        entries = tuple((row, column) for row, column, _, _ in found)
        behind = np.array(found, dtype=np.intp)
        return entries, behind[:, 2], behind[:, 3]

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return self._pairs[0]

    @property
    def n_theta(self) -> int:
        return self.outer.n_theta + self.inner.n_theta - 1

    def matrix(self, theta: FloatArray) -> FloatArray:
        rows, columns = np.array(self.entries, dtype=np.intp).T
        a, b = self._values(theta)
        return symmetric(a * b, self.size, rows, columns)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return self._derivatives(theta, np.zeros((len(theta), len(self.entries))), "plain")[0]

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        return self._derivatives(theta, weight, "plain")[1]

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        return self._derivatives(theta, weight, "chart")

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        n = self.outer.n_theta
        outer = self.outer.move(theta[:, :n], step[:, :n])
        return np.concatenate([outer, theta[:, n:] + step[:, n:]], axis=1)

    def theta(self, matrix: FloatArray) -> FloatArray:
        k, m = self.outer.size, self.inner.size
        blocks = matrix.reshape(len(matrix), k, m, k, m)
        # One step of a flip-flop: mean correlations within outer levels give B, then B gives A.
        inner = np.einsum("aikil,ai->akl", blocks, 1.0 / np.einsum("aikik->ai", blocks))
        inner = (inner + inner.mT) / (2.0 * inner[:, :1, :1])
        second = self.inner.theta(inner)[:, 1:]
        b = self.inner.matrix(self._with_held(second))
        outer = np.einsum("aikjl,akl->aij", blocks, np.linalg.inv(b)) / m
        first = self.outer.theta(_definite((outer + outer.mT) / 2))
        return np.concatenate([first, second], axis=1)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return (*self.outer.parameter_names, *self.inner.parameter_names[1:])

    def natural(self, theta: FloatArray) -> FloatArray:
        first, second = self._split(theta)
        inner = self.inner.natural(second)[:, 1:]
        return np.concatenate([self.outer.natural(first), inner], axis=1)

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        first, second = self._split(theta)
        n = self.outer.n_theta
        out = np.zeros((len(theta), self.n_theta, self.n_theta))
        out[:, :n, :n] = self.outer.natural_jacobian(first)
        out[:, n:, n:] = self.inner.natural_jacobian(second)[:, 1:, 1:]
        return out

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        first, second = self._split(theta)
        n = self.outer.n_theta
        out = np.zeros((len(theta), *(self.n_theta,) * 3))
        out[:, :n, :n, :n] = self.outer.natural_hessian(first)
        out[:, n:, n:, n:] = self.inner.natural_hessian(second)[:, 1:, 1:, 1:]
        return out

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.n_theta:
            raise ModelError(
                f"the direct product has {self.n_theta} parameters "
                f"({', '.join(self.parameter_names)}); found values of shape {values.shape}"
            )
        n = self.outer.n_theta
        rest = values[:, n:]
        unit = self.inner.first_of_unit(rest)
        inner = self.inner.from_natural(np.concatenate([unit, rest], axis=1))
        return np.concatenate([self.outer.from_natural(values[:, :n]), inner[:, 1:]], axis=1)

    def _with_held(self, second: FloatArray) -> FloatArray:
        """theta of B from its free ones: the first stands for the first standard deviation, 1."""
        held = 1.0 if self.inner.first_theta == "root" else 0.0
        return np.insert(second, 0, held, axis=1)

    def _split(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        n = self.outer.n_theta
        return theta[:, :n], self._with_held(theta[:, n:])

    def _values(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Entries of A and of B behind each entry of R."""
        first, second = self._split(theta)
        rows, columns = np.array(self.outer.entries, dtype=np.intp).T
        a = self.outer.matrix(first)[:, rows, columns]
        rows, columns = np.array(self.inner.entries, dtype=np.intp).T
        b = self.inner.matrix(second)[:, rows, columns]
        _, outer, inner = self._pairs
        return a[:, outer], b[:, inner]

    def _folded(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """weight'entries as a function of A alone and of B alone: weights of their entries."""
        a, b = self._values(theta)
        _, outer, inner = self._pairs
        by_outer = np.zeros((len(theta), len(self.outer.entries)))
        by_inner = np.zeros((len(theta), len(self.inner.entries)))
        np.add.at(by_outer.T, outer, (weight * b).T)
        np.add.at(by_inner.T, inner, (weight * a).T)
        return by_outer, by_inner

    def _join(
        self, theta: FloatArray, by_outer: FloatArray, by_inner: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Jacobian of R from those of A and B; derivatives of A and of B at each entry of R."""
        a, b = self._values(theta)
        _, outer, inner = self._pairs
        own, its = by_outer[:, outer], by_inner[:, inner, 1:]
        jacobian = np.concatenate([own * b[:, :, None], its * a[:, :, None]], axis=2)
        return jacobian, own, its

    def _derivatives(
        self, theta: FloatArray, weight: FloatArray, how: str
    ) -> tuple[FloatArray, FloatArray]:
        first, second = self._split(theta)
        by_outer, by_inner = self._folded(theta, weight)
        if how == "chart":
            local, own_second = self.outer.chart(first, by_outer)
        else:
            local = self.outer.jacobian(first)
            own_second = self.outer.curvature(first, by_outer)
        jacobian, own, its = self._join(theta, local, self.inner.jacobian(second))
        n = self.outer.n_theta
        out = np.zeros((len(theta), self.n_theta, self.n_theta))
        out[:, :n, :n] = own_second
        out[:, n:, n:] = self.inner.curvature(second, by_inner)[:, 1:, 1:]
        out[:, :n, n:] = (own * weight[:, :, None]).mT @ its
        out[:, n:, :n] = out[:, :n, n:].mT
        return jacobian, out


def _definite(matrix: FloatArray) -> FloatArray:
    """Matrices as they are; those that are indefinite, far from any product, lifted."""
    return np.where(
        np.linalg.eigvalsh(matrix)[:, :1, None] > 0.0,
        matrix,
        floor_eigenvalues(matrix, _LEAST, 1e-300),
    )
