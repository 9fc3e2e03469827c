"""Estimates in the user's units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.arms import scaled_residual
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.deviance import deviance_of_sums
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.reduction.residual.form_parameters import common_value
from mlmfast.reduction.scaling import FEW_COLUMNS


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
    centers, scale = (part[fits] for part in model.centers_and_scales)
    unit = model.core.y_scale[fits] / scale
    relative = rss / degrees if model.profiled else np.ones(len(rss))
    if log_sigma2 is not None:
        relative = np.exp(log_sigma2)
    sigma2 = relative * unit**2
    beta, vcov = coefficients(
        model.fixed_map[None],
        (model.core.ols[fits], beta_core, c),
        (scale, unit, centers),
        sigma2,
        model.intercept if centers.any() else None,
    )
    deviance = deviance_of_sums(model, reml, scalars, log_sigma2, fits)
    covariances: list[FloatArray] = [np.empty(0)] * len(model.order)
    for position, block in enumerate(model.blocks[: len(model.order)]):
        own = g[block.level][:, block.stretch, block.stretch]
        found = effect_covariances(model.effects_map(position)[None], own, sigma2)
        covariances[model.order[position]] = found
    if not model.profiled:
        sigma2 = _common_variance(model, criterion, theta, g, unit)
    return Estimates(beta, vcov, sigma2, tuple(covariances), deviance)


def coefficients(
    maps: FloatArray,
    solved: tuple[FloatArray, FloatArray, FloatArray],
    responses: tuple[FloatArray, FloatArray, FloatArray],
    sigma2: FloatArray,
    constant: int | None,
) -> tuple[FloatArray, FloatArray]:
    """Coefficients (a, p) and their covariances (a, p, p), the same bits alone and among others.

    Parameters
    ----------
    maps : shape (a, p, p) or (1, p, p), see `mlmfast.reduction.scaling.coefficient_maps`.
    solved : shapes (a, p), (a, p), (a, p, p)
        Least squares, what generalised least squares adds, and its C, in the core's coordinates.
    responses : shapes (a,)
        Scales, units and centers of the responses.
    sigma2 : shape (a,)
    constant
        Position of the constant column, which takes up the centers; None where these are 0.
    """
    ols, beta_core, c = solved
    scale, unit, center = responses
    if maps.shape[1] <= FEW_COLUMNS:
        own = (np.ascontiguousarray(scale), unit, np.ascontiguousarray(center))
        return _core.user_coefficients(maps, solved, own, sigma2, constant)
    core = ols / scale[:, None] + unit[:, None] * beta_core
    # A product for each fit: one over the whole batch may sum in another order than for one fit.
    beta = (maps @ core[:, :, None])[..., 0]
    if constant is not None:
        beta[:, constant] += center
    return beta, sigma2[:, None, None] * (maps @ c @ maps.mT)


def effect_covariances(maps: FloatArray, g: FloatArray, sigma2: FloatArray) -> FloatArray:
    """G in the user's units, (a, q, q), from the core's coordinates, over sigma^2 there.

    ``maps`` are (a, q, q), or (1, q, q) for all.
    """
    if maps.shape[1] <= FEW_COLUMNS:
        own = np.ascontiguousarray(g)
        return _core.user_covariances(np.ascontiguousarray(maps), own, sigma2)
    full = sigma2[:, None, None] * (maps @ g @ maps.mT)
    return np.asarray((full + full.mT) / 2)


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
