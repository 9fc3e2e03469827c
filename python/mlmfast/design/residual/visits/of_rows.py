"""Visits, or points, of the rows of a residual covariance, and whether their spacing is clear."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.data.factor import number_label
from mlmfast.data.finite import check_finite
from mlmfast.data.frame import Frame
from mlmfast.design.residual.visits.sequence import (
    VisitSequence,
    numbers_read,
    reads_otherwise,
    visit_sequence,
)
from mlmfast.design.residual.visits.steps import FINEST
from mlmfast.errors import DataError, ModelError, SpacingWarning, warn
from mlmfast.formula.residual_formula import StructureCall
from mlmfast.running.cached import cached_property

#: Values shown in a message.
_SHOWN = 6
#: Times from which on they are a series rather than visits.
_MANY = 64


@dataclass(frozen=True, eq=False)
class Visits:
    """Where rows stand within their subjects.

    Attributes
    ----------
    codes : shape (n,), int32
        Visit or point of each row.
    points : shape (n_points, d) or None
        Coordinates, for structures over points.
    sequence
        The visits in their order, for structures over levels.
    """

    codes: CodeArray
    points: FloatArray | None = None
    sequence: VisitSequence | None = None

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the visits, ``x, y`` of points; made when they are asked for."""
        if self.sequence is not None:
            return self.sequence.labels
        assert self.points is not None, "there are visits or points"
        return tuple(", ".join(f"{value:g}" for value in point) for point in self.points)

    @property
    def n_visits(self) -> int:
        """Number of visits or points."""
        found = self.points if self.sequence is None else self.sequence.values
        assert found is not None, "there are visits or points"
        return len(found)

    @property
    def step(self) -> float:
        """Value of one step, where visits are numbers; 0 of levels and times, 1 of points."""
        sequence = self.sequence
        if sequence is None:
            return 1.0
        return 0.0 if sequence.time is not None or sequence.steps is None else sequence.steps.step

    def places(self, kind: type[CovarianceStructure]) -> tuple[int, ...] | None:
        """Steps at which the visits stand, for a structure by lag whose visits leave out some."""
        return self.sequence.gaps if kind.by_lag and self.sequence is not None else None


def visits_of_rows(call: StructureCall, kind: type[CovarianceStructure], frame: Frame) -> Visits:
    """Read the visits or points of a structure."""
    if kind.needs == "coordinates":
        return _points_of_rows(call, frame)
    sequence = visit_sequence(frame, call.coordinates[0], call.as_levels)
    return Visits(sequence.codes, sequence=sequence)


def _points_of_rows(call: StructureCall, frame: Frame) -> Visits:
    points, codes = np.unique(numbers_of(call, frame), axis=0, return_inverse=True)
    return Visits(codes.ravel().astype(np.int32), points)


def numbers_of(call: StructureCall, frame: Frame) -> FloatArray:
    """Coordinates of each row, shape (n, d)."""
    for name in call.coordinates:
        if call.as_levels:
            raise DataError(
                f"{call.keyword} is over numbers, and factor({name}) makes labels of them; write "
                f"{name} alone, or use a structure over visits such as ar1"
            )
        if not frame.is_numeric(name):
            raise no_numbers(call.keyword, name)
        check_finite(name, frame.numeric(name), frame.rows_used)
    return np.column_stack([frame.numeric(name) for name in call.coordinates])


def no_numbers(word: str, name: str) -> DataError:
    """The error for coordinates that are none."""
    return DataError(
        f"{word} needs numbers, and column {name!r} holds none; give a numeric coordinate (days "
        "since the start for a date), or use a structure over visits such as ar1"
    )


