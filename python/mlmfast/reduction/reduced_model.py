"""A design reduced by the core, and the maps between its coordinates and the user's.

Columns are centred and scaled before any sum is formed, so a covariate with mean 1e6 and standard
deviation 1 loses no digits; everything is mapped back here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.cached import cached_property
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.natural_in_units import natural_in_units
from mlmfast.covariance.parameter_counts import has_few_parameters
from mlmfast.covariance.quasi_separable import QuasiSeparable
from mlmfast.covariance.scaled_covariance import ScaledCovariance, positive
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.arms import residual_arms
from mlmfast.criterion.criterion import Criterion
from mlmfast.data.statistics import column_statistics
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import RandomEffects
from mlmfast.design.residual.design import LARGEST_ORDER, ResidualDesign
from mlmfast.design.residual.record import ResidualRecord, ScaleRecord
from mlmfast.errors import DataError, ModelError
from mlmfast.fitted.monte_carlo import MonteCarloError, monte_carlo_error
from mlmfast.fitted.record import FitRecord
from mlmfast.reduction.absorbed.coefficients import CoefficientMap, coefficient_map
from mlmfast.reduction.absorbed.core import AbsorbedCore
from mlmfast.reduction.absorbed.reduce import reduce_within, relate_absorbed, within_levels
from mlmfast.reduction.blocks import TermBlock, structure_of
from mlmfast.reduction.dense import DenseParts, gaps_within_units, reduce_densely
from mlmfast.reduction.engine import LARGEST_EXACT, CrossedSettings, Engine, relate_factors
from mlmfast.reduction.iterative import moment_start, reduce_iteratively
from mlmfast.reduction.options import IterativeSettings
from mlmfast.reduction.residual.by_unit import LagCovariances
from mlmfast.reduction.residual.chain import ChainCovariance, chain_record
from mlmfast.reduction.residual.directions import (
    ArmCovariances,
    Directions,
    OwnMatrices,
    SharedDirections,
    UnitCovariances,
    by_arm,
    distances_within,
    with_variance,
)
from mlmfast.reduction.residual.scaled_units import ScaledUnits, scaled_start
from mlmfast.reduction.residual.series import SeriesCovariance, series_record
from mlmfast.reduction.residual.walked_series import WalkedSeries
from mlmfast.reduction.scaling import ScaledColumn, scale_columns

#: Share of random effects in the variance from which they start beside a residual structure.
FIRST_SHARE = 0.4
_Core: TypeAlias = (
    _core.Reduction
    | _core.CrossedReduction
    | _core.IterativeReduction
    | _core.MarginalReduction
    | AbsorbedCore
)
_Grouped: TypeAlias = _core.Nesting | _core.Crossing | IterativeSettings | DenseParts
Basis: TypeAlias = Literal["orthonormal", "scaled", "common"]


@dataclass(frozen=True)
class Estimates:
    """Estimates of a batch of fits in the user's units; NaN where V is not positive definite.

    Attributes
    ----------
    beta : shape (n_fits, rank), coefficients of the columns kept.
    vcov : shape (n_fits, rank, rank), sigma^2 (X'W^-1 X)^-1.
    sigma2 : shape (n_fits,), residual variance at weight 1.
    covariances : G of each random-effects term, in the order of the design, (n_fits, q, q).
    deviance : shape (n_fits,), -2 log-likelihood (restricted for REML), all constants included.
    """

    beta: FloatArray
    vcov: FloatArray
    sigma2: FloatArray
    covariances: tuple[FloatArray, ...]
    deviance: FloatArray


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
    core: _Core
    nesting: _Grouped
    levels: tuple[int, ...]
    order: tuple[int, ...]
    blocks: tuple[TermBlock, ...]
    x_scaling: tuple[ScaledColumn, ...]
    y_scaling: tuple[ScaledColumn, ...]
    z_scaling: tuple[tuple[ScaledColumn, ...], ...]
    #: The engine asked for, and whether the response is the design's own.
    engine: Engine = None
    has_own_response: bool = True

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as the rows, from which the same bits are reduced again."""
        n_fits = len(self.y_scaling)
        responses = None if self.has_own_response else [self.response(k) for k in range(n_fits)]
        return reduce_design, (self.design, responses, self.engine)

    def criterion(self, method: str) -> Criterion:
        """The criterion of ``method`` ("REML" or "ML")."""
        core, reml = self.core, method == "REML"
        core = core.for_method(reml) if isinstance(core, AbsorbedCore) else core
        return Criterion(core, self.blocks, self.level_sizes, reml, self)

    def response(self, fit: int) -> FloatArray:
        """Response of a fit, offset subtracted, shape (n,)."""
        memory = self.y_scaling[fit].values
        assert memory is not None, "a response is a column of numbers"
        values, first, stride = memory
        return values[first : first + stride * (self.design.n_obs - 1) + 1 : stride]

    @property
    def is_vast(self) -> bool:
        """Whether degrees of freedom would cost far more than the fit, or cannot be had."""
        if isinstance(self.core, _core.CrossedReduction):
            return self.core.size[1] > LARGEST_EXACT
        return self.iterative is not None

    @property
    def iterative(self) -> _core.IterativeReduction | None:
        """The core, where it is the iterative engine's."""
        return self.core if isinstance(self.core, _core.IterativeReduction) else None

    def moment_start(self, criterion: Criterion) -> FloatArray:
        """Starting values of the iterative engine, shape (n_fits, n_theta)."""
        assert self.iterative is not None, "the other engines start from the score at G = 0"
        n_levels = [self.design.factors[f].n_levels for f in self.levels]
        return moment_start(self.iterative, criterion, n_levels, self.design.n_obs)

    def monte_carlo_error(self, criterion: Criterion, theta: FloatArray) -> MonteCarloError | None:
        """Monte Carlo errors of the first fit; None where nothing is estimated by probes."""
        if self.iterative is None:
            return None
        return monte_carlo_error(
            self.iterative,
            criterion,
            theta,
            [self.effects_map(block) for block in range(len(self.order))],
            self.order,
            self.response_unit,
            self.degrees(criterion.reml),
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
        return design.n_obs - (len(self.kept) + design.n_absorbed if reml else 0)

    @cached_property
    def kept(self) -> IntArray:
        """Columns of X that are not aliased."""
        return np.asarray(self.core.kept, dtype=np.intp)

    @cached_property
    def fixed_map(self) -> FloatArray:
        """K with beta = K (beta in the orthonormal basis) + least squares part, (rank, rank)."""
        kept = self.kept
        scaling = np.zeros((len(kept), len(kept)))
        for j, column in enumerate(kept):
            _, center, scale = self.x_scaling[column]
            scaling[j, j] = scale
            if center != 0.0:
                # Only centred where a constant column exists; it is never aliased.
                scaling[self._intercept, j] -= scale * center
        return np.asarray(np.linalg.solve(self.core.x_factor.T, scaling.T).T)

    @cached_property
    def _intercept(self) -> int:
        return int(np.flatnonzero([self.x_scaling[j][0] is None for j in self.kept])[0])

    def effects_map(self, block: int) -> FloatArray:
        """K with g = K (g in the reduction's basis) for a term, shape (q, q)."""
        return self._effects_maps[block]

    @cached_property
    def _effects_maps(self) -> tuple[FloatArray, ...]:
        return tuple(map(self._effects_map, range(len(self.order))))

    def _effects_map(self, block: int) -> FloatArray:
        term = self.blocks[block]
        basis = self.core.bases[term.level][term.stretch, term.stretch]
        columns = self.z_scaling[self.order[block]]
        scaling = np.diag([scale for _, _, scale in columns])
        constant = [j for j, (values, _, _) in enumerate(columns) if values is None]
        for j, (_, center, scale) in enumerate(columns):
            if center != 0.0:
                scaling[constant[0], j] -= scale * center
        return np.asarray(np.linalg.solve(basis.T, scaling.T).T)

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

    def covariance_unit(self, record: FitRecord) -> float:
        """What one unit of a covariance in the criterion is in the user's units."""
        if self.profiled:
            return record.sigma2
        return self.response_unit

    @property
    def response_unit(self) -> float:
        """What one unit of a variance of the scaled first response is in the user's units."""
        return float(self.core.y_scale[0] / self.y_scaling[0].scale) ** 2

    def residual_start(self, criterion: Criterion, fits: IntArray) -> FloatArray:
        """Moments of least squares residuals: their covariances over pairs of visits met.

        Random effects get a share of the variance to begin with.
        """
        share = FIRST_SHARE if self.order else 0.0
        theta = np.empty((len(fits), criterion.n_theta))
        for row, fit in enumerate(fits.tolist()):
            assert isinstance(self.core, _core.Reduction | _core.MarginalReduction)
            sums, counts = self.core.visit_moments(fit)
            for block, s in zip(criterion.terms, criterion.theta_slices, strict=True):
                if isinstance(block.structure, SeriesCovariance | ChainCovariance):
                    assert isinstance(self.core, _core.Reduction), "series are its own"
                    theta[row, s] = block.structure.start(self.core, fit, 1.0 - share)
                    continue
                own_start = _own_start(block.structure, 1.0 - share)
                if own_start is not None:
                    theta[row : row + 1, s] = own_start
                    continue
                if block.is_residual:
                    own = (block.stretch, block.stretch)
                    spread = _spread_points(structure_of(block), counts[own])
                    if spread is not None:
                        theta[row : row + 1, s] = with_variance(spread, 1.0 - share)
                        continue
                    matrix = (1.0 - share) * _pairwise_covariance(sums[own], counts[own])[None]
                else:
                    matrix = share * np.eye(block.structure.size)[None]
                if isinstance(block.structure, ScaledUnits):
                    theta[row : row + 1, s] = block.structure.start(matrix[0])
                else:
                    theta[row : row + 1, s] = structure_of(block).theta(matrix)
        return theta

    def residual_record(self, criterion: Criterion, theta: FloatArray) -> ResidualRecord | None:
        """The residual covariance of the first fit; None where rows are independent."""
        residual = self.design.residual
        if residual is None or residual.formula is None:
            return None
        if residual.scale is not None:
            return self._scaled_record(criterion, theta)
        unit = (self.core.y_scale[0] / self.y_scaling[0].scale) ** 2
        names: list[str] = []
        values: list[FloatArray] = []
        covariances = []
        parts = zip(criterion.terms, criterion.theta_slices, strict=True)
        blocks = [(block, s) for block, s in parts if block.is_residual]
        if isinstance(blocks[0][0].structure, SeriesCovariance):
            return series_record(residual, blocks[0][0].structure, theta[:1, blocks[0][1]], unit)
        if isinstance(blocks[0][0].structure, ChainCovariance):
            return chain_record(residual, blocks[0][0].structure, theta[:1, blocks[0][1]], unit)
        prefixes = [f"{arm}: " for arm in residual.arms] if len(residual.arms) > 1 else [""]
        for prefix, (structure, s) in zip(prefixes, residual_arms(criterion), strict=True):
            of_points = isinstance(blocks[0][0].structure, OwnMatrices)
            matrix = np.empty((0, 0)) if of_points else unit * structure.matrix(theta[:1, s])[0]
            covariances.append(matrix)
            values.append(natural_in_units(structure, theta[:1, s], unit))
            names += [prefix + name for name in structure.parameter_names]
        return residual.record(names, values, covariances)

    def _scaled_record(self, criterion: Criterion, theta: FloatArray) -> ResidualRecord:
        """The residual covariance of the first fit at scale 1."""
        residual = self.design.residual
        assert residual is not None
        assert residual.formula is not None
        structure, own = self._scaled(criterion)
        unit = self.response_unit
        natural = natural_in_units(structure, theta[:1, own], unit)
        covariances = [unit * matrix[0] for matrix in structure.reference(theta[:1, own])]
        if residual.points is not None:
            covariances = [np.empty((0, 0))] * len(residual.arms)
        names = structure.parameter_names[: structure.n_base]
        return residual.record(names, [natural[: structure.n_base]], covariances)

    def scale_record(self, criterion: Criterion, theta: FloatArray) -> ScaleRecord | None:
        """The residual scale of the first fit."""
        residual = self.design.residual
        if residual is None or residual.scale is None:
            return None
        structure, own = self._scaled(criterion)
        natural = structure.natural(theta[:1, own])[0, structure.n_base :]
        scale = residual.scale
        return ScaleRecord(scale.formula.text, scale.names, scale.is_ratio, natural, scale.levels)

    def _scaled(self, criterion: Criterion) -> tuple[ScaledCovariance, slice]:
        """The scaled residual covariance and its stretch of theta: the last block."""
        structure = structure_of(criterion.terms[-1])
        assert isinstance(structure, ScaledCovariance), "there is a residual scale"
        return structure, criterion.theta_slices[-1]

    def _common_variance(
        self, criterion: Criterion, theta: FloatArray, g: list[FloatArray], unit: FloatArray
    ) -> FloatArray:
        """The residual variance where all visits have the same, else NaN; shape (n_fits,).

        With a residual scale, that at scale 1.
        """
        assert self.design.residual is not None
        if self.design.residual.scale is not None:
            structure, own = self._scaled(criterion)
            matrices = np.concatenate(structure.reference(theta[:, own]), axis=1)
            k = structure.arms[0].size
            variances = matrices[:, np.arange(matrices.shape[1]), np.arange(matrices.shape[1]) % k]
        else:
            series = self.blocks[-1].structure
            if isinstance(series, SeriesCovariance | ChainCovariance):
                return series.common_variance(theta[:, -series.n_theta :]) * unit**2
            if isinstance(series, ArmCovariances):
                # theta of an arm begins with its log standard deviation.
                log_sd = theta[:, -series.n_theta :: series.structure.n_theta]
                common = np.ptp(log_sd, axis=1) == 0.0
                return np.where(common, np.exp(2.0 * log_sd[:, 0]) * unit**2, np.nan)
            template = g[-1][:, 0, 0] if g[-1].ndim == 5 else g[-1]
            variances = np.diagonal(template, axis1=1, axis2=2)
        first = variances[:, 0]
        same = np.abs(variances - first[:, None]).max(axis=1) <= 1e-12 * first
        return np.where(same, first * unit**2, np.nan)

    def level_map(self, level: int) -> FloatArray:
        """K of a whole level, block diagonal by term, shape (q, q)."""
        out = np.zeros((self.level_sizes[level], self.level_sizes[level]))
        for position, block in enumerate(self.blocks[: len(self.order)]):
            if block.level == level:
                out[block.stretch, block.stretch] = self.effects_map(position)
        return out

    def formula_order(self, level: int) -> IntArray:
        """Columns of a level in the order of the formula's terms."""
        own = [
            (self.order[position], block)
            for position, block in enumerate(self.blocks[: len(self.order)])
            if block.level == level
        ]
        stretches = [np.arange(b.stretch.start, b.stretch.stop) for _, b in sorted(own, key=_first)]
        return np.concatenate(stretches)

    def reduce_residual(
        self, residual: FloatArray
    ) -> tuple[_core.Reduction | _core.CrossedReduction | _core.MarginalReduction, float]:
        """A residual, without fixed effects, reduced unit by unit, and the unit of its results."""
        column = scale_columns((residual,), centred=False)
        core = _reduce(
            self.design,
            self.nesting,
            self.levels,
            self.order,
            self.blocks,
            self.z_scaling,
            (),
            column,
            share=False,
        )
        assert not isinstance(core, _core.IterativeReduction | AbsorbedCore), "it has its own"
        return core, float(core.y_scale[0]) / column[0].scale

    def logdet_constant(self, method: str) -> FloatArray:
        """What the criterion lacks of -2 log-likelihood in the user's units, shape (n_fits,)."""
        degrees = self.degrees(method == "REML")
        scale = np.array([s for _, _, s in self.y_scaling])
        with np.errstate(divide="ignore"):  # of many responses some may be constant
            constant = 2.0 * degrees * (np.log(self.core.y_scale) - np.log(scale))
        if self.design.weights is not None:
            constant = constant - np.log(self.design.weights).sum()
        if method == "REML":
            _, logdet = np.linalg.slogdet(self.fixed_map)
            constant = constant - 2.0 * logdet
            if isinstance(self.core, AbsorbedCore):
                n_levels = self.core.n_levels
                constant = constant + 2.0 * n_levels * np.log(self.core.level_scale)
                constant = constant + self.coefficient_map.logdet
        return np.asarray(constant)

    def estimates(
        self,
        criterion: Criterion,
        theta: FloatArray,
        log_sigma2: FloatArray | None = None,
        fits: IntArray | None = None,
    ) -> Estimates:
        """Estimates of every response at its ``theta``, shape (n_fits, n_theta).

        ``log_sigma2``, shape (n_fits,), replaces the best sigma^2, in the criterion's units;
        ``fits`` says which response each row of ``theta`` is for, if not each its own.
        """
        fits = np.arange(len(theta)) if fits is None else fits
        g = criterion.covariances(theta)
        beta_core, c, scalars = criterion.reduction.solve(g, fits.tolist())
        rss, logdet, logdet_xx = scalars.T
        reml = criterion.reml
        degrees = self.degrees(reml)
        scale = np.array([s for _, _, s in self.y_scaling])[fits]
        unit = self.core.y_scale[fits] / scale
        relative = rss / degrees if self.profiled else np.ones(len(rss))
        if log_sigma2 is not None:
            relative = np.exp(log_sigma2)
        sigma2 = relative * unit**2
        core = self.core.ols[fits] / scale[:, None] + unit[:, None] * beta_core
        k = self.fixed_map
        # Fit by fit: a product over the whole batch may sum in another order than for one fit.
        beta = np.stack([k @ row for row in core])
        centers = np.array([center for _, center, _ in self.y_scaling])[fits]
        if centers.any():
            beta[:, self._intercept] += centers
        if log_sigma2 is not None:
            deviance = logdet + degrees * np.log(2.0 * np.pi * relative) + rss / relative
        elif self.profiled:
            deviance = logdet + degrees * (1.0 + np.log(2.0 * np.pi * rss / degrees))
        else:
            deviance = logdet + degrees * np.log(2.0 * np.pi) + rss
        deviance = deviance + (logdet_xx if reml else 0.0)
        deviance = deviance + self.logdet_constant("REML" if reml else "ML")[fits]
        covariances: list[FloatArray] = [np.empty(0)] * len(self.order)
        for position, block in enumerate(self.blocks[: len(self.order)]):
            k_term = self.effects_map(position)
            own = g[block.level][:, block.stretch, block.stretch]
            full = sigma2[:, None, None] * (k_term @ own @ k_term.T)
            covariances[self.order[position]] = (full + full.mT) / 2
        vcov = sigma2[:, None, None] * np.stack([k @ matrix @ k.T for matrix in c])
        if not self.profiled:
            sigma2 = self._common_variance(criterion, theta, g, unit)
        return Estimates(beta, vcov, sigma2, tuple(covariances), deviance)


def _is_nearly_constant(column: FloatArray | None) -> bool:
    """Whether a column lies so far from 0 that it looks like an intercept."""
    if column is None:
        return True
    statistics = column_statistics([column])[0]
    return abs(statistics.mean) > 2.0 * statistics.spread


#: Numbers in the matrices of all units with derivatives (4 GB).
LARGEST_STACK = 500_000_000
#: Share of pairs of points that no two units have, above which moments say little of a range.
_UNMET = 0.2


def _spread_points(structure: CovarianceStructure, counts: FloatArray) -> FloatArray | None:
    """Start of a spatial structure by distances, where too few pairs of points are met for moments.

    A pair that no unit has would count as uncorrelated, and the range start near 0, where the
    likelihood is flat.
    """
    if not isinstance(structure, Spatial):
        return None
    met = np.tril(counts > 1, -1)
    pairs = structure.size * (structure.size - 1) / 2
    if met.sum() > (1.0 - _UNMET) * pairs:
        return None
    points = structure.coordinates
    gaps = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    return structure.start_at(np.where(np.tril(counts > 0, -1), gaps, 0.0))


def _pairwise_covariance(sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Covariances over the units that have both visits, made positive definite."""
    variance = np.diag(sums) / np.maximum(np.diag(counts), 1.0)
    overall = max(float(variance.max(initial=0.0)), 1e-300)
    sd = np.sqrt(np.maximum(variance, 1e-3 * overall))
    pairwise = np.where(counts > 1, sums / np.maximum(counts, 1.0), 0.0)
    np.fill_diagonal(pairwise, sd * sd)
    return positive(pairwise)


def reduce_design(
    design: Design,
    responses: Sequence[FloatArray] | None = None,
    engine: Engine = None,
) -> ReducedModel:
    """Reduce a design; ``responses`` (offset already subtracted) replace its own y.

    ``engine`` is "dense" to have V held whole, holds the settings of the crossed engine to have
    nested factors treated as crossed ones, and those of the iterative engine to have that one; by
    default the model decides.

    Raises
    ------
    ModelError
        Where the engine does not serve the model or the model is too large for it, or the columns
        of a random-effects term are collinear.
    DataError
        Where a response is fitted exactly by the fixed effects.
    """
    own = responses is None
    columns = [design.working_response] if responses is None else list(responses)
    used = {term.factor for term in design.random}
    levels = tuple(sorted(sorted(used), key=lambda f: design.factors[f].n_levels))
    relate = relate_factors if design.absorbed is None else relate_absorbed
    nesting = relate(design, levels, engine)
    position = {factor: level for level, factor in enumerate(levels)}
    order = tuple(
        sorted(range(len(design.random)), key=lambda t: position[design.random[t].factor])
    )
    centred = any(column is None for column in design.x)
    if design.absorbed is None:
        x_scaling = scale_columns(design.x, centred)
        y_scaling = scale_columns(columns, centred)
    else:
        x_scaling = scale_columns(within_levels(design, design.x), False)
        y_scaling = scale_columns(within_levels(design, columns), False)
    z_scaling = tuple(_scale_term(term) for term in design.random)
    _check_sizes(design, x_scaling, y_scaling[0] if own else None)
    blocks = _blocks(design, order, position, nesting)
    parts = (design, nesting, levels, order, blocks, z_scaling)
    core: _Core = (
        _reduce(*parts, x_scaling, y_scaling)
        if design.absorbed is None
        else reduce_within(_reduce, parts, x_scaling, y_scaling, _schur(engine))
    )
    model = ReducedModel(
        design,
        core,
        nesting,
        levels,
        order,
        blocks,
        x_scaling,
        y_scaling,
        z_scaling,
        engine,
        own,
    )
    if own:
        _check_residual(model)
    return model


def _reduce(
    design: Design,
    nesting: _Grouped,
    levels: tuple[int, ...],
    order: tuple[int, ...],
    blocks: tuple[TermBlock, ...],
    z_scaling: tuple[tuple[ScaledColumn, ...], ...],
    x_scaling: tuple[ScaledColumn, ...],
    y_scaling: tuple[ScaledColumn, ...],
    share: bool = True,
    absorbed: bool = False,
) -> _Core:
    residual = design.residual
    own = blocks[-1].structure if blocks else None
    series = own.core_argument if isinstance(own, SeriesCovariance | ChainCovariance) else None
    n_levels = len(levels) + (residual is not None)
    z: list[list[ScaledColumn]] = [[] for _ in range(n_levels)]
    terms: list[list[tuple[int, Basis]]] = [[] for _ in range(n_levels)]
    for t, block in zip(order, blocks, strict=False):
        z[block.level].extend(z_scaling[t])
        terms[block.level].append((block.structure.size, basis_of_term(design.random[t])))
    if absorbed:
        # The indicators of an absorbed factor are the last level.
        z.append([ScaledColumn(None, 0.0, 1.0)])
        terms.append([(1, "scaled")])
    if series is not None and not x_scaling:
        # The core counts the rows of series by their columns: a column of zeros, left out at once.
        x_scaling = (ScaledColumn((np.zeros(design.n_obs), 0, 1), 0.0, 1.0),)
    sqrt_weights = None if design.weights is None else np.sqrt(design.weights)
    total = float(design.n_obs) if design.weights is None else float(design.weights.sum())
    noise = [column.noise(total) for column in x_scaling]
    try:
        if isinstance(nesting, DenseParts):
            return reduce_densely(nesting, z, terms, x_scaling, y_scaling)
        if isinstance(nesting, IterativeSettings):
            return reduce_iteratively(design, levels, z, terms, x_scaling, y_scaling, nesting)
        if isinstance(nesting, _core.Crossing):
            return _core.CrossedReduction(
                nesting,
                z=z,
                x=x_scaling,
                y=y_scaling,
                noise=noise,
                terms=terms,
                sqrt_weights=sqrt_weights,
            )
        return _core.Reduction(
            nesting,
            z=z,
            x=x_scaling,
            y=y_scaling,
            noise=noise,
            terms=terms,
            sqrt_weights=sqrt_weights,
            visits=None if residual is None or series is not None else residual.core_positions,
            n_visits=0 if residual is None or series is not None else residual.core_order,
            series=series,
            chain=own.core_chain if isinstance(own, ChainCovariance) else None,
            share=share and (residual is None or not residual.by_unit),
        )
    except _core.CollinearRandomEffects as error:
        raise _collinear(design, order, blocks, *error.args) from None


def _schur(engine: Engine) -> str:
    """Form of the crossed engine's factor that is asked for."""
    return engine.schur if isinstance(engine, CrossedSettings) else "cheaper"


def _first(item: tuple[int, TermBlock]) -> int:
    return item[0]


def _scale_term(term: RandomEffects) -> tuple[ScaledColumn, ...]:
    centred = term.structure.mixes and any(column is None for column in term.columns)
    scaled = scale_columns(term.columns, centred)
    if term.structure.scales:
        return scaled
    # The structure holds in one unit only.
    scale = min(column.scale for column in scaled)
    return tuple(column._replace(scale=scale) for column in scaled)


def basis_of_term(term: RandomEffects) -> Basis:
    """How the columns of a term may be changed so that its covariance structure stays."""
    if term.structure.mixes:
        return "orthonormal"
    return "scaled" if term.structure.scales else "common"


def _blocks(
    design: Design,
    order: tuple[int, ...],
    position: dict[int, int],
    nesting: _Grouped,
) -> tuple[TermBlock, ...]:
    blocks, next_column = [], dict.fromkeys(position.values(), 0)
    for t in order:
        term = design.random[t]
        level = position[term.factor]
        blocks.append(TermBlock(term.structure.closed(), level, next_column[level]))
        next_column[level] += term.structure.size
    residual = design.residual
    if residual is not None and residual.series is not None and isinstance(nesting, DenseParts):
        if residual.points is not None:
            return (*blocks, _lag_block(residual, len(position)))
    elif residual is not None and residual.series is not None:
        walked = isinstance(residual.structure, QuasiSeparable)
        kind = WalkedSeries if walked else SeriesCovariance
        own = kind(residual.structure, residual.series)
        return (*blocks, TermBlock(own, len(position), 0, True))
    if residual is not None and residual.chain is not None and not isinstance(nesting, DenseParts):
        own_chain = ChainCovariance(residual.structure, residual.chain, len(residual.arms))
        return (*blocks, TermBlock(own_chain, len(position), 0, True))
    if residual is not None and residual.scale is not None:
        level = len(position)
        assert not isinstance(nesting, IterativeSettings), "it has independent residuals"
        return (*blocks, _scaled_block(residual, level, nesting.codes(level)))
    if residual is not None and residual.points is not None:
        level = len(position)
        assert not isinstance(nesting, IterativeSettings), "it has independent residuals"
        _check_stack(residual, len(residual.arms) * residual.structure.n_theta, residual.order)
        units = _point_covariances(residual, nesting.codes(level))
        return (*blocks, TermBlock(units, level, 0, True))
    if residual is not None:
        size, level = residual.structure.size, len(position)
        if residual.chain is not None and size > LARGEST_ORDER:
            raise ModelError(
                f"{residual.text} over {size:,} visits goes with random effects whose levels hold "
                f"whole subjects; those inside or across subjects, and the dense engine, take at "
                f"most {LARGEST_ORDER} visits"
            )
        if len(residual.arms) == 1 and has_few_parameters(residual.structure):
            return (*blocks, TermBlock(SharedDirections(residual.structure), level, 0, True))
        blocks += [
            TermBlock(residual.structure, level, arm * size, True)
            for arm in range(len(residual.arms))
        ]
    return tuple(blocks)


def _lag_block(residual: ResidualDesign, level: int) -> TermBlock:
    """The residual covariance of long series, as matrices by unit."""
    largest = int(np.bincount(residual.units).max())
    _check_stack(residual, len(residual.arms) * residual.structure.n_theta, largest)
    whole = partial(LagCovariances, residual.structure)
    units = by_arm(whole, gaps_within_units(residual), residual.arm_of_units, len(residual.arms))
    return TermBlock(units, level, 0, True)


def _point_covariances(residual: ResidualDesign, units: CodeArray) -> OwnMatrices:
    """The residual covariance over scattered points; ``units`` are codes in the core's order."""
    assert isinstance(residual.structure, Spatial), "only these take coordinates"
    assert residual.points is not None, "the caller looked"
    distances = distances_within(
        type(residual.structure),
        residual.points,
        residual.units,
        residual.positions,
        residual.n_units,
        residual.order,
    )
    whole = partial(UnitCovariances, residual.structure)
    return by_arm(whole, distances[units], residual.arm_of_units[units], len(residual.arms))


def _check_stack(residual: ResidualDesign, t: int, order: int) -> None:
    """Refuse matrices of each unit with their derivatives that would not fit into memory."""
    n_values = residual.n_units * order**2 * (1 + t + t * (t + 1) // 2)
    if n_values > LARGEST_STACK:
        raise ModelError(
            f"{residual.text} with {t} parameters over {residual.n_units:,} units of up to "
            f"{order:,} rows would take {8 * n_values / 1e9:.1f} GB (the limit is "
            f"{8 * LARGEST_STACK / 1e9:.1f}); a scale by a factor, or a structure with fewer "
            "parameters, takes less, and along a series ar1, arma11 or car1"
        )


def _scaled_block(residual: ResidualDesign, level: int, units: CodeArray) -> TermBlock:
    """The residual covariance with its scale; ``units`` are codes in the core's order."""
    structure = residual.scaled_structure
    if not residual.by_unit:
        few = has_few_parameters(structure)
        return TermBlock(SharedDirections(structure) if few else structure, level, 0, True)
    _check_stack(residual, structure.n_theta, residual.order)
    own = None if residual.points is None else _point_covariances(residual, units)
    scaled = ScaledUnits(structure, residual.unit_exponents()[units], own)
    return TermBlock(scaled, level, 0, True)


def _own_start(structure: CovarianceStructure | Directions, variance: float) -> FloatArray | None:
    """Start of covariances by points or times of each unit; None for visits that all share."""
    if isinstance(structure, ScaledUnits) and structure.own is not None:
        return scaled_start(structure, structure.own, variance)
    return structure.start(variance) if isinstance(structure, OwnMatrices) else None


def _collinear(
    design: Design, order: tuple[int, ...], blocks: tuple[TermBlock, ...], level: int, column: int
) -> ModelError:
    for t, block in zip(order, blocks, strict=False):
        if block.level == level and block.stretch.start <= column < block.stretch.stop:
            term = design.random[t]
            name = term.names[column - block.first]
            return ModelError(
                f"in the random-effects term {term.text} the column {name!r} is a linear "
                "combination of the columns before it (a slope needs a covariate that varies); "
                "leave it out of the term"
            )
    raise AssertionError("the core named a column that no term has")


def _check_sizes(
    design: Design, x_scaling: tuple[ScaledColumn, ...], y: ScaledColumn | None
) -> None:
    """Refuse sizes of which double precision cannot hold squares, of a response fourth powers.

    Variances are squares, and the information about them has their squares.
    """
    weight = 1.0 if design.weights is None else float(np.sqrt(design.weights.mean()))
    sizes = [
        (f"the column {m!r}", c, 1.0, 140) for m, c in zip(design.x_names, x_scaling, strict=True)
    ]
    if y is not None:
        sizes.append((f"the response {design.response!r}", y, 1.0, 70))
        sizes.append((f"the response {design.response!r} with its weights", y, weight, 70))
    for what, column, factor, power in sizes:
        size = factor / column.scale
        if column.values is not None and not 10.0**-power < size < 10.0**power:
            raise DataError(
                f"{what} is of the order of {size:.0e}, and its powers leave the range of double "
                "precision; give it in another unit"
            )


def _check_residual(model: ReducedModel) -> None:
    """Refuse a response of which the fixed effects, or these and the random ones, leave nothing."""
    problem = without_residual(model, 0, model.design.response)
    if problem:
        raise DataError(problem)


def without_residual(model: ReducedModel, fit: int, name: str) -> str:
    """What is wrong with a response of which the effects leave nothing; empty for one that is well.

    Parameters
    ----------
    fit : which response of the model.
    name : as messages call it.
    """
    _, center, scale = model.y_scaling[fit]
    rounding = abs(center) * 1e-15 + 1e-14 / scale
    if model.design.weights is not None:
        rounding *= float(np.sqrt(model.design.weights.max()))
    left = float(model.core.y_scale[fit]) / scale
    if left <= rounding:
        return (
            f"the response {name!r} has no residual variance: it is constant or fitted exactly "
            "by the fixed effects, so no variance can be estimated"
        )
    if not model.profiled or isinstance(model.core, _core.IterativeReduction):
        return ""
    rss, degrees = model.core.within
    if degrees > 0 and left * float(np.sqrt(rss[fit] / degrees)) <= rounding:
        return (
            f"the response {name!r} has no residual variance: the fixed and random effects "
            "reproduce it exactly, so the likelihood has no maximum; check how the response was "
            "made, or leave out the random effects that give it"
        )
    return ""
