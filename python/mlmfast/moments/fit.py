"""Fits by moments: variances from mean squares or quadratic forms, fixed effects by them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import criterion_of
from mlmfast.degrees_of_freedom import Ddf, ddf_text
from mlmfast.design.model_frame import ModelFrame
from mlmfast.errors import ModelError
from mlmfast.fitted.certificates.certificate import Certificate
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitted.make_record import make_record
from mlmfast.fitted.origin.moments import MomentEstimates
from mlmfast.fitted.origin.provenance import provenance_of
from mlmfast.fitted.origin.source import FitSource
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.starts.given import starting_theta
from mlmfast.moments.effects import effects_of
from mlmfast.moments.mean_squares import estimate_by_type
from mlmfast.moments.mivque import mivque0
from mlmfast.newton.iteration import NewtonResult
from mlmfast.prepared.fit_model import Recorded, Wishes, check_bounded, check_ddf
from mlmfast.prepared.fit_warnings import warn_of
from mlmfast.prepared.model import PreparedModel
from mlmfast.reduction.engines.options import read_options
from mlmfast.reduction.reduced_model import ReducedModel

_Result = TypeVar("_Result", bound=Fitted)


def fit_by_moments(
    model: PreparedModel,
    make: Callable[[Recorded, FitSource, Mapping[str, float]], _Result],
    method: str,
    options: Any = None,
    ddf: Ddf | None = None,
    wishes: Wishes | None = None,
) -> _Result:
    """Fit by ``method`` "type1", "type2", "type3" or "mivque0"; `mlmfast.LMM.fit` documents them.

    Raises
    ------
    ModelError
        Where the model has more than variances of intercepts by factors beside a residual
        variance, or its V is no covariance matrix at the estimates.
    """
    ddf = "satterthwaite" if ddf is None else ddf
    degrees = check_ddf(ddf, method)
    _check_wishes(method, wishes, options)
    engine, _ = read_options(options)
    frame = _checked(model, method)
    opened = model._without_bounds()
    started = time.perf_counter()
    design = opened.design
    factors = [design.factors[term.factor] for term in design.random]
    y = design.working_response
    table = None
    if method == "mivque0":
        x = np.linalg.qr(_kept_columns(opened._reduced(engine)))[0]
        values, spread = mivque0(x, [factor.codes for factor in factors], y)
    else:
        found = estimate_by_type(effects_of(frame, factors), y, int(method[-1]))
        values, spread = np.append(found.variances, found.residual), found.covariance
        table = found.table
    names = [factor.name for factor in factors]
    reduced = opened._reduced(engine)
    covariance, log_sigma2 = _at(reduced, method, names, values)
    estimates = estimates_of(reduced, covariance.criterion, covariance.theta, log_sigma2)
    record = make_record(reduced, opened._frame, "REML", covariance, estimates, ddf_text(ddf))
    certificate = Certificate(
        0.0, np.inf, (), 1, 0, reduced.engine_name, negative=record.certificate.negative
    )
    record = replace(record, certificate=certificate, converged=True, estimator=method)
    moments = MomentEstimates(method, log_sigma2, spread, table)
    asked = {"method": method, "ddf": ddf_text(ddf), "options": options}
    source = FitSource(
        reduced,
        covariance.criterion,
        covariance.theta,
        opened._frame,
        provenance=provenance_of(model._arguments, asked),
        moments=moments,
    )
    timings = {**opened._timings, "iterate": time.perf_counter() - started}
    result = make(record, source, timings)
    if degrees.eager:
        result._basis()
    warn_of(result)
    return result


def _check_wishes(method: str, wishes: Wishes | None, options: Any) -> None:
    if wishes is not None:
        check_bounded(wishes.bounded)
    if wishes is not None and (wishes.start is not None or wishes.of_parameters):
        raise ModelError(
            f"method={method!r} does not iterate: leave start=, hold=, bounds= and grid= out"
        )
    read_options(options)


def _checked(model: PreparedModel, method: str) -> ModelFrame:
    """How the model was read, where moments tell its variances."""
    design, frame = model.design, model._frame
    instead = f"use method='REML' instead of {method!r}"
    if frame is None:
        raise ModelError(f"method={method!r} goes by the terms of a formula; {instead}")
    if design.absorbed is not None and model._absorb:
        raise ModelError(
            f"method={method!r} goes with all columns of X, and the fixed factor "
            f"{design.absorbed.name!r} was eliminated; leave absorb=True out"
        )
    if not design.random:
        raise ModelError(f"method={method!r} estimates variances of random effects; {instead}")
    if design.residual is not None or design.weights is not None:
        what = "weights" if design.weights is not None else design.residual.text  # type: ignore[union-attr]
        raise ModelError(
            f"method={method!r} is for independent residuals of one variance, not beside {what}; "
            f"{instead}"
        )
    for term in design.random:
        factor = design.factors[term.factor]
        if len(term.columns) > 1 or term.columns[0] is not None:
            raise ModelError(
                f"method={method!r} is for variances of random intercepts, (1 | g), and "
                f"{term.text} has {', '.join(term.names)}; {instead}"
            )
        if factor.relationship is not None:
            raise ModelError(f"method={method!r} has no relationship matrices (cov=); {instead}")
    return frame


def _kept_columns(reduced: ReducedModel) -> FloatArray:
    return reduced.design.fixed_matrix[:, reduced.kept]


def _at(
    reduced: ReducedModel, method: str, names: list[str], values: FloatArray
) -> tuple[CovarianceFit, FloatArray]:
    """The model at these variances, the residual's last, and log sigma^2."""
    listed = ", ".join(
        f"{name} {value:.6g}"
        for name, value in zip([*names, "Residual"], values.tolist(), strict=True)
    )
    if not values[-1] > 0.0:
        raise ModelError(
            f"method={method!r} estimates the residual variance as {values[-1]:.6g} ({listed}), so "
            "that there is no model to go on with; use method='REML'"
        )
    start: dict[str, Any] = {
        name: [[value]] for name, value in zip(names, values.tolist(), strict=False)
    }
    theta = starting_theta(reduced, "REML", {**start, "Residual": float(values[-1])})
    criterion = criterion_of(reduced, "REML")
    value = criterion.value(theta, np.zeros(1, dtype=np.intp))
    if not np.isfinite(value[0]):
        raise ModelError(
            f"with the variances that method={method!r} estimates ({listed}) V is no covariance "
            "matrix, so that fixed effects cannot be estimated by it; use method='REML'"
        )
    none = np.zeros((1, len(criterion.terms)), dtype=np.bool_)
    nothing = np.zeros(1)
    newton = NewtonResult(
        theta=theta,
        value=value,
        decrement=nothing,
        min_eigenvalue=np.full(1, np.inf),
        curvature=np.zeros_like(theta),
        converged=np.ones(1, dtype=np.bool_),
        n_iterations=np.zeros(1, dtype=np.intp),
        n_evaluations=np.ones(1, dtype=np.intp),
    )
    log_sigma2 = np.log(values[-1:] / reduced.response_unit)
    return CovarianceFit(criterion, theta, none, newton, newton.n_evaluations), log_sigma2
