"""Profile likelihood of a variance, as statsmodels' `profile_re` gives it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.errors import DataError
from mlmfast.statsmodels.fitting.constrained import evaluation, optimum
from mlmfast.statsmodels.parameters import MixedLMParams, lower_root
from mlmfast.statsmodels.results.arrays import ResultArrays


def profile_re(
    self: ResultArrays,
    re_ix: int | str,
    vtype: str,
    num_low: int = 5,
    dist_low: float = 1.0,
    num_high: int = 5,
    dist_high: float = 1.0,
    **fit_kwargs: Any,
) -> FloatArray:
    """The log-likelihood with a variance held over the residual variance, all else at its best.

    Parameters
    ----------
    re_ix, vtype
        Position of a random effect, with "re", or name of a variance component, with "vc".
    num_low, dist_low
        Values below the estimate, and how far they reach, in the variance's units.
    num_high, dist_high
        Values above it.
    fit_kwargs
        Of statsmodels' optimisers; without effect.

    Returns
    -------
    shape (num_low + num_high + 1, 2), the variance (its ratio held, times the residual variance
    estimated there), and the log-likelihood
    """
    if vtype not in ("re", "vc"):
        raise ValueError(f"vtype must be 're' or 'vc', and is {vtype!r}")
    if not self._found.fe_free.all():
        raise NotImplementedError("a profile beside fixed effects held; subtract X b from endog")
    estimate, place = _estimate(self, re_ix, vtype)
    low, high = (estimate - dist_low) / self.scale, (estimate + dist_high) / self.scale
    if low <= 0:
        raise ValueError(
            "dist_low is too large and would result in a negative variance. Try a smaller value."
        )
    at = estimate / self.scale
    below = np.linspace(low, at, num_low + 1)
    above = np.linspace(at, high, num_high + 1)[1:]
    return np.array([_held_at(self, value, vtype, place) for value in [*below, *above]])


def _estimate(results: ResultArrays, re_ix: int | str, vtype: str) -> tuple[float, int]:
    if vtype == "vc":
        names = list(results.model.exog_vc.names)
        if re_ix not in names:
            raise DataError(f"{re_ix!r} is no variance component; they are {names}")
        place = names.index(re_ix)
        return float(results.vcomp[place]), place
    place = int(re_ix)
    if not 0 <= place < results.k_re:
        raise IndexError(f"there are {results.k_re} random effects, and {re_ix} is not among them")
    return float(results.cov_re[place, place]), place


def _held_at(results: ResultArrays, ratio: float, vtype: str, place: int) -> tuple[float, float]:
    """The variance in its units and the log-likelihood where its ratio is held."""
    model, params = results.model, results.params_object
    k, k_re2 = model.k_re, model.k_re2
    # The effect held comes first: its variance is then one entry of the Cholesky factor.
    order = np.arange(k)
    if vtype == "re":
        order[[0, place]] = order[[place, 0]]
    covariance, components = np.array(params.cov_re)[np.ix_(order, order)], np.array(params.vcomp)
    free = _freed(results, order)
    if vtype == "re":
        factor = np.ones(k)
        factor[0] = np.sqrt(ratio / covariance[0, 0])
        covariance = covariance * np.outer(factor, factor)
        free[0] = False
    else:
        components[place] = ratio
        free[k_re2 + place] = False
    packed = np.concatenate([lower_root(covariance)[np.tril_indices(k)], np.sqrt(components)])

    def likelihood(moved: MixedLMParams) -> Any:
        back = np.argsort(order)
        own = MixedLMParams.from_components(
            None, cov_re=moved.cov_re[np.ix_(back, back)], vcomp=moved.vcomp
        )
        return _Reordered(model._likelihood(own, results.reml), order, k)

    point = optimum(packed, free, evaluation(likelihood, model.k_fe, k, True))
    end = likelihood(MixedLMParams.from_packed(point.packed, model.k_fe, k, True, has_fe=False))
    return ratio * end.scale(end.beta), end.value(end.beta)


def _freed(results: ResultArrays, order: IntArray) -> BoolArray:
    """Which entries the fit estimated, effects reordered."""
    model = results.model
    pattern = np.zeros((model.k_re, model.k_re))
    pattern[np.tril_indices(model.k_re)] = results._found.free[: model.k_re2]
    pattern = np.maximum(pattern, pattern.T)[np.ix_(order, order)]
    own = pattern[np.tril_indices(model.k_re)]
    return np.asarray(np.concatenate([own, results._found.free[model.k_re2 :]]) != 0)


class _Reordered:
    """A likelihood whose derivatives are by effects in another order."""

    def __init__(self, likelihood: Any, order: IntArray, k: int) -> None:
        self._own, self._order, self._k = likelihood, order, k
        self.beta = likelihood.beta
        self.value, self.scale = likelihood.value, likelihood.scale

    def score(self, beta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives by beta and by the covariances as reordered."""
        by_beta, by_u = self._own.score(beta)
        lower = np.tril_indices(self._k)
        full = np.zeros((self._k, self._k))
        full[lower] = by_u[: len(lower[0])]
        full += np.tril(full, -1).T
        moved = full[np.ix_(self._order, self._order)]
        return by_beta, np.concatenate([moved[lower], by_u[len(lower[0]) :]])
