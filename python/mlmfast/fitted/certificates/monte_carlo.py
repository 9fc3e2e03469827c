"""Monte Carlo errors that stochastic traces leave in a fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.reduction.reduced_model import ReducedModel


@dataclass(frozen=True)
class MonteCarloError:
    """Standard deviations, over the choice of probes, of what a fit reports.

    Not the standard errors of the estimates: those say how far the data may mislead, these how far
    the exact estimates from the same data may lie.

    Attributes
    ----------
    n_probes
        Random probes; 0 where the traces are exact.
    llf
        Of the log-likelihood.
    covariances
        Of the entries of G of each random-effects term, shapes (q, q).
    sigma2
        Of the residual variance.

    Examples
    --------
    >>> MonteCarloError(28, 0.01, (), 1e-6).llf
    0.01
    """

    n_probes: int
    llf: float
    covariances: tuple[FloatArray, ...]
    sigma2: float


def monte_carlo_error(
    model: ReducedModel, criterion: Criterion, theta: FloatArray
) -> MonteCarloError | None:
    """Monte Carlo errors at the estimates of the first response; None where no probes are used.

    The error of the score, s, moves its zero by H^-1 s; both by entries of G, from the same probes.

    Parameters
    ----------
    theta : shape (1, n_theta)
    """
    core, order, variance_unit = model.iterative, model.order, model.response_unit
    if core is None:
        return None
    degrees = model.degrees(criterion.reml)
    maps = [model.effects_map(block) for block in range(len(order))]
    g = criterion.covariances(theta)
    found = core.monte_carlo(g, 0, criterion.entries, criterion.reml)
    assert found is not None, "the fit ended where W is positive definite"
    variance, score_covariance, information, rss_by = found
    jacobian = criterion.chain(theta, np.zeros((1, len(criterion.entries))))[0][0]
    moved = jacobian @ _inverse(jacobian.T @ information @ jacobian) @ jacobian.T
    of_entries = moved @ score_covariance @ moved
    rss = float(core.solve(g, [0])[2][0, 0])
    sigma2, sigma2_by = rss / degrees, rss_by / degrees
    covariances: list[FloatArray] = [np.empty(0)] * len(order)
    for term, k, position in zip(criterion.terms, maps, order, strict=True):
        relative = g[term.level][0, term.stretch, term.stretch]
        by_entry = sigma2_by[:, None, None] * relative
        for number, (level, a, b) in enumerate(criterion.entries):
            inside = term.first <= b <= a < term.first + term.structure.size
            if level == term.level and inside:
                by_entry[number, a - term.first, b - term.first] += sigma2
                if a != b:
                    by_entry[number, b - term.first, a - term.first] += sigma2
        by_entry = variance_unit * (k @ by_entry @ k.T)
        square = np.einsum("kab,kl,lab->ab", by_entry, of_entries, by_entry)
        covariances[position] = np.sqrt(np.maximum(square, 0.0))
    return MonteCarloError(
        n_probes=core.n_probes,
        llf=float(np.sqrt(variance)) / 2.0,
        covariances=tuple(covariances),
        sigma2=variance_unit * float(np.sqrt(max(sigma2_by @ of_entries @ sigma2_by, 0.0))),
    )


def _inverse(information: FloatArray) -> FloatArray:
    """Pseudoinverse scaled to a unit diagonal: a variance of 0 has no direction to move in."""
    scale = 1.0 / np.sqrt(np.maximum(np.diag(information), 1e-300))
    scale = np.where(np.diag(information) > 0, scale, 0.0)
    inverse = np.linalg.pinv(information * np.outer(scale, scale), rcond=1e-10, hermitian=True)
    return np.asarray(inverse * np.outer(scale, scale))
