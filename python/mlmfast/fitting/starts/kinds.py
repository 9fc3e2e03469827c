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
from mlmfast.covariance.closed import SumOfSquares
from mlmfast.covariance.scaled_correlation import ScaledCorrelation
from mlmfast.covariance.scaled_covariance import ScaledCovariance, without_scale
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.covariance.structures.factor_analytic import FactorAnalytic
from mlmfast.covariance.structures.homogeneous_diagonal import HomogeneousDiagonal
from mlmfast.criterion.arms import residual_arms
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.scoring import Scoring, solve_scoring, symmetric_of
from mlmfast.reduction.blocks import structure_of

#: Shares of the random effects in the variance.
_SHARES = (0.02, 0.2, 0.8)
#: Correlations of all pairs alike, and of neighbours (fading with the distance).
_ALIKE, _FADING = (0.9,), (0.95, -0.5)
#: Variances above the moments: of effects, and of residuals over theirs, and their correlations.
_MUCH_OF_EFFECTS, _MUCH, _STRONG = 16.0, 5.0, 0.95
#: Those of random effects, of which even a singular matrix is a start.
_ALIKE_EFFECTS, _FADING_EFFECTS = (0.0, 0.6, 0.99), (0.9, -0.6, -0.98)
#: Standard deviation of a level nearly without variance, over what it was, and the share of its
#: variance that a structure with variances of their own may leave.
_NEARLY_ZERO, _LEFT = 0.03, 0.05
#: Standard deviation of a level that is smaller or larger, over what it was, and the most levels
#: that have their turn.
_SMALLER, _LARGER, _FEW_LEVELS = 0.3, 3.0, 8
#: Standard deviations of effects far above the residual's, in a unit's mean. In a trial of 562
#: models with `||` the moment start alone missed the best minimum 35 times, both together once.
_LARGE = 30.0
#: Ranges tried between half the smallest distance and the largest.
_RANGES = 7
#: Levels or points above which correlations stay as they are.
_MOST_LEVELS, _MOST_POINTS = 64, 300
#: Smallest mean variance of effects to start correlations from.
_NOT_SMALL = 0.1

#: Correlation parameters that are few, how far each is moved, and starts at random.
_FEW, _FAR, _RANDOM = 3, 2.5, 4

_Change: TypeAlias = Callable[["Stretch", FloatArray], FloatArray]


@dataclass(frozen=True)
class Stretch:
    """A covariance within theta: of a random-effects term, or of the residuals of an arm.

    Attributes
    ----------
    structure
        The structure.
    theta
        Its stretch of theta.
    """

    structure: CovarianceStructure
    theta: slice

    @property
    def is_small(self) -> bool:
        """Whether its matrix is soon formed."""
        most = _MOST_POINTS if _is_spatial(self.structure) else _MOST_LEVELS
        return self.structure.size <= most

    def matrix(self, theta: FloatArray) -> FloatArray:
        """The covariance at theta (n_theta,), shape (K, K)."""
        return np.asarray(self.structure.matrix(theta[None, self.theta])[0])

    def put(self, theta: FloatArray, matrix: FloatArray) -> FloatArray:
        """theta with a member near another covariance."""
        out = theta.copy()
        if np.isfinite(matrix).all():
            out[self.theta] = self.structure.theta(matrix[None])[0]
        return out


def residual_stretches(criterion: Criterion) -> list[Stretch]:
    """The residual covariances, by arm."""
    return [
        Stretch(own, slice(s.start + at.start, s.start + at.stop))
        for structure, s, _ in residual_arms(criterion)
        for own, at in without_scale(structure)
    ]


def effect_stretches(criterion: Criterion) -> list[Stretch]:
    """The covariances of random effects."""
    parts = zip(criterion.terms, criterion.theta_slices, strict=True)
    return [Stretch(term.shared, s) for term, s in parts if not term.is_residual]


def is_linear(structure: CovarianceStructure) -> bool:
    """Whether the covariance is as good as quadratic in its parameters: no correlations of theirs.

    One minimum is then the rule.
    """
    one = structure.mixes or structure.variances_alone
    return one or isinstance(structure, HomogeneousDiagonal | SumOfSquares)


