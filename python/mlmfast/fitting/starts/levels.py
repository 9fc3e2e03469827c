"""Starts that differ in one level of a covariance: no variance, another one, other correlations."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.factor_analytic.factor_analytic import FactorAnalytic
from mlmfast.covariance.scaled_angles import ScaledAngles
from mlmfast.covariance.scaled_correlation import ScaledCorrelation
from mlmfast.criterion.criterion import Criterion
from mlmfast.fitting.starts.stretches import (
    Stretch,
    effect_stretches,
    is_spatial,
    residual_stretches,
)

#: Standard deviation of a level nearly without variance, over what it was, and the share of its
#: variance that a structure with variances of their own may leave.
_NEARLY_ZERO, _LEFT = 0.03, 0.05
#: Standard deviation of a level that is smaller or larger, over what it was, and the most levels
#: that have their turn.
_SMALLER, _LARGER, _FEW_LEVELS = 0.3, 3.0, 8


def round_minimum(criterion: Criterion, theta: FloatArray) -> list[list[FloatArray]]:
    """Starts that differ from a minimum, (n_theta,), in one level: no variance, or another one.

    Levels that have no variance there have some in turn.
    """
    both = [*residual_stretches(criterion), *effect_stretches(criterion)]
    return [without_variance(both, theta), with_other_level(both, theta)]


def without_variance(stretches: list[Stretch], theta: FloatArray) -> list[FloatArray]:
    """Each variance in turn nearly 0, where levels have variances of their own."""
    out = []
    for stretch in stretches:
        if not stretch.is_small:
            continue
        matrix = _with_all_variances(stretch, theta)
        levels = own_variances(stretch.structure)
        out += [stretch.put(theta, scaled_level(matrix, k, _NEARLY_ZERO)) for k in levels]
    return out


def without_two_variances(stretches: list[Stretch], theta: FloatArray) -> list[FloatArray]:
    """Each two variances of a covariance nearly 0, where levels have variances of their own."""
    out = []
    for stretch in stretches:
        if is_spatial(stretch.structure) or not 2 < stretch.structure.size <= _FEW_LEVELS:
            continue
        matrix = _with_all_variances(stretch, theta)
        pairs = combinations(own_variances(stretch.structure), 2)
        out += [stretch.put(theta, scaled_level(matrix, pair, _NEARLY_ZERO)) for pair in pairs]
    return out


def with_other_level(stretches: list[Stretch], theta: FloatArray) -> list[FloatArray]:
    """Each level in turn with a smaller or a larger variance, or its correlations turned."""
    out = []
    for stretch in stretches:
        structure = stretch.structure
        if is_spatial(structure) or not 2 < structure.size <= _FEW_LEVELS:
            continue
        factors = [-1.0] if isinstance(structure, FactorAnalytic) else []
        if not isinstance(structure, ScaledCorrelation) or structure.n_scales > 1:
            factors += [_SMALLER, _LARGER]
        matrix = _with_all_variances(stretch, theta)
        for k in range(structure.size):
            out += [stretch.put(theta, scaled_level(matrix, k, by)) for by in factors]
    return out


def _with_all_variances(stretch: Stretch, theta: FloatArray) -> FloatArray:
    """The covariance with variances that are nearly 0 as large as the mean of the others."""
    own, structure = theta[None, stretch.theta].copy(), stretch.structure
    if isinstance(structure, ScaledAngles):
        sd = np.abs(own[0, : structure.n_scales])
        small = sd < _NEARLY_ZERO * sd.max()
        own[0, : structure.n_scales][small] = sd[~small].mean() if small.any() else 0.0
    return np.asarray(structure.matrix(own)[0])


def scaled_level(matrix: FloatArray, level: int | tuple[int, ...], by: float) -> FloatArray:
    """A covariance with a level, or some, times a factor."""
    factors = np.ones(len(matrix))
    factors[[level]] = by
    return np.asarray(matrix * np.outer(factors, factors))


def own_variances(structure: CovarianceStructure) -> list[int]:
    """Levels whose variance can be nearly 0 while that of others is not."""
    out = []
    for k in range(structure.size if structure.size > 1 else 0):
        wanted = np.ones(structure.size)
        wanted[k] = _NEARLY_ZERO**2
        found = np.diag(structure.matrix(structure.theta(np.diag(wanted)[None]))[0])
        if found[k] < _LEFT * np.delete(found, k).max():
            out.append(k)
    return out
