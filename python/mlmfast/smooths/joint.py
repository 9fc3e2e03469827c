"""Fixed effects and the effects of curves together: their estimates and covariance.

Given the covariance parameters and flat priors of beta, (beta, b) given y is normal about the
estimates, with

    Var(beta) = M = (X'V^-1 X)^-1,   Cov(b, beta) = A M,   Var(b) = Var(b | y, beta) + A M A',

A = -G Z'V^-1 X. It is the covariance of the errors of prediction too (Henderson 1975, Biometrics
31, 423), and for curves alone what mgcv calls Vp, their Bayesian covariance. Other random effects
are integrated out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.errors import ModelError
from mlmfast.fitted.random_effects import effect_slopes
from mlmfast.smooths.curves import FittedCurve, curves_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


@dataclass(frozen=True)
class JointEffects:
    """Fixed effects, those kept, and below them the effects of all curves.

    Attributes
    ----------
    estimate : shape (m,)
    covariance : shape (m, m)
    prior : shape (m,), variances of the effects; infinite for fixed effects.
    n_fixed
        Fixed effects.
    curves
        The curves, in the order of the formula.
    places
        Of each curve's effects among all, those of its straight part first.
    """

    estimate: FloatArray
    covariance: FloatArray
    prior: FloatArray
    n_fixed: int
    curves: tuple[FittedCurve, ...]
    places: tuple[IntArray, ...]

    @property
    def influence(self) -> FloatArray:
        """F, by which estimates without a penalty become those with one, shape (m, m).

        F = (W'R^-1 W + P)^-1 W'R^-1 W = I - C P, P the precisions of the prior; the effects of a
        curve without variance have none.
        """
        has = self.prior > 0.0
        precision = np.where(has, 1.0 / np.where(has, self.prior, 1.0), 0.0)
        out = np.eye(len(self.prior)) - self.covariance * precision
        out[~has] = 0.0
        return np.asarray(out)


def joint_effects(fit: Fitted) -> JointEffects:
    """The effects of a fit's curves with its fixed effects; kept once computed.

    Raises
    ------
    ModelError
        For a model without curves, a loaded fit, and the iterative engine.
    """
    return fit._once("_kept_joint_effects", lambda: _joint(fit))


def _joint(fit: Fitted) -> JointEffects:
    record = fit._record
    curves = curves_of(record)
    if not curves:
        raise ModelError("the model has no smooth term; write one as in y ~ s(x)")
    source = fit._needs_source("curves")
    group = record.terms[curves[0].term].group
    effects = fit._effects[group]
    given = effects.known_covariance()[0]
    slopes = effect_slopes(source.model, source.criterion, source.theta, group)
    by_beta = slopes @ record.vcov
    covariance = np.block([[record.vcov, by_beta.T], [by_beta, given + by_beta @ slopes.T]])
    p = record.rank
    prior = np.full(len(covariance), np.inf)
    places, first = {}, p
    for t in record.smooth_terms:
        size = len(record.terms[t].names)
        places[t] = np.arange(first, first + size)
        prior[places[t]] = record.terms[t].covariance[0, 0]
        first += size
    return JointEffects(
        np.concatenate([record.beta, effects.mean[0]]),
        covariance,
        prior,
        p,
        curves,
        tuple(np.concatenate([_straight(fit, c), places[c.term]]) for c in curves),
    )


def _straight(fit: Fitted, curve: FittedCurve) -> IntArray:
    """Positions of a curve's straight part among the fixed effects kept."""
    record = fit._record
    kept = [record.x_names[j] for j in record.kept]
    lacking = next((name for name in curve.straight if name not in kept), None)
    if lacking is not None:
        raise ModelError(
            f"the straight part of {curve.name}, column {lacking!r}, depends on other columns of "
            "the fixed part, so that the curve is not determined; leave these out of the formula "
            "(a variable beside a curve of itself, or too many levels without rows)"
        )
    return np.array([kept.index(name) for name in curve.straight], dtype=np.intp)
