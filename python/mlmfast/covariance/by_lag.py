"""Structures that go by the number of steps between two levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.base import CovarianceStructure
from mlmfast.errors import ModelError
from mlmfast.running.cached import cached_property


@dataclass(frozen=True)
class ByLag(CovarianceStructure):
    """Levels that stand at whole steps of one sequence, not all of which need have a level.

    A mixin. What no two levels are apart is no lag, and has no parameter.

    Parameters
    ----------
    places
        Step at which each level stands, in any order; 0, 1, 2, ... by default.
    """

    places: tuple[int, ...] | None = field(default=None, kw_only=True)

    ordered: ClassVar[bool] = True
    by_lag: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.places is not None and len({*self.places}) != self.size:
            raise ModelError(
                f"{self.keyword!r} over {self.size} levels needs as many places, all different; "
                f"found {self.places}"
            )

    @cached_property
    def standing(self) -> IntArray:
        """Step at which each level stands."""
        return np.arange(self.size) if self.places is None else np.array(self.places, dtype=np.intp)

    @cached_property
    def has_gaps(self) -> bool:
        """Whether there are steps between the first and the last level that have none."""
        return self.places is not None and int(np.ptp(self.standing)) >= self.size

    @cached_property
    def steps(self) -> tuple[IntArray, IntArray]:
        """Distinct numbers of steps between the levels of an entry, and which is whose."""
        rows, columns = np.array(self.entries, dtype=np.intp).T
        apart = np.abs(self.standing[rows] - self.standing[columns])
        values, codes = np.unique(apart, return_inverse=True)
        return values, codes

    def step_means(self, correlation: FloatArray, steps: IntArray) -> FloatArray:
        """Mean correlation of levels so many steps apart, shape (n_fits, n_steps)."""
        if self.places is None:
            return lag_means(correlation, steps.tolist())
        rows, columns = np.tril_indices(self.size, -1)
        apart = np.abs(self.standing[rows] - self.standing[columns])
        values = correlation[:, rows, columns]
        means = [values[:, apart == step].mean(axis=1) for step in steps.tolist()]
        return np.stack(means, axis=1) if means else np.empty((len(correlation), 0))

    def check_bands(self, order: int | None) -> None:
        """Refuse a number of bands that is none, or more than there are lags."""
        most = int(np.ptp(self.standing)) + 1
        if order is not None and not 1 <= order <= most:
            raise ModelError(
                f"{self.keyword}({order}) over {self.size} levels: the number of bands must lie "
                f"between 1 and {most}"
            )


def lag_means(correlation: FloatArray, lags: Sequence[int]) -> FloatArray:
    """Mean correlation at each lag, shape (n_fits, n_lags).

    Examples
    --------
    >>> lag_means(np.array([[[1.0, 0.5, 0.2], [0.5, 1.0, 0.3], [0.2, 0.3, 1.0]]]), [1, 2])
    array([[0.4, 0.2]])
    """
    means = [np.diagonal(correlation, -lag, 1, 2).mean(axis=1) for lag in lags]
    return np.stack(means, axis=1) if means else np.empty((len(correlation), 0))


def banded_entries(standing: IntArray, bands: int | None) -> tuple[tuple[int, int], ...]:
    """Entries (a, b), a >= b, of levels fewer than ``bands`` steps apart; all where None.

    Examples
    --------
    >>> banded_entries(np.array([0, 1, 3]), 2)
    ((0, 0), (1, 0), (1, 1), (2, 2))
    """
    apart = np.abs(standing[:, None] - standing)
    within = np.tril(apart < (int(apart.max(initial=0)) + 1 if bands is None else bands))
    rows, columns = np.nonzero(within)
    return tuple(zip(rows.tolist(), columns.tolist(), strict=True))
