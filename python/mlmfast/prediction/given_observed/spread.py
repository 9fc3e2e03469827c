"""Degrees of freedom of predictions given responses observed, and what estimating V costs them.

The variance v of a prediction's error is a function of the covariance parameters. With W their
covariance and R R' = W, each column of R is a way to move all of them, and g'W g is the sum of
squares of v's derivatives along these (Satterthwaite: 2 v^2 / g'W g). The prediction
D b + A y_o, A = C V_oo^-1 and D = X_t - A X_o, moves along a way by

    A' (e_o - X_o (b - beta)) + D b',

a prime for the derivative and e = y - X beta. What estimating the parameters adds to v is twice the
sum of its variances over the ways (Kackar and Harville 1984, JASA 79, 853; Prasad and Rao 1990,
JASA 85, 163), with M = Var(b), K = V_of V_ff^-1, f the rows observed that are of the fit, and

    Cov(e_o, b) = K X_f M      Cov(b, b') = 0      sum of Var(b') = Kenward and Roger's Lambda
    Cov(e_o, b') = -K (V_ff' V_ff^-1 X_f M - X_f M').

Derivatives along a way are central differences at 1e-4 of a standard error: 1e-8 of their size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.clusters.covariance import marginal_covariances, refuse_large_cluster
from mlmfast.clusters.moved_parameters import Moved, MovedCovariances
from mlmfast.clusters.shared_effects import is_large
from mlmfast.degrees_of_freedom import Ddf, method_of
from mlmfast.degrees_of_freedom.kenward_roger import KenwardRogerLinear
from mlmfast.degrees_of_freedom.satterthwaite import of_variances
from mlmfast.design.rows import columns_at
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitted.record import FitRecord
from mlmfast.fitted.residual.record import residual_record, scale_record
from mlmfast.information.information import Information, covariance_root
from mlmfast.prediction.given_observed.conditional import (
    Moments,
    by_cluster,
    conditional_moments,
)
from mlmfast.prediction.given_observed.observed import Conditioned
from mlmfast.prediction.given_observed.visits_between import with_visits_between
from mlmfast.prediction.spread import Spread

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Length of a step, in standard errors of the parameters.
_STEP = 1e-4


@dataclass(frozen=True)
class _Way:
    """The estimates a step ahead and a step behind, and the length between."""

    ahead: FitRecord
    behind: FitRecord
    length: float

    @property
    def ends(self) -> tuple[FitRecord, FitRecord]:
        return self.ahead, self.behind


def spread_given_observed(
    fit: Fitted, rows: Conditioned, found: Moments, interval: str, ddf: Ddf
) -> Spread:
    """Standard errors and degrees of freedom of all rows; 0 and infinite for those observed.

    Parameters
    ----------
    rows, found : as `predict_conditionally` gives them.
    interval : "confidence" for the expected value, "prediction" for the response.
    ddf : a method of degrees of freedom.

    Raises
    ------
    ModelError
        Where the method does not apply, such as Satterthwaite's to an expected value whose weights
        are estimated, or would need a covariance matrix of thousands of rows.
    """
    variance = found.mean_variance if interval == "confidence" else found.variance
    degrees = np.full(len(variance), np.inf)
    if len(rows.targets) == 0:
        return Spread(np.sqrt(variance), degrees)
    method, fitted, at = method_of(ddf), fit._rows, rows.target_rows
    assert fitted is not None, "predicted from its rows"
    if method.information is None:
        x = columns_at(rows.design.x, rows.targets)
        degrees[at] = method.of_rows(fit._basis(ddf), x)
        return Spread(np.sqrt(variance), degrees)
    method.check(fitted.reml)
    if interval == "confidence":
        raise ModelError(
            f"ddf={ddf!r} is for the error of a response, interval='prediction'; what is expected "
            "given the responses observed depends on the covariance parameters itself, and no such "
            "degrees of freedom are derived for it: leave ddf= out for normal quantiles, by which "
            "it is uncertain by the fixed effects alone"
        )
    about = method.about(fitted).with_covariances()
    weights = about.covariance(method.information)
    ways = list(_ways(about, fit._record, covariance_root(weights)))
    slopes = [(_variances(rows, w.ahead) - _variances(rows, w.behind)) / w.length for w in ways]
    own = variance[at]
    if method.adjusts:
        own = own + 2.0 * _inflation(rows, fit._record, ways, _lambda(about, weights))
    gradient = np.array(slopes).reshape(len(ways), len(at)).T
    degrees[at] = of_variances(own, gradient, np.eye(len(ways)))
    variance = variance.copy()
    variance[at] = own
    return Spread(np.sqrt(np.maximum(variance, 0.0)), degrees)


def _ways(about: Information, record: FitRecord, root: FloatArray) -> Iterator[_Way]:
    """The estimates on both sides, along each column of R that is not 0."""
    moves = MovedCovariances(about)
    for column in root.T:
        if not column.any():
            continue
        ends = [moves.moved(side * _STEP * column) for side in (1.0, -1.0)]
        if any(end is None or end.share < 1.0 for end in ends):
            raise ModelError(
                "a covariance is so near the edge of its parameters that the variance of "
                "predictions has no derivatives there; leave ddf= out, for normal quantiles"
            )
        ahead, behind = (_record_at(about, record, end) for end in ends if end is not None)
        yield _Way(ahead, behind, 2.0 * _STEP)


def _record_at(about: Information, record: FitRecord, moved: Moved) -> FitRecord:
    """The estimates with other covariance parameters."""
    theta = moved.theta[None]
    sigma2 = np.log([moved.sigma2]) if about.model.profiled else None
    found = estimates_of(about.model, about.criterion, theta, sigma2, np.array([about.fit]))
    terms = tuple(
        replace(term, covariance=found.covariances[t][0]) for t, term in enumerate(record.terms)
    )
    residual = residual_record(about.model, about.criterion, theta)
    if residual is not None and record.residual is not None:
        residual = replace(
            record.residual, parameters=residual.parameters, covariances=residual.covariances
        )
    return replace(
        record,
        terms=terms,
        vcov=found.vcov[0],
        sigma2=float(found.sigma2[0]),
        residual=residual,
        residual_scale=scale_record(about.model, about.criterion, theta),
    )


def _variances(rows: Conditioned, record: FitRecord) -> FloatArray:
    own = with_visits_between(record, rows.design.residual)
    return conditional_moments(rows.design, own, rows.observed, rows.targets).variance


def _lambda(about: Information, weights: FloatArray) -> FloatArray:
    """Sum of Var(b') over the ways, in the user's coordinates."""
    maps = about.contrasts(np.eye(len(about.c))) @ about.phi
    inner = KenwardRogerLinear().correction(about, weights)
    return np.asarray(maps @ (inner + inner.T) @ maps.T) / 2.0


def _inflation(
    rows: Conditioned, record: FitRecord, ways: list[_Way], of_fixed: FloatArray
) -> FloatArray:
    """Sum over the ways of the variance of the predictions' derivatives, (n_targets,)."""
    design = rows.design
    base = with_visits_between(record, design.residual)
    moved = [tuple(with_visits_between(end, design.residual) for end in way.ends) for way in ways]
    out = np.empty(len(rows.targets))
    place = np.full(design.n_obs, -1, dtype=np.intp)
    place[rows.targets] = np.arange(len(rows.targets))
    for given, wanted in by_cluster(design, base, rows.observed, rows.targets):
        if is_large(given.shape[1]):
            refuse_large_cluster(given.shape[1], "ddf='kenward-roger' given the responses observed")
        for own, targets in zip(given, wanted, strict=True):
            cluster = _Cluster(rows, base, own, targets)
            total = np.einsum("ki,ij,kj->k", cluster.d, of_fixed, cluster.d)
            for ends, way in zip(moved, ways, strict=True):
                total += cluster.moved(ends, way.length)
            out[place[targets]] = total
    return out


class _Cluster:
    """Predictions of one cluster's rows ``wanted`` (k,) from those ``given`` (n,)."""

    def __init__(
        self, rows: Conditioned, record: FitRecord, given: IntArray, wanted: IntArray
    ) -> None:
        self.design, self.vcov = rows.design, record.vcov
        self.rows, self.n = np.concatenate([given, wanted])[None], len(given)
        whole, self.a = self._weights(record)
        self.x = columns_at(self.design.x, given)
        self.d = columns_at(self.design.x, wanted) - self.a @ self.x
        #: Which rows observed are of the fit, V^-1 X of these, K.
        self.of_fit = given < rows.n_fit
        self.v = whole[: self.n, : self.n]
        inner = self.v[np.ix_(self.of_fit, self.of_fit)]
        self.solved = np.linalg.solve(inner, self.x[self.of_fit])
        self.k = np.linalg.solve(inner, self.v[self.of_fit]).T
        shared = self.k @ self.x[self.of_fit] @ self.vcov @ self.x.T
        self.errors = self.v - shared - shared.T + self.x @ self.vcov @ self.x.T

    def _weights(self, record: FitRecord) -> tuple[FloatArray, FloatArray]:
        """V of all rows, and A."""
        whole = marginal_covariances(self.design, record, self.rows)[0]
        n = self.n
        return whole, np.linalg.solve(whole[:n, :n], whole[:n, n:]).T

    def moved(self, ends: tuple[FitRecord, ...], length: float) -> FloatArray:
        """Variance of the predictions' derivative along a way, what D b' alone has left out."""
        (whole, a), (behind, a_behind) = (self._weights(record) for record in ends)
        a = (a - a_behind) / length
        f = self.of_fit
        slope = ((whole - behind)[: self.n, : self.n])[np.ix_(f, f)] / length
        of_vcov = (ends[0].vcov - ends[1].vcov) / length
        joint = self.k @ (self.x[f] @ of_vcov - slope @ self.solved @ self.vcov)
        return np.asarray(
            np.einsum("ki,ij,kj->k", a, self.errors, a)
            + 2.0 * np.einsum("ki,ij,kj->k", a, joint, self.d)
        )