def uncorrelated_start(criterion: Criterion, theta: FloatArray) -> FloatArray:
    """theta (1, n_theta) with residual covariances over few visits without correlations."""
    own = [s for s in residual_stretches(criterion) if s.is_small and not _is_spatial(s.structure)]
    return _each(own, theta[0], _uncorrelated)[None]


def _is_spatial(structure: CovarianceStructure) -> bool:
    return isinstance(structure, Spatial)


def large_start(criterion: Criterion, n_fits: int) -> FloatArray:
    """Every effect uncorrelated and far above the residual, shape (n_fits, n_theta)."""
    parts = [t.shared.theta(_LARGE**2 * np.eye(t.structure.size)[None]) for t in criterion.terms]
    return np.repeat(np.concatenate(parts, axis=1), n_fits, axis=0)


def other_starts(
    criterion: Criterion, fit: int, theta: FloatArray, share: float
) -> list[list[FloatArray]]:
    """Starts that differ in kind from moments, each of shape (n_theta,).

    Three lists, of which the last two's are far from anything and improve only as they are refined.

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
        levels = [_without_variance(effects, theta), _with_other_level(effects, theta)]
        return [[*_of_effects(effects, theta), raw], *levels]
    split = _Split(residual, effects, theta, share)
    starts = [*_of_residual(split)]
    if effects:
        starts += [*_of_both(split), _effects_from_moments(criterion, fit, split)]
    scale = _without_scale(criterion, theta)
    if scale is not None:
        starts.append(scale)
    starts += [*_each_correlation(residual, theta), *_at_random(residual, theta)]
    both = [*residual, *effects]
    return [starts, _without_variance(both, theta), _with_other_level(both, theta)]


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


def _without_variance(stretches: list[Stretch], theta: FloatArray) -> list[FloatArray]:
    """Each variance in turn nearly 0, where levels have variances of their own."""
    out = []
    for stretch in stretches:
        if not stretch.is_small:
            continue
        matrix = stretch.matrix(theta)
        levels = _own_variances(stretch.structure)
        out += [stretch.put(theta, _scaled_level(matrix, k, _NEARLY_ZERO)) for k in levels]
    return out


def _with_other_level(stretches: list[Stretch], theta: FloatArray) -> list[FloatArray]:
    """Each level in turn with a smaller or a larger variance, or its correlations turned."""
    out = []
    for stretch in stretches:
        structure = stretch.structure
        if _is_spatial(structure) or not 2 < structure.size <= _FEW_LEVELS:
            continue
        factors = [-1.0] if isinstance(structure, FactorAnalytic) else []
        if not isinstance(structure, ScaledCorrelation) or structure.n_scales > 1:
            factors += [_SMALLER, _LARGER]
        matrix = stretch.matrix(theta)
        for k in range(structure.size):
            out += [stretch.put(theta, _scaled_level(matrix, k, by)) for by in factors]
    return out


def _scaled_level(matrix: FloatArray, level: int, by: float) -> FloatArray:
    """A covariance with one level times a factor."""
    factors = np.ones(len(matrix))
    factors[level] = by
    return np.asarray(matrix * np.outer(factors, factors))


def _own_variances(structure: CovarianceStructure) -> list[int]:
    """Levels whose variance can be nearly 0 while that of others is not."""
    out = []
    for k in range(structure.size if structure.size > 1 else 0):
        wanted = np.ones(structure.size)
        wanted[k] = _NEARLY_ZERO**2
        found = np.diag(structure.matrix(structure.theta(np.diag(wanted)[None]))[0])
        if found[k] < _LEFT * np.delete(found, k).max():
            out.append(k)
    return out


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


def _without_scale(criterion: Criterion, theta: FloatArray) -> FloatArray | None:
    """Every residual scale 1."""
    structure = structure_of(criterion.terms[-1])
    if not isinstance(structure, ScaledCovariance):
        return None
    out = theta.copy()
    out[criterion.theta_slices[-1].start + structure.n_base :] = 0.0
    return out


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
