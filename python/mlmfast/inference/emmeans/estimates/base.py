"""Labelled estimates with a covariance and degrees of freedom, in families."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.inference.contrasts.linear_tests import FTest, RowTests

if TYPE_CHECKING:
    from mlmfast.inference.emmeans.estimates.transformations import Transformation

_Own = TypeVar("_Own", bound="Estimates")


class Estimates(ABC):
    """Estimates with labels, whose linear combinations can be estimated and tested.

    Attributes
    ----------
    labels
        Text columns that name the rows.
    by
        Columns of `labels` that split the rows into families.
    transformation
        Of the response, that the estimates are on the scale of; None where they are differences,
        slopes or on the response's own scale.
    nests
        For each column of labels that is a nested factor, those that hold it.
    """

    labels: pd.DataFrame
    by: tuple[str, ...]
    transformation: Transformation | None
    nests: Mapping[str, tuple[str, ...]]

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

    def within_holders(self: _Own) -> _Own:
        """In families of one holder each, where a label is a nested factor's."""
        own = self.own_labels
        holders = {h for name in own for h in self.nests.get(name, ())}
        more = [name for name in own if name in holders]
        return self.regrouped((*self.by, *more)) if more else self

    @property
    @abstractmethod
    def is_estimable(self) -> BoolArray:
        """Whether the data determine each row, shape (n,)."""

    @abstractmethod
    def tests(self, rows: IntArray) -> RowTests:
        """Estimates of some rows, all of them estimable, with standard errors and df."""

    @abstractmethod
    def covariance(self, rows: IntArray) -> FloatArray:
        """Covariance of the estimates of some rows, all of them estimable."""

    @abstractmethod
    def combined(
        self: _Own, coefficients: FloatArray, labels: pd.DataFrame, by: Sequence[str]
    ) -> _Own:
        """Linear combinations of the rows, shape of `coefficients` (n_new, n)."""

    @abstractmethod
    def regrouped(self: _Own, by: Sequence[str]) -> _Own:
        """The same rows in other families."""

    @abstractmethod
    def joint(self, rows: IntArray) -> FTest | None:
        """F test that some rows are 0, as far as they are estimable; None where nothing is."""

    @abstractmethod
    def rank(self, rows: IntArray) -> int:
        """Number of linearly independent functions among some rows."""

    @abstractmethod
    def coefficients(self) -> pd.DataFrame:
        """Coefficients of the rows over the fixed effects."""

    @property
    @abstractmethod
    def degrees_note(self) -> str:
        """How the degrees of freedom were found."""
