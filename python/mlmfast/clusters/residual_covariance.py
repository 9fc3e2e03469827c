"""Blocks of R, the covariance of the residuals, for sets of rows."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.clusters.noise import (
    ResidualParameters,
    noise_sd,
    residual_template,
    theta_by_arm,
)
from mlmfast.covariance.correlations import correlations
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.design.design import Design
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.reduction.residual.series import correlations_at


def residual_covariances(design: Design, record: ResidualParameters, rows: IntArray) -> FloatArray:
    """R of m sets of n rows each, shape (m, n, n); ``rows`` of shape (m, n)."""
    sd = noise_sd(design, record)[rows]
    if record.residual is None or design.residual is None:
        out = np.zeros((*rows.shape, rows.shape[1]))
        diagonal = np.arange(rows.shape[1])
        out[:, diagonal, diagonal] = sd**2
        return out
    if design.residual.points is not None:
        if design.residual.series is not None:
            within = series_correlations(design.residual, record.residual, rows)
            return within * (sd[:, :, None] * sd[:, None, :])
        return _scattered(design.residual, record.residual, rows, sd)
    units, positions = design.residual.units[rows], design.residual.positions[rows]
    correlation = correlations(residual_template(record.residual))
    out = correlation[positions[:, :, None], positions[:, None, :]]
    out = out * (sd[:, :, None] * sd[:, None, :])
    return np.where(units[:, :, None] == units[:, None, :], out, 0.0)


def _scattered(
    design: ResidualDesign, record: ResidualRecord, rows: IntArray, sd: FloatArray
) -> FloatArray:
    """R of rows by the distances between their points, shape (m, n, n)."""
    assert design.points is not None
    assert isinstance(design.structure, Spatial)
    points = design.points[rows]
    distances = design.structure.separations_of_rows(
        points[:, :, None, :], points[:, None, :, :], rows[:, :, None] == rows[:, None, :]
    )
    m, n = rows.shape
    flat = distances.reshape(m * n * n, *distances.shape[3:])
    arms = design.arm_of_rows[rows]
    out = np.zeros((m, n, n))
    for arm, theta in enumerate(theta_by_arm(design, record)):
        values = design.structure.at_distances(theta[None], flat)[0].reshape(m, n, n)
        own = arms == arm
        out += np.where(own[:, :, None] & own[:, None, :], values / values.ravel()[0], 0.0)
    units = design.units[rows]
    out *= sd[:, :, None] * sd[:, None, :]
    return np.where(units[:, :, None] == units[:, None, :], out, 0.0)


def series_correlations(
    design: ResidualDesign, record: ResidualRecord, rows: IntArray
) -> FloatArray:
    """Correlations of m sets of n rows, (m, n, n); 0 between rows of different subjects."""
    assert design.series is not None, "only called for series"
    times, units, arms = design.series.times[rows], design.units[rows], design.arm_of_rows[rows]
    theta = theta_by_arm(design, record)
    out = np.zeros((*rows.shape, rows.shape[1]))
    for arm in range(len(theta)):
        sets = (arms == arm).any(axis=1)
        within = correlations_at(design.structure, theta[arm][None], times[sets])
        own = arms[sets] == arm
        out[sets] += np.where(own[:, :, None] & own[:, None, :], within, 0.0)
    return np.where(units[:, :, None] == units[:, None, :], out, 0.0)
