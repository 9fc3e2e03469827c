"""Starts from moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.scaled_covariance import positive
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.criterion import Criterion
from mlmfast.reduction.blocks import TermBlock
from mlmfast.reduction.engines.cores import engine_offering
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.residual.by_unit import with_variance
from mlmfast.reduction.residual.form import ResidualForm

#: Share of random effects in the variance from which they start beside a residual structure.
FIRST_SHARE = 0.4
#: Share of pairs of points that no two units have, above which moments say little of a range.
_UNMET = 0.2
#: Least variance of an arm to start from, over that of all residuals.
_LEAST_OF_ARM = 1e-6
#: Mean square, over the response's, of rows that fixed effects fit exactly: it is rounding and
#: tells nothing.
_EXACTLY_FITTED = 1e-20
#: Starting values are kept above this share of the residual's part of a level's mean.
_SMALLEST_START = 0.01


def moment_start(model: ReducedModel, criterion: Criterion) -> FloatArray:
    """Starts of the iterative engine, from sums of squares between levels, (n_fits, n_theta).

    One column of Z at a time: with z a column, y the least squares residual (mean square 1) and a
    mean square of z of 1 over a level, the mean over levels of (z'y)^2 / z'z is
    g + (1 - g n_levels / n), g the variance: the other factors of a sparse table look like residual
    variance. Covariances start at 0.

    Reference: Searle, Casella and McCulloch (1992), Variance Components, section 5.2 (Henderson's
    method 1).
    """
    core, n_obs = model.iterative, model.design.n_observations
    assert core is not None, "the other engines start from the score at G = 0"
    n_levels = [model.design.factors[f].n_levels for f in model.levels]
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


def residual_start(model: ReducedModel, criterion: Criterion, fits: IntArray) -> FloatArray:
    """Moments of least squares residuals: their covariances over pairs of visits met.

    Random effects get a share of the variance to begin with.
    """
    share = FIRST_SHARE if model.order else 0.0
    theta = np.empty((len(fits), criterion.n_theta))
    core = engine_offering(model.core, "visit_moments")
    for row, fit in enumerate(fits.tolist()):
        moments = core.visit_moments(fit)
        for block, s in zip(criterion.terms, criterion.theta_slices, strict=True):
            if block.form is not None:
                at = (block.stretch, block.stretch)
                met = (moments[0][at], moments[1][at])
                own = _start_of_residual(block.form, core, fit, met, 1.0 - share)
            else:
                own = block.shared.theta(share * np.eye(block.structure.size)[None])[0]
            theta[row, s] = own
    return theta


def _start_of_residual(
    form: ResidualForm,
    core: _core.Engine,
    fit: int,
    moments: tuple[FloatArray, FloatArray],
    share: float,
) -> FloatArray:
    """theta (n_theta,) of a residual's form at a share of the variance.

    ``moments`` are sums of products over pairs of visits, and how many units have both.
    """
    start = form.own_start(core, fit, share)
    if start is not None:
        return start
    sums, counts = moments
    spread = _spread_points(form.structure, counts)
    if spread is not None:
        return np.asarray(with_variance(spread, share)[0])
    return np.asarray(form.theta_near(share * _pairwise_covariance(sums, counts))[0])


def _spread_points(structure: CovarianceStructure, counts: FloatArray) -> FloatArray | None:
    """Start of a spatial structure by distances, where too few pairs of points are met for moments.

    A pair that no unit has would count as uncorrelated, and the range start near 0, where the
    likelihood is flat.
    """
    if not isinstance(structure, Spatial):
        return None
    met = np.tril(counts > 1, -1)
    pairs = structure.size * (structure.size - 1) / 2
    if met.sum() > (1.0 - _UNMET) * pairs:
        return None
    points = structure.coordinates
    gaps = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    return structure.start_at(np.where(np.tril(counts > 0, -1), gaps, 0.0))


def _pairwise_covariance(sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Covariances over the units that have both visits, made positive definite."""
    variance = np.diag(sums) / np.maximum(np.diag(counts), 1.0)
    overall = max(float(variance.max(initial=0.0)), _LEAST_OF_ARM)
    if variance.max(initial=0.0) < _EXACTLY_FITTED:
        variance, overall = np.ones_like(variance), 1.0
    sd = np.sqrt(np.maximum(variance, 1e-3 * overall))
    pairwise = np.where(counts > 1, sums / np.maximum(counts, 1.0), 0.0)
    np.fill_diagonal(pairwise, sd * sd)
    return positive(pairwise)
