"""Expected value of every row given the responses observed on the same subject or cluster.

With o the rows observed and t those to predict, C = Cov(y_t, y_o) and V = Var(y_o) under the model,

    E[y_t | y_o]        = X_t b + C V^-1 (y_o - X_o b)
    Var[y_t | y_o]      = Var(y_t) - C V^-1 C'
    Var of the estimate = D Var(b-hat) D',  D = X_t - C V^-1 X_o

the covariance parameters taken as known (McCulloch and Searle 2001, section 6.6; `predict` of R's
mmrm, ``conditional = TRUE``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray, SparseArray
from mlmfast.clusters.covariance import (
    cholesky_factors,
    marginal_covariances,
    refuse_large_cluster,
    solve_lower,
)
from mlmfast.clusters.effect_columns import weights_at
from mlmfast.clusters.noise import noise_sd
from mlmfast.clusters.residual_covariance import residual_covariances
from mlmfast.clusters.shared_effects import LargeCluster, is_large
from mlmfast.design.design import Design
from mlmfast.design.rows import columns_at
from mlmfast.fitted.record import FitRecord
from mlmfast.prediction.given_observed.observed import Conditioned, conditioned_rows
from mlmfast.prediction.given_observed.untold import has_untold, moved
from mlmfast.prediction.given_observed.visits_between import with_visits_between
from mlmfast.reduction.engines.independence import independent_clusters
from mlmfast.running.scipy_on_use import sparse

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Entries of covariance matrices that are formed at once.
_ENTRIES_AT_ONCE = 1 << 21
#: Move of a prediction with a covariance that no data tell, over its error, that is rounding.
_MOVED = 1e-8
#: Rows to predict that are taken together in one cluster, at least.
_TOGETHER = 500


@dataclass(frozen=True)
class Moments:
    """What is known of rows given the responses observed.

    Attributes
    ----------
    mean : shape (n,), the expected value.
    mean_variance : shape (n,), variance of its estimate.
    variance : shape (n,), variance of the response about the estimate.
    """

    mean: FloatArray
    mean_variance: FloatArray
    variance: FloatArray


def predict_conditionally(
    fit: Fitted,
    newdata: object,
    new_levels: str,
    offset: Any,
    weights: Any,
    estimable_only: bool = True,
) -> tuple[Conditioned, Moments]:
    """Moments of all rows of ``newdata`` (of the fit's data for None), NaN where incomplete.

    With ``estimable_only``, rows whose mean the data of the fit do not determine are NaN, and
    responses among them are not used; NaN is too what hangs on covariances that no data
    tell. `LMMResult.predict` documents the arguments.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)")
    >>> new = {"Days": [9, 10, 11], "Subject": ["308"] * 3}
    >>> fit.predict(new, conditional=True).round(1)
    array([466.4, 453.1, 444.6])
    """
    rows = conditioned_rows(fit, newdata, new_levels, offset, weights, estimable_only)
    out = Moments(*(np.full(len(rows.own_value), np.nan) for _ in range(3)))
    known = ~np.isnan(rows.own_value)
    out.mean[known] = rows.own_value[known]
    out.mean_variance[known] = out.variance[known] = 0.0
    if len(rows.targets):
        found = _moments(fit._record, rows)
        if estimable_only and has_untold(fit._record):
            other = _moments(moved(fit._record), rows)
            untold = np.abs(other.mean - found.mean) > _MOVED * np.sqrt(found.variance)
            untold |= np.abs(other.variance - found.variance) > _MOVED * found.variance
            for part in vars(found).values():
                part[untold] = np.nan
            rows.hanging[rows.target_rows[untold]] = True
        for whole, part in zip(vars(out).values(), vars(found).values(), strict=True):
            whole[rows.target_rows] = part
    return rows, out


def _moments(record: FitRecord, rows: Conditioned) -> Moments:
    own = with_visits_between(record, rows.design.residual)
    return conditional_moments(rows.design, own, rows.observed, rows.targets)


def conditional_moments(
    design: Design, record: FitRecord, observed: BoolArray, targets: IntArray
) -> Moments:
    """Moments of the rows ``targets`` of a design given those ``observed``, in their order.

    Parameters
    ----------
    design : rows of the fit and new ones; columns of X that are not aliased.
    record : the estimates.
    observed : shape (n,), rows whose ``y`` is known.
    targets : rows to predict.
    """
    out = Moments(*(np.empty(len(targets)) for _ in range(3)))
    place = np.full(design.n_obs, -1, dtype=np.intp)
    place[targets] = np.arange(len(targets))
    for given, wanted in by_cluster(design, record, observed, targets):
        if is_large(given.shape[1]):
            found = _of_large_cluster(design, record, given[0], wanted[0])
        else:
            found = _of_clusters(design, record, given, wanted)
        at = place[wanted].ravel()
        for whole, part in zip(vars(out).values(), vars(found).values(), strict=True):
            whole[at] = part.ravel()
    return out


def by_cluster(
    design: Design, record: FitRecord, observed: BoolArray, targets: IntArray
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the rows observed (m, n) and wanted (m, k) of clusters of one size together."""
    codes, n_clusters = _clusters(design, record)
    given = np.flatnonzero(observed)
    given, targets = (r[np.argsort(codes[r], kind="stable")] for r in (given, targets))
    n_given = np.bincount(codes[given], minlength=n_clusters)
    n_wanted = np.bincount(codes[targets], minlength=n_clusters)
    first_given, first = np.cumsum(n_given) - n_given, np.cumsum(n_wanted) - n_wanted
    met = np.flatnonzero(n_wanted)
    sizes, kind = np.unique(
        np.column_stack([n_given[met], n_wanted[met]]), axis=0, return_inverse=True
    )
    for which, (n, k) in enumerate(sizes.tolist()):
        clusters = met[kind.ravel() == which]
        if is_large(n):
            for one in clusters.tolist():
                of_targets = slice(first[one], first[one] + k)
                own = given[first_given[one] : first_given[one] + n]
                yield own[None], targets[None, of_targets]
            continue
        together = max(_TOGETHER, n // 4)
        step = max(1, _ENTRIES_AT_ONCE // (n + min(k, together)) ** 2)
        for at in range(0, len(clusters), step):
            some = clusters[at : at + step]
            own = given[first_given[some, None] + np.arange(n)]
            for start in range(0, k, together):
                part = np.arange(start, min(k, start + together))
                yield own, targets[first[some, None] + part]


def _clusters(design: Design, record: FitRecord) -> tuple[IntArray, int]:
    """Clusters of rows that are independent of each other; single rows where nothing groups."""
    if not record.groups:
        return np.arange(design.n_obs), design.n_obs
    codes, n_clusters = independent_clusters(design, record.levels)
    return codes.astype(np.intp), n_clusters


def _of_clusters(design: Design, record: FitRecord, given: IntArray, wanted: IntArray) -> Moments:
    """Moments of the rows wanted (m, k) given others (m, n) of the same clusters, each (m, k)."""
    n = given.shape[1]
    whole = marginal_covariances(design, record, np.concatenate([given, wanted], axis=1))
    x, x_given = columns_at(design.x, wanted), columns_at(design.x, given)
    offset = 0.0 if design.offset is None else design.offset[wanted]
    variance = np.einsum("mii->mi", whole[:, n:, n:]).copy()
    change = np.zeros(wanted.shape)
    if n:
        residual = design.working_response[given] - x_given @ record.beta
        factors = cholesky_factors(whole[:, :n, :n])
        right = np.concatenate([whole[:, :n, n:], x_given, residual[:, :, None]], axis=2)
        half = solve_lower(factors, np.ascontiguousarray(right))
        k = wanted.shape[1]
        a, b, c = half[:, :, :k], half[:, :, k:-1], half[:, :, -1:]
        change = (a.mT @ c)[:, :, 0]
        variance -= np.einsum("mij,mij->mj", a, a)
        mean = x @ record.beta + change + offset
        x = x - a.mT @ b
    else:
        mean = x @ record.beta + offset
    mean_variance = np.einsum("mki,ij,mkj->mk", x, record.vcov, x)
    # Rounding may leave a variance that should be 0 a little below it.
    return Moments(mean, mean_variance, np.maximum(variance, 0.0) + mean_variance)


def _of_large_cluster(
    design: Design, record: FitRecord, given: IntArray, wanted: IntArray
) -> Moments:
    """The same of one large cluster, by its equations; ``given`` (n,), ``wanted`` (k,)."""
    kept = replace(record, kept=tuple(range(len(design.x))))
    what = "a prediction given the responses observed"
    cluster = LargeCluster.of(design, kept, given, what)
    variance = noise_sd(design, record)[wanted] ** 2
    weights = []
    for t, (term, effects) in enumerate(zip(record.terms, design.random, strict=True)):
        factor = design.factors[effects.factor]
        codes, z = factor.codes[wanted], columns_at(effects.columns, wanted)
        own = ((z @ term.covariance) * z).sum(axis=1)
        if factor.relationship is not None:
            own = own * factor.relationship.diagonal[codes]
        if t in cluster.split.shared:
            levels = cluster.levels[cluster.split.shared.index(t)]
            own = np.where(np.isin(codes, levels), 0.0, own)
        variance += own
        weights.append(weights_at(codes, z, factor.n_levels))
    told = cluster.told(weights, _with_residuals(design, record, cluster.rows, wanted))
    x = columns_at(design.x, wanted)
    mean = x @ record.beta + told.change
    if design.offset is not None:
        mean = mean + design.offset[wanted]
    x = x - told.shift
    mean_variance = ((x @ record.vcov) * x).sum(axis=1)
    variance = np.maximum(variance + told.variance, 0.0)
    return Moments(mean, mean_variance, variance + mean_variance)


def _with_residuals(
    design: Design, record: FitRecord, given: IntArray, wanted: IntArray
) -> SparseArray | None:
    """Covariances of the residuals of the rows wanted with those given, (k, n); None for none."""
    if design.residual is None:
        return None
    units = design.residual.units
    met = np.flatnonzero(np.isin(units[given], units[wanted]))
    at, to, values = [], [], []
    for unit in np.unique(units[given[met]]):
        a = np.flatnonzero(units[wanted] == unit)
        b = met[units[given[met]] == unit]
        refuse_large_cluster(len(b), "a prediction given the responses of a subject")
        rows = np.concatenate([wanted[a], given[b]])
        r = residual_covariances(design, record, rows[None])[0, : len(a), len(a) :]
        at.append(np.repeat(a, len(b)))
        to.append(np.tile(b, len(a)))
        values.append(r.ravel())
    if not values:
        return None
    where = (np.concatenate(at), np.concatenate(to))
    shape = (len(wanted), len(given))
    return sparse.csr_array((np.concatenate(values), where), shape=shape)
