"""Some rows of iterations, or those of several, as one."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import IntArray
from mlmfast.newton.iteration import NewtonResult


def rows_of(newton: NewtonResult, keep: IntArray, spend: bool = True) -> NewtonResult:
    """Some rows of an iteration; without ``spend`` their evaluations have been counted."""
    parts = {name: value[keep] for name, value in vars(newton).items()}
    if not spend:
        parts["n_evaluations"] = np.zeros(len(keep), dtype=np.intp)
    return NewtonResult(**parts)


def stacked(parts: list[NewtonResult]) -> NewtonResult:
    """Rows of several iterations."""
    names = NewtonResult.__dataclass_fields__
    return NewtonResult(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})
