"""Designs of one structure, reduced in one call: what `ReducedModel` is for one of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.batch.stacked.parts import Parts
from mlmfast.criterion.criterion import Criterion
from mlmfast.data.statistics import mean_and_spread
from mlmfast.fitted.estimates import Estimates, coefficients, effect_covariances
from mlmfast.reduction.reduce import Basis, basis_of_term
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.scaling import coefficient_maps, map_logdet, power_of_two

#: Sizes of columns, and of the response, whose powers double precision holds: see `reduced_model`.
_LARGEST, _LARGEST_RESPONSE = 1e140, 1e70


@dataclass(frozen=True)
class StackedColumns:
    """Columns of all designs, centred and scaled as `scale_columns` does those of one.

    Attributes
    ----------
    values : shape (n_fits, n, k), or (1, n, k) where all share them, or (n, k) over all ``parts``
    constant
        Which columns are the constant 1.
    center, scale : shape (n_fits, k)
    finite : shape (n_fits,)
        Whether no value is missing or infinite, and just the ``constant`` columns are 1.
    parts
        Which rows are those of each design; None where all have as many.
    """

    values: FloatArray
    constant: tuple[bool, ...]
    center: FloatArray
    scale: FloatArray
    finite: BoolArray
    parts: Parts | None = None

    @classmethod
    def of(
        cls,
        values: FloatArray,
        constant: tuple[bool, ...],
        n_fits: int,
        centred: bool,
        parts: Parts | None = None,
    ) -> StackedColumns:
        """Scale columns by their statistics."""
        n: int | IntArray
        if parts is None:
            raw, first, n = _core.stacked_statistics(values), values[:, 0], values.shape[1]
        else:
            raw = _core.stacked_statistics(values, parts.stretches)
            first, n = values[parts.first], parts.sizes[:, None]
        smallest, largest = raw[:, :, 2], raw[:, :, 3]
        mean, spread = mean_and_spread(raw, first, n)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            spread = spread if centred else np.maximum(spread, np.abs(mean))
            finite = np.isfinite(mean) & np.isfinite(smallest) & np.isfinite(largest)
            usable = finite & (spread > 0)
            scale = power_of_two(np.where(usable, spread, 0.0))
        ones, is_one = np.array(constant, dtype=np.bool_), (smallest == 1.0) & (largest == 1.0)
        center = np.where(ones, 0.0, mean if centred else 0.0)
        scale = np.where(ones, 1.0, scale)
        shape = (n_fits, len(constant))
        return cls(
            values,
            constant,
            np.ascontiguousarray(np.broadcast_to(center, shape)),
            np.ascontiguousarray(np.broadcast_to(scale, shape)),
            np.broadcast_to((finite & (is_one == ones)).all(axis=1), n_fits),
            parts,
        )

    @property
    def core_argument(self) -> tuple[FloatArray, list[bool], FloatArray, FloatArray]:
        """As the core reads them."""
        return self.values, list(self.constant), self.center, self.scale

    def has_sizes(self, largest: float) -> BoolArray:
        """Whether powers of the columns stay within the range of doubles, (n_fits,)."""
        size = 1.0 / self.scale[:, [not one for one in self.constant]]
        return np.asarray(((size > 1.0 / largest) & (size < largest)).all(axis=1))

    def rows(self, keep: IntArray) -> StackedColumns:
        """The columns of some designs."""
        if keep.size == len(self.scale):
            return self
        stays = self.parts is not None or len(self.values) == 1
        return StackedColumns(
            self.values if stays else self.values[keep],
            self.constant,
            self.center[keep],
            self.scale[keep],
            self.finite[keep],
            None if self.parts is None else self.parts.some(keep),
        )


@dataclass(frozen=True)
class StackedModel:
    """Designs of one structure, each reduced by itself, one response each.

    Attributes
    ----------
    like
        The reduction of one of them alone, whose structure all have.
    core
        The compiled reductions.
    x, y, z
        Their columns; z by level.
    """

    like: ReducedModel
    core: _core.NestedBatch
    x: StackedColumns
    y: StackedColumns
    z: tuple[StackedColumns, ...]

    def criterion(self, method: str) -> Criterion:
        """The criterion of ``method`` ("REML" or "ML")."""
        like = self.like
        return Criterion(self.core, like.blocks, like.level_sizes, method == "REML")

    @property
    def parts(self) -> Parts | None:
        """Which rows are those of each; None where all have as many, in the same units."""
        return self.y.parts

    @property
    def n_obs(self) -> int | IntArray:
        """Rows of each, (n_fits,), or of all."""
        return self.like.design.n_obs if self.parts is None else self.parts.sizes

    @property
    def n_groups(self) -> dict[str, IntArray]:
        """Levels of each grouping factor in each, (n_fits,)."""
        n, factors = len(self.y.scale), self.like.design.factors
        if self.parts is None:
            return {f.name: np.full(n, f.n_levels) for f in factors}
        return {f.name: self.parts.n_units[:, k] for k, f in enumerate(factors)}

    @property
    def _intercept(self) -> int:
        return self.x.constant.index(True)

    @cached_property
    def fixed_maps(self) -> FloatArray:
        """`ReducedModel.fixed_map` of each, (n_fits, p, p)."""
        return _maps(self.core.x_factor, self.x)

    def effects_maps(self, block: int) -> FloatArray:
        """`ReducedModel.effects_map` of each, (n_fits, q, q)."""
        term = self.like.blocks[block]
        basis = self.core.bases[term.level][:, term.stretch, term.stretch]
        own = self.z[term.level]
        columns = StackedColumns(
            own.values,
            own.constant[term.stretch],
            own.center[:, term.stretch],
            own.scale[:, term.stretch],
            own.finite,
            own.parts,
        )
        return _maps(basis, columns)

    def has_residual(self) -> BoolArray:
        """Whether the effects leave something of each response: see `check_residual` of one."""
        center, scale = self.y.center[:, 0], self.y.scale[:, 0]
        rounding = np.abs(center) * 1e-15 + 1e-14 / scale
        weights = self.like.design.weights
        if weights is not None:
            rounding = rounding * float(np.sqrt(weights.max()))
        left = self.core.y_scale / scale
        rss, degrees = self.core.within
        within = left * np.sqrt(rss / np.maximum(degrees, 1.0))
        return np.asarray((left > rounding) & ((degrees <= 0) | (within > rounding)))

    def estimates(self, criterion: Criterion, theta: FloatArray) -> Estimates:
        """`estimates_of` each, by the same steps."""
        fits = range(len(theta))
        g = criterion.covariances(theta)
        beta_core, c, scalars = self.core.solve(g, list(fits))
        rss, logdet, logdet_xx = scalars.T
        reml, p = criterion.reml, c.shape[1]
        degrees = self.n_obs - (p if reml else 0)
        scale = self.y.scale[:, 0]
        unit = self.core.y_scale / scale
        sigma2 = rss / degrees * unit**2
        beta, vcov = coefficients(
            self.fixed_maps,
            (self.core.ols, beta_core, c),
            (scale, unit, self.y.center[:, 0]),
            sigma2,
            self._intercept if self.y.center.any() else None,
        )
        deviance = logdet + degrees * (1.0 + np.log(2.0 * np.pi * rss / degrees))
        deviance = deviance + (logdet_xx if reml else 0.0)
        deviance = deviance + self._logdet_constant(degrees, reml)
        covariances: list[FloatArray] = [np.empty(0)] * len(self.like.order)
        for position, block in enumerate(self.like.blocks):
            own = g[block.level][:, block.stretch, block.stretch]
            found = effect_covariances(self.effects_maps(position), own, sigma2)
            covariances[self.like.order[position]] = found
        return Estimates(beta, vcov, sigma2, tuple(covariances), deviance)

    def _logdet_constant(self, degrees: int | IntArray, reml: bool) -> FloatArray:
        constant = 2.0 * degrees * (np.log(self.core.y_scale) - np.log(self.y.scale[:, 0]))
        weights = self.like.design.weights
        if weights is not None:
            constant = constant - np.log(weights).sum()
        if reml:
            constant = constant - 2.0 * map_logdet(self.core.x_factor, self.x.scale)
        return np.asarray(constant)


def _maps(factor: FloatArray, columns: StackedColumns) -> FloatArray:
    """Coefficients of columns from those of the orthonormal ones, (n_fits, k, k)."""
    constant = columns.constant.index(True) if any(columns.constant) else None
    return coefficient_maps(factor, columns.center, columns.scale, constant)


def stacked_model(
    like: ReducedModel,
    y: FloatArray,
    x: FloatArray,
    z: dict[int, FloatArray],
    parts: Parts | None = None,
) -> tuple[StackedModel | None, BoolArray]:
    """Reduce designs of one structure.

    Parameters
    ----------
    like
        The reduction of one of them, by the nested engine.
    y : shape (n_fits, n)
    x : shape (n_fits, n, p), or (1, n, p) where all share it
    z : by term of the design, as x; terms without one have a constant 1
    parts
        Where designs differ in their rows, which rows are those of each: y is (n,), x and z (n, k)
        over the rows of all.

    Returns
    -------
    The reductions of the designs that are as regular as the one given, None if there are none; and
    which those are, shape (n_fits,): the others are missing values, aliased or collinear columns,
    or responses without residual, of which the fit of each alone can say why.
    """
    design, n_fits = like.design, len(y) if parts is None else len(parts)
    ones = tuple(column is None for column in design.x)
    columns_x = StackedColumns.of(x, ones, n_fits, any(ones), parts)
    columns_y = StackedColumns.of(y[..., None], (False,), n_fits, any(ones), parts)
    columns_z = []
    regular = columns_x.finite & columns_y.finite
    regular &= columns_x.has_sizes(_LARGEST) & columns_y.has_sizes(_LARGEST_RESPONSE)
    terms: list[list[tuple[int, Basis]]] = [[] for _ in like.levels]
    for t, block in zip(like.order, like.blocks, strict=True):
        term = design.random[t]
        own = z.get(t, np.ones((1, design.n_obs, 1) if parts is None else (len(y), 1)))
        constant = tuple(column is None for column in term.columns)
        # Slopes of all fixed effects have their columns, often in the very same array.
        same = constant == ones and _is_same_memory(own, x)
        columns_z.append(
            columns_x if same else StackedColumns.of(own, constant, n_fits, any(constant), parts)
        )
        regular &= columns_z[-1].finite
        terms[block.level].append((block.structure.size, basis_of_term(term)))
    keep = np.flatnonzero(regular)
    if keep.size == 0:
        return None, np.zeros(n_fits, dtype=np.bool_)
    kept_z = tuple(part.rows(keep) for part in columns_z)
    model, left = _reduced(like, columns_x.rows(keep), columns_y.rows(keep), kept_z, terms)
    regular[keep[~left]] = False
    return model, regular


def _is_same_memory(one: FloatArray, other: FloatArray) -> bool:
    """Whether arrays are the same numbers because they lie in the same place."""
    alike = one.shape == other.shape and one.strides == other.strides
    return alike and one.__array_interface__["data"] == other.__array_interface__["data"]


def _reduced(
    like: ReducedModel,
    x: StackedColumns,
    y: StackedColumns,
    z: tuple[StackedColumns, ...],
    terms: list[list[tuple[int, Basis]]],
) -> tuple[StackedModel | None, BoolArray]:
    """Reduce, and again without those that turn out irregular; which were left."""
    design = like.design
    weights = design.weights
    left = np.ones(len(y.scale), dtype=np.bool_)
    assert isinstance(like.nesting, _core.Nesting), "the nested engine's"
    for _ in range(3):
        chosen = np.flatnonzero(left)
        if chosen.size == 0:
            break
        x_own, y_own = x.rows(chosen), y.rows(chosen)
        z_own = tuple(part.rows(chosen) for part in z)
        total: float | FloatArray = design.n_obs if weights is None else float(weights.sum())
        parts = y_own.parts
        if parts is not None:
            total = parts.sizes[:, None].astype(np.float64)
        core, lost = _core.NestedBatch.of(
            like.nesting if parts is None else None,
            z=[part.core_argument for part in z_own],
            x=x_own.core_argument,
            y=y_own.core_argument,
            noise=np.abs(x_own.center) * x_own.scale * 1e-13 * total**0.5,
            terms=terms,
            sqrt_weights=None if weights is None else np.sqrt(weights),
            parts=None if parts is None else parts.core_argument(like.levels),
        )
        left[chosen[lost]] = False
        if not lost:
            model = StackedModel(like, core, x_own, y_own, z_own)
            usable = model.has_residual()
            if usable.all():
                return model, left
            left[chosen[~usable]] = False
    return None, np.zeros(len(left), dtype=np.bool_)
