"""Starts that differ in kind, for a criterion that may have several minima.

What random effects explain and what a residual covariance explains is much the same in small data,
so minima differ by which of the two has the variance, whether correlations are strong, weak or
negative, which variance is 0, and over which distance correlations fade. Each kind is one start;
they are cheap to make and cheap to judge (`minima.several`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure, floor_eigenvalues
from mlmfast.covariance.base import symmetric_of
from mlmfast.covariance.closed import SumOfSquares
from mlmfast.covariance.scaled_correlation import ScaledCorrelation
from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.covariance.structures.homogeneous_diagonal import HomogeneousDiagonal
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.scoring import Scoring, solve_scoring
from mlmfast.fitting.starts.levels import (
    with_other_level,
    without_two_variances,
    without_variance,
)
from mlmfast.fitting.starts.stretches import (
    Stretch,
    effect_stretches,
    is_spatial,
    residual_stretches,
)
from mlmfast.reduction.blocks import structure_of

#: Shares of the random effects in the variance.
_SHARES = (0.02, 0.2, 0.8)
#: Correlations of all pairs alike, and of neighbours (fading with the distance).
_ALIKE, _FADING = (0.9,), (0.95, -0.5)
#: Variances above the moments: of effects, and of residuals over theirs, and their correlations.
_MUCH_OF_EFFECTS, _MUCH, _STRONG = 16.0, 5.0, 0.95
#: Those of random effects, of which even a singular matrix is a start.
_ALIKE_EFFECTS, _FADING_EFFECTS = (0.0, 0.6, 0.99), (0.9, -0.6, -0.98)
#: Standard deviations of effects far above the residual's, in a unit's mean. In a trial of 562
#: models with `||` the moment start alone missed the best minimum 35 times, both together once.
_LARGE = 30.0
#: Those of related levels, to the residual's.
_SIZES = (1.0, 2.0, 4.0, 8.0)
#: Ranges tried between half the smallest distance and the largest.
_RANGES = 7
#: Smallest mean variance of effects to start correlations from.
_NOT_SMALL = 0.1

#: Correlation parameters that are few, how far each is moved, and starts at random.
_FEW, _FAR, _RANDOM = 3, 2.5, 4

_Change: TypeAlias = Callable[[Stretch, FloatArray], FloatArray]


def is_linear(structure: CovarianceStructure) -> bool:
    """Whether the covariance is as good as quadratic in its parameters: no correlations of theirs.

    One minimum is then the rule.
    """
    one = structure.mixes or structure.variances_alone
    return one or isinstance(structure, HomogeneousDiagonal | SumOfSquares)


def uncorrelated_start(criterion: Criterion, theta: FloatArray) -> FloatArray:
    """theta (1, n_theta) with residual covariances over few visits without correlations."""
    own = [s for s in residual_stretches(criterion) if s.is_small and not is_spatial(s.structure)]
    return _each(own, theta[0], _uncorrelated)[None]


def starts_of_sizes(criterion: Criterion) -> list[FloatArray]:
    """Effects uncorrelated, of the residual's size to far above it, each of shape (n_theta,)."""
    parts = [(t.shared, np.eye(t.structure.size)) for t in criterion.terms]
    return [
        np.concatenate([shared.theta(size**2 * one[None])[0] for shared, one in parts])
        for size in _SIZES
    ]


def large_start(criterion: Criterion, n_fits: int) -> FloatArray:
    """Every effect uncorrelated and far above the residual, shape (n_fits, n_theta)."""
    parts = [t.shared.theta(_LARGE**2 * np.eye(t.structure.size)[None]) for t in criterion.terms]
    return np.repeat(np.concatenate(parts, axis=1), n_fits, axis=0)


def other_starts(
    criterion: Criterion, fit: int, theta: FloatArray, share: float
) -> list[list[FloatArray]]:
    """Starts that differ in kind from moments, each of shape (n_theta,).

    Lists, of which all but the first are far from anything and improve only as they are refined.

    Parameters
    ----------
    fit
        The response.
    theta : shape (n_theta,)
        Moments, of which random effects have a ``share`` where there is a residual structure.
    """
    residual, effects = residual_stretches(criterion), effect_stretches(criterion)
    if not residual:
        raw = _raw_moments(criterion, fit)
        levels = [without_variance(effects, theta), with_other_level(effects, theta)]
        return [[*_of_effects(effects, theta), raw], *levels]
    split = _Split(residual, effects, theta, share)
    starts = [*_of_residual(split)]
    if effects:
        starts += [*_of_both(split), _effects_from_moments(criterion, fit, split)]
    starts += _of_scale(criterion, theta)
    starts += [*_each_correlation(residual, theta), *_at_random(residual, theta)]
    both = [*residual, *effects]
    two = without_two_variances(residual, theta)
    return [starts, without_variance(both, theta), with_other_level(both, theta), two]


