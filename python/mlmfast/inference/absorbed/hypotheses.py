"""What type II and III tests of terms say of the coefficients beside an absorbed factor.

A term is tested after all others: by the functions of its coefficients that stay where the others'
columns, left out as aliased or not, may take any coefficients. With x_j = means of levels + W g_j,
W the columns kept within levels, the hypothesis of another term than the factor is

    L beta_W = 0,   L g_j = 0 for all columns j of the other terms,

and that of the factor N' a = 0 for the effects a of its levels, N orthogonal to the constant and to
the part by level, x_j - W g_j, of all other columns. Which columns were left out plays no part. The
rows are lmerTest's, as where the factor's levels are columns: Satterthwaite's degrees of freedom
depend on them (`mlmfast.inference.anova.row_bases`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.inference.anova.row_bases import by_coefficients, first_independent
from mlmfast.reduction.absorbed.coefficients import coefficient_map, share_within

if TYPE_CHECKING:
    from mlmfast.design.design import Design
    from mlmfast.reduction.absorbed.coefficients import CoefficientMap

#: Singular value of columns of length 1 that is 0, and share of a column that is rounding.
_DEPENDENT, _ROUNDING = 1e-8, 1e-10


class OtherColumns:
    """The columns beside those of an absorbed factor: their parts within and by its levels.

    Parameters
    ----------
    kept
        Those of them that are estimated within levels.
    constant
        Whether another term holds the constant by its nature, as the levels of a factor do.

    Attributes
    ----------
    inner : shape (k,), positions among the others of those kept within levels.
    shares : shape (k, n_others), g_j; those of a kept column are 1 for itself.
    by_level : shape (n_levels, m)
        The constant, where other terms hold one, and the parts by level, each of length 1.
    """

    def __init__(self, design: Design, kept: IntArray, constant: bool) -> None:
        absorbed = design.absorbed
        assert absorbed is not None, "made for such fits"
        self.design = design
        self.inner = np.asarray(kept, dtype=np.intp)
        self.map: CoefficientMap = coefficient_map(design, self.inner)
        split = [absorbed.split(np.asarray(column), design.weights) for column in design.x]
        root = np.ones(design.n_obs) if design.weights is None else np.sqrt(design.weights)
        within = [root * split[j][1] for j in self.inner]
        self.root, self.within = root, within
        sizes = np.array([np.linalg.norm(w) for w in within])
        means = np.array([split[j][0] for j in self.inner]).reshape(-1, absorbed.n_levels).T
        self.shares = np.zeros((len(self.inner), len(split)))
        self.constant = constant or absorbed.intercept
        self.by_contrasts = bool(absorbed.by_contrasts)
        parts = [np.ones(absorbed.n_levels)] if self.constant else []
        for j, (by_level, left) in enumerate(split):
            if j in self.inner:
                self.shares[np.flatnonzero(self.inner == j), j] = 1.0
                continue
            g = share_within(within, root * left)
            moved = np.abs(g) * sizes
            g[moved <= _ROUNDING * moved.max(initial=0.0)] = 0.0
            self.shares[:, j] = g
            part = by_level - means @ g
            if np.abs(part).max() > _ROUNDING * np.abs(by_level).max():
                parts.append(part)
        none = np.zeros((absorbed.n_levels, 0))
        lengths = [p / np.linalg.norm(p) for p in parts]
        self.by_level = np.stack(lengths, axis=1) if parts else none

    @property
    def is_plain(self) -> bool:
        """Whether no other column is left out within levels, so that all terms are separate."""
        return len(self.inner) == self.shares.shape[1]

    def of_term(self, own: IntArray, coded: FloatArray, units: FloatArray) -> FloatArray:
        """L of the term of columns ``own`` (positions among the others), (l, k).

        Parameters
        ----------
        coded : shape (n_obs, d)
            Columns of the term whose coefficients the rows are to be, by the coding of lmerTest.
        units : shape (d,), what 1 is of each.
        """
        if self.is_plain:
            left = np.eye(len(self.inner))[np.isin(self.inner, own)]
        else:
            others = np.delete(self.shares, own, axis=1)
            size = np.linalg.norm(self.shares, axis=1, keepdims=True)
            left = _orthogonal(others / size) / size.T
        if len(left) < 2:
            return left
        return by_coefficients(left, left @ self._shares_of(coded), units)

    def _shares_of(self, columns: FloatArray) -> FloatArray:
        """g of other columns (n_obs, d), (k, d)."""
        absorbed, weights = self.design.absorbed, self.design.weights
        assert absorbed is not None, "made for such designs"
        left = np.column_stack([absorbed.split(column, weights)[1] for column in columns.T])
        found = share_within(self.within, left if weights is None else self.root[:, None] * left)
        size = np.abs(found).max(axis=0, initial=0.0)
        return np.where(np.abs(found) <= _ROUNDING * size, 0.0, found)

    def of_factor(self) -> FloatArray:
        """N' by the coefficients of the factor's levels that are kept, (l, n_kept_levels)."""
        n_levels, n_tested = len(self.by_level), self.n_of_factor
        left, _, _ = np.linalg.svd(self.by_level, full_matrices=False)
        span = left[:, : n_levels - n_tested]
        # 1 at one level each, and 0 at the others chosen: the first that are independent, which
        # are those that the last ones leave. A factor coded by contrasts is compared with its first
        # level, as lmerTest does.
        from_last = np.arange(n_levels)[::-1]
        order = np.append(0, from_last[:-1]) if self.by_contrasts else from_last
        rest = order[first_independent(span[order].T)]
        chosen = np.setdiff1d(np.arange(n_levels), rest)
        rows = np.zeros((n_tested, n_levels))
        rows[np.arange(n_tested), chosen] = 1.0
        rows[:, rest] = -np.linalg.solve(span[rest].T, span[chosen].T).T
        rows[np.abs(rows) < _ROUNDING] = 0.0
        return rows[:, self.map.levels]

    @property
    def n_of_factor(self) -> int:
        """Rows of the factor's hypothesis."""
        values = np.linalg.svd(self.by_level, compute_uv=False)
        return len(self.by_level) - int((values > _DEPENDENT).sum())


def _orthogonal(columns: FloatArray) -> FloatArray:
    """Orthonormal rows orthogonal to columns."""
    if not columns.shape[1]:
        return np.eye(len(columns))
    u, values, _ = np.linalg.svd(columns)
    return np.asarray(u[:, int((values > _DEPENDENT).sum()) :].T)
