"""Responses drawn from a truth, in batches; a response is the same alone and in any batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.clusters.noise import noise_sd, residual_template
from mlmfast.clusters.simulate import residual_noise
from mlmfast.covariance.correlations import correlations, covariance_root
from mlmfast.design.design import Design
from mlmfast.simulation.distributions import Draw, standardised
from mlmfast.simulation.rows.rebuild import RowColumns
from mlmfast.simulation.streams import FIRST_TERM, NOISE, ByPart, Kind
from mlmfast.simulation.truth.parameters import Truth

#: Numbers of the responses that are worked on at a time.
_IN_CACHE = 20_000


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

    def responses(
        self, replicates: ByPart, n: int, stacked: RowColumns | None = None
    ) -> FloatArray:
        """One response a replicate, shape (n_obs, n), the offset included.

        Parameters
        ----------
        replicates
            Streams of the n replicates by part.
        stacked
            Columns of the rows of all replicates, where covariates differ; what groups rows is the
            same in all.
        """
        design, truth = self.design, self.truth
        roots = [covariance_root(matrix) for matrix in truth.covariances]
        effects, noise = self._effects(replicates, n), self._noise(replicates, n)
        own, sd = _own_columns(design), noise_sd(design, truth)
        mean = self._mean(own)
        out = np.empty((n, design.n_obs)) if self._by_visit else noise
        # Some responses at a time: they stay in the cache.
        step = max(1, _IN_CACHE // design.n_obs)
        for first in range(0, n, step):
            some = slice(first, first + step)
            total = out[some]
            np.multiply(self._correlated(noise[some]), sd, out=total)
            here = own
            if stacked is not None:
                here = stacked.some(slice(first * design.n_obs, (first + step) * design.n_obs))
                mean = self._mean(here).reshape(-1, design.n_obs)
            total += mean
            for t, root in enumerate(roots):
                self._add_effects(total, t, effects[t][some], root, here.z[t])
        return out.T

    def _effects(self, replicates: ByPart, n: int) -> list[FloatArray]:
        """Effects of unit variance by term, (n, n_levels, q)."""
        design = self.design
        out = []
        for t, term in enumerate(design.random):
            factor = design.factors[term.factor]
            related = factor.relationship
            n_draws = factor.n_levels if related is None else related.n_draws
            shape = (n, n_draws, len(term.columns))
            out.append(_drawn(replicates, FIRST_TERM + t, shape, self.effects))
        return out

    def _noise(self, replicates: ByPart, n: int) -> FloatArray:
        """Noise of unit variance of each replicate, by row, or by unit and visit."""
        residual, errors = self.design.residual, self.errors
        if residual is None or self.truth.residual is None:
            noise = _drawn(replicates, NOISE, (n, self.design.n_obs), errors)
            if self.row_order is None:
                return noise
            placed = np.empty_like(noise)
            placed[:, self.row_order] = noise
            return placed
        if self._by_visit:
            return _drawn(replicates, NOISE, (n, residual.n_units, residual.order), errors)
        drawn = (partial(errors, generator) for generator in replicates.at(NOISE))
        return np.stack([residual_noise(self.design, self.truth, draw) for draw in drawn])

    @property
    def mean(self) -> FloatArray:
        """X beta and the offset, shape (n_obs,)."""
        return self._mean(_own_columns(self.design))

    def _mean(self, rows: RowColumns) -> FloatArray:
        """X beta and the offset over some rows."""
        lengths = [len(column) for column in (*rows.x, rows.offset) if column is not None]
        out = np.zeros(max(lengths, default=self.design.n_obs))
        for column, b in zip(rows.x, self.truth.beta.tolist(), strict=True):
            out += b if column is None else b * column
        return out if rows.offset is None else out + rows.offset

    def _add_effects(
        self,
        total: FloatArray,
        t: int,
        drawn: FloatArray,
        root: FloatArray,
        columns: tuple[FloatArray | None, ...],
    ) -> None:
        """Add the effects of a term, given its columns of Z, the same for all replicates or not."""
        factor = self.design.factors[self.design.random[t].factor]
        order = self.level_orders[self.design.random[t].factor] if self.level_orders else None
        if order is not None:
            placed = np.empty_like(drawn)
            placed[:, order] = drawn
            drawn = placed
        for j, column in enumerate(columns):
            # Sums in one order of elements, whatever the number of responses.
            effect = drawn[:, :, 0] * root[j, 0]
            for k in range(1, len(root)):
                effect += drawn[:, :, k] * root[j, k]
            if factor.relationship is not None:
                alone = [factor.relationship.drawn(one[:, None])[:, 0] for one in effect]
                effect = np.stack(alone)
            by_row = effect.take(factor.codes, axis=1)
            total += by_row if column is None else by_row * column.reshape(-1, len(factor.codes))

    @property
    def _by_visit(self) -> bool:
        """Whether residuals of a unit are correlated by a matrix over visits."""
        residual = self.design.residual
        has = residual is not None and self.truth.residual is not None
        return has and residual is not None and residual.points is None

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


def _own_columns(design: Design) -> RowColumns:
    z = tuple(term.columns for term in design.random)
    return RowColumns(design.x_names, design.x, z, design.offset)


def _drawn(replicates: ByPart, part: int, shape: tuple[int, ...], draw: Draw) -> FloatArray:
    """What a part of each replicate gives, an array of shape (n, ...)."""
    if draw is standardised("normal", "errors"):
        kinds: list[tuple[Kind, int]] = [("normal", math.prod(shape[1:]))]
        return replicates.numbers(part, kinds).reshape(shape)
    out = np.empty(shape)
    for own, generator in zip(out, replicates.at(part), strict=True):
        own[...] = draw(generator, own.shape)
    return out