@dataclass(frozen=True)
class _Split:
    """Moments, and how they are shared between residuals and random effects."""

    residual: list[Stretch]
    effects: list[Stretch]
    theta: FloatArray
    share: float

    def changed(self, how: _Change, share: float | None = None) -> FloatArray:
        """Residual covariances changed, random effects uncorrelated with a share of their own."""
        theta, left = self.theta, 1.0
        if share is not None:
            left = (1.0 - share) / (1.0 - self.share)
            for stretch in self.effects:
                theta = stretch.put(theta, share * np.eye(stretch.structure.size))
        for stretch in self.residual:
            if stretch.is_small:
                theta = stretch.put(theta, left * how(stretch, stretch.matrix(self.theta)))
        return theta


def _of_residual(split: _Split) -> Iterator[FloatArray]:
    """Other residual correlations."""
    if any(isinstance(stretch.structure, Spatial) for stretch in split.residual):
        for part in np.linspace(0.0, 1.0, _RANGES):
            yield split.changed(_over_range(part))
        return
    yield split.changed(_uncorrelated)
    for rho in _ALIKE:
        yield split.changed(_alike(rho))
    for rho in _FADING:
        yield split.changed(_fading(rho))


def _of_both(split: _Split) -> Iterator[FloatArray]:
    """Random effects with much or little of the variance, residuals correlated or not."""
    for share in _SHARES:
        yield split.changed(_unchanged, share)
        yield split.changed(_uncorrelated, share)
    yield split.changed(_over_range(0.6), _SHARES[0])
    yield from _beyond_moments(split)


def _beyond_moments(split: _Split) -> Iterator[FloatArray]:
    """Variances far above the moments, which the differences of large covariances leave of them.

    Where visits are strongly correlated, variances that grow from visit to visit are those of the
    little that is left, and what is shared may be as large as it likes.
    """
    theta = split.theta
    for stretch in split.effects:
        theta = stretch.put(theta, _MUCH_OF_EFFECTS * np.eye(stretch.structure.size))
    for how in (_alike(_STRONG), _fading(_STRONG)):
        out = theta
        for stretch in split.residual:
            if stretch.is_small:
                out = stretch.put(out, _MUCH * how(stretch, stretch.matrix(theta)))
        yield out


def _effects_from_moments(criterion: Criterion, fit: int, split: _Split) -> FloatArray:
    """Random effects from moments (the scoring step from G = 0) beside uncorrelated residuals."""
    fits, none = np.array([fit]), split.changed(_uncorrelated, 0.0)
    at = criterion(none[None], fits)
    out = split.changed(_uncorrelated)
    n = sum(len(stretch.structure.entries) for stretch in split.effects)
    if not np.isfinite(at.natural_expected).all() or not np.isfinite(at.value[0]):
        return out
    step = solve_scoring(at.natural_gradient[:, :n], at.natural_expected[:, :n, :n])
    parts = zip(split.effects, criterion.entry_slices, strict=False)
    for stretch, e in parts:
        matrix = symmetric_of(step[:, e], stretch.structure)
        out = stretch.put(out, floor_eigenvalues(matrix, 1e-3, 1e-3)[0])
    return out


def _raw_moments(criterion: Criterion, fit: int) -> FloatArray:
    """The members nearest to the moments, before they are held within the structure."""
    fits, scoring = np.array([fit]), Scoring(criterion)
    nearest = scoring.nearest(scoring.moments(fits)[0])[0]
    return np.asarray(scoring.relative_to_within(nearest, fits)[0])


def _of_effects(effects: list[Stretch], theta: FloatArray) -> Iterator[FloatArray]:
    """Other correlations and variances of structured random effects."""
    shapes = [_alike(rho) for rho in _ALIKE_EFFECTS] + [_fading(rho) for rho in _FADING_EFFECTS]
    for shape in shapes:
        yield _each(effects, _each(effects, theta, _with_mean_variance), shape)
    for shape in (shapes[0], shapes[1], shapes[3], shapes[4]):
        yield _each(effects, theta, shape)


