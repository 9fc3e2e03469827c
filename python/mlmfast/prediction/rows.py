"""Columns of X and Z of the rows to predict: those of the fit, or new ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray
from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import evaluate_elsewhere
from mlmfast.design.design import Design
from mlmfast.design.input_columns import input_column
from mlmfast.design.model_frame import grouping_factor
from mlmfast.errors import DataError, ModelError
from mlmfast.fitted.record import FitRecord, GroupRecord
from mlmfast.formula.functions import variables_of

_Columns = Sequence[FloatArray | None]

_LEVELS_NAMED = 5
#: Size of a value whose square, which errors of predictions need, is soon no number.
_LARGEST = 1e100


@dataclass(frozen=True)
class PredictionRows:
    """Rows to predict.

    Attributes
    ----------
    n_rows : number of rows
    x : columns of X, each of shape (n,), or None for a constant 1
    z : the same for each random-effects term; empty where not needed.
    codes : for each grouping factor the level of each row, -1 for one that the fit did not see;
        empty where the levels do not matter, for marginal predictions.
    offset : shape (n,) or None
    """

    n_rows: int
    x: _Columns
    z: tuple[_Columns, ...]
    codes: tuple[CodeArray, ...]
    offset: FloatArray | None
    #: Level of an absorbed factor of the fixed part.
    absorbed: CodeArray | None = None


@dataclass(frozen=True)
class Needs:
    """Which parts of the random effects a prediction needs: columns of Z, levels of the groups.

    Curves are needed always: they belong to every row, as fixed effects do.
    """

    z: bool
    groups: bool


def rows_of_fit(design: Design, needs: Needs) -> PredictionRows:
    """Return the rows that the fit used."""
    curves = any(factor.has_curves for factor in design.factors)
    nothing = np.zeros(design.n_obs if curves else 0)
    z = tuple(
        term.columns
        if needs.z or design.factors[term.factor].has_curves
        else (nothing,) * len(term.columns)
        for term in design.random
    )
    nowhere = np.full(len(nothing), -1, dtype=np.int32)
    codes = tuple(
        factor.codes if needs.groups or factor.has_curves else nowhere for factor in design.factors
    )
    return PredictionRows(
        design.n_obs,
        design.x,
        z if needs.z or curves else (),
        codes if needs.groups or curves else (),
        design.offset,
        None if design.absorbed is None else design.absorbed.codes,
    )


def rows_of_newdata(
    record: FitRecord,
    frame: Frame,
    needs: Needs,
    new_levels: str,
    offset: Any,
    more: Sequence[str] = (),
) -> tuple[PredictionRows, BoolArray]:
    """Read new rows as the fit read its own; rows with a missing value in ``more`` are left out.

    Returns
    -------
    The rows without missing values, and which of the frame's they are, shape (frame.n_rows,).

    Raises
    ------
    ModelError
        Where the model was made from arrays.
    DataError
        Where a column is missing, a level is unknown, or an offset is needed.
    """
    if record.fixed_spec is None:
        raise ModelError(
            "the model was made from arrays, and there is no formula to read newdata by; multiply "
            "your own X by fit.params"
        )
    given = _offset_argument(record, frame, offset)
    names = [*_variables(record, needs), *more]
    complete = _complete(frame, [*names, given] if isinstance(given, str) else names)
    kept = frame if complete.all() else frame.take(complete)
    if not complete.any():
        return PredictionRows(0, (), (), (), None), complete
    if isinstance(given, str):
        given = kept.numeric(given)
    elif given is not None:
        given = given[complete]
    fixed = record.fixed_spec.build(kept)
    z, codes = _random_part(record, kept, needs, new_levels)
    added = _offset(record.offsets, given, kept)
    of_effects = [
        pair
        for t, own in zip(record.terms, z, strict=False)
        for pair in zip(t.names, own, strict=True)
    ]
    named = [*zip(record.x_names, fixed.columns, strict=False), *of_effects, ("the offset", added)]
    _check_sizes(named, np.flatnonzero(complete))
    rows = PredictionRows(
        kept.n_rows,
        fixed.columns,
        z,
        codes,
        added,
        None if fixed.absorbed is None else fixed.absorbed.factor.codes,
    )
    return rows, complete


def _random_part(
    record: FitRecord, frame: Frame, needs: Needs, new_levels: str
) -> tuple[tuple[_Columns, ...], tuple[CodeArray, ...]]:
    """Columns of Z by term and levels by factor; without what is not needed, or none at all."""
    curves = bool(record.smooth_terms)
    nothing = np.zeros(frame.n_rows if curves else 0)
    z: list[_Columns] = []
    for term in record.terms if needs.z or curves else ():
        if term.spec is not None and (needs.z or record.groups[term.group].has_curves):
            z.append(term.spec.build(frame).columns)
        else:
            z.append((nothing,) * len(term.names))
    codes = tuple(
        _known_levels(group, frame, new_levels)
        if needs.groups or group.has_curves
        else np.full(len(nothing), -1, dtype=np.int32)
        for group in (record.groups if needs.groups or curves else ())
    )
    return tuple(z), codes


def _check_sizes(named: Iterable[tuple[str, FloatArray | None]], rows: IntArray) -> None:
    """Refuse values of which no prediction with its error comes; ``rows`` are those of newdata."""
    for name, column in named:
        if column is None:
            continue
        bad = np.flatnonzero(np.abs(column) >= _LARGEST)
        if bad.size:
            raise DataError(
                f"{name!r} of newdata is {column[bad[0]]:g} in row {rows[bad[0]]} ({bad.size} such "
                f"row(s)); predictions need finite numbers, below {_LARGEST:g} in size: check the "
                "values there, or leave those rows out"
            )


def _offset_argument(record: FitRecord, frame: Frame, offset: Any) -> str | FloatArray | None:
    if record.offset_given and offset is None:
        raise DataError(
            "the fit had an offset as an argument, which newdata do not hold; pass offset= (a "
            "column name of newdata, or one number a row)"
        )
    if offset is not None and not record.offset_given:
        raise DataError("offset is given for newdata, but the fit had no offset as an argument")
    return input_column(offset, "offset", frame)


def _variables(record: FitRecord, needs: Needs) -> list[str]:
    """Columns of newdata that a prediction needs."""
    assert record.fixed_spec is not None
    names = list(record.fixed_spec.variables)
    for expression in record.offsets:
        names += variables_of(expression)
    for t, term in enumerate(record.terms):
        if needs.z or t in record.smooth_terms:
            names += () if term.spec is None else term.spec.variables
    for group in record.groups if needs.groups else ():
        names += group.columns
    return list(dict.fromkeys(names))


def _complete(frame: Frame, names: Iterable[str]) -> BoolArray:
    complete = np.ones(frame.n_rows, dtype=bool)
    for name in names:
        missing = frame.missing(name)
        if missing is not None:
            complete &= ~missing
    return complete


def _known_levels(group: GroupRecord, frame: Frame, new_levels: str) -> CodeArray:
    if len(set(group.labels)) < len(group.labels):
        raise DataError(
            f"levels of {group.name!r} have the same label (a ':' within the levels?), so new "
            "rows cannot be matched with them; rename the levels"
        )
    codes, unknown = grouping_factor(group.columns, frame).recode(group.labels)
    if unknown and new_levels == "error":
        named = ", ".join(map(repr, unknown[:_LEVELS_NAMED]))
        more = f" and {len(unknown) - _LEVELS_NAMED} more" if len(unknown) > _LEVELS_NAMED else ""
        raise DataError(
            f"grouping factor {group.name!r} has new levels, which the fit did not see: {named}"
            f"{more}; use new_levels='population' to give them an effect of 0, or ranef=False"
        )
    return codes


def _offset(
    expressions: tuple[str, ...], argument: FloatArray | None, frame: Frame
) -> FloatArray | None:
    total = argument
    for expression in expressions:
        values = evaluate_elsewhere(expression, frame, "the offset")
        total = values if total is None else total + values
    return total
