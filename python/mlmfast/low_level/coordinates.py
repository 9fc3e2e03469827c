"""Between covariance parameters in the user's units and what the core reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.running.cached import cached_property


class Point(NamedTuple):
    """A value of the parameters, in the core's coordinates.

    Attributes
    ----------
    g
        Covariance of each level over sigma^2, shape (1, q, q).
    log_sigma2
        In the core's units.
    first
        Derivatives of the core's coordinates (entries of g, then log sigma^2) by the parameters,
        (n, n).
    """

    g: list[FloatArray]
    log_sigma2: float
    first: FloatArray


@dataclass(frozen=True)
class Coordinates:
    """theta = (lower triangle of G of each term by rows, ..., sigma^2) of a reduced model."""

    model: ReducedModel

    @cached_property
    def sizes(self) -> list[int]:
        """Random effects of each term, in the order that they were given."""
        return [len(term.names) for term in self.model.design.random]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of theta: ``var_x|g``, ``cov_x.y|g`` and ``Residual``."""
        design = self.model.design
        out = []
        for term in design.random:
            group = design.factors[term.factor].name
            for i, first in enumerate(term.names):
                out += [f"cov_{term.names[j]}.{first}|{group}" for j in range(i)]
                out.append(f"var_{first}|{group}")
        return (*out, "Residual")

    def matrices(self, theta: FloatArray) -> list[FloatArray]:
        """G of each term."""
        out, at = [], 0
        for q in self.sizes:
            i, j = np.tril_indices(q)
            matrix = np.empty((q, q))
            matrix[i, j] = matrix[j, i] = theta[at : at + len(i)]
            out.append(matrix)
            at += len(i)
        return out

    def vector(self, matrices: list[FloatArray], sigma2: float) -> FloatArray:
        """Theta of covariance matrices, by term, and the residual variance."""
        triangles = [m[np.tril_indices(q)] for m, q in zip(matrices, self.sizes, strict=True)]
        return np.concatenate([*triangles, [sigma2]])

    @cached_property
    def _unit(self) -> float:
        return self.model.response_unit

    @cached_property
    def _linear(self) -> FloatArray:
        """Derivatives of the core's entries, times sigma^2, by the triangles of G."""
        model, n = self.model, sum(q * (q + 1) // 2 for q in self.sizes)
        ends = np.cumsum([0, *(q * (q + 1) // 2 for q in self.sizes)])
        rows = []
        for position, block in enumerate(model.blocks):
            term = model.order[position]
            inverse = np.linalg.inv(model.effects_map(position))
            own = np.zeros((len(block.structure.entries), n))
            for k, (i, j) in enumerate(zip(*np.tril_indices(self.sizes[term]), strict=True)):
                one = np.zeros((self.sizes[term],) * 2)
                one[i, j] = one[j, i] = 1.0
                moved = inverse @ one @ inverse.T
                own[:, ends[term] + k] = [moved[a, b] for a, b in block.structure.entries]
            rows.append(own)
        return np.concatenate(rows) if rows else np.zeros((0, 0))

    def point(self, theta: FloatArray) -> Point:
        """The parameters as the core reads them."""
        model, sigma2 = self.model, float(theta[-1])
        matrices = self.matrices(theta)
        g = [np.zeros((1, q, q)) for q in model.level_sizes]
        for position, block in enumerate(model.blocks):
            inverse = np.linalg.inv(model.effects_map(position))
            own = inverse @ matrices[model.order[position]] @ inverse.T / sigma2
            g[block.level][0, block.stretch, block.stretch] = (own + own.T) / 2
        n = len(theta)
        first = np.zeros((n, n))
        first[:-1, :-1] = self._linear / sigma2
        first[:-1, -1] = -(self._linear @ theta[:-1]) / sigma2**2
        first[-1, -1] = 1.0 / sigma2
        return Point(g, float(np.log(sigma2 / self._unit)), first)

    def bend(self, theta: FloatArray, gradient: FloatArray) -> FloatArray:
        """Second derivatives of gradient'coordinates by theta, (n, n)."""
        sigma2, n = float(theta[-1]), len(theta)
        out = np.zeros((n, n))
        mixed = -(gradient[:-1] @ self._linear) / sigma2**2
        out[-1, :-1] = out[:-1, -1] = mixed
        value = float(gradient[:-1] @ self._linear @ theta[:-1])
        out[-1, -1] = 2.0 * value / sigma2**3 - gradient[-1] / sigma2**2
        return out
