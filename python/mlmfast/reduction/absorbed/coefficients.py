"""The formula's coefficients as linear functions of those within levels and of the levels' own.

With X b + F a the fixed part, b the coefficients that the factor leaves something of and a one
number a level, a column of the formula is X g + F h: the intercept has h = 1, a column that is
constant within levels its values there. Columns before the factor keep their place, as in a
regression that takes columns in order, and as many levels as they have functions h lose theirs:
with S these levels, and beta the columns' coefficients,

    h_S beta = a_S        d_l = a_l - h_l beta
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.design.absorbed.factor import AbsorbedFactor
from mlmfast.design.design import Design

#: Share of a function of the levels outside those before it that counts as nothing.
_DEPENDENT = 1e-10


@dataclass(frozen=True)
class CoefficientMap:
    """How the formula's coefficients follow from b and a.

    Attributes
    ----------
    inner : shape (k,), positions in the formula's columns of those that b belongs to.
    outer : shape (s,), positions of the columns that are functions of the levels (and of others).
    shares : shape (k, s), g of those columns.
    pivots : shape (s,), the levels that have no coefficient of their own.
    inverse : shape (s, s), of h in the rows of ``pivots``.
    weights : shape (n_levels, s), h times that.
    means : shape (n_levels, k), means by level of the columns that b belongs to.
    columns : shape (n_own,), positions of the levels' own coefficients.
    levels : shape (n_own,), their levels.
    logdet : log of the squared determinant of h in the rows of ``pivots``.
    """

    inner: IntArray
    outer: IntArray
    shares: FloatArray
    pivots: IntArray
    inverse: FloatArray
    weights: FloatArray
    means: FloatArray
    columns: IntArray
    levels: IntArray
    logdet: float

    def coefficients(self, b: FloatArray, a: FloatArray, n_columns: int) -> FloatArray:
        """All coefficients of the formula, (n_columns,); NaN where a column is aliased."""
        out = np.full(n_columns, np.nan)
        outer = self.inverse @ a[self.pivots]
        out[self.outer] = outer
        out[self.inner] = b - self.shares @ outer
        out[self.columns] = (a - self.weights @ a[self.pivots])[self.levels]
        return out

    def of_column(self, g: FloatArray, h: FloatArray) -> FloatArray:
        """The coefficients in those kept, in the order of `kept`, of a column X g + F h, (p,)."""
        outer = self.inverse @ h[self.pivots]
        inner = g - self.shares @ outer
        own = (h - self.weights @ h[self.pivots])[self.levels]
        order = np.argsort(np.concatenate([self.inner, self.outer, self.columns]))
        return np.concatenate([inner, outer, own])[order]

    @property
    def kept(self) -> IntArray:
        """Positions of the columns that have a coefficient, ascending."""
        return np.sort(np.concatenate([self.inner, self.outer, self.columns]))


def coefficient_map(design: Design, kept: IntArray) -> CoefficientMap:
    """The map of a design; ``kept`` are the columns of its X that levels leave something of."""
    absorbed = design.absorbed
    assert absorbed is not None, "the caller looked"
    others = np.array(absorbed.others, dtype=np.intp)
    split = [absorbed.split(np.asarray(column), design.weights) for column in design.x]
    means = np.column_stack([split[j][0] for j in kept]) if len(kept) else _empty(absorbed)
    root = np.ones(design.n_obs) if design.weights is None else np.sqrt(design.weights)
    within = [root * split[j][1] for j in kept]
    functions, shares, outer = [], [], []
    if absorbed.intercept:
        functions.append(np.ones(absorbed.n_levels))
        shares.append(np.zeros(len(kept)))
        outer.append(0)
    for j in range(absorbed.n_before):
        if j in kept:
            continue
        g = share_within(within, root * split[j][1])
        h = split[j][0] - means @ g
        if _is_new(functions, h):
            functions.append(h)
            shares.append(g)
            outer.append(int(others[j]))
    h = np.column_stack(functions) if functions else np.zeros((absorbed.n_levels, 0))
    pivots = _pivots(h, absorbed)
    inverse = np.asarray(np.linalg.inv(h[pivots]), dtype=np.float64)
    own = np.setdiff1d(np.arange(absorbed.n_levels), pivots)
    return CoefficientMap(
        others[kept],
        np.array(outer, dtype=np.intp),
        np.column_stack(shares) if shares else np.zeros((len(kept), 0)),
        pivots,
        inverse,
        h @ inverse,
        means,
        absorbed.first + own - absorbed.by_contrasts,
        own,
        float(2.0 * np.linalg.slogdet(h[pivots])[1]),
    )


def _empty(absorbed: AbsorbedFactor) -> FloatArray:
    return np.zeros((absorbed.n_levels, 0))


def share_within(within: list[FloatArray], column: FloatArray) -> FloatArray:
    """Coefficients of a column on those kept, within levels; 0 where it is constant there.

    Those of several columns (n_obs, d) are (k, d).
    """
    if not within or not column.any():
        return np.zeros((len(within), *column.shape[1:]))
    matrix = np.column_stack(within)
    scale = np.sqrt((matrix**2).sum(axis=0))
    return np.asarray((np.linalg.lstsq(matrix / scale, column, rcond=None)[0].T / scale).T)


def _is_new(functions: list[FloatArray], h: FloatArray) -> bool:
    """Whether a function of the levels is no combination of others."""
    if not functions:
        return bool(h.any())
    matrix = np.column_stack(functions)
    scale = np.sqrt((matrix**2).sum(axis=0))
    q, _ = np.linalg.qr(matrix / scale)
    left = h - q @ (q.T @ h)
    left = left - q @ (q.T @ left)
    return bool(np.linalg.norm(left) > _DEPENDENT * np.linalg.norm(h))


def _pivots(h: FloatArray, absorbed: AbsorbedFactor) -> IntArray:
    """Levels whose indicators the functions make dependent: the first by contrasts, then the last.

    A regression that takes columns in order leaves a level out where the functions, on it and the
    levels that follow, have one rank more than on those that follow alone.
    """
    rank = h.shape[1]
    pivots: list[int] = []
    rows = np.zeros((0, rank))
    backwards = range(absorbed.n_levels - 1, absorbed.by_contrasts - 1, -1)
    scale = np.sqrt((h**2).mean(axis=0))
    first = [0] if absorbed.by_contrasts else []
    for level in [*first, *backwards] if rank else []:
        row = h[level] / scale
        left = row - rows.T @ (rows @ row)
        left = left - rows.T @ (rows @ left)
        if np.linalg.norm(left) > _DEPENDENT * np.linalg.norm(row):
            rows = np.vstack([rows, left / np.linalg.norm(left)])
            pivots.append(level)
        if len(pivots) == rank:
            break
    return np.array(pivots, dtype=np.intp)
