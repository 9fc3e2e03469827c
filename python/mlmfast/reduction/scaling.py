"""Columns as the core reads them: where they lie in memory, how they are centred and scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray
from mlmfast.data.statistics import (
    KnownStatistics,
    Memory,
    StackedColumns,
    Statistics,
    in_memory,
    mean_and_spread,
)
from mlmfast.design.condensed import Shifted


class ScaledColumn(NamedTuple):
    """A column read as (value - center) * scale; ``values`` is None for a constant 1."""

    values: Memory | None
    center: float
    scale: float

    def noise(self, total_weight: float) -> float:
        """Norm under which the centred and scaled column is rounding error of its centring."""
        return abs(self.center) * self.scale * 1e-13 * float(total_weight**0.5)


@dataclass(frozen=True)
class ScaledResponses(Sequence[ScaledColumn]):
    """Many responses, each centred and scaled, without an object a response.

    Attributes
    ----------
    values : shape (n_fits, n), those of one row of the design side by side in memory
    center, scale : shape (n_fits,)
    """

    values: FloatArray
    center: FloatArray
    scale: FloatArray

    @classmethod
    def of(cls, responses: FloatArray | StackedColumns, centred: bool) -> ScaledResponses:
        """Responses as `scale_columns` has each."""
        if isinstance(responses, np.ndarray):
            responses = StackedColumns.of(responses)
        values, raw = responses
        mean, spread = mean_and_spread(raw, values[:, 0], values.shape[1])
        return cls(values, *_center_and_scale(mean, spread, centred))

    def __len__(self) -> int:
        return len(self.center)

    @overload
    def __getitem__(self, fit: int) -> ScaledColumn: ...

    @overload
    def __getitem__(self, fit: slice) -> Sequence[ScaledColumn]: ...

    def __getitem__(self, fit: int | slice) -> ScaledColumn | Sequence[ScaledColumn]:
        if isinstance(fit, slice):
            return tuple(self[k] for k in range(*fit.indices(len(self))))
        row = range(len(self))[fit]
        # The transposed matrix lies in memory row by row.
        memory = (self.values.T.reshape(-1), row, len(self))
        return ScaledColumn(memory, float(self.center[row]), float(self.scale[row]))


def from_shifted(column: ScaledColumn, shifted: Shifted | None) -> ScaledColumn:
    """The same column, read from values less a constant.

    Examples
    --------
    >>> raw, less = np.array([1e6, 1e6 + 1.0]), np.array([0.0, 1.0])
    >>> from_shifted(ScaledColumn((raw, 0, 1), 1e6 + 0.5, 2.0), Shifted(less, 1e6)).center
    0.5
    """
    if shifted is None or column.values is None:
        return column
    values, origin = shifted
    return ScaledColumn((values, 0, 1), column.center - origin, column.scale)


def centers_and_scales(columns: Sequence[ScaledColumn]) -> tuple[FloatArray, FloatArray]:
    """Centers and scales of all columns, (n,) each."""
    if isinstance(columns, ScaledResponses):
        return columns.center, columns.scale
    center, scale = np.array([(c, s) for _, c, s in columns]).reshape(-1, 2).T
    return center, scale


#: Order of matrices up to which the core multiplies and solves faster than LAPACK is called.
FEW_COLUMNS = 16


def coefficient_map_of(factor: FloatArray, columns: Sequence[ScaledColumn]) -> FloatArray:
    """K with coefficients = K (those of the orthonormal columns), (k, k), of one design.

    ``factor`` is R with (scaled columns) = (orthonormal ones) R, upper triangular, (k, k).
    """
    values = np.array([[[c.center for c in columns]], [[c.scale for c in columns]]])
    constant = next((j for j, column in enumerate(columns) if column.values is None), None)
    found: FloatArray = coefficient_maps(factor[None], values[0], values[1], constant)[0]
    return found


def coefficient_maps(
    factor: FloatArray, center: FloatArray, scale: FloatArray, constant: int | None
) -> FloatArray:
    """`coefficient_map_of` n designs, (n, k, k).

    Parameters
    ----------
    factor : shape (n, k, k)
    center, scale : shape (n, k)
    constant
        Position of the constant column; centers are 0 where there is none.

    Examples
    --------
    >>> factor, center, scale = np.eye(2)[None], np.array([[0.0, 3.0]]), np.array([[1.0, 2.0]])
    >>> coefficient_maps(factor, center, scale, 0).tolist()
    [[[1.0, -6.0], [0.0, 2.0]]]
    """
    n, k = scale.shape
    if k <= FEW_COLUMNS:
        own, shift, size = map(np.ascontiguousarray, (factor, center, scale))
        return _core.coefficient_maps(own, shift, size, constant)
    scaling = np.zeros((n, k, k))
    index = np.arange(k)
    scaling[:, index, index] = scale
    if constant is not None:
        scaling[:, constant] -= np.where(center != 0.0, scale * center, 0.0)
    return np.asarray(np.linalg.solve(factor.mT, scaling.mT).mT)


def map_logdet(factor: FloatArray, scale: FloatArray) -> FloatArray:
    """log |det K| of `coefficient_maps`, over the leading axes of both.

    Centring leaves the determinant as it is.

    Examples
    --------
    >>> float(map_logdet(np.diag([1.0, 4.0]), np.array([1.0, 2.0]))) == -float(np.log(2.0))
    True
    """
    own = np.abs(factor.diagonal(axis1=-2, axis2=-1))
    return np.asarray(np.log(scale).sum(axis=-1) - np.log(own).sum(axis=-1))


def scale_columns(
    columns: Sequence[FloatArray | None], centred: bool, known: KnownStatistics | None = None
) -> tuple[ScaledColumn, ...]:
    """Centre (where ``centred``) and scale by a power of two near 1 / standard deviation.

    A power of two rounds nothing. ``known`` holds what is known of columns already.
    """
    known = KnownStatistics() if known is None else known
    found = iter(known.of([column for column in columns if column is not None]))
    return tuple(
        ScaledColumn(None, 0.0, 1.0) if column is None else _scaled(column, next(found), centred)
        for column in columns
    )


def _scaled(column: FloatArray, known: Statistics, centred: bool) -> ScaledColumn:
    """One column, by `_center_and_scale` without arrays of one number."""
    size = known.spread if centred else max(known.spread, abs(known.mean))
    usable = math.isfinite(size) and size > 0
    mantissa, exponent = math.frexp(size if usable else 0.75)
    scale = math.ldexp(1.0, int(mantissa < 0.5**0.5) - exponent)
    return ScaledColumn(in_memory(column), known.mean if centred else 0.0, scale)


def _center_and_scale(
    mean: FloatArray, spread: FloatArray, centred: bool
) -> tuple[FloatArray, FloatArray]:
    if centred:
        return mean, power_of_two(spread)
    return np.zeros(len(mean)), power_of_two(np.maximum(spread, np.abs(mean)))


def power_of_two(spread: FloatArray) -> FloatArray:
    """The power of two nearest to 1 / spread, by its logarithm; 1 where there is no spread.

    Examples
    --------
    >>> power_of_two(np.array([0.26, 3.0, 0.0])).tolist()
    [4.0, 0.25, 1.0]
    """
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(spread) & (spread > 0)
    mantissa, exponent = np.frexp(np.where(usable, spread, 0.75))
    return np.asarray(np.ldexp(1.0, (mantissa < 0.5**0.5) - exponent.astype(np.int64)))
