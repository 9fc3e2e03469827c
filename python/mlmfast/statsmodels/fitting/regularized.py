"""Fixed effects by the lasso, covariances held at their estimates without a penalty."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.statsmodels.fitting.estimates import Estimates
from mlmfast.statsmodels.parameters import MixedLMParams


def fit_regularized(
    self: Any,
    start_params: Any = None,
    method: str = "l1",
    alpha: Any = 0,
    ceps: float = 1e-4,
    ptol: float = 1e-6,
    maxit: int = 200,
    **fit_kwargs: Any,
) -> Any:
    """Minimise (y - X b)'V^-1 (y - X b) + sum alpha_j |b_j| at the covariances of `fit`.

    Parameters
    ----------
    start_params, fit_kwargs
        As `fit`.
    method
        "l1".
    alpha
        Weight of the penalty, one for all or one a coefficient.
    ceps
        Size below which a coefficient is, and stays, 0.
    ptol, maxit
        Largest change of a coefficient at the end; rounds over them.

    Raises
    ------
    NotImplementedError
        For a penalty object: statsmodels leaves the fixed effects unpenalised there.
    """
    if not isinstance(method, str):
        raise NotImplementedError(
            "only method='l1' is offered; with a penalty object statsmodels leaves the fixed "
            "effects unpenalised"
        )
    if method.lower() != "l1":
        raise ValueError("Invalid regularization method")
    first = self.fit(start_params=start_params, **fit_kwargs)
    found = getattr(first, "_results", first)
    params = found.params_object
    weights = np.broadcast_to(np.asarray(alpha, dtype=np.float64), (self.k_fe,))
    likelihood = self._likelihood(params)
    w = likelihood._solved[1] / found.scale
    beta, converged = _descent(w, found.fe_params.copy(), weights, (ceps, ptol, maxit))
    moved = MixedLMParams.from_components(beta, cov_re=params.cov_re, vcomp=params.vcomp)
    scale = likelihood.scale(beta)
    estimates = Estimates(
        moved, scale, likelihood.value(beta), (converged, 0), found._found.free, None
    )
    out = self._results_of(estimates, self, found.se, False)
    _results = getattr(out, "_results", out)
    # The covariances are those of the fit without a penalty, in its units.
    _results.cov_re, _results.vcomp = found.cov_re, found.vcomp
    _results.__dict__["_cov"] = _covariance(
        likelihood.hessian(beta), np.abs(beta) > ceps, self.k_fe
    )
    return out


def _descent(
    w: FloatArray, beta: FloatArray, weights: FloatArray, limits: tuple[float, float, int]
) -> tuple[FloatArray, bool]:
    """Coordinate descent (Friedman, Hastie and Tibshirani 2010) on cross-products of [X y]."""
    ceps, ptol, maxit = limits
    for _ in range(maxit):
        before = beta.copy()
        for j in range(len(beta)):
            if abs(beta[j]) < ceps:
                continue
            beta[j] = 0.0
            slope = -2.0 * (w[j, -1] - w[j, :-1] @ beta)
            shrunk = max(abs(float(slope)) - weights[j], 0.0)
            beta[j] = -np.sign(slope) * shrunk / (2.0 * w[j, j])
        if np.abs(before - beta).max() < ptol:
            return beta, True
    return beta, False


def _covariance(hessian: FloatArray, kept: BoolArray, k_fe: int) -> FloatArray:
    """Inverse of minus the Hessian of the coefficients kept; NaN for the others."""
    out = np.full_like(hessian, np.nan)
    at = np.flatnonzero(np.concatenate([kept, np.ones(len(hessian) - k_fe, dtype=bool)]))
    out[np.ix_(at, at)] = np.linalg.inv(-hessian[np.ix_(at, at)])
    return out
