"""A design in the form that the iterative engine reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.options import IterativeSettings
from mlmfast.reduction.scaling import ScaledColumn

#: Starting values are kept above this share of the residual's part of a level's mean.
_SMALLEST_START = 0.01


def reduce_iteratively(
    design: Design,
    levels: tuple[int, ...],
    z: Sequence[Sequence[ScaledColumn]],
    terms: Sequence[Sequence[tuple[int, str]]],
    x: Sequence[ScaledColumn],
    y: Sequence[ScaledColumn],
    settings: IterativeSettings,
) -> _core.IterativeReduction:
    """Sort the rows by every grouping factor.

    Parameters
    ----------
    design
        The design.
    levels
        Positions of the grouping factors in the design, in the order of ``z`` and ``terms``.
    z, terms
        By factor, scaled columns, and the size of each term and how its columns are transformed.
    x, y
        Scaled columns.
    settings
        Probes and their seed.
    """
    factors = [design.factors[f] for f in levels]
    exact = settings.probes == "exact"
    total = float(design.n_obs) if design.weights is None else float(design.weights.sum())
    return _core.IterativeReduction(
        [factor.codes for factor in factors],
        [factor.n_levels for factor in factors],
        z=z,
        x=x,
        y=y,
        noise=[column.noise(total) for column in x],
        terms=terms,
        sqrt_weights=None if design.weights is None else np.sqrt(design.weights),
        probes=0 if exact else int(settings.probes),
        exact=exact,
        seed=int(settings.seed),
    )


def moment_start(
    core: _core.IterativeReduction, criterion: Criterion, n_levels: Sequence[int], n_obs: int
) -> FloatArray:
    """Starting values from the sums of squares between levels, one column of Z at a time.

    With z a column, y the least squares residual (mean square 1) and a mean square of z of 1 over
    a level, the mean over levels of (z'y)^2 / z'z is g + (1 - g n_levels / n), g the variance: the
    other factors of a sparse table look like residual variance. Covariances start at 0.

    Reference: Searle, Casella and McCulloch (1992), Variance Components, section 5.2 (Henderson's
    method 1).
    """
    rows = []
    for fit in range(len(core.y_scale)):
        variances = []
        explained = 0.0
        for moments, n in zip(core.moments(fit), n_levels, strict=True):
            share = min(n / n_obs, 0.9)
            variances.append(np.maximum((moments - 1.0) / (1.0 - share), 0.0))
            explained += float(variances[-1].sum()) * share
        residual = max(1.0 - explained, 0.05)
        rows.append(np.concatenate([_theta(t, variances, residual) for t in criterion.terms]))
    return np.stack(rows)


def _theta(term: TermBlock, variances: Sequence[FloatArray], residual: float) -> FloatArray:
    relative = np.maximum(variances[term.level][term.stretch] / residual, _SMALLEST_START)
    return np.asarray(term.shared.theta(np.diag(relative)[None])[0])


def not_solved(error: _core.NotConverged) -> NoReturn:
    """Say what to do where conjugate gradients gave up."""
    iterations, residual = error.args
    raise ModelError(
        f"conjugate gradients left a relative residual of {residual:.1e} after {iterations} "
        "iterations: the grouping factors are nearly confounded. Use "
        "options={'engine': 'crossed'} if memory allows, or leave out one of the factors"
    ) from None
