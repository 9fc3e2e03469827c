"""Second derivatives of the log-determinants of crossed factors without dense matrices.

The exact ones are tr(P V_i P V_j), which takes every entry of an inverse of the order that is left
after the leading factor. First derivatives take the entries in the places of the factor (Takahashi,
Fagan and Chin 1973) alone, so that differences of these cost a few evaluations at any order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray
from mlmfast.reduction.engines.differences import EIGHT_POINTS, Stencil, second_derivatives

#: A trace over the rows, columns of Z of mean square 1, that is rounding.
_NOTHING = 1e-10


def derivatives_by_differences(
    core: _core.CrossedReduction,
    g: list[FloatArray],
    fits: Sequence[int],
    entries: Sequence[tuple[int, int, int]],
    reml: bool,
    n_obs: int,
    stencil: Stencil = EIGHT_POINTS,
) -> list[FloatArray]:
    """What `likelihood_derivatives` of the core says, those of one fit.

    Second derivatives of the log-determinants have an error of about 1e-11 of their size with
    eight points, of 1e-8 with two; all else is exact.
    """
    assert len(fits) == 1, "asked for one fit at a time"

    def first(at: list[FloatArray]) -> FloatArray:
        return np.asarray(core.likelihood_derivatives(at, fits, entries, reml, False)[0][0])

    out = core.likelihood_derivatives(g, fits, entries, reml, False)
    out[1] = second_derivatives(first, g, entries, _NOTHING * n_obs, stencil)[None]
    return out
