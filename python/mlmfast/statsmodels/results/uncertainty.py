"""Covariances of the packed parameters, and standard errors of the covariances in their units.

Parameters are packed as statsmodels packs them: beta, then G / sigma^2 and variance components /
sigma^2. Of (G, sigma^2) the inverse information is known from the fit; with u = G / sigma^2 it is
carried over by the derivatives of u.
"""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.inference.intervals.parameter_table import observed_covariance
from mlmfast.result import LMMResult
from mlmfast.statsmodels.fitting.estimates import Estimates
from mlmfast.statsmodels.model.arrays import ModelArrays
from mlmfast.statsmodels.parameters import lower_places


def gls_covariance(model: ModelArrays, found: Estimates) -> FloatArray:
    """(X'V^-1 X)^-1 sigma^2 of the fixed effects; of the covariances the inverse information.

    NaN for covariances on the boundary, and for none of both: the estimates are asymptotically
    independent.
    """
    k = model.k_fe
    out = np.zeros((k + len(found.free),) * 2)
    if found.lmm is None:
        at = model._likelihood(found.params)
        hessian = at.hessian(at.beta)
        out[:k, :k] = np.linalg.inv(-hessian[:k, :k])
        out[k:, k:] = _inverse_profile(hessian, k, found)
        return out
    # Held ones do not vary, as held covariances below.
    own = np.flatnonzero(found.fe_free)
    out[np.ix_(own, own)] = found.lmm._record.vcov
    natural, packed = _natural(found.lmm, found)
    u, scale = packed, found.scale
    n = len(u)
    by_natural = np.hstack([np.eye(n) / scale, -u[:, None] / scale])
    out[k:, k:] = by_natural @ natural @ by_natural.T
    held = np.flatnonzero(found.free == 0.0)
    out[k + held, :] = out[:, k + held] = 0.0
    return out


def _inverse_profile(hessian: FloatArray, k: int, found: Estimates) -> FloatArray:
    """Inverse of minus the Hessian by u with beta profiled out, held entries at 0."""
    cross = hessian[k:, :k]
    profile = hessian[k:, k:] - cross @ np.linalg.solve(hessian[:k, :k], cross.T)
    return _inverse_of_free(-profile, found.free)


def _inverse_of_free(information: FloatArray, free: FloatArray) -> FloatArray:
    out = np.zeros_like(information)
    at = np.flatnonzero(free)
    own = information[np.ix_(at, at)]
    curved = len(at) and np.linalg.eigvalsh(own).min() > 0.0
    out[np.ix_(at, at)] = np.linalg.inv(own) if curved else np.nan
    return out


def joint_covariance(model: ModelArrays, found: Estimates) -> FloatArray:
    """Inverse of minus the joint Hessian of beta and the covariances: statsmodels' own."""
    at = model._likelihood(found.params)
    hessian = at.hessian(np.asarray(found.params.fe_params))
    free = np.concatenate([found.fe_free, found.free])
    out = np.zeros_like(hessian)
    at_free = np.flatnonzero(free)
    out[np.ix_(at_free, at_free)] = np.linalg.inv(-hessian[np.ix_(at_free, at_free)])
    return out


def _natural(lmm: LMMResult, found: Estimates) -> tuple[FloatArray, FloatArray]:
    """Asymptotic covariance of the covariances and sigma^2, packed; and u."""
    n = len(found.free)
    order = [k for own in found.layout for k in own]
    places = np.array([*order, n])
    out = np.zeros((n + 1, n + 1))
    out[np.ix_(places, places)] = observed_covariance(lmm)
    params = found.params
    triangle = np.asarray(params.cov_re)[lower_places(len(params.cov_re))]
    return out, np.concatenate([triangle, params.vcomp])


def covariance_errors(model: ModelArrays, found: Estimates, of_ratios: FloatArray) -> FloatArray:
    """Standard errors of the entries of G and of the variance components, in their own units."""
    if found.lmm is not None:
        natural = _natural(found.lmm, found)[0]
        variances = np.diag(natural)[:-1]
    else:
        variances = _in_units(model, found, of_ratios)
    errors = np.sqrt(np.where(variances < 0.0, np.nan, variances))
    return np.asarray(np.where(found.free == 0.0, 0.0, errors))


def _in_units(model: ModelArrays, found: Estimates, of_ratios: FloatArray) -> FloatArray:
    """Variances of u sigma^2, where sigma^2 = q(u) / d has variance 2 sigma^4 / d given u."""
    at = model._likelihood(found.params)
    triangle = np.asarray(found.params.cov_re)[lower_places(model.k_re)]
    u = np.concatenate([triangle, found.params.vcomp])
    by_u = found.scale * (np.eye(len(u)) + np.outer(u, at.log_scale_slopes(at.beta)))
    spread = by_u @ of_ratios @ by_u.T
    return np.asarray(np.diag(spread) + 2.0 * (u * found.scale) ** 2 / at.degrees)
