"""Sums of squares y'A y of the effects, with the expectations and covariances that they have.

With A = B'B, B of orthonormal rows,
E y'A y = df sigma^2 + sum_r |B Z_r|^2 sigma_r^2 + |B X beta|^2,
and where y is normal Cov(y'A_i y, y'A_j y) = 2 |B_i V B_j'|^2 (Searle, Casella and McCulloch 1992,
section 5.3: Henderson's method 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.inference.anova.hypotheses import type_one, type_three, type_two
from mlmfast.moments.effects import Effects

_HYPOTHESES = {1: type_one, 2: type_two, 3: type_three}
#: Part of a quadratic form in fixed effects, over the largest, that is rounding.
_ROUNDING = 1e-8
#: Coefficient of a variance, one of which is 1 where each row has a level of its own, that is 0.
_NONE = 1e-10


@dataclass(frozen=True)
class SquareOfEffect:
    """The sum of squares of one effect.

    Attributes
    ----------
    label
        Of the effect.
    rows : shape (df, n), B.
    value
        y'B'B y.
    by_level : B Z_r of each random term, shapes (df, n_levels).
    fixed
        Labels of the fixed effects in its expectation.
    """

    label: str
    rows: FloatArray
    value: float
    by_level: tuple[FloatArray, ...]
    fixed: tuple[str, ...]

    @property
    def df(self) -> int:
        """Degrees of freedom."""
        return len(self.rows)

    @property
    def coefficients(self) -> FloatArray:
        """Of the variances of the random terms in the expected mean square."""
        found = np.array([(own * own).sum() / self.df for own in self.by_level])
        return np.where(found > _NONE, found, 0.0)


def square_of(effects: Effects, term: int, kind: int, y: FloatArray) -> SquareOfEffect:
    """The sum of squares of type 1, 2 or 3 of an effect."""
    functions = effects.functions
    hypothesis = _HYPOTHESES[kind](functions, term)
    directions = _orthonormal(hypothesis)
    rows = directions @ effects.basis.T
    fixed = tuple(
        other.label
        for t, other in enumerate(functions.terms[: effects.n_fixed])
        if _is_in(directions, functions.columns_of([t]))
    )
    by_level = tuple(_by_level(rows, codes) for codes in effects.codes)
    own = rows @ y
    return SquareOfEffect(functions.terms[term].label, rows, float(own @ own), by_level, fixed)


def _orthonormal(hypothesis: FloatArray) -> FloatArray:
    """Orthonormal rows that span those of a hypothesis."""
    if not len(hypothesis):
        return hypothesis
    return np.asarray(np.linalg.svd(hypothesis, full_matrices=False)[2])


def _is_in(directions: FloatArray, columns: FloatArray) -> bool:
    largest = np.linalg.norm(columns, axis=0).max(initial=0.0)
    return bool(np.abs(directions @ columns).max(initial=0.0) > _ROUNDING * largest)


def _by_level(rows: FloatArray, codes: np.ndarray[tuple[int], np.dtype[np.int32]]) -> FloatArray:
    """B Z for the indicators Z of a factor's levels."""
    out = np.zeros((int(codes.max(initial=-1)) + 1, len(rows)))
    np.add.at(out, codes, rows.T)
    return out.T


def covariance_of_squares(
    squares: list[SquareOfEffect], variances: FloatArray, residual: float, residual_df: int
) -> FloatArray:
    """Covariance of the mean squares, the residual's last, where V has these variances."""
    n = len(squares)
    out = np.zeros((n + 1, n + 1))
    for i, one in enumerate(squares):
        for j, two in enumerate(squares[: i + 1]):
            cross = residual * one.rows @ two.rows.T
            for variance, a, b in zip(variances, one.by_level, two.by_level, strict=True):
                cross = cross + variance * a @ b.T
            out[i, j] = out[j, i] = 2.0 * float((cross * cross).sum()) / (one.df * two.df)
    out[n, n] = 2.0 * residual**2 / residual_df
    return out
