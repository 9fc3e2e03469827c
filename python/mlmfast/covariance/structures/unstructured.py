"""Unstructured covariance: every variance and covariance free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure, lower_entries
from mlmfast.covariance.jet import Jet
from mlmfast.covariance.opened import opened_entries

#: Order up to which the core has steps of its own.
_SMALL = 3
#: Order from which a product with the Jacobian is cheaper two factors at a time.
_LARGE = 20


@dataclass(frozen=True)
class Unstructured(CovarianceStructure):
    """G = L L' with L lower triangular; theta is L by rows.

    The factor, not its logarithm: a variance of 0 is then an interior stationary point that
    Newton reaches in finitely many steps (Bates et al. 2015, section 2.1). Steps are taken in the
    eigenvectors Q of G, G = Q (D + C)(D + C)'Q' with C lower triangular and D descending: near a
    singular G the plain factor has a circular valley where l_11 is about 0, this one has none.

    Examples
    --------
    >>> Unstructured(2).matrix(np.array([[2.0, 1.0, 1.0]]))[0].tolist()
    [[4.0, 2.0], [2.0, 2.0]]
    """

    keyword: ClassVar[str] = "us"
    space: ClassVar[str] = "us"
    label: ClassVar[str] = "unstructured"
    formula: ClassVar[str] = "sigma_ij"
    parameters: ClassVar[str] = "K (K + 1) / 2: the elements"
    use: ClassVar[str] = "few levels and many clusters: nothing assumed"
    sas: ClassVar[str | None] = "UN"
    mmrm: ClassVar[str | None] = "us"
    nlme: ClassVar[str | None] = "corSymm + varIdent, pdSymm"
    glmmtmb: ClassVar[str | None] = "us"
    mixes: ClassVar[bool] = True
    natural_entries: ClassVar[bool] = True
    scales: ClassVar[bool] = True
    exchangeable: ClassVar[bool] = True
    first_theta: ClassVar[Literal["logarithm", "root"] | None] = "root"
    named_by_effects: ClassVar[bool] = True

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        return lower_entries(self.size)

    def frees_combinations(self, levels: Sequence[int]) -> bool:
        return True

    @property
    def n_theta(self) -> int:
        return self.size * (self.size + 1) // 2

    @property
    def has_core_chart(self) -> bool:
        return 0 < self.size <= _SMALL

    def opened(self) -> CovarianceStructure:
        return opened_entries(self)

    def matrix(self, theta: FloatArray) -> FloatArray:
        if 0 < self.size <= _SMALL:
            return _core.unstructured_matrices(self.size, np.ascontiguousarray(theta))
        factor = self._factor(theta)
        return np.asarray(factor @ factor.mT)

    def jacobian(self, theta: FloatArray) -> FloatArray:
        return product_jacobian(self._factor(theta), _lower(self.size), _lower(self.size))

    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        return product_curvature(self._weight(weight), _lower(self.size))

    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        if self.size == 1:
            return 2 * theta[:, :, None], 2 * weight[:, :, None]
        if self.size <= _SMALL:
            parts = (np.ascontiguousarray(part) for part in (theta, weight))
            return _core.unstructured_chart(self.size, *parts)
        rows, columns = _lower(self.size)
        vectors, d, _ = np.linalg.svd(self._factor(theta))
        # dG / dC_ij = d_j (q_i q_j' + q_j q_i')
        left, right = vectors[:, :, rows], vectors[:, :, columns] * d[:, None, columns]
        jacobian = left[:, rows] * right[:, columns] + right[:, rows] * left[:, columns]
        return jacobian, self._bend(vectors, weight)

    @property
    def pulls(self) -> bool:
        return self.size >= _LARGE

    def pull(self, theta: FloatArray, rows: FloatArray) -> FloatArray:
        """Each row as a matrix S: Q'(S + S')Q D, in 4 K^3 operations instead of K^4 / 2."""
        if not self.pulls:
            return super().pull(theta, rows)
        below, columns = _lower(self.size)
        out = np.empty_like(rows)
        for fit, (factor, own) in enumerate(zip(self._factor(theta), rows, strict=True)):
            vectors, d, _ = np.linalg.svd(factor)
            for stretch in _stretches(len(own), self.size):
                s = self._factor(own[stretch])
                rotated = vectors.T @ (s + s.mT) @ vectors
                out[fit, stretch] = rotated[:, below, columns] * d[columns]
        return out

    def bend(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        if self.size <= _SMALL:
            return super().bend(theta, weight)
        return self._bend(np.linalg.svd(self._factor(theta))[0], weight)

    def _bend(self, vectors: FloatArray, weight: FloatArray) -> FloatArray:
        """d2 tr(S G) / dC_ij dC_kl = 2 (Q'S Q)_ik where j = l."""
        rows, columns = _lower(self.size)
        s = self._weight(weight)
        rotated = vectors.mT @ (s + s.mT) @ vectors
        return np.asarray(rotated[:, rows[:, None], rows[None, :]] * (columns[:, None] == columns))

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        if self.size == 1:
            return np.asarray(np.abs(theta + step))
        if self.size <= _SMALL:
            parts = (np.ascontiguousarray(part) for part in (theta, step))
            return _core.unstructured_move(self.size, *parts)
        rows, columns = _lower(self.size)
        vectors, d, _ = np.linalg.svd(self._factor(theta))
        inner = np.zeros((len(theta), self.size, self.size))
        inner[:, rows, columns] = step
        index = np.arange(self.size)
        inner[:, index, index] += d
        return self._triangular(vectors @ inner)

    def move_far(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        rows, columns = _lower(self.size)
        _, d, _ = np.linalg.svd(self._factor(theta))
        own = np.flatnonzero(rows == columns)
        out = step.copy()
        out[:, own] = d * np.expm1(step[:, own] / np.maximum(d, 1e-300))
        return self.move(theta, out)

    def move_far_by_theta(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        rows, columns = _lower(self.size)
        on = rows == columns
        out = theta + step
        out[:, on] = shrunk_roots(theta[:, on], step[:, on])
        return out

    def scaled(self, theta: FloatArray, factor: FloatArray) -> FloatArray:
        rows, _ = _lower(self.size)
        return theta * (factor if factor.shape[1] == 1 else factor[:, rows])

    def theta(self, matrix: FloatArray) -> FloatArray:
        # A root by eigenvectors exists for singular matrices too.
        if 0 < self.size <= _SMALL:
            return _core.unstructured_theta(np.ascontiguousarray(matrix))
        values, vectors = np.linalg.eigh(matrix)
        return self._triangular(vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :])

    def near_entries(self, entries: FloatArray, lift: float) -> tuple[FloatArray, BoolArray]:
        if not 0 < self.size <= _SMALL:
            return super().near_entries(entries, lift)
        own = np.ascontiguousarray(entries)
        theta, negative = _core.unstructured_nearest(self.size, own, lift)
        return theta, negative > 0.0

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(f"UN({a + 1},{b + 1})" for a, b in self.entries)

    def natural(self, theta: FloatArray) -> FloatArray:
        rows, columns = _lower(self.size)
        return np.asarray(self.matrix(theta)[:, rows, columns])

    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        return self.jacobian(theta)

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        return self.entry_hessians(theta)

    def natural_jet(self, theta: FloatArray) -> Jet:
        return self.entry_jet(theta)

    def from_natural(self, values: FloatArray) -> FloatArray:
        values = self._check_natural(values)
        rows, columns = _lower(self.size)
        matrix = np.zeros((len(values), self.size, self.size))
        matrix[:, rows, columns] = matrix[:, columns, rows] = values
        if not np.isfinite(values).all():
            raise self._outside(values)
        eigenvalues = np.linalg.eigvalsh(matrix)
        outside = eigenvalues[:, 0] < -1e-12 * np.abs(eigenvalues[:, -1])
        if outside.any():
            raise self._outside(values[outside][0])
        return self.theta(matrix)

    def _triangular(self, root: FloatArray) -> FloatArray:
        """theta of G = root root': a QR factorization, diagonal not negative."""
        rows, columns = _lower(self.size)
        factor = np.asarray(np.linalg.qr(root.mT, mode="r")).mT
        diagonal = np.diagonal(factor, axis1=1, axis2=2)
        factor = factor * np.where(diagonal < 0, -1.0, 1.0)[:, None, :]
        return np.asarray(factor[:, rows, columns])

    def _factor(self, theta: FloatArray) -> FloatArray:
        factor = np.zeros((len(theta), self.size, self.size))
        rows, columns = _lower(self.size)
        factor[:, rows, columns] = theta
        return factor

    #: Values at the lower triangle, whatever they are.
    _weight = _factor


def _stretches(n: int, size: int) -> list[slice]:
    """Stretches of n matrices of an order that are turned together: 8 MB each."""
    step = max(1, 1_000_000 // size**2)
    return [slice(first, first + step) for first in range(0, n, step)]


@cache
def _lower(size: int) -> tuple[IntArray, IntArray]:
    rows, columns = np.tril_indices(size)
    return rows, columns


def shrunk_roots(roots: FloatArray, step: FloatArray) -> FloatArray:
    """Roots a long step away: one on its way to 0 shrinks, and does not come out beyond."""
    falls = roots * step < 0.0
    ratio = np.divide(step, roots, out=np.zeros_like(step), where=falls)
    return np.asarray(np.where(falls, roots * np.exp(ratio), roots + step))


def product_jacobian(
    factor: FloatArray, elements: tuple[IntArray, IntArray], entries: tuple[IntArray, IntArray]
) -> FloatArray:
    """Derivatives of entries of L L' by elements of L, shape (n_fits, n_entries, n_elements).

    Parameters
    ----------
    factor : shape (n_fits, K, k)
    elements, entries : rows and columns

    Examples
    --------
    >>> one = np.array([0]), np.array([0])
    >>> product_jacobian(np.array([[[3.0]]]), one, one).tolist()
    [[[6.0]]]
    """
    (rows, columns), (a, b) = elements, entries
    # d(L L') / dL_ij = e_i l_j' + l_j e_i', l_j column j of L
    column = factor[:, :, columns]
    return np.asarray((a[:, None] == rows) * column[:, b] + (b[:, None] == rows) * column[:, a])


def product_curvature(weight: FloatArray, elements: tuple[IntArray, IntArray]) -> FloatArray:
    """Second derivatives of tr(S L L') by elements of L, shape (n_fits, n_elements, n_elements).

    Parameters
    ----------
    weight : S, shape (n_fits, K, K), not necessarily symmetric
    elements : rows and columns
    """
    rows, columns = elements
    symmetric = weight + weight.mT
    same_column = columns[:, None] == columns
    return np.asarray(symmetric[:, rows[:, None], rows[None, :]] * same_column)
