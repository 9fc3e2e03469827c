"""The factor itself: which level a row has, means by level, what is left within levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray

#: Root mean square within levels, over the largest value, under which a column is constant there.
_CONSTANT = 1e-12


@dataclass(frozen=True)
class AbsorbedFactor:
    """A factor of the fixed part whose indicators are never formed.

    Attributes
    ----------
    name
        The variable as the formula has it.
    codes : shape (n,), int32
        Level of each row, every code in ``0..n_levels`` met.
    labels
        Label of each level.
    x_names
        Names of all columns of X, those of the factor among them, in the formula's order.
    first
        Position of the factor's first column among them.
    by_contrasts
        Whether its columns are differences from the first level, not means of all levels.
    intercept
        Whether X has an intercept (the first column).
    term
        Position of its term among the fixed terms.
    """

    name: str
    codes: CodeArray
    labels: tuple[str, ...]
    x_names: tuple[str, ...]
    first: int
    by_contrasts: bool
    intercept: bool
    term: int

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.labels)

    @property
    def n_columns(self) -> int:
        """Columns of X that the formula gives the factor."""
        return self.n_levels - self.by_contrasts

    @property
    def others(self) -> list[int]:
        """Positions in ``x_names`` of the columns that are formed: neither intercept nor factor."""
        own = range(self.first, self.first + self.n_columns)
        return [j for j in range(len(self.x_names)) if j not in own and (j or not self.intercept)]

    @property
    def n_before(self) -> int:
        """Columns formed that the formula has before the factor."""
        return self.first - self.intercept

    def means(self, values: FloatArray, weights: FloatArray | None) -> FloatArray:
        """(Weighted) mean by level, shape (n_levels,).

        Examples
        --------
        >>> codes = np.array([0, 1, 0], dtype=np.int32)
        >>> f = AbsorbedFactor("f", codes, ("a", "b"), ("fa", "fb"), 0, False, False, 0)
        >>> f.means(np.array([1.0, 5.0, 2.0]), None).tolist()
        [1.5, 5.0]
        """
        total = np.bincount(self.codes, weights, self.n_levels)
        weighted = values if weights is None else values * weights
        return np.asarray(np.bincount(self.codes, weighted, self.n_levels) / total)

    def split(
        self, values: FloatArray, weights: FloatArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """Means by level, (n_levels,), and what is left of the rows, (n,).

        A column that rounding alone leaves within levels is 0 there.
        """
        center = float(values.mean())
        left = values - center
        # Once more, for what the first means have lost to rounding.
        means = self.means(left, weights)
        left = left - means[self.codes]
        more = self.means(left, weights)
        left -= more[self.codes]
        size = float(np.sqrt(np.mean(left * left)))
        if size <= _CONSTANT * float(np.abs(values).max(initial=0.0)):
            left = np.zeros_like(left)
        return center + means + more, left
