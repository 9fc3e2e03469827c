"""Columns as the core reads them: where they lie in memory, how they are centred and scaled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.data.statistics import Memory, column_statistics, in_memory


class ScaledColumn(NamedTuple):
    """A column read as (value - center) * scale; ``values`` is None for a constant 1."""

    values: Memory | None
    center: float
    scale: float

    def noise(self, total_weight: float) -> float:
        """Norm under which the centred and scaled column is rounding error of its centring."""
        return abs(self.center) * self.scale * 1e-13 * float(total_weight**0.5)


def scale_columns(columns: Sequence[FloatArray | None], centred: bool) -> tuple[ScaledColumn, ...]:
    """Centre (where ``centred``) and scale by a power of two near 1 / standard deviation.

    A power of two rounds nothing.
    """
    given = [column for column in columns if column is not None]
    statistics = np.array(column_statistics(given)).reshape(-1, 4)
    mean, spread = statistics[:, 0], statistics[:, 1]
    center = mean if centred else np.zeros(len(mean))
    scale = power_of_two(spread if centred else np.maximum(spread, np.abs(mean)))
    numbers = iter(zip(given, center.tolist(), scale.tolist(), strict=True))
    return tuple(
        ScaledColumn(None, 0.0, 1.0) if column is None else _scaled(*next(numbers))
        for column in columns
    )


def _scaled(column: FloatArray, center: float, scale: float) -> ScaledColumn:
    return ScaledColumn(in_memory(column), center, scale)


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
