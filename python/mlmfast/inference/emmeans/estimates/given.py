"""Estimates that are given by their values: transformed means, pooled tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.distributions import chi2_tail, f_tail, two_sided
from mlmfast.errors import ModelError
from mlmfast.inference.contrasts.linear_tests import FTest, RowTests
from mlmfast.inference.emmeans.estimates.base import Estimates

if TYPE_CHECKING:
    from mlmfast.inference.emmeans.estimates.transformations import Transformation

_DEPENDENT = 1e-8


@dataclass(frozen=True)
class GivenEstimates(Estimates):
    """Combinations C theta of estimates theta whose covariance and degrees of freedom are given.

    A combination has the smallest number of degrees of freedom among the estimates it involves.

    Attributes
    ----------
    labels, by, transformation, nests
        As of `Estimates`.
    theta, df : shape (m,), NaN where not estimable
    vcov : shape (m, m)
    C : shape (n, m)
    degrees_note
        How the degrees of freedom were found.
    """

    labels: pd.DataFrame
    theta: FloatArray
    vcov: FloatArray
    df: FloatArray
    by: tuple[str, ...]
    C: FloatArray
    degrees_note: str = ""
    transformation: Transformation | None = None
    nests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_estimable(self) -> BoolArray:
        """Whether all that a row involves is known, shape (n,)."""
        unknown = ~np.isfinite(self.theta)
        return np.asarray(((self.C != 0) & unknown).sum(axis=1) == 0)

    @property
    def _known(self) -> FloatArray:
        return np.where(np.isfinite(self.theta), self.theta, 0.0)

    def tests(self, rows: IntArray) -> RowTests:
        """Estimates of some rows, with standard errors and df."""
        C = self.C[rows]
        estimate = C @ self._known
        se = np.sqrt(np.maximum(np.diag(self.covariance(rows)), 0.0))
        df = self._degrees(C)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = estimate / se
        return RowTests(estimate, se, df, t, two_sided(t, df), np.zeros(len(rows)))

    def _degrees(self, C: FloatArray) -> FloatArray:
        degrees = np.where(C != 0, np.where(np.isfinite(self.theta), self.df, np.inf), np.inf)
        return np.asarray(degrees.min(axis=1, initial=np.inf))

    def covariance(self, rows: IntArray) -> FloatArray:
        """C V C' of some rows."""
        C = self.C[rows]
        return np.asarray(C @ np.where(np.isfinite(self.vcov), self.vcov, 0.0) @ C.T)

    def combined(
        self, coefficients: FloatArray, labels: pd.DataFrame, by: Sequence[str]
    ) -> GivenEstimates:
        """Linear combinations of the rows."""
        C = coefficients @ self.C
        # A difference of equal coefficients must not depend on what it leaves out.
        C[np.abs(C) < 1e-14 * np.abs(C).max(axis=1, initial=0.0, keepdims=True)] = 0.0
        kind = self.transformation
        kind = None if kind is None else kind.of_combinations(coefficients)
        return replace(self, labels=labels, C=C, by=tuple(by), transformation=kind, nests={})

    def regrouped(self, by: Sequence[str]) -> GivenEstimates:
        """The same rows in other families."""
        return replace(self, by=tuple(by))

    def joint(self, rows: IntArray) -> FTest | None:
        """Wald's F of some rows, with their smallest degrees of freedom."""
        rows = rows[self.is_estimable[rows]]
        if not len(rows):
            return None
        V = self.covariance(rows)
        values, vectors = np.linalg.eigh(V)
        kept = values > _DEPENDENT * max(values[-1], 0.0)
        r = int(kept.sum())
        if r == 0:
            return None
        projected = vectors[:, kept].T @ (self.C[rows] @ self._known)
        chi2 = float((projected**2 / values[kept]).sum())
        df = float(self._degrees(self.C[rows]).min())
        tail = chi2_tail(chi2, r)
        p = float(tail if np.isinf(df) else f_tail(chi2 / r, r, df))
        return FTest(chi2 / r, r, df, p, chi2, float(tail))

    def rank(self, rows: IntArray) -> int:
        """Rank of the covariance of some rows."""
        values = np.linalg.eigvalsh(self.covariance(rows))
        return int((values > _DEPENDENT * max(float(values[-1]), 0.0)).sum())

    def coefficients(self) -> pd.DataFrame:
        """Refused: there are none."""
        raise ModelError(
            "these estimates are no linear functions of the coefficients of one fit; take L of the "
            "table that they were made from"
        )
