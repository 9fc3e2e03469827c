"""Labelled linear functions of the fixed effects: estimates, tests and estimability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.inference.anova.anova import ddf_label
from mlmfast.inference.contrasts.estimability import aliasing_of_fit
from mlmfast.inference.contrasts.linear_tests import FTest, RowTests, f_test, linear_tests
from mlmfast.inference.emmeans.estimates.base import Estimates
from mlmfast.information.undetermined_effects import known_entries
from mlmfast.running.cached import cached_property

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.inference.emmeans.estimates.transformations import Transformation

_ESTIMABLE_TOLERANCE = 1e-8


@dataclass(frozen=True)
class LinearFunctions(Estimates):
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
    transformation
        Of the response; None for a plain one, or where the rows are not on its scale.
    nests
        For each column of labels that is a nested factor, those that hold it.
    """

    fit: Fitted
    ddf: Any
    labels: pd.DataFrame
    L: FloatArray
    offset: FloatArray
    by: tuple[str, ...]
    transformation: Transformation | None = None
    nests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def degrees_note(self) -> str:
        """The method of the degrees of freedom."""
        return ddf_label(self.fit, self.ddf)

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
        kind = self.transformation
        return replace(
            self,
            labels=labels,
            L=L,
            offset=offset,
            by=tuple(by),
            transformation=None if kind is None else kind.of_combinations(coefficients),
            nests={},
        )

    def regrouped(self, by: Sequence[str]) -> LinearFunctions:
        """The same rows in other families."""
        return replace(self, by=tuple(by))

    def joint(self, rows: IntArray) -> FTest | None:
        """F test that some rows are 0, as far as they are estimable; None where nothing is."""
        L = self.estimable_basis(rows)
        return f_test(self.fit, L, self.ddf) if len(L) else None

    def coefficients(self) -> pd.DataFrame:
        """Coefficients of the rows, a column a fixed effect."""
        return pd.DataFrame(self.L.copy(), columns=list(self.fit._record.x_names))

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