def _each(stretches: list[Stretch], theta: FloatArray, how: _Change) -> FloatArray:
    for stretch in stretches:
        theta = stretch.put(theta, how(stretch, stretch.matrix(theta)))
    return theta


def _each_correlation(stretches: list[Stretch], theta: FloatArray) -> Iterator[FloatArray]:
    """Each of a few correlation parameters in turn far up or down."""
    for stretch in stretches:
        own = _correlations_of(stretch)
        if 1 < own.stop - own.start <= _FEW:
            for position in range(own.start, own.stop):
                for value in (-_FAR, _FAR):
                    out = theta.copy()
                    out[position] += value
                    yield out


def _at_random(stretches: list[Stretch], theta: FloatArray) -> Iterator[FloatArray]:
    """Correlation parameters drawn at random: always the same for the same number of them."""
    rng = np.random.default_rng(len(theta))
    own = [_correlations_of(stretch) for stretch in stretches]
    many = len(own) > 1 or max(s.stop - s.start for s in own) > _FEW
    for _ in range(_RANDOM if many else 0):
        out = theta.copy()
        for s in own:
            out[s] = rng.normal(size=s.stop - s.start)
        yield out


def _correlations_of(stretch: Stretch) -> slice:
    """The correlation parameters, where the structure has some of their own."""
    structure, end = stretch.structure, stretch.theta.stop
    if not isinstance(structure, ScaledCorrelation):
        return slice(end, end)
    return slice(stretch.theta.start + structure.n_scales, end)


def _of_scale(criterion: Criterion, theta: FloatArray) -> list[FloatArray]:
    """Hardly a residual scale; one whose powers beside a constant fall."""
    structure = structure_of(criterion.terms[-1])
    if not isinstance(structure, ScaledCovariance):
        return []
    starts = []
    for scale in (structure.scale.start(), structure.scale.downwards()):
        if scale is not None:
            out = theta.copy()
            out[criterion.theta_slices[-1].start + structure.n_base :] = scale
            starts.append(out)
    return starts


def _unchanged(_: Stretch, matrix: FloatArray) -> FloatArray:
    return matrix


def _uncorrelated(_: Stretch, matrix: FloatArray) -> FloatArray:
    return np.asarray(matrix * np.eye(len(matrix)))


def _alike(rho: float) -> _Change:
    """All pairs with one correlation."""

    def change(_: Stretch, matrix: FloatArray) -> FloatArray:
        k = len(matrix)
        return _correlated(matrix, max(rho, -0.9 / max(k - 1, 1)) * np.ones((k, k)))

    return change


def _fading(rho: float) -> _Change:
    """Neighbours with one correlation, others with powers of it."""

    def change(stretch: Stretch, matrix: FloatArray) -> FloatArray:
        return _correlated(matrix, np.float64(rho) ** _steps(stretch.structure))

    return change


def _over_range(part: float) -> _Change:
    """Correlations that fade over a part of the way from the smallest distance to the largest."""

    def change(stretch: Stretch, matrix: FloatArray) -> FloatArray:
        gaps = _steps(stretch.structure)
        low, high = 0.5 * gaps[gaps > 0].min(initial=np.inf), gaps.max(initial=0.0)
        if not low < high:
            return matrix
        return _correlated(matrix, np.exp(-gaps / (low * (high / low) ** part)))

    return change


def _steps(structure: CovarianceStructure) -> FloatArray:
    """How far levels lie from each other, (K, K)."""
    if not isinstance(structure, Spatial):
        index = np.arange(structure.size, dtype=np.float64)
        return np.asarray(np.abs(index[:, None] - index))
    points = structure.coordinates
    gaps = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    return np.asarray(gaps)


def _correlated(matrix: FloatArray, correlation: FloatArray) -> FloatArray:
    """The variances of a matrix with other correlations, held away from singularity."""
    sd = np.sqrt(np.maximum(np.diag(matrix), 1e-3 * np.diag(matrix).max()))
    out = correlation * np.outer(sd, sd)
    np.fill_diagonal(out, sd * sd)
    return out


def _with_mean_variance(_: Stretch, matrix: FloatArray) -> FloatArray:
    mean = max(float(np.diag(matrix).mean()), _NOT_SMALL)
    return np.asarray(mean * np.eye(len(matrix)))
