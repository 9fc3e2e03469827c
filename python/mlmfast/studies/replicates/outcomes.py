"""Outcomes: what a method says of the estimands, in arrays by replicate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import BoolArray, FloatArray, IntArray

#: Numbers of an estimate, in the order of the results' columns.
NUMBERS = ("estimate", "std_error", "df", "p_value", "lower", "upper")


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of one method in n replicates for k estimands.

    Attributes
    ----------
    numbers : shape (6, n, k), in the order of `NUMBERS`; NaN where there is none.
    converged, singular : shape (n,)
    error : shape (n, k), text; empty where nothing went wrong.
    """

    numbers: FloatArray
    converged: BoolArray
    singular: BoolArray
    error: NDArray[np.object_]

    @classmethod
    def none(cls, n: int, k: int, error: str = "") -> Outcomes:
        """No outcomes yet, or none at all for a reason."""
        return cls(
            np.full((len(NUMBERS), n, k), np.nan),
            np.zeros(n, dtype=np.bool_),
            np.zeros(n, dtype=np.bool_),
            np.full((n, k), error, dtype=object),
        )

    @classmethod
    def joined(cls, n: int, k: int, parts: Iterable[tuple[IntArray, Outcomes]]) -> Outcomes:
        """Outcomes of n replicates from parts at ascending positions; what is said last holds."""
        out: Outcomes | None = None
        for positions, part in parts:
            if len(positions) == n:
                # All of them, and nothing to be copied.
                out = part
                continue
            out = cls.none(n, k) if out is None else out
            out.put(positions, part)
        return cls.none(n, k) if out is None else out

    def put(self, positions: IntArray | Sequence[int], part: Outcomes) -> None:
        """Take in the outcomes of some replicates."""
        at = np.asarray(positions, dtype=np.intp)
        self.numbers[:, at] = part.numbers
        self.converged[at] = part.converged
        self.singular[at] = part.singular
        self.error[at] = part.error