def check_spacing(call: StructureCall, kind: type[CovarianceStructure], visits: Visits) -> None:
    """Say how visits count, where that could be meant in another way.

    Raises
    ------
    ModelError
        For numbers or times without a common step, under a structure by lag.
    """
    sequence = visits.sequence
    if sequence is None:
        return
    if kind.ordered and is_alphabetical(call.keyword, sequence):
        return
    if not kind.counts_steps(call.number):
        return
    written = f"{call.keyword}(factor({sequence.name}) | ...)"
    if sequence.places is None:
        raise ModelError(
            f"{call.keyword} takes steps of equal length, and the values of {sequence.name!r} "
            f"({_shown(sequence)}) have no common step that is not over {FINEST:,} times "
            "as fine as the distances between neighbours; car1 (sp_exp) or sp_pow take the "
            f"distances themselves, as numbers, and {written} counts the values one by one"
        )
    if sequence.by_value:
        if sequence.gaps is not None and not _is_long_series(sequence.places):
            warn(_uneven_values(call, sequence, written), SpacingWarning, "MLM201")
    elif not call.as_levels and reads_otherwise(sequence.labels, sequence.places):
        warn(uneven_levels(call.keyword, sequence, written), SpacingWarning, "MLM202")


def _is_long_series(places: IntArray) -> bool:
    """Whether there are many times, at most steps: a series with holes, which nobody would rank."""
    return len(places) > _MANY and 2 * len(places) > int(np.ptp(places))


def _uneven_values(call: StructureCall, sequence: VisitSequence, written: str) -> str:
    assert sequence.places is not None, "there are gaps"
    assert sequence.steps is not None, "visits count by value"
    step, time = sequence.steps.step, sequence.time
    unit = number_label(step) if time is None else time.span(int(step))
    declared = "a categorical that declares every level" if time is None else "car1 over numbers"
    return (
        f"{call.keyword} takes steps of equal length, and the values of {sequence.name!r} "
        f"({_shown(sequence)}) are not equally spaced: they count in units of their "
        f"greatest common step, {unit}, as steps {_listed(sequence.places.tolist())} (as written; "
        f"{declared} says the same without this warning). For steps "
        f"{_listed(range(len(sequence.places)))}, one from each to the next, write {written}; car1 "
        "(sp_exp) takes the distances themselves"
    )


def uneven_levels(word: str, sequence: VisitSequence, written: str) -> str:
    """What to say of levels that read as numbers at other steps than they stand."""
    assert sequence.places is not None, "levels have places"
    return (
        f"{word} takes steps of equal length, and the levels of {sequence.name!r} "
        f"({_listed(sequence.labels)}) read as numbers at other steps than levels count, "
        f"{_listed((sequence.places - sequence.places.min()).tolist())}, which is taken here "
        f"({written} says so without this warning); to count in units of their common step make "
        "the column numeric, or a categorical that declares every level"
    )


def _shown(sequence: VisitSequence) -> str:
    """The first values: numbers in a few digits."""
    if sequence.time is not None:
        return _listed(sequence.labels)
    return _listed([f"{value:.6g}" for value in sequence.values[: _SHOWN + 1].tolist()])


def _listed(values: object) -> str:
    shown = [str(value) for value in values]  # type: ignore[attr-defined]
    return ", ".join(shown[:_SHOWN]) + (", ..." if len(shown) > _SHOWN else "")


def is_alphabetical(word: str, sequence: VisitSequence) -> bool:
    """Whether, and say that, levels of a structure stand in the order of the alphabet, d10, d2."""
    if sequence.by_value:
        return False
    levels = sequence.labels

    def by_numbers(label: str) -> list[tuple[int, int, str]]:
        parts = re.split(r"([0-9]+)", label)
        return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]

    meant = sorted(levels, key=by_numbers)
    if list(levels) != sorted(levels) or meant == list(levels) or _are_in_order(levels):
        return False
    shown = ", ".join(levels[:4])
    warn(
        f"{word} goes by the order of the visits, and those of {sequence.name!r} "
        f"stand in the order of the alphabet ({shown}, ...), not of their numbers "
        f"({', '.join(meant[:4])}, ...); use numbers, or a categorical in order",
        SpacingWarning,
        "MLM203",
    )
    return True


def _are_in_order(levels: tuple[str, ...]) -> bool:
    """Whether labels are numbers, such as -1 and 0.25, in ascending order."""
    values = numbers_read(levels)
    return values is not None and bool((np.diff(values) > 0).all())
