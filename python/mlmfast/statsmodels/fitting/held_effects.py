"""Fixed effects held at given values: what they say is an offset of the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.design.design import Design


@dataclass(frozen=True)
class HeldEffects:
    """Which fixed effects are estimated, and the values of those that are not.

    Attributes
    ----------
    free : shape (k_fe,), logicals
    values : shape (k_fe,), read where an effect is held
    """

    free: BoolArray
    values: FloatArray

    def offset_from(self, design: Design) -> Design:
        """The design of the columns that are left, the others as its offset."""
        offset = np.zeros(len(design.y)) if design.offset is None else design.offset.copy()
        for column, value in zip(design.x, np.where(self.free, 0.0, self.values), strict=True):
            if value:
                offset += value if column is None else value * column
        kept = np.flatnonzero(self.free).tolist()
        return replace(
            design,
            x=tuple(design.x[k] for k in kept),
            x_names=tuple(design.x_names[k] for k in kept),
            offset=offset,
        )

    def whole(self, beta: FloatArray) -> FloatArray:
        """All fixed effects, from those estimated."""
        out = np.array(self.values)
        out[self.free] = beta
        return out
