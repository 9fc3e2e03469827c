"""The distinct values of a column of visits, and the steps at which they stand.

One rule for whatever goes by order: numbers, dates and times count in units of their greatest
common step; the levels of anything else count one by one, those that the column declares and no row
has too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.data.columns.elapsed import Elapsed
from mlmfast.data.factor import level_labels
from mlmfast.data.finite import check_finite, row_of_table
from mlmfast.data.frame import Frame
from mlmfast.design.residual.visits.steps import EqualSteps, equal_steps
from mlmfast.errors import DataError
from mlmfast.running.cached import cached_property

#: Nanoseconds of the units of time.
_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "D": 86_400 * 10**9}


@dataclass(frozen=True, eq=False)
class VisitSequence:
    """Visits in their order.

    Attributes
    ----------
    name
        The column.
    codes : shape (n,), int32
        Visit of each row.
    values : shape (n_visits,)
        The visits as numbers; their positions among the levels where they count as levels.
    places : shape (n_visits,) or None
        Step at which each visit stands, from 0; None for numbers that share no step.
    steps
        How numbers and times are placed; None for levels.
    known
        Labels of the levels, those that no row has too; None for numbers and times.
    time
        How times are counted; None for anything else.
    """

    name: str
    codes: CodeArray
    values: FloatArray | IntArray
    places: IntArray | None
    steps: EqualSteps | None = None
    known: tuple[str, ...] | None = None
    time: Elapsed | None = None
    own_labels: tuple[str, ...] | None = None

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The visits as text."""
        return level_labels(self.values) if self.own_labels is None else self.own_labels

    @property
    def by_value(self) -> bool:
        """Whether the visits are numbers or times rather than levels."""
        return self.known is None

    @property
    def gaps(self) -> tuple[int, ...] | None:
        """The places where visits leave out steps; None where they stand at 0, 1, 2, ..."""
        if self.places is None or int(np.ptp(self.places)) < len(self.places):
            return None
        return tuple(self.places.tolist())

    def times(self) -> FloatArray:
        """Step of each row, as a number."""
        assert self.places is not None, "the spacing was checked"
        return self.places[self.codes].astype(np.float64)

    def times_of(self, frame: Frame, text: str) -> FloatArray:
        """Steps at which the rows of another frame stand, those between and beyond too.

        Raises
        ------
        DataError
            For a level that is not known, or a value that is not at a whole step.
        """
        if self.known is not None:
            return self._of_levels(frame, text)
        assert self.steps is not None, "the spacing was checked"
        places, whole = self.steps.places_of(self._numbers(frame, text))
        if not whole.all():
            row = row_of_table(int(np.argmin(whole)), frame.rows_used)
            step = self.steps.step
            unit = f"{step:g}" if self.time is None else self.time.span(int(step))
            raise DataError(
                f"newdata: {self.name} is not a whole number of steps (of {unit}) from the visits "
                f"of the fit in every row (row {row}); residual={text!r} goes by such steps"
            )
        return places.astype(np.float64)

    def _of_levels(self, frame: Frame, text: str) -> FloatArray:
        assert self.known is not None
        codes, unknown = frame.factor(self.name).recode(self.known)
        if unknown:
            raise not_seen(self.name, unknown[0], text)
        return (codes - int(self.values[0])).astype(np.float64)

    def _numbers(self, frame: Frame, text: str) -> FloatArray | IntArray:
        if self.time is None:
            if frame.is_numeric(self.name):
                return frame.numeric(self.name)
        elif frame.is_date(self.name):
            other = frame.elapsed(self.name)
            if other.unit == self.time.unit and other.of_periods == self.time.of_periods:
                return other.ticks
            if not (other.of_periods or self.time.of_periods):
                return _in_unit(other, self.time.unit)
        raise DataError(
            f"newdata: column {self.name!r} is of another kind than in the data of the fit, where "
            f"residual={text!r} takes its values as {'numbers' if self.time is None else 'times'}"
        )


def not_seen(name: str, value: str, text: str) -> DataError:
    """The error for a visit or an arm that the fit did not see."""
    return DataError(
        f"newdata: {name} = {value!r} was not seen by the fit, so residual={text!r} "
        "says nothing of its covariance with other rows; leave such rows out"
    )


