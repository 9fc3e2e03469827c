"""Standard deviations of the residuals, row by row."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mlmfast.arrays import FloatArray, block_diagonal
from mlmfast.covariance.log_scale import log_scales
from mlmfast.design.design import Design
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.record import ResidualRecord, ScaleRecord
from mlmfast.design.residual.scale import ScaleDesign


class ResidualParameters(Protocol):
    """What is asked of the record of a fit, or of a truth, about its residuals."""

    @property
    def sigma2(self) -> float:
        """Residual variance at weight 1 and scale 1; NaN where visits have their own."""

    @property
    def residual(self) -> ResidualRecord | None:
        """Residual covariance at scale 1."""

    @property
    def residual_scale(self) -> ScaleRecord | None:
        """What standard deviations are multiplied by from row to row."""


def theta_by_arm(design: ResidualDesign, record: ResidualRecord) -> FloatArray:
    """Parameters theta of each arm, shape (n_arms, n_theta)."""
    natural = record.parameters.reshape(len(record.arms), -1)
    return design.structure.from_natural(natural)


def standard_deviations(design: ResidualDesign, record: ResidualRecord) -> FloatArray:
    """Residual standard deviation of each row at weight 1, shape (n,)."""
    return np.asarray(np.exp(theta_by_arm(design, record)[:, 0])[design.arm_of_rows])


def residual_template(residual: ResidualRecord) -> FloatArray:
    """Covariance of the visits of all arms, block diagonal, shape (k, k)."""
    return block_diagonal(list(residual.covariances))


def noise_sd(design: Design, record: ResidualParameters) -> FloatArray:
    """Residual standard deviation of each row, sigma s_i / sqrt(weight), shape (n,)."""
    sd = _sd_at_scale_1(design, record)
    if record.residual_scale is None:
        return sd
    assert design.residual is not None
    assert design.residual.scale is not None
    return row_scales(design.residual.scale, record.residual_scale) * sd


def _sd_at_scale_1(design: Design, record: ResidualParameters) -> FloatArray:
    if record.residual is not None and design.residual is not None and np.isnan(record.sigma2):
        if design.residual.points is not None:
            sd = standard_deviations(design.residual, record.residual)
            return np.asarray(sd if design.weights is None else sd / np.sqrt(design.weights))
        by_visit = np.sqrt(np.diag(residual_template(record.residual)))
        sd = by_visit[design.residual.positions]
        return np.asarray(sd if design.weights is None else sd / np.sqrt(design.weights))
    sigma = np.sqrt(record.sigma2)
    if design.weights is None:
        return np.full(design.n_obs, sigma)
    return np.asarray(sigma / np.sqrt(design.weights))


def row_scales(design: ScaleDesign, record: ScaleRecord) -> FloatArray:
    """What the residual standard deviation of each row is multiplied by, shape (n,)."""
    values = log_scales(design.log_scale.kinds, design.exponents, record.parameters)
    return np.asarray(np.exp(values)[design.codes])
