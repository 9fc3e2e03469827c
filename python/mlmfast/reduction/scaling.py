"""Columns as the core reads them: where they lie in memory, how they are centred and scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from mlmfast.arrays import FloatArray
from mlmfast.data.statistics import KnownStatistics, Memory, in_memory


class ScaledColumn(NamedTuple):
    """A column read as (value - center) * scale; ``values`` is None for a constant 1."""

    values: Memory | None
    center: float
    scale: float

    def noise(self, total_weight: float) -> float:
        """Norm under which the centred and scaled column is rounding error of its centring."""
        return abs(self.center) * self.scale * 1e-13 * float(total_weight**0.5)


def scale_columns(
    columns: Sequence[FloatArray | None], centred: bool, known: KnownStatistics | None = None
) -> tuple[ScaledColumn, ...]:
    """Centre (where ``centred``) and scale by a power of two near 1 / standard deviation.

    A power of two rounds nothing. ``known`` holds what is known of columns already.
    """
    known = KnownStatistics() if known is None else known
    statistics = iter(known.of([c for c in columns if c is not None]))
    out = []
    for column in columns:
        if column is None:
            out.append(ScaledColumn(None, 0.0, 1.0))
            continue
        s = next(statistics)
        center = s.mean if centred else 0.0
        spread = s.spread if centred else max(s.spread, abs(s.mean))
        scale = 2.0 ** -round(math.log2(spread)) if spread > 0 else 1.0
        out.append(ScaledColumn(in_memory(column), center, scale))
    return tuple(out)
