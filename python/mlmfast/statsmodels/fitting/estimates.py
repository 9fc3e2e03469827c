"""What a fit found, whichever way it was made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.result import LMMResult
from mlmfast.statsmodels.parameters import MixedLMParams


class Estimates:
    """What a fit found, whichever way.

    Attributes
    ----------
    params
        Fixed effects, and covariances over the residual variance.
    scale, llf
        Residual variance; log-likelihood.
    converged, iterations
        Whether at an optimum, and after how many steps.
    lmm
        mlmfast's fit; None for one with parameters held.
    free : shape (k,), logicals: which entries of the covariances were estimated.
    fe_free : shape (k_fe,), logicals: which fixed effects were.
    """

    def __init__(
        self,
        params: MixedLMParams,
        scale: float,
        llf: float,
        convergence: tuple[bool, int],
        free: FloatArray,
        lmm: LMMResult | None = None,
        layout: Sequence[Sequence[int]] = (),
        fe_free: BoolArray | None = None,
    ) -> None:
        self.params, self.scale, self.llf = params, scale, llf
        self.converged, self.iterations = convergence
        self.free, self.lmm, self.layout = free, lmm, layout
        every = np.ones(len(params.fe_params), dtype=np.bool_)
        self.fe_free: BoolArray = every if fe_free is None else fe_free
