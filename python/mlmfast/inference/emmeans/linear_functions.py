"""Labelled linear functions of the fixed effects: estimates, tests and estimability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.inference.contrasts.estimability import aliasing_of_fit
from mlmfast.inference.contrasts.linear_tests import RowTests, linear_tests
from mlmfast.information.undetermined_effects import known_entries
from mlmfast.running.cached import cached_property

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

_ESTIMABLE_TOLERANCE = 1e-8


@dataclass(frozen=True)
class LinearFunctions:
    """Linear functions L beta + offset, each with labels.

    Attributes
    ----------
    fit, ddf
        The fit; how degrees of freedom are found.
    labels
        Text columns that name the rows.
    L : shape (n, p)
        Over all coefficients, aliased ones included.
    offset : shape (n,)
    by
        Columns of `labels` that split the rows into families.
    """

    fit: Fitted
    ddf: Any
    labels: pd.DataFrame
    L: FloatArray
    offset: FloatArray
    by: tuple[str, ...]

    @property
    def own_labels(self) -> list[str]:
        """Columns of the labels that do not split the rows."""
        return [name for name in self.labels.columns if name not in self.by]

    def groups(self) -> list[tuple[tuple[str, ...], IntArray]]:
        """For each combination of the columns in `by`, its labels and its rows."""
        if not self.by:
            return [((), np.arange(len(self.labels)))]
        keys = list(zip(*[self.labels[name] for name in self.by], strict=True))
        return [
            (key, np.flatnonzero([other == key for other in keys])) for key in dict.fromkeys(keys)
        ]

    @cached_property
    def is_estimable(self) -> BoolArray:
        """Whether the data determine each row, shape (n,)."""
        defined = np.isfinite(self.L).all(axis=1) & np.isfinite(self.offset)
        L = np.where(np.isfinite(self.L), self.L, 0.0)
        return defined & aliasing_of_fit(self.fit).estimable(L)

    def tests(self, rows: IntArray) -> RowTests:
        """Estimates of some rows, all of them estimable, with standard errors and df."""
        found = linear_tests(self.fit, self.L[rows], ddf=self.ddf)
        return replace(found, estimate=found.estimate + self.offset[rows])

    def covariance(self, rows: IntArray) -> FloatArray:
        """Covariance of the estimates of some rows."""
        kept = self.L[rows][:, list(self.fit._record.kept)]
        basis = self.fit._basis(self.ddf)
        found = np.asarray(kept @ basis.vcov @ kept.T)
        return found if basis.moves is None else known_entries(kept @ basis.moves @ kept.T, found)

    def combined(
        self, coefficients: FloatArray, labels: pd.DataFrame, by: Sequence[str]
    ) -> LinearFunctions:
        """Linear combinations of the rows, shape of `coefficients` (n_new, n)."""
        # A row that is not defined must not spoil the combinations that leave it out.
        touched = (coefficients != 0) @ ~np.isfinite(self.L).all(axis=1)
        L = coefficients @ np.where(np.isfinite(self.L), self.L, 0.0)
        L[touched] = np.nan
        offset = coefficients @ np.where(np.isfinite(self.offset), self.offset, 0.0)
        return replace(self, labels=labels, L=L, offset=offset, by=tuple(by))

    def estimable_basis(self, rows: IntArray) -> FloatArray:
        """Estimable combinations of some rows; where all are, the rows themselves, shape (m, p)."""
        if self.is_estimable[rows].all():
            return self.L[rows]
        L = self.L[rows]
        L = L[np.isfinite(L).all(axis=1)]
        if self.fit.aliased:
            # Combinations of the rows whose aliased coefficients follow from the others.
            L = _null_space(aliasing_of_fit(self.fit).excess(L).T) @ L
        left, rank = self._principal(L)
        return np.asarray(left[:, :rank].T @ L)

    def rank(self, rows: IntArray) -> int:
        """Rank of some rows."""
        return self._principal(self.L[rows])[1]

    def _principal(self, L: FloatArray) -> tuple[FloatArray, int]:
        """Left singular vectors of rows measured by their standard errors, and the rank."""
        if len(L) == 0:
            return np.zeros((0, 0)), 0
        record = self.fit._record
        scaled = L[:, list(record.kept)] @ np.linalg.cholesky(record.vcov)
        left, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
        return left, int(np.count_nonzero(sizes > _ESTIMABLE_TOLERANCE * sizes[0]))


def _null_space(matrix: FloatArray) -> FloatArray:
    """Rows that span the vectors a matrix maps to 0."""
    if matrix.size == 0:
        return np.eye(matrix.shape[1])
    _, sizes, right = np.linalg.svd(matrix, full_matrices=True)
    rank = int(np.count_nonzero(sizes > _ESTIMABLE_TOLERANCE * max(sizes[0], 1.0)))
    return np.asarray(right[rank:])
