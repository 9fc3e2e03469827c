"""A design reduced by the core, and the maps between its coordinates and the user's.

Columns are centred and scaled before any sum is formed, so a covariate with mean 1e6 and standard
deviation 1 loses no digits; everything is mapped back here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray, IntArray
from mlmfast.data.statistics import column_statistics
from mlmfast.design.design import Design
from mlmfast.reduction.absorbed.coefficients import CoefficientMap, coefficient_map
from mlmfast.reduction.absorbed.core import AbsorbedCore
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.engines.cores import Core, iterative_core, nested_core
from mlmfast.reduction.engines.dense import DenseParts
from mlmfast.reduction.engines.description import description
from mlmfast.reduction.engines.differences import TWO_POINTS
from mlmfast.reduction.engines.independence import clusters_are_levels
from mlmfast.reduction.engines.large_crossed import derivatives_by_differences
from mlmfast.reduction.engines.options import Engine, IterativeSettings
from mlmfast.reduction.engines.sizes import LARGEST_EXACT
from mlmfast.reduction.scaling import (
    ScaledColumn,
    centers_and_scales,
    coefficient_map_of,
    map_logdet,
)
from mlmfast.running.cached import cached_property

Grouped: TypeAlias = _core.Nesting | _core.Crossing | IterativeSettings | DenseParts


@dataclass(frozen=True)
class ReducedModel:
    """One design with one or many responses, reduced to what the iterations need.

    Attributes
    ----------
    design
        The design.
    core
        The compiled reduction.
    order
        Positions of the random-effects terms, outermost level first.
    """

    design: Design
    core: Core
    nesting: Grouped
    levels: tuple[int, ...]
    order: tuple[int, ...]
    blocks: tuple[TermBlock, ...]
    x_scaling: tuple[ScaledColumn, ...]
    y_scaling: Sequence[ScaledColumn]
    z_scaling: tuple[tuple[ScaledColumn, ...], ...]
    #: The engine asked for, and whether the response is the design's own.
    engine: Engine = None
    has_own_response: bool = True

    def response(self, fit: int) -> FloatArray:
        """Response of a fit, offset subtracted, shape (n,)."""
        memory = self.y_scaling[fit].values
        assert memory is not None, "a response is a column of numbers"
        values, first, stride = memory
        return values[first : first + stride * (self.design.n_obs - 1) + 1 : stride]

    @property
    def is_vast(self) -> bool:
        """Whether degrees of freedom would cost as much as the fit, or cannot be had."""
        if isinstance(self.core, _core.CrossedReduction):
            return self.core.size[1] > LARGEST_EXACT
        return self.iterative is not None

    def likelihood_derivatives(
        self,
        g: list[FloatArray],
        fit: int,
        entries: Sequence[tuple[int, int, int]],
        reml: bool,
    ) -> list[FloatArray]:
        """What the core says of one fit; see `NestedReduction.likelihood_derivatives`.

        Second derivatives of the log-determinants are differences where the matrices of the exact
        ones would be too large.
        """
        if isinstance(self.core, _core.CrossedReduction) and self.is_vast:
            n_obs = self.design.n_obs
            return derivatives_by_differences(self.core, g, [fit], entries, reml, n_obs, TWO_POINTS)
        return self.core.likelihood_derivatives(g, [fit], entries, reml)

    @property
    def factorization_operations(self) -> float:
        """Operations of an evaluation where a large matrix is factored in each; else 0."""
        if isinstance(self.core, _core.CrossedReduction):
            assert isinstance(self.nesting, _core.Crossing), "it was reduced by these factors"
            return self.nesting.cost[1]
        return 0.0

    @property
    def iterative(self) -> _core.IterativeReduction | None:
        """The core, where it is the iterative engine's."""
        return iterative_core(self.core)

    @property
    def nested(self) -> _core.NestedReduction | None:
        """The core, where it is the nested engine's."""
        return nested_core(self.core)

    @property
    def engine_name(self) -> str:
        """What evaluated the criterion, for the certificate."""
        residual, levels = self.design.residual, self.levels
        return description(
            self.core,
            lambda: not levels or clusters_are_levels(self.design, levels),
            bool(self.blocks),
            residual is not None and residual.chain is not None,
        )

    @cached_property
    def level_sizes(self) -> tuple[int, ...]:
        """Random effects of each level, outermost first."""
        n_levels = len(self.levels) + (not self.profiled)
        return tuple(
            sum(b.structure.size for b in self.blocks if b.level == level)
            for level in range(n_levels)
        )

    @cached_property
    def coefficient_map(self) -> CoefficientMap:
        """How the formula's coefficients follow from the levels of an absorbed factor."""
        return coefficient_map(self.design, self.kept)

    def degrees(self, reml: bool) -> int:
        """Rows, less the rank of the fixed part for REML: what sigma^2 is estimated over."""
        design = self.design
        return design.n_observations - (len(self.kept) + design.n_absorbed if reml else 0)

    @cached_property
    def at_zero(self) -> dict[bool, tuple[FloatArray, FloatArray, FloatArray]]:
        """Derivatives of the criterion of the first response at G = 0, by whether it is REML's.

        What every fit begins with; kept here, so that another fit of the model has them.
        """
        return {}

    @cached_property
    def kept(self) -> IntArray:
        """Columns of X that are not aliased."""
        return np.asarray(self.core.kept, dtype=np.intp)

    @cached_property
    def fixed_map(self) -> FloatArray:
        """K with beta = K (beta in the orthonormal basis) + least squares part, (rank, rank)."""
        # Only centred where a constant column exists; it is never aliased.
        return coefficient_map_of(self.core.x_factor, [self.x_scaling[j] for j in self.kept])

    @cached_property
    def centers_and_scales(self) -> tuple[FloatArray, FloatArray]:
        """What was subtracted from each response, and what multiplied the rest, (n_fits,)."""
        return centers_and_scales(self.y_scaling)

    @cached_property
    def intercept(self) -> int:
        """Position of the constant column among those kept."""
        return [self.x_scaling[j].values is None for j in self.kept].index(True)

    def effects_map(self, block: int) -> FloatArray:
        """K with g = K (g in the reduction's basis) for a term, shape (q, q)."""
        return self._effects_maps[block]

    @cached_property
    def _effects_maps(self) -> tuple[FloatArray, ...]:
        return tuple(map(self._effects_map, range(len(self.order))))

    def _effects_map(self, block: int) -> FloatArray:
        term = self.blocks[block]
        basis = self.core.bases[term.level][term.stretch, term.stretch]
        return coefficient_map_of(basis, self.z_scaling[self.order[block]])

    @property
    def profiled(self) -> bool:
        """Whether sigma^2 is profiled out, all covariances being relative to it."""
        return self.design.residual is None

    @cached_property
    def has_confounded_effects(self) -> bool:
        """Whether uncorrelated effects on one level have columns that are nearly the same.

        An intercept beside a slope whose covariate lies far from 0, with ``||``: the criterion can
        then have several minima, and a second start is worth its evaluations.
        """
        for factor in range(len(self.design.factors)):
            terms = [term for term in self.design.random if term.factor == factor]
            correlated = len(terms) == 1 and not terms[0].structure.independent
            columns = [column for term in terms for column in term.columns]
            if not correlated and sum(map(_is_nearly_constant, columns)) > 1:
                return True
        return False

    def covariance_unit(self, sigma2: float) -> float:
        """What one unit of a covariance in the criterion is in the user's units."""
        return sigma2 if self.profiled else self.response_unit

    @property
    def response_unit(self) -> float:
        """What one unit of a variance of the scaled first response is in the user's units."""
        return float(self.core.y_scale[0] / self.y_scaling[0].scale) ** 2

    def level_map(self, level: int) -> FloatArray:
        """K of a whole level, block diagonal by term, shape (q, q)."""
        if len(self.blocks) == 1 == len(self.order):
            return self.effects_map(0)
        out = np.zeros((self.level_sizes[level], self.level_sizes[level]))
        for position, block in enumerate(self.blocks[: len(self.order)]):
            if block.level == level:
                out[block.stretch, block.stretch] = self.effects_map(position)
        return out

    def formula_order(self, level: int) -> IntArray:
        """Columns of a level in the order of the formula's terms."""
        if len(self.blocks) == 1 == len(self.order):
            return np.arange(self.blocks[0].structure.size)
        own = [
            (self.order[position], block)
            for position, block in enumerate(self.blocks[: len(self.order)])
            if block.level == level
        ]
        stretches = [np.arange(b.stretch.start, b.stretch.stop) for _, b in sorted(own, key=_first)]
        return np.concatenate(stretches)

    def logdet_constant(self, method: str) -> FloatArray:
        """What the criterion lacks of -2 log-likelihood in the user's units, shape (n_fits,)."""
        if method not in self._logdet_constants:
            self._logdet_constants[method] = self._logdet_constant(method)
        return self._logdet_constants[method]

    @cached_property
    def _logdet_constants(self) -> dict[str, FloatArray]:
        return {}

    def _logdet_constant(self, method: str) -> FloatArray:
        degrees = self.degrees(method == "REML")
        _, scale = self.centers_and_scales
        with np.errstate(divide="ignore"):  # of many responses some may be constant
            constant = 2.0 * degrees * (np.log(self.core.y_scale) - np.log(scale))
        if self.design.condensed is not None:
            constant = constant - self.design.condensed.log_weights
        elif self.design.weights is not None:
            constant = constant - np.log(self.design.weights).sum()
        if method == "REML":
            scale = np.array([self.x_scaling[j].scale for j in self.kept])
            constant = constant - 2.0 * map_logdet(self.core.x_factor, scale)
            if isinstance(self.core, AbsorbedCore):
                n_levels = self.core.n_levels
                constant = constant + 2.0 * n_levels * np.log(self.core.level_scale)
                constant = constant + self.coefficient_map.logdet
        return np.asarray(constant)


def _first(item: tuple[int, TermBlock]) -> int:
    return item[0]


def _is_nearly_constant(column: FloatArray | None) -> bool:
    """Whether a column lies so far from 0 that it looks like an intercept."""
    if column is None:
        return True
    statistics = column_statistics([column])[0]
    return abs(statistics.mean) > 2.0 * statistics.spread
