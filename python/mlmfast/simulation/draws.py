"""Responses drawn from a truth, in batches; a response is the same alone and in any batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.clusters.noise import noise_sd, residual_template
from mlmfast.clusters.simulate import residual_noise
from mlmfast.covariance.correlations import correlations, covariance_root
from mlmfast.design.design import Design
from mlmfast.simulation.distributions import Draw
from mlmfast.simulation.streams import Parts
from mlmfast.simulation.truth.parameters import Truth

#: Parts of a replicate's stream: what is drawn for the residuals, covariates, missing values, and
#: from which number on the random-effects terms.
NOISE, COVARIATES, MISSING, FIRST_TERM = 0, 1, 2, 3


@dataclass(frozen=True)
class ResponseDraws:
    """What responses are made of, prepared once.

    Attributes
    ----------
    design, truth
        Rows and parameters.
    errors, effects
        Standardised distributions of residuals and random effects.
    row_order : shape (n,) or None
        Row that takes each draw of independent residuals; levels likewise, by grouping factor. So
        larger designs continue smaller ones.
    """

    design: Design
    truth: Truth
    errors: Draw
    effects: Draw
    row_order: IntArray | None = None
    level_orders: tuple[IntArray | None, ...] = ()

    def responses(self, replicates: Iterable[Parts], n: int) -> FloatArray:
        """One response a replicate, shape (n_obs, n), the offset included."""
        design, truth = self.design, self.truth
        roots = [covariance_root(matrix) for matrix in truth.covariances]
        sizes = [
            (n, design.factors[term.factor].n_levels, len(root))
            for term, root in zip(design.random, roots, strict=True)
        ]
        effects = [np.empty(size) for size in sizes]
        noise = self._noise_buffer(n)
        for i, parts in zip(range(n), replicates, strict=True):
            for t, drawn in enumerate(effects):
                drawn[i] = self.effects(parts(FIRST_TERM + t), drawn.shape[1:])
            noise[i] = self._unit_noise(parts(NOISE))
        total = self._correlated(noise)
        total *= noise_sd(design, truth)
        total += self.mean
        for t, (drawn, root) in enumerate(zip(effects, roots, strict=True)):
            self._add_effects(total, t, drawn, root)
        return np.asfortranarray(total.T)

    @property
    def mean(self) -> FloatArray:
        """X beta and the offset, shape (n_obs,)."""
        out = np.zeros(self.design.n_obs)
        for column, b in zip(self.design.x, self.truth.beta.tolist(), strict=True):
            out += b if column is None else b * column
        return out if self.design.offset is None else out + self.design.offset

    def _add_effects(self, total: FloatArray, t: int, drawn: FloatArray, root: FloatArray) -> None:
        term = self.design.random[t]
        factor = self.design.factors[term.factor]
        order = self.level_orders[term.factor] if self.level_orders else None
        if order is not None:
            placed = np.empty_like(drawn)
            placed[:, order] = drawn
            drawn = placed
        for j, column in enumerate(term.columns):
            # Sums in one order of elements, whatever the number of responses.
            effect = drawn[:, :, 0] * root[j, 0]
            for k in range(1, len(root)):
                effect += drawn[:, :, k] * root[j, k]
            if factor.relationship is not None:
                effect = np.stack([np.asarray(factor.relationship.root @ one) for one in effect])
            by_row = effect[:, factor.codes]
            total += by_row if column is None else by_row * column

    def _noise_buffer(self, n: int) -> FloatArray:
        residual = self.design.residual
        if self._by_visit and residual is not None:
            return np.empty((n, residual.n_units, residual.order))
        return np.empty((n, self.design.n_obs))

    @property
    def _by_visit(self) -> bool:
        """Whether residuals of a unit are correlated by a matrix over visits."""
        residual = self.design.residual
        has = residual is not None and self.truth.residual is not None
        return has and residual is not None and residual.points is None

    def _unit_noise(self, generator: np.random.Generator) -> FloatArray:
        residual = self.design.residual
        if self._by_visit and residual is not None:
            return self.errors(generator, (residual.n_units, residual.order))
        if residual is not None and self.truth.residual is not None:
            return residual_noise(
                self.design, self.truth, lambda shape: self.errors(generator, shape)
            )
        drawn = self.errors(generator, self.design.n_obs)
        if self.row_order is None:
            return drawn
        out = np.empty_like(drawn)
        out[self.row_order] = drawn
        return out

    def _correlated(self, noise: FloatArray) -> FloatArray:
        """Noise of unit variance by row, (n, n_obs)."""
        residual = self.design.residual
        if not self._by_visit or residual is None or self.truth.residual is None:
            return noise
        root = covariance_root(correlations(residual_template(self.truth.residual)))
        out = np.zeros((len(noise), self.design.n_obs))
        positions = residual.positions
        drawn = noise[:, residual.units]
        for k in range(len(root)):
            out += drawn[:, :, k] * root[positions, k]
        return out
