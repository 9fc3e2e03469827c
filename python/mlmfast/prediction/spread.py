"""Standard errors of predictions x'beta + m'g, and degrees of freedom for their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.clusters.by_parameters import RowCovariances
from mlmfast.degrees_of_freedom import Ddf, FittedRows, method_of
from mlmfast.degrees_of_freedom.satterthwaite import gradient_of_phi, of_variances
from mlmfast.errors import ModelError
from mlmfast.fitted.marginal_slopes import MarginalSlopes
from mlmfast.information.undetermined_effects import depend
from mlmfast.prediction.crossed import crossed_error_variance
from mlmfast.prediction.error import ErrorSlopes, error_slopes, error_variance, largest_told
from mlmfast.prediction.saved_errors import forms_of_saved
from mlmfast.prediction.targets import RowTargets, Targets

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Rows of a cluster up to which derivatives of its V are formed.
LARGEST_CLUSTER = 2_000


@dataclass(frozen=True)
class Noise:
    """Residuals of new responses.

    Attributes
    ----------
    variance : shape (n,)
    of_fit
        Whether the rows are those of the fit.
    weights : shape (n,), of new rows; None without weights.
    """

    variance: FloatArray
    of_fit: bool
    weights: FloatArray | None = None

    @property
    def at_one(self) -> FloatArray:
        """Variances at weight 1."""
        return self.variance if self.weights is None else self.variance * self.weights


@dataclass(frozen=True)
class Spread:
    """Standard errors and degrees of freedom, shapes (n,)."""

    se: FloatArray
    df: FloatArray


def spread_of(
    fit: Fitted,
    targets: Targets,
    conditional: bool,
    noise: Noise | None = None,
    ddf: Ddf | None = None,
) -> Spread:
    """Spread of predictions, none of those that hang on covariances that are not determined.

    See `_spread_at_estimates`.
    """
    found = _spread_at_estimates(fit, targets, conditional, noise, ddf)
    basis = fit._basis(ddf)
    if basis.moves is None:
        return found
    untold = depend(basis.moves, targets.x, basis.phi)
    return Spread(*(np.where(untold, np.nan, part) for part in (found.se, found.df)))


def _spread_at_estimates(
    fit: Fitted,
    targets: Targets,
    conditional: bool,
    noise: Noise | None = None,
    ddf: Ddf | None = None,
) -> Spread:
    """Spread of predictions, of new responses with ``noise``.

    With Satterthwaite's and Kenward and Roger's methods the degrees of freedom are 2 v^2 / (g'W g)
    for the whole variance v with its exact derivatives g by the covariance parameters; Kenward and
    Roger's add to v what estimating these costs. Other methods give those of x'beta. Without a
    matrix of a cluster's rows, which more than `LARGEST_CLUSTER` or a long series would need, where
    degrees of freedom cost too much in a crossed design, and around related effects (``cov=``),
    they are infinite.

    Parameters
    ----------
    targets : what is predicted.
    conditional : whether the random effects are those of the fit.
    noise : residuals of new responses.
    ddf : method of degrees of freedom; the fit's own by default.
    """
    record, rows = fit._record, fit._rows
    basis = fit._basis(ddf)
    method = method_of(basis.method)
    x = targets.x
    source = fit._source if conditional else None
    design = None if source is None else source.design
    plain = ((x @ basis.vcov) * x).sum(axis=1)
    alone = not conditional and noise is None and not _has_effects(targets)
    if alone:
        return Spread(np.sqrt(np.maximum(plain, 0.0)), method.of_rows(basis, x))
    if conditional and fit._source is None:
        return _around_saved_effects(fit, targets, basis.method, noise)
    variance = error_variance_of(fit, targets, conditional)
    added = 0.0 if noise is None else noise.variance
    if method.information is None:
        return Spread(np.sqrt(variance + added), method.of_rows(basis, x))
    if rows is None:
        return _of_saved(fit, targets, basis.method, plain, variance, noise)
    _check_slopes_are_here(rows, method.label)
    found = None
    is_related = conditional and _has_related_levels(rows)
    # Slopes are formed cluster by cluster, from levels that are independent.
    if not is_related and largest_told(targets, record, design) <= LARGEST_CLUSTER:
        found = error_slopes_of(rows, fit, targets, basis.method, conditional)
    if found is None:
        return Spread(np.sqrt(variance + added), np.full(len(x), np.inf))
    slopes, moves, weights = found
    gradient = slopes.gradient
    if noise is not None:
        gradient = gradient + _noise_slopes(moves, noise)
    if method.adjusts:
        # Without random effects of the data it is the adjusted covariance of beta.
        known = ((x @ record.vcov) * x).sum(axis=1)
        variance = variance + (slopes.inflation if conditional else plain - known)
    total = variance + added
    return Spread(np.sqrt(np.maximum(total, 0.0)), of_variances(total, gradient, weights))


def marginal_slopes(fit: Fitted, ddf: str) -> MarginalSlopes | None:
    """What `_of_saved` needs of a fit with its rows; None where there are no derivatives."""
    rows, method, record = fit._rows, method_of(ddf), fit._record
    if rows is None or method.information is None or rows.model.is_vast:
        return None
    if _lie_elsewhere(rows):
        return None
    try:
        about = method.about(rows).with_covariances()
    except ModelError:
        return None
    moves, weights = RowCovariances(about), about.covariance(method.information)
    by_parameter = moves.effect_slopes()
    shapes = [(0, len(term.names), len(term.names)) for term in record.terms]
    effects = tuple(
        np.array([own[t] for own in by_parameter]) if by_parameter else np.zeros(shape)
        for t, shape in enumerate(shapes)
    )
    if record.residual is None and record.residual_scale is None:
        # Of a row at weight 1, whatever the weights of the rows.
        slopes, noise = np.zeros((1, len(weights))), np.array([record.sigma2])
        slopes[0, -1] = 1.0
    else:
        slopes, noise = _noise_at_one(moves)
        first = np.unique(np.round(noise / noise.max(), 12), return_index=True)[1]
        slopes, noise = slopes[first], noise[first]
    return MarginalSlopes(ddf, weights, gradient_of_phi(about), effects, noise, slopes)


def _of_saved(
    fit: Fitted,
    targets: Targets,
    ddf: str,
    plain: FloatArray,
    variance: FloatArray,
    noise: Noise | None,
) -> Spread:
    """Spread of predictions of the population by a fit without its rows."""
    known, method, record = fit._marginal_slopes, method_of(ddf), fit._record
    if known is None or known.method != ddf:
        raise _lacks_slopes(method.label)
    x = targets.x
    gradient = np.einsum("np,kpq,nq->nk", x, known.phi, x, optimize=True)
    r = len(known.covariance)
    within = [targets.within([own[k] for own in known.effects]) for k in range(r)]
    gradient = gradient + np.array(within).reshape(r, len(x)).T
    total = variance
    if noise is not None:
        gradient = gradient + _saved_noise_slopes(known, noise)
        total = total + noise.variance
    if method.adjusts:
        total = total + plain - ((x @ record.vcov) * x).sum(axis=1)
    return Spread(np.sqrt(np.maximum(total, 0.0)), of_variances(total, gradient, known.covariance))


def _lacks_slopes(label: str) -> ModelError:
    return ModelError(
        f"an interval of new responses with {label} degrees of freedom needs the rows of the data, "
        "and a loaded fit holds none; say ddf='asymptotic' for normal quantiles, or fit the model "
        "again"
    )


def _lie_elsewhere(rows: FittedRows) -> bool:
    """Whether residual variances go by visits or times of rows that stay in parts."""
    return rows.design.is_in_parts and rows.design.residual is not None


def _check_slopes_are_here(rows: FittedRows, label: str) -> None:
    if _lie_elsewhere(rows):
        raise ModelError(
            f"the {label} degrees of freedom of an interval of new responses need the visits or "
            "times of the rows, which stay in parts, with the workers that hold them; say "
            "ddf='asymptotic' for normal quantiles, or fit the rows in memory, "
            "mlm.lmm(formula, data)"
        )


def _saved_noise_slopes(known: MarginalSlopes, noise: Noise) -> FloatArray:
    nearest = np.abs(known.noise - noise.at_one[:, None]).argmin(axis=1)
    scale = noise.variance / known.noise[nearest]
    return np.asarray(known.noise_slopes[nearest] * scale[:, None])


def _around_saved_effects(fit: Fitted, targets: Targets, ddf: str, noise: Noise | None) -> Spread:
    """Spread of predictions with random effects by a fit without its rows."""
    assert isinstance(targets, RowTargets), "other functions ask for the rows first"
    method, known = method_of(ddf), fit._marginal_slopes
    forms, weights = forms_of_saved(fit, targets, ddf)
    # The effects of a level that the fit did not see are new ones.
    new = targets.rows.codes[0] < 0
    g = [term.covariance for term in fit._record.terms]
    total = np.maximum(forms[:, 0], 0.0) + np.where(new, targets.within(g), 0.0)
    total = total + (0.0 if noise is None else noise.variance)
    if method.information is None:
        return Spread(np.sqrt(total), method.of_rows(fit._basis(ddf), targets.x))
    total, gradient = total + forms[:, 1], forms[:, 2:]
    if noise is not None or new.any():
        if known is None or known.method != ddf:
            raise _lacks_slopes(method.label)
        r = range(len(weights))
        within = [targets.within([own[k] for own in known.effects]) for k in r]
        gradient = gradient + np.where(new[:, None], np.array(within).reshape(len(r), -1).T, 0.0)
        gradient = gradient + (0.0 if noise is None else _saved_noise_slopes(known, noise))
    return Spread(np.sqrt(np.maximum(total, 0.0)), of_variances(total, gradient, weights))


def _has_related_levels(rows: FittedRows) -> bool:
    return any(factor.relationship is not None for factor in rows.design.factors)


def _has_effects(targets: Targets) -> bool:
    return not isinstance(targets, RowTargets) or bool(targets.rows.z)


def error_variance_of(fit: Fitted, targets: Targets, conditional: bool) -> FloatArray:
    """Error variance at the estimates, by the factored system where factors cross."""
    record, source = fit._record, fit._source
    if not conditional or source is None:
        return error_variance(targets, record, None)
    if source.model.nested is None and isinstance(targets, RowTargets):
        return crossed_error_variance(targets.rows, record, source)
    return error_variance(targets, record, source.design)


def error_slopes_of(
    rows: FittedRows, fit: Fitted, targets: Targets, ddf: str, conditional: bool
) -> tuple[ErrorSlopes, RowCovariances, FloatArray] | None:
    """Slopes of the error variance, and the parameters' covariance; None where there are none."""
    method = method_of(ddf)
    assert method.information is not None, "the caller looked"
    if rows.model.is_vast:
        return None
    try:
        about = method.about(rows).with_covariances()
    except ModelError:
        # Series too long for covariance matrices.
        return None
    weights = about.covariance(method.information)
    design = rows.design if conditional else None
    slopes = error_slopes(targets, fit._record, design, about, weights)
    return slopes, RowCovariances(about), weights


def _noise_at_one(moves: RowCovariances) -> tuple[FloatArray, FloatArray]:
    """Derivatives (n, r) and residual variances (n,) of the rows of the fit at weight 1."""
    slopes, variance = moves.noise()
    weights = moves.about.model.design.weights
    if weights is None:
        return slopes, variance
    return slopes * weights[:, None], variance * weights


def _noise_slopes(moves: RowCovariances, noise: Noise) -> FloatArray:
    """Derivatives of the noise variances, (n, r).

    Those of a row of the fit with the same variance, which has the same visit, arm and level of the
    scale; of the row with the nearest one where a covariate scales the residuals.
    """
    if noise.of_fit:
        return moves.noise()[0]
    slopes, variance = _noise_at_one(moves)
    order = np.argsort(variance, kind="stable")
    at = np.searchsorted(variance[order], noise.at_one).clip(1, len(order) - 1)
    below, above = order[at - 1], order[at]
    near = noise.at_one - variance[below] < variance[above] - noise.at_one
    row = np.where(near, below, above)
    return np.asarray(slopes[row] * (noise.variance / variance[row])[:, None])
