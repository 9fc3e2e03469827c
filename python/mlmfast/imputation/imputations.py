"""Imputed data sets, a data frame each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.data.columns.category_columns import category_column
from mlmfast.imputation.subjects import Subjects


class Imputations(Sequence[Any]):
    """m completed data sets; see `LMMResult.impute`.

    A sequence of data frames of the library that the fit's data came in, each made when it is asked
    for: a row for each subject and visit, the visits of one subject together, all columns that are
    numbers or categories, these in the order that they have.

    Attributes
    ----------
    responses : shape (m, n_subjects, n_visits)
        All responses, observed and imputed.
    imputed : shape (n_subjects, n_visits)
        Which of them are imputed.
    subjects, visits
        Their labels.
    events
        For each subject the label of the first visit that its event affects, or None.
    """

    def __init__(
        self,
        subjects: Subjects,
        responses: FloatArray,
        event: IntArray,
        left_out: tuple[int | None, ...] = (),
    ) -> None:
        self._subjects, self._left_out = subjects, left_out
        self.responses = responses
        self.subjects, self.visits = subjects.labels, subjects.visits
        n = len(subjects.visits)
        self.events = tuple(None if k >= n else subjects.visits[k] for k in event.tolist())

    @property
    def imputed(self) -> BoolArray:
        """Which responses are imputed, shape (n_subjects, n_visits)."""
        return self._subjects.missing

    def __len__(self) -> int:
        return len(self.responses)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self._frame(k) for k in range(*index.indices(len(self)))]
        k = index + len(self) if index < 0 else index
        if not 0 <= k < len(self):
            raise IndexError(f"there are {len(self)} data sets, and {index} is none of them")
        return self._frame(k)

    def __iter__(self) -> Iterator[Any]:
        return (self._frame(k) for k in range(len(self)))

    def __repr__(self) -> str:
        n = int(self.imputed.sum())
        return (
            f"{len(self)} data sets of {len(self.subjects)} subjects at {len(self.visits)} visits, "
            f"{n} of {self.imputed.size} responses imputed"
        )

    def _frame(self, k: int) -> Any:
        subjects = self._subjects
        columns = {**subjects.columns, subjects.response: self.responses[k].ravel()}
        out = self._left_out[k] if self._left_out else None
        if out is not None:
            size = len(self.visits)
            rows = np.ones(self.responses[k].size, dtype=np.bool_)
            rows[out * size : (out + 1) * size] = False
            columns = {name: values[rows] for name, values in columns.items()}
        return subjects.library.to_native_frame(
            {name: self._as_given(name, values) for name, values in columns.items()}
        )

    def _as_given(self, name: str, values: Any) -> Any:
        """A column with the categories of the user's, whose order models go by."""
        library = self._subjects.library
        if name == self._subjects.response or not library.is_categorical(name):
            return values
        found = np.asarray(values, dtype=object)
        return category_column(found, library.factor(name), library.native_namespace)

    def analyse(self, analysis: Callable[[Any], Any]) -> list[Any]:
        """What a function says of each data set; for `mlmfast.pool`."""
        return [analysis(frame) for frame in self]
