"""Estimates in the user's units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.arms import scaled_residual
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.deviance import deviance_of_sums
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.residual.form_parameters import common_value
from mlmfast.reduction.scaling import centers_and_scales


@dataclass(frozen=True)
class Estimates:
    """Estimates of a batch of fits in the user's units; NaN where V is not positive definite.

    Attributes
    ----------
    beta : shape (n_fits, rank), coefficients of the columns kept.
    vcov : shape (n_fits, rank, rank), sigma^2 (X'W^-1 X)^-1.
    sigma2 : shape (n_fits,), residual variance at weight 1.
    covariances : G of each random-effects term, in the order of the design, (n_fits, q, q).
    deviance : shape (n_fits,), -2 log-likelihood (restricted for REML), all constants included.
    """

    beta: FloatArray
    vcov: FloatArray
    sigma2: FloatArray
    covariances: tuple[FloatArray, ...]
    deviance: FloatArray


def estimates_of(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    log_sigma2: FloatArray | None = None,
    fits: IntArray | None = None,
) -> Estimates:
    """Estimates of every response at its ``theta``, shape (n_fits, n_theta).

    ``log_sigma2``, shape (n_fits,), replaces the best sigma^2, in the criterion's units;
    ``fits`` says which response each row of ``theta`` is for, if not each its own.
    """
    fits = np.arange(len(theta)) if fits is None else fits
    g = criterion.covariances(theta)
    beta_core, c, scalars = criterion.solve(theta, fits)
    rss = scalars[:, 0]
    reml = criterion.reml
    degrees = model.degrees(reml)
    centers, scale = (part[fits] for part in centers_and_scales(model.y_scaling))
    unit = model.core.y_scale[fits] / scale
    relative = rss / degrees if model.profiled else np.ones(len(rss))
    if log_sigma2 is not None:
        relative = np.exp(log_sigma2)
    sigma2 = relative * unit**2
    core = model.core.ols[fits] / scale[:, None] + unit[:, None] * beta_core
    k = model.fixed_map
    # A product for each fit: one over the whole batch may sum in another order than for one fit.
    beta = (k @ core[:, :, None])[..., 0]
    if centers.any():
        beta[:, model.intercept] += centers
    deviance = deviance_of_sums(model, reml, scalars, log_sigma2, fits)
    covariances: list[FloatArray] = [np.empty(0)] * len(model.order)
    for position, block in enumerate(model.blocks[: len(model.order)]):
        k_term = model.effects_map(position)
        own = g[block.level][:, block.stretch, block.stretch]
        full = sigma2[:, None, None] * (k_term @ own @ k_term.T)
        covariances[model.order[position]] = (full + full.mT) / 2
    vcov = sigma2[:, None, None] * (k @ c @ k.T)
    if not model.profiled:
        sigma2 = _common_variance(model, criterion, theta, g, unit)
    return Estimates(beta, vcov, sigma2, tuple(covariances), deviance)


def _common_variance(
    model: ReducedModel,
    criterion: Criterion,
    theta: FloatArray,
    g: list[FloatArray],
    unit: FloatArray,
) -> FloatArray:
    """The residual variance where all visits have the same, else NaN; shape (n_fits,).

    With a residual scale, that at scale 1.
    """
    assert model.design.residual is not None
    if model.design.residual.scale is not None:
        structure, own = scaled_residual(criterion)
        matrices = np.concatenate(structure.reference(theta[:, own]), axis=1)
        k = structure.arms[0].size
        visits = np.arange(matrices.shape[1])
        return common_value(matrices[:, visits, visits % k]) * unit**2
    form = model.blocks[-1].form
    assert form is not None, "there is a residual structure"
    return form.common_variance(theta[:, -form.n_theta :], g[-1]) * unit**2
