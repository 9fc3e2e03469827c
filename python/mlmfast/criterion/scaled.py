"""The likelihood as a function of theta and log sigma^2, profiled over the fixed effects alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.newton.iteration import Derivatives
from mlmfast.reduction.reduced_model import ReducedModel

if TYPE_CHECKING:
    from mlmfast.criterion.parameters.functions import CovarianceFunctions


@dataclass(frozen=True)
class ScaledCriterion:
    """-2 log-likelihood of (theta, log sigma^2), profiled over beta alone.

    With a residual structure, where sigma^2 is part of theta, the plain criterion.
    """

    functions: CovarianceFunctions

    def __call__(self, points: FloatArray, fits: IntArray) -> Derivatives:
        """Value and derivatives of the listed responses by local coordinates."""
        criterion = self.functions.criterion
        if not self.functions.has_scale:
            return criterion(points, fits)
        theta, log_sigma2 = np.ascontiguousarray(points[:, :-1]), points[:, -1]
        model = self.functions.model
        g = criterion.covariances(theta)
        value, gradient, hessian, expected = by_entries(criterion, model, g, log_sigma2, fits)
        a, n, t = len(points), len(criterion.entries), criterion.n_theta
        jacobian = np.zeros((a, n + 1, t + 1))
        jacobian[:, -1, -1] = 1.0
        curvature = np.zeros((a, t + 1, t + 1))
        if t:
            chained = criterion.chain(theta, np.ascontiguousarray(gradient[:, :-1]))
            jacobian[:, :-1, :-1], curvature[:, :-1, :-1] = chained
        return Derivatives(
            value,
            (jacobian.mT @ gradient[:, :, None])[..., 0],
            jacobian.mT @ hessian @ jacobian + curvature,
            jacobian.mT @ expected @ jacobian,
            gradient,
            hessian,
            expected,
        )

    def move(self, points: FloatArray, step: FloatArray) -> FloatArray:
        """The point at local coordinates ``step`` around each point."""
        criterion = self.functions.criterion
        if not self.functions.has_scale:
            return criterion.move(points, step)
        out = points + step
        if criterion.n_theta:
            out[:, :-1] = criterion.move(points[:, :-1], step[:, :-1])
        return out


def by_entries(
    criterion: Criterion,
    model: ReducedModel,
    g: list[FloatArray],
    log_sigma2: FloatArray,
    fits: IntArray,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Value and derivatives by the entries of G and, last, log sigma^2.

    f = logdet + nu log(2 pi sigma^2) + rss / sigma^2; E rss = nu sigma^2, and the expected
    derivatives of rss are minus those of the log-determinants, times sigma^2.

    Parameters
    ----------
    g
        Covariances of each level over sigma^2, in the core's coordinates.
    log_sigma2 : shape (a,), in the criterion's units
    fits : shape (a,), the response of each row
    """
    reml, entries = criterion.reml, criterion.entries
    nu = model.degrees(reml)
    reduction = criterion.reduction
    scalars = reduction.solve(g, fits.tolist())[2]
    rss, logdet = scalars[:, 0], scalars[:, 1] + (scalars[:, 2] if reml else 0.0)
    trace, second, rss_by, rss_second, *_ = reduction.likelihood_derivatives(
        g, fits.tolist(), entries, reml
    )
    a, n, weight = len(log_sigma2), len(entries), np.exp(-log_sigma2)
    value = logdet + nu * (np.log(2.0 * np.pi) + log_sigma2) + weight * rss
    weighted = weight[:, None] * rss_by
    gradient = np.concatenate([trace + weighted, (nu - weight * rss)[:, None]], axis=1)
    hessian, expected = np.empty((2, a, n + 1, n + 1))
    hessian[:, :n, :n] = second + weight[:, None, None] * rss_second
    hessian[:, n, :n] = hessian[:, :n, n] = -weighted
    hessian[:, n, n] = weight * rss
    expected[:, :n, :n] = -second
    expected[:, n, :n] = expected[:, :n, n] = trace
    expected[:, n, n] = nu
    if criterion.flat is not None:
        gradient, hessian, expected = criterion.flat.cleaned(gradient, hessian, expected)
    bad = ~np.isfinite(value)
    for part in (gradient, hessian, expected):
        part[bad] = 0.0
    return np.where(bad, np.inf, value), gradient, hessian, expected
