"""Random effects and residuals of a fit, made as variable as the model says, to be drawn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray, block_diagonal
from mlmfast.clusters.covariance import cholesky_factors, refuse_large_cluster, solve_lower
from mlmfast.clusters.noise import noise_sd
from mlmfast.clusters.residual_covariance import residual_covariances
from mlmfast.clusters.simulate import residual_noise, stream
from mlmfast.covariance.correlations import covariance_root
from mlmfast.design.design import Design
from mlmfast.design.rows import clusters_by_size
from mlmfast.errors import ModelError
from mlmfast.fitted.origin.source import FitSource
from mlmfast.fitted.random_effects import ConditionalEffects, fixed_part
from mlmfast.fitted.record import FitRecord

#: Share of the largest eigenvalue below which one is 0.
_ZERO = 1e-9


@dataclass(frozen=True)
class ResidualParts:
    """What a residual bootstrap draws from (Carpenter, Goldstein and Rasbash 2003, JRSS C 52:431).

    Shrunken effects, and residuals given them, vary less than the model says. Both are centred, and
    mapped so that their empirical covariance is the estimated one.

    Attributes
    ----------
    mean : shape (n,), X beta and the offset.
    effects
        For each grouping factor (n_levels, q), terms stacked.
    residuals : shape (n,), independent and of variance 1 under the model.
    """

    design: Design
    record: FitRecord
    mean: FloatArray
    effects: tuple[FloatArray, ...]
    residuals: FloatArray

    @classmethod
    def of(
        cls, source: FitSource, record: FitRecord, effects: list[ConditionalEffects]
    ) -> ResidualParts:
        """Those of a fit.

        Raises
        ------
        ModelError
            Where levels are related, which nothing exchanges.
        """
        design = source.design
        for factor in design.factors:
            if factor.relationship is not None:
                raise ModelError(
                    f"kind='residual' draws effects of one level for another, and those of "
                    f"{factor.name!r} are related; use kind='parametric'"
                )
        mean = fixed_part(design, record)
        left = design.working_response - mean
        scaled = []
        for position in range(len(design.factors)):
            terms = [t for t, term in enumerate(design.random) if term.factor == position]
            covariance = block_diagonal([record.terms[t].covariance for t in terms])
            found = effects[position].mean if terms else np.empty((0, 0))
            left = left - _by_row(design, position, found)
            scaled.append(reflated(found, covariance))
        residuals = _white(design, record, left)
        residuals = residuals - residuals.mean()
        spread = float(np.sqrt(np.mean(residuals**2)))
        offset = 0.0 if design.offset is None else design.offset
        return cls(
            design,
            record,
            mean + offset,
            tuple(scaled),
            residuals / spread if spread > 0 else residuals,
        )

    def responses(self, n: int, entropy: np.random.SeedSequence, first: int) -> FloatArray:
        """Responses from number ``first`` on, shape (nobs, n); a column has a stream of its own."""
        out = np.empty((self.design.n_obs, n), order="F")
        sd = noise_sd(self.design, self.record)
        for i in range(n):
            generator = np.random.default_rng(stream(entropy, first + i))
            out[:, i] = self.mean
            for position, effects in enumerate(self.effects):
                if len(effects):
                    drawn = effects[generator.integers(len(effects), size=len(effects))]
                    out[:, i] += _by_row(self.design, position, drawn)
            out[:, i] += sd * residual_noise(self.design, self.record, self._draw(generator))
        return out

    def _draw(self, generator: np.random.Generator) -> Callable[[Any], FloatArray]:
        n = len(self.residuals)
        return lambda shape: np.asarray(self.residuals[generator.integers(n, size=shape)])


def _by_row(design: Design, position: int, effects: FloatArray) -> FloatArray:
    """Effects of a grouping factor, terms stacked, as they add to each row."""
    factor, out, at = design.factors[position], np.zeros(design.n_obs), 0
    for term in design.random:
        if term.factor != position:
            continue
        for column in term.columns:
            by_row = np.ascontiguousarray(effects[:, at])[factor.codes]
            out += by_row if column is None else by_row * column
            at += 1
    return out


def reflated(effects: FloatArray, covariance: FloatArray) -> FloatArray:
    """Effects centred, and mapped so that their covariance (over n) is the one given.

    By lower Cholesky factors, L_G L_S^-1, as Carpenter, Goldstein and Rasbash have it; by symmetric
    roots on the span of G, where that or the effects' own covariance is singular.

    Parameters
    ----------
    effects : shape (n, q)
    covariance : shape (q, q), G.

    Examples
    --------
    >>> out = reflated(np.array([[1.0], [2.0], [6.0]]), np.array([[9.0]]))
    >>> round(float(out.mean()), 12), round(float((out**2).mean()), 12)
    (0.0, 9.0)
    """
    if effects.size == 0:
        return effects
    centred = effects - effects.mean(axis=0)
    own = centred.T @ centred / len(centred)
    if _is_definite(covariance) and _is_definite(own):
        map_ = np.linalg.cholesky(covariance) @ np.linalg.inv(np.linalg.cholesky(own))
        return np.asarray(centred @ map_.T)
    sd = np.sqrt(np.diag(covariance))
    unit = np.where(sd > 0, sd, 1.0)
    root = covariance_root(covariance / np.outer(unit, unit))
    # Coordinates of unit variance in the span of G; S^-1/2 there.
    z = (centred / unit) @ np.linalg.pinv(root, rcond=1e-6, hermitian=True)
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    kept = values > _ZERO * max(float(values[-1]), np.finfo(float).tiny)
    inverse = np.zeros_like(values)
    inverse[kept] = values[kept] ** -0.5
    return np.asarray((z @ (vectors * inverse) @ vectors.T @ root) * unit)


def _is_definite(matrix: FloatArray) -> bool:
    sd = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    if not (sd > 0).all():
        return False
    return bool(np.linalg.eigvalsh(matrix / np.outer(sd, sd))[0] > _ZERO)


def _white(design: Design, record: FitRecord, residuals: FloatArray) -> FloatArray:
    """Residuals, independent and of variance 1 if the model holds."""
    standardised = residuals / noise_sd(design, record)
    residual = design.residual
    if residual is None or record.residual is None:
        return standardised
    out = np.empty_like(standardised)
    sd = noise_sd(design, record)
    for rows in clusters_by_size(residual.units, residual.n_units):
        refuse_large_cluster(rows.shape[1], "kind='residual'")
        own = sd[rows]
        correlation = residual_covariances(design, record, rows) / (own[:, :, None] * own[:, None])
        factors = cholesky_factors(correlation)
        out[rows] = solve_lower(factors, standardised[rows][:, :, None])[:, :, 0]
    return out