def visit_sequence(frame: Frame, name: str, as_levels: bool = False) -> VisitSequence:
    """Read the visits of a column; ``as_levels`` counts whatever they are one by one.

    Examples
    --------
    >>> frame = Frame.from_native({"week": [0, 4, 24, 8, 12], "visit": list("acbde")})
    >>> visit_sequence(frame, "week").places.tolist()
    [0, 1, 2, 3, 6]
    >>> visit_sequence(frame, "visit").places.tolist()
    [0, 1, 2, 3, 4]
    """
    if frame.is_numeric(name):
        check_finite(name, frame.numeric(name), frame.rows_used)
        codes, values = pd.factorize(frame.numeric(name), sort=True)
        found = VisitSequence(name, codes.astype(np.int32), values, None)
    elif frame.is_date(name):
        found = _of_times(frame, name)
    else:
        return _of_levels(frame, name)
    steps = equal_steps(found.values)
    if steps is None:
        return _ranked(found) if as_levels else found
    found = _joined(found, steps)
    return _ranked(found) if as_levels else found


def _of_times(frame: Frame, name: str) -> VisitSequence:
    time, factor = frame.elapsed(name), frame.factor(name)
    values, first, codes = np.unique(time.ticks, return_index=True, return_inverse=True)
    labels = tuple(factor.levels[k] for k in factor.codes[first].tolist())
    return VisitSequence(
        name, codes.astype(np.int32), values.astype(np.intp), None, time=time, own_labels=labels
    )


def _of_levels(frame: Frame, name: str) -> VisitSequence:
    factor = frame.factor(name)
    return level_sequence(name, factor.codes, factor.levels, factor.declared)


def level_sequence(
    name: str, codes: CodeArray, levels: tuple[str, ...], declared: tuple[str, ...] | None
) -> VisitSequence:
    """Levels, each at its place among those declared.

    Examples
    --------
    >>> level_sequence("f", np.int32([0, 1]), ("a", "c"), ("a", "b", "c")).places.tolist()
    [0, 2]
    """
    known = levels if declared is None else declared
    position = {label: k for k, label in enumerate(known)}
    values = np.array([position[label] for label in levels], dtype=np.intp)
    return VisitSequence(name, codes, values, values - values.min(), None, known, None, levels)


def _joined(found: VisitSequence, steps: EqualSteps) -> VisitSequence:
    """With one visit for values that differ by rounding."""
    places, first, which = np.unique(steps.places, return_index=True, return_inverse=True)
    labels = found.own_labels
    return VisitSequence(
        found.name,
        which.astype(np.int32)[found.codes] if len(places) < len(which) else found.codes,
        found.values[first],
        places,
        steps,
        time=found.time,
        own_labels=None if labels is None else tuple(labels[k] for k in first.tolist()),
    )


def _ranked(found: VisitSequence) -> VisitSequence:
    """The visits as levels, one after the other."""
    ranks = np.arange(len(found.values))
    labels = found.labels
    return VisitSequence(found.name, found.codes, ranks, ranks, None, labels, None, labels)


def _in_unit(time: Elapsed, unit: str) -> FloatArray | IntArray:
    """Ticks in another unit of time; exact where they are whole ones."""
    mine, its = _NANOSECONDS[time.unit], _NANOSECONDS[unit]
    if mine >= its:
        return time.ticks * np.int64(mine // its)
    whole, rest = np.divmod(time.ticks, np.int64(its // mine))
    return whole + rest / (its // mine) if rest.any() else whole


def numbers_read(labels: tuple[str, ...]) -> FloatArray | None:
    """The numbers that labels read as; None where one reads as none.

    Examples
    --------
    >>> numbers_read(("0", "1.5")), numbers_read(("0", "week 1"))
    (array([0. , 1.5]), None)
    """
    try:
        values = np.array([float(label) for label in labels])
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def reads_otherwise(labels: tuple[str, ...], places: IntArray) -> bool:
    """Whether labels read as numbers would stand at other steps than the levels do.

    Examples
    --------
    >>> reads_otherwise(("0", "4", "8"), np.arange(3))
    False
    >>> reads_otherwise(("0", "1", "3"), np.arange(3))
    True
    """
    values = numbers_read(labels)
    if values is None:
        return False
    order = np.argsort(values, kind="stable")
    if len(np.unique(values)) < len(values):
        return True
    steps = equal_steps(values[order])
    if steps is None:
        return True
    read = np.empty(len(values), dtype=np.intp)
    read[order] = steps.places
    ahead, behind = read - read[0], read[0] - read
    own = places - places[0]
    return not (np.array_equal(ahead, own) or np.array_equal(behind, own))
