"""The rows of one part: read, those with a missing value left out, coded by the plan."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.data.finite import check_weights
from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import evaluate_numeric
from mlmfast.design.columns.model_matrix import INTERCEPT
from mlmfast.errors import DataError, MlmError
from mlmfast.mergeable.coding.levels import with_levels
from mlmfast.mergeable.coding.plan import Plan
from mlmfast.sources.paths import is_text


class Part(Protocol):
    """Rows of a source.

    Attributes
    ----------
    frame
        Any frame that `mlmfast.lmm` takes.
    name
        Where it comes from, such as a file.
    first_row
        Number of its first row there.
    """

    @property
    def frame(self) -> Any:
        """The rows."""

    @property
    def name(self) -> str:
        """Where they come from."""

    @property
    def first_row(self) -> int:
        """Number of the first there."""


@dataclass(frozen=True, eq=False)
class CompleteRows:
    """Rows of a part without a missing value.

    Attributes
    ----------
    frame
        The rows; None where none is left.
    n_read, n_dropped
        Rows of the part, and those left out.
    name
        Where they come from.
    first_row
        Number of the part's first row there.
    """

    frame: Frame | None
    n_read: int
    n_dropped: int
    name: str
    first_row: int

    def number(self, position: int) -> int:
        """Number, where they come from, of one of the rows."""
        used = None if self.frame is None else self.frame.rows_used
        return self.first_row + (position if used is None else int(np.flatnonzero(used)[position]))


@contextmanager
def told_of(name: str) -> Iterator[None]:
    """Say of which part an error is."""
    try:
        yield
    except MlmError as error:
        if not name or str(error).startswith(f"{name}: "):
            raise
        raise type(error)(f"{name}: {error}") from error


def complete_rows(
    part: Part, names: Sequence[str], numeric: Sequence[str], na_action: str
) -> CompleteRows:
    """The rows of a part that have a value in every variable.

    Parameters
    ----------
    names, numeric
        Columns that the model reads, and those of them that hold numbers.
    na_action
        "drop" or "raise".
    """
    data = part.frame
    n = _n_rows(data)
    if n == 0:
        return CompleteRows(None, 0, 0, part.name, part.first_row)
    with told_of(part.name):
        frame = Frame.from_native(data)
        for name in numeric:
            _check_numbers(frame, name, part)
        complete: BoolArray | None = None
        for name in names:
            missing = frame.missing(name)
            if missing is None:
                continue
            if na_action == "raise":
                first = int(np.argmax(missing)) + part.first_row
                raise DataError(
                    f"column {name!r} has {int(missing.sum())} missing values, the first in row "
                    f"{first}; remove them, or use na_action='drop'"
                )
            complete = ~missing if complete is None else complete & ~missing
    own = frame if complete is None else frame.take(complete)
    n_dropped = frame.n_rows - own.n_rows
    left = own if own.n_rows else None
    return CompleteRows(left, frame.n_rows, n_dropped, part.name, part.first_row)


def _n_rows(data: Any) -> int | None:
    if isinstance(data, dict):
        return min(map(len, data.values()), default=0)
    n = getattr(data, "num_rows", None)
    if isinstance(n, int):
        return n
    return len(data) if hasattr(data, "__len__") else None


def _check_numbers(frame: Frame, name: str, part: Part) -> None:
    """Refuse text in a column that holds numbers elsewhere, naming the row."""
    if not frame.has(name) or frame.is_numeric(name) or frame.logical(name) is not None:
        return
    for row, value in enumerate(np.asarray(part.frame[name], dtype=object).tolist()):
        if not _is_number(value):
            missing = f", or give na_values=[{value!r}]" if is_text(part.name) else ""
            raise DataError(
                f"column {name!r} must hold numbers, and holds {value!r} in row "
                f"{row + part.first_row}; mend that value, or leave the row out{missing}"
            )
    raise DataError(
        f"column {name!r} must hold numbers, and holds text that reads like "
        "numbers; make it a column of numbers"
    )


def _is_number(value: Any) -> bool:
    try:
        float("nan" if value is None else value)
    except (TypeError, ValueError):
        return False
    return True


@dataclass(frozen=True, eq=False)
class CodedRows:
    """Columns of a part, in the order of `Plan.places`.

    Attributes
    ----------
    frame
        The rows, their factors with the levels of the plan.
    columns : each of shape (n,), or None where it was not asked for
    weights : shape (n,) or None
    offset_mean
        Mean of the offset given as an argument.
    """

    frame: Frame
    columns: list[FloatArray | None]
    weights: FloatArray | None
    offset_mean: float

    @property
    def whole(self) -> list[FloatArray]:
        """The columns, all of which were asked for."""
        return [column for column in self.columns if column is not None]


def code_rows(plan: Plan, rows: CompleteRows, left_out: Container[int] = frozenset()) -> CodedRows:
    """The columns of Z, X and the response, and the weights.

    Parameters
    ----------
    plan, rows
        How to code, and what.
    left_out
        Positions of the terms of X whose columns are not wanted.

    Raises
    ------
    DataError
        Where a level is unknown or a value is infinite, naming the part and the row.
    """
    assert rows.frame is not None, "rows are left"
    with told_of(rows.name):
        frame = with_levels(rows.frame, plan.levels)
        parsed, places = plan.parsed, plan.places
        y = evaluate_numeric(parsed.response, frame, "the response")
        columns: list[Any] = [None] * places.n
        names = [""] * places.n
        fixed = plan.fixed_matrix
        wanted = [t for t in range(len(fixed.terms)) if t not in left_out]
        pairs = [
            (matrix.spec.build(frame), own)
            for matrix, own in zip(plan.random_matrices, places.z, strict=True)
        ]
        of_x = places.of_terms(fixed.term_of_column, wanted)
        for built, own in [*pairs, (fixed.spec.build(frame, wanted), of_x)]:
            for name, place, column in zip(built.names, own, built.columns, strict=True):
                if place is not None:
                    columns[place], names[place] = column, name
        given = None if plan.offset is None else frame.numeric(plan.offset)
        total = given
        for expression in parsed.offsets:
            values = evaluate_numeric(expression, frame, "the offset")
            total = values if total is None else total + values
        columns[places.y] = y if total is None else y - total
        names[places.y] = parsed.response
        _check_finite(columns, names, rows, frame)
        weights = None if plan.weights is None else frame.numeric(plan.weights)
        if weights is not None:
            check_weights(weights, str(plan.weights))
    return CodedRows(frame, columns, weights, 0.0 if given is None else float(given.mean()))


def _check_finite(
    columns: Sequence[FloatArray | None], names: Sequence[str], rows: CompleteRows, frame: Frame
) -> None:
    for column, name in zip(columns, names, strict=True):
        if column is None or frame.statistics.is_known_finite(column):
            continue
        # A finite sum says that every value is.
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(column.sum()):
                continue
        bad: BoolArray = ~np.isfinite(column)
        if bad.any():
            first = int(np.argmax(bad))
            raise DataError(
                f"{name!r} is {column[first]:g} in row {rows.number(first)} "
                f"({int(bad.sum())} such rows of this part); remove those rows or mark the values "
                "as missing"
            )


def names_of_columns(plan: Plan) -> list[str]:
    """Names of the columns kept."""
    names = [""] * plan.places.n
    pairs = [*zip(plan.random_matrices, plan.places.z, strict=True)]
    for matrix, own in [*pairs, (plan.fixed_matrix, plan.places.x)]:
        for name, place in zip(matrix.names, own, strict=True):
            if place is not None:
                names[place] = name
    names[plan.places.y] = plan.parsed.response
    assert INTERCEPT not in names, "a constant has no column"
    return names
