"""The ML / REML criterion as a function of theta, from the core's derivatives by entries of G."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlmfast import _core
from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure, floor_eigenvalues
from mlmfast.newton import Derivatives


@dataclass(frozen=True)
class TermBlock:
    """One random-effects term: where its G stands in the G of its level."""

    structure: CovarianceStructure
    level: int
    first: int

    @property
    def stretch(self) -> slice:
        """Rows of the level's G that belong to the term."""
        return slice(self.first, self.first + self.structure.size)


@dataclass(frozen=True)
class Criterion:
    """-2 log-likelihood (ML or REML) of responses of one reduction, profiled over beta, sigma^2.

    theta of all terms stand one after the other, terms ordered by level.
    """

    reduction: _core.Reduction
    terms: tuple[TermBlock, ...]
    level_sizes: tuple[int, ...]
    reml: bool

    @cached_property
    def theta_slices(self) -> tuple[slice, ...]:
        """Stretch of theta of each term."""
        ends = np.cumsum([0, *(t.structure.n_theta for t in self.terms)])
        return tuple(slice(int(a), int(b)) for a, b in zip(ends[:-1], ends[1:], strict=True))

    @cached_property
    def n_theta(self) -> int:
        """Number of covariance parameters."""
        return sum(t.structure.n_theta for t in self.terms)

    @cached_property
    def entries(self) -> list[tuple[int, int, int]]:
        """(level, row, column) of every free entry of G."""
        return [
            (t.level, t.first + a, t.first + b) for t in self.terms for a, b in t.structure.entries
        ]

    @cached_property
    def _entry_slices(self) -> tuple[slice, ...]:
        ends = np.cumsum([0, *(len(t.structure.entries) for t in self.terms)])
        return tuple(slice(int(a), int(b)) for a, b in zip(ends[:-1], ends[1:], strict=True))

    def covariances(self, theta: FloatArray) -> list[FloatArray]:
        """G of each level, relative to sigma^2, shape (a, q, q)."""
        out = [np.zeros((len(theta), q, q)) for q in self.level_sizes]
        for term, s in zip(self.terms, self.theta_slices, strict=True):
            out[term.level][:, term.stretch, term.stretch] = term.structure.matrix(theta[:, s])
        return out

    def value(self, theta: FloatArray, fits: IntArray) -> FloatArray:
        """The criterion alone, shape (a,)."""
        g = self.covariances(theta)
        return self.reduction.evaluate(g, fits.tolist(), [], self.reml, False)[0]

    def __call__(self, theta: FloatArray, fits: IntArray) -> Derivatives:
        """The criterion with its derivatives by theta (chain rule, exact)."""
        g = self.covariances(theta)
        value, gradient, hessian, expected = self.reduction.evaluate(
            g, fits.tolist(), self.entries, self.reml, True
        )
        if len(self.terms) == 1:
            structure = self.terms[0].structure
            jacobian = structure.jacobian(theta)
            curvature = structure.curvature(theta, gradient)
        else:
            jacobian, curvature = self._chain(theta, gradient)
        transposed = jacobian.mT
        return Derivatives(
            value,
            (transposed @ gradient[:, :, None])[..., 0],
            transposed @ hessian @ jacobian + curvature,
            transposed @ expected @ jacobian,
        )

    def _chain(self, theta: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
        n = len(theta)
        jacobian = np.zeros((n, len(self.entries), self.n_theta))
        curvature = np.zeros((n, self.n_theta, self.n_theta))
        for term, s, e in zip(self.terms, self.theta_slices, self._entry_slices, strict=True):
            jacobian[:, e, s] = term.structure.jacobian(theta[:, s])
            curvature[:, s, s] = term.structure.curvature(theta[:, s], gradient[:, e])
        return jacobian, curvature

    def reflect(self, theta: FloatArray) -> FloatArray:
        """theta of the same G with standard deviations not negative."""
        parts = zip(self.terms, self.theta_slices, strict=True)
        return np.concatenate([t.structure.reflect(theta[:, s]) for t, s in parts], axis=1)

    def start(self, fits: IntArray) -> FloatArray:
        """Moment estimates: the scoring step from G = 0 (MIVQUE0), made positive definite.

        The entries solve E[q_k] = q_k for the quadratic forms q_k = y'P V_k P y at G = 0 (Rao
        1971; the start of PROC MIXED), relative to the residual variance within units.
        """
        zero = [np.zeros((len(fits), q, q)) for q in self.level_sizes]
        _, gradient, _, expected = self.reduction.evaluate(
            zero, fits.tolist(), self.entries, self.reml, True
        )
        phi = _solve_scoring(gradient, expected) / self._within_variance(fits)[:, None]
        theta = np.empty((len(fits), self.n_theta))
        for term, s, e in zip(self.terms, self.theta_slices, self._entry_slices, strict=True):
            matrix = _symmetric(phi[:, e], term.structure)
            theta[:, s] = term.structure.theta(floor_eigenvalues(matrix, 0.05, 0.1))
        return theta

    def _within_variance(self, fits: IntArray) -> FloatArray:
        # Residual variance over that of ordinary least squares; few degrees of freedom tell little.
        rss, df = self.reduction.within
        if df < 3:
            return np.full(len(fits), 0.5)
        return np.asarray(np.maximum(rss[fits] / df, 1e-300))


def _solve_scoring(gradient: FloatArray, expected: FloatArray) -> FloatArray:
    scale = np.sqrt(np.maximum(np.einsum("aii->ai", expected), 1e-300))
    scaled = expected / (scale[:, :, None] * scale[:, None, :])
    values, vectors = np.linalg.eigh(scaled)
    inverse = np.where(values > 1e-9, 1.0 / np.maximum(values, 1e-9), 0.0)
    along = (vectors.mT @ (gradient / scale)[:, :, None])[..., 0]
    return np.asarray(-(vectors @ (along * inverse)[:, :, None])[..., 0] / scale)


def _symmetric(entries: FloatArray, structure: CovarianceStructure) -> FloatArray:
    matrix = np.zeros((len(entries), structure.size, structure.size))
    for k, (a, b) in enumerate(structure.entries):
        matrix[:, a, b] = matrix[:, b, a] = entries[:, k]
    return matrix


def level_entries(terms: Sequence[TermBlock], level: int) -> list[int]:
    """Positions, in the list of all entries, of those of one level."""
    positions, at = [], 0
    for term in terms:
        n = len(term.structure.entries)
        if term.level == level:
            positions.extend(range(at, at + n))
        at += n
    return positions
