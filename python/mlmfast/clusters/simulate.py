"""New responses from a fitted model, for parametric bootstrap and checks of the fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.clusters.covariance import (
    cholesky_factors,
    marginal_covariances,
    refuse_large_cluster,
)
from mlmfast.clusters.noise import ResidualParameters, noise_sd, residual_template
from mlmfast.clusters.residual_covariance import residual_covariances
from mlmfast.covariance.correlations import correlations, covariance_root
from mlmfast.design.design import Design
from mlmfast.design.rows import clusters_by_size
from mlmfast.errors import DataError
from mlmfast.fitted.random_effects import fixed_part
from mlmfast.fitted.record import FitRecord
from mlmfast.reduction.engines.independence import independent_clusters
from mlmfast.running.memory import check_memory

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.origin.source import FitSource


def simulate(fit: Fitted, n: int = 1, seed: Any = None) -> FloatArray:
    """Draw new responses from the model, shape (nobs, n); random effects drawn anew.

    Parameters
    ----------
    n
        Number of responses.
    seed
        int, SeedSequence, Generator, or None for fresh entropy. A column has a stream of its own,
        so it is the same whatever ``n`` is.

    Returns
    -------
    shape (nobs, n), the offset included.

    Raises
    ------
    DataError
        n is not an integer that is at least 1, or the seed is none.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> few, many = fit.simulate(2, seed=1), fit.simulate(5, seed=1)
    >>> many.shape, bool((few == many[:, :2]).all())
    ((180, 5), True)
    """
    return draw_responses(fit._needs_source("a simulation"), fit._record, n, seed)


def draw_responses(
    source: FitSource, record: FitRecord, n: int, seed: Any, first: int = 0
) -> FloatArray:
    """Responses from number ``first`` on, to draw a long sequence in parts; see `simulate`."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise DataError(f"n is {n!r}; the number of responses must be an integer >= 1")
    design = source.design
    what = f"an array of {int(n):,} responses"
    check_memory(8.0 * design.n_obs * int(n), what, "draw fewer at a time")
    mean = fixed_part(design, record)
    if design.offset is not None:
        mean = mean + design.offset
    entropy = seed_sequence(seed)
    out = np.empty((design.n_obs, int(n)), order="F")
    if record.certificate.negative:
        whole = _WholeRows(design, record)
        for i in range(int(n)):
            generator = np.random.default_rng(stream(entropy, first + i))
            out[:, i] = mean + whole.drawn(generator)
        return out
    roots = [covariance_root(term.covariance) for term in record.terms]
    sd = noise_sd(design, record)
    for i in range(int(n)):
        generator = np.random.default_rng(stream(entropy, first + i))
        out[:, i] = mean + _random_part(design, roots, generator)
        out[:, i] += sd * residual_noise(design, record, generator.standard_normal)
    return out


class _WholeRows:
    """Rows drawn from V, where effects with negative variances cannot be drawn by themselves."""

    def __init__(self, design: Design, record: FitRecord) -> None:
        codes, n = independent_clusters(design, record.levels)
        largest = int(np.bincount(codes).max(initial=0))
        refuse_large_cluster(largest, "a simulation")
        self.parts = [
            (rows, cholesky_factors(marginal_covariances(design, record, rows)))
            for rows in clusters_by_size(codes, n)
        ]
        self.n_obs = design.n_obs

    def drawn(self, generator: np.random.Generator) -> FloatArray:
        """What is random of one response."""
        draws, out = generator.standard_normal(self.n_obs), np.empty(self.n_obs)
        for rows, factors in self.parts:
            out[rows] = (factors @ draws[rows][:, :, None])[:, :, 0]
        return out


def residual_noise(
    design: Design, record: ResidualParameters, draw: Callable[[Any], FloatArray]
) -> FloatArray:
    """Residuals of unit variance, correlated within subjects where the model says so.

    Parameters
    ----------
    draw
        Gives independent numbers of mean 0 and variance 1 in a shape.
    """
    if design.residual is None or record.residual is None:
        return draw(design.n_obs)
    if design.residual.points is not None and design.residual.series is not None:
        from mlmfast.clusters.series_whitening import series_noise

        return series_noise(design.residual, record.residual, draw)
    if design.residual.points is not None:
        return _scattered_noise(design, record, draw)
    root = covariance_root(correlations(residual_template(record.residual)))
    draws = draw((design.residual.n_units, len(root))) @ root.T
    return np.asarray(draws[design.residual.units, design.residual.positions])


def _scattered_noise(
    design: Design, record: ResidualParameters, draw: Callable[[Any], FloatArray]
) -> FloatArray:
    assert design.residual is not None
    sd = noise_sd(design, record)
    out = np.empty(design.n_obs)
    for rows in clusters_by_size(design.residual.units, design.residual.n_units):
        covariances = residual_covariances(design, record, rows)
        draws = draw((*rows.shape, 1))
        out[rows] = (cholesky_factors(covariances) @ draws)[:, :, 0] / sd[rows]
    return out


def _random_part(
    design: Design, roots: list[FloatArray], generator: np.random.Generator
) -> FloatArray:
    total = np.zeros(design.n_obs)
    for term, root in zip(design.random, roots, strict=True):
        factor = design.factors[term.factor]
        n = factor.n_levels if factor.relationship is None else factor.relationship.n_draws
        effects = generator.standard_normal((n, len(root))) @ root.T
        if factor.relationship is not None:
            effects = factor.relationship.drawn(effects)
        for j, column in enumerate(term.columns):
            by_row = np.ascontiguousarray(effects[:, j])[factor.codes]
            total += by_row if column is None else by_row * column
    return total


def seed_sequence(seed: Any) -> np.random.SeedSequence:
    """A seed of any kind as a SeedSequence.

    Raises
    ------
    DataError
        The seed is none.
    """
    if isinstance(seed, np.random.SeedSequence):
        return seed
    if isinstance(seed, np.random.Generator):
        return np.random.SeedSequence(seed.integers(0, 2**32, size=8).tolist())
    try:
        return np.random.SeedSequence(seed)
    except (TypeError, ValueError):
        raise DataError(
            f"seed is {seed!r}; give a non-negative integer, a SeedSequence or a Generator"
        ) from None


def stream(entropy: np.random.SeedSequence, i: int) -> np.random.SeedSequence:
    """The i-th child that `spawn` would give, without its count of children given before."""
    return np.random.SeedSequence(
        entropy.entropy, spawn_key=(*entropy.spawn_key, i), pool_size=entropy.pool_size
    )
