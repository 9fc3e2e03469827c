"""Draws of a model's parameters: from their approximate posterior, or of drawn subjects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.design.design import Design
from mlmfast.errors import MlmError, ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitted.residual.record import residual_record, scale_record
from mlmfast.fitting.fit import fit_covariance
from mlmfast.fitting.parms.fit import fit_with_parms
from mlmfast.fitting.parms.request import Parms
from mlmfast.inference.resampling.drawn_clusters import DrawnClusters
from mlmfast.newton.options import NewtonOptions
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Refits that may fail, as a share of those wanted.
_MOST_FAILED = 0.2


@dataclass(frozen=True)
class Parameters:
    """m sets of parameters.

    Attributes
    ----------
    beta : shape (m, rank), coefficients of the columns kept.
    covariances : shape (m, n_arms, n_visits, n_visits), of residuals at weight 1 and scale 1.
    effects : G of each random-effects term, (m, q, q).
    scale : shape (m, k), logarithms of the ratios of the residual scale, and its exponents; None
        without one.
    """

    beta: FloatArray
    covariances: FloatArray
    effects: tuple[FloatArray, ...] = ()
    scale: FloatArray | None = None


def estimated(fit: Fitted) -> Parameters:
    """The estimates themselves."""
    record = fit._record
    assert record.residual is not None, "the caller looked"
    scale = None if record.residual_scale is None else record.residual_scale.logarithms[None]
    effects = tuple(term.covariance[None] for term in record.terms)
    return Parameters(record.beta[None], record.residual.covariances[None], effects, scale)


def _at(
    model: ReducedModel,
    criterion: Criterion,
    thetas: FloatArray,
    beta: FloatArray,
    effects: tuple[FloatArray, ...],
) -> Parameters:
    """Parameters at theta, (m, n_theta), with coefficients and covariances of the effects."""
    matrices, scales = [], []
    for own in thetas:
        residual = residual_record(model, criterion, own[None])
        scale = scale_record(model, criterion, own[None])
        assert residual is not None, "it has a structure"
        matrices.append(residual.covariances)
        scales += [] if scale is None else [scale.logarithms]
    return Parameters(beta, np.array(matrices), effects, np.array(scales) if scales else None)


def posterior(fit: Fitted, n: int, generator: np.random.Generator) -> Parameters:
    """Draws from the approximate posterior.

    The covariance parameters are normal about their estimates in the coordinates that the fit moves
    in, with the inverse of their observed information; coefficients given them are normal with
    (X'V^-1 X)^-1, as under a flat prior.

    Raises
    ------
    ModelError
        For a covariance on the boundary, about which it is not normal.
    """
    source = fit._needs_source("draws of the parameters")
    criterion, theta = source.criterion, source.theta
    if source.held_values:
        raise ModelError("draws='posterior' does not take parameters held; use draws='bootstrap'")
    hessian = criterion(theta, np.zeros(1, dtype=np.intp)).hessian[0]
    values, vectors = np.linalg.eigh(hessian)
    if fit.singular or values[0] <= 1e-10 * values[-1]:
        raise ModelError(
            "the covariance is on the boundary of its parameters, or the data do not tell them, so "
            "there is no normal approximation of their posterior; use draws='bootstrap', or a "
            "structure of fewer parameters"
        )
    # The criterion is -2 log-likelihood.
    root = vectors * np.sqrt(2.0 / values)
    steps = generator.standard_normal((n, len(values))) @ root.T
    drawn = np.ascontiguousarray(criterion.move(np.repeat(theta, n, axis=0), steps))
    found = estimates_of(source.model, criterion, drawn, fits=np.zeros(n, dtype=np.intp))
    if not np.isfinite(found.beta).all():
        raise ModelError(
            "a draw of the covariance parameters is not positive definite: the data tell them too "
            "little for a normal approximation; use draws='bootstrap'"
        )
    noise = generator.standard_normal(found.beta.shape)
    beta = found.beta + (np.linalg.cholesky(found.vcov) @ noise[:, :, None])[..., 0]
    return _at(source.model, criterion, drawn, beta, found.covariances)


def bootstrapped(
    fit: Fitted, n: int, generator: np.random.Generator, strata: IntArray
) -> Parameters:
    """Estimates of subjects drawn with replacement within strata.

    Parameters
    ----------
    strata : shape (n_subjects,), in the order of the fit's subjects.

    Raises
    ------
    ModelError
        Where too many refits fail.
    """
    clusters = _clusters(fit)
    groups = [np.flatnonzero(strata == k) for k in np.unique(strata)]
    found: list[Parameters] = []
    n_failed = 0
    while len(found) < n:
        chosen = np.concatenate([generator.choice(own, size=len(own)) for own in groups])
        refit = refitted(fit, clusters.of_clusters(np.sort(chosen)))
        if refit is not None:
            found.append(refit)
            continue
        n_failed += 1
        if n_failed > max(_MOST_FAILED * n, 10):
            raise ModelError(
                f"{n_failed} fits to drawn subjects failed for {len(found)} that did not; the data "
                "are too few for the model: take a structure of fewer parameters"
            )
    return _stacked(found)


def without_each(fit: Fitted) -> Iterator[Parameters]:
    """Estimates without one subject each, in the order of the fit's subjects.

    Raises
    ------
    ModelError
        Where a refit fails.
    """
    clusters = _clusters(fit)
    for k, design in enumerate(map(clusters.of_clusters, clusters.all_but_one())):
        found = refitted(fit, design)
        if found is None:
            raise ModelError(
                f"the model could not be fitted without subject {k + 1} of the fit; the jackknife "
                "needs every one of these fits"
            )
        yield found


def _clusters(fit: Fitted) -> DrawnClusters:
    source = fit._needs_source("a refit")
    residual = source.design.residual
    assert residual is not None, "the caller looked"
    return DrawnClusters.of(source.design, residual.subject)


def refitted(fit: Fitted, design: Design) -> Parameters | None:
    """Estimates of another design of the same columns; None where there are none."""
    record, held = fit._record, fit._needs_source("a refit").held_values
    log_sigma2 = None
    try:
        model = reduce_design(design)
        if model.kept.tolist() != list(record.kept):
            return None
        if held:
            parms = fit_with_parms(model, record.method, NewtonOptions(), None, Parms(hold=held))
            covariance, log_sigma2 = parms.covariance, parms.log_sigma2
        else:
            covariance = fit_covariance(model, record.method, NewtonOptions())
        estimates = estimates_of(model, covariance.criterion, covariance.theta, log_sigma2)
        if not covariance.newton.converged[0] or not np.isfinite(estimates.beta).all():
            return None
        theta, effects = covariance.theta, estimates.covariances
        return _at(model, covariance.criterion, theta, estimates.beta, effects)
    except MlmError:
        return None


def _stacked(parts: list[Parameters]) -> Parameters:
    scales = [part.scale for part in parts if part.scale is not None]
    return Parameters(
        np.concatenate([part.beta for part in parts]),
        np.concatenate([part.covariances for part in parts]),
        tuple(np.concatenate(own) for own in zip(*(p.effects for p in parts), strict=True)),
        np.concatenate(scales) if scales else None,
    )
