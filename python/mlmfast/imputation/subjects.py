"""A row for each subject and visit: those of the data, and those that the data lack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.data.factor import cross_factors, level_label
from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import evaluate_numeric
from mlmfast.design.residual.scale import parse_scale
from mlmfast.errors import DataError, ModelError
from mlmfast.formula.functions import variables_of
from mlmfast.formula.residual_formula import ResidualFormula
from mlmfast.formula.syntax import Name, parse

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


@dataclass(frozen=True, eq=False)
class Subjects:
    """Responses of all subjects at all visits, and the rows that they come from.

    Attributes
    ----------
    frame
        A row for each subject and visit, the visits of one subject together.
    columns
        The same as arrays by name.
    labels, visits
        Names of the subjects and of the visits.
    y : shape (n_subjects, n_visits), NaN where missing
    arm : shape (n_subjects,), position among `arms`
    arms
        Labels of the arms; one empty label where no column of arms is known.
    arm_column
        Their column; None where it is not known.
    covariance_arm : shape (n_subjects,)
        Arm of the residual covariance.
    response
        Its column.
    library
        The user's data, for frames of the same library.
    """

    frame: Frame
    columns: Mapping[str, Any]
    labels: tuple[str, ...]
    visits: tuple[str, ...]
    y: FloatArray
    arm: IntArray
    arms: tuple[str, ...]
    arm_column: str | None
    covariance_arm: IntArray
    response: str
    library: Frame

    @property
    def missing(self) -> BoolArray:
        """Whether a response is missing, shape (n_subjects, n_visits)."""
        return np.isnan(self.y)

    def with_arm(self, label: str) -> Frame:
        """The rows as if every subject were in one arm."""
        assert self.arm_column is not None, "the caller looked"
        values = np.asarray(self.columns[self.arm_column], dtype=object)
        codes = np.repeat(self.arm, len(self.visits))
        value = values[np.flatnonzero(codes == self.arms.index(label))[0]]
        changed = np.full(len(values), value, dtype=object)
        plain = {**self.columns, self.arm_column: _plain(changed)}
        return Frame.from_native(plain)


def subjects_of(fit: Fitted, arm: str | None) -> Subjects:
    """Lay out the rows of a fit's data by subject and visit.

    Raises
    ------
    ModelError, DataError
        Where the model has no residual covariance over visits, or rows cannot be told or made.
    """
    formula = _checked(fit)
    source, record = fit._needs_source("an imputation"), fit._record
    residual = record.residual
    assert source.frame is not None, "it has a formula"
    assert residual is not None, "the caller looked"
    whole = source.frame.frame.whole
    visit = formula.calls[0].coordinates[0]
    subject = cross_factors([whole.factor(name) for name in formula.subject])
    visits = _visit_codes(whole, visit, residual.visits)
    table = _table(subject.codes, visits, subject.levels, residual.visits, formula.text)
    columns = _columns(whole, table, visit, residual.visits, _needed(fit, visit))
    frame = Frame.from_native(columns)
    y = _responses(whole, record.response, table)
    arms, codes = _arms(frame, arm, len(residual.visits), formula.arm)
    own = np.zeros(len(table), dtype=np.intp)
    if formula.arm is not None:
        places = frame.factor(formula.arm).recode(residual.arms)[0]
        own = places[:: len(residual.visits)].astype(np.intp)
    return Subjects(
        frame,
        columns,
        subject.levels,
        residual.visits,
        y,
        codes,
        arms,
        arm or formula.arm,
        own,
        _column(record.response),
        whole,
    )


def _checked(fit: Fitted) -> ResidualFormula:
    """The residual formula of a model that can be imputed from."""
    record = fit._record
    if record.fixed_spec is None or record.absorbed is not None:
        raise ModelError("impute needs a model by a formula, without an eliminated factor")
    source = fit._needs_source("an imputation")
    residual = source.design.residual
    if residual is None or residual.formula is None or not record.residual:
        raise ModelError(
            "impute draws from the distribution of a subject's visits, which the model gives by "
            "residual=, as in residual='us(visit | subject)', or 'homdiag(visit | subject)' beside "
            "random effects of subjects"
        )
    record.refuse_smooths("impute", "leave the curve out, or make a factor of it")
    for factor in source.design.factors:
        if factor.relationship is not None or not factor.columns:
            raise ModelError(
                f"impute takes random effects of subjects alone, whose visits are independent of "
                f"those of others; those of {factor.name!r} are not"
            )
    if not record.residual.visits or len(residual.formula.calls) > 1:
        raise ModelError(
            f"residual={residual.formula.text!r} is not over visits that all subjects share, which "
            "impute needs; use a structure over visits, such as 'us(visit | subject)'"
        )
    if record.residual.unseen:
        raise ModelError(
            "the data do not tell some covariances of visits, so no distribution to draw from; "
            "take a structure of fewer parameters, such as 'ar1h'"
        )
    if not isinstance(parse(record.response), Name):
        raise ModelError(
            f"the response {record.response!r} is an expression; make it a column of the data, so "
            "that what is imputed can stand there"
        )
    return residual.formula


def _visit_codes(whole: Frame, visit: str, labels: tuple[str, ...]) -> IntArray:
    codes, unknown = whole.factor(visit).recode(labels)
    if unknown:
        raise DataError(
            f"no row of visit {unknown[0]!r} has a response, so the fit has no mean or covariance "
            f"for it ({visit}: {', '.join(labels)}); leave that visit out of the data"
        )
    return codes.astype(np.intp)


def _table(
    subjects: Any, visits: IntArray, labels: tuple[str, ...], of_visits: tuple[str, ...], text: str
) -> IntArray:
    """Row of each subject at each visit, -1 where there is none."""
    inside = (subjects >= 0) & (visits >= 0)
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        raise DataError(f"row {row} has no subject or no visit ({text}); leave it out of the data")
    table = np.full((len(labels), len(of_visits)), -1, dtype=np.intp)
    cells = subjects * len(of_visits) + visits
    found, first, counts = np.unique(cells, return_index=True, return_counts=True)
    if (counts > 1).any():
        cell = int(found[counts > 1][0])
        raise DataError(
            f"subject {labels[cell // len(of_visits)]!r} has several rows at visit "
            f"{of_visits[cell % len(of_visits)]!r}; keep one"
        )
    table.ravel()[found] = first
    return table


def _needed(fit: Fitted, visit: str) -> frozenset[str]:
    """Columns that rows which the data lack must have, for their mean and covariance."""
    record, source = fit._record, fit._needs_source("an imputation")
    assert record.fixed_spec is not None
    names = set(record.fixed_spec.variables)
    for text in record.offsets:
        names |= set(variables_of(text))
    for term in record.terms:
        names |= set(() if term.spec is None else term.spec.variables)
        names |= set(record.groups[term.group].columns)
    if record.residual_scale is not None:
        names |= set(parse_scale(record.residual_scale.text).variables)
    if source.frame is not None and source.frame.weights is not None:
        names.add(source.frame.weights)
    return frozenset(names - {visit})


def _columns(
    whole: Frame, table: IntArray, visit: str, visits: tuple[str, ...], needed: frozenset[str]
) -> dict[str, Any]:
    """All columns for the completed rows; what is constant within a subject is carried over."""
    rows, added = table.ravel(), table.ravel() < 0
    first = np.where(table >= 0, table, np.iinfo(np.intp).max).min(axis=1)
    source = np.where(added, np.repeat(first, table.shape[1]), rows)
    out: dict[str, Any] = {}
    for name in whole.columns:
        values = _values(whole, name)
        if values is None:
            continue
        full = values[source]
        if name == visit:
            levels = whole.factor(visit)
            own = [levels.values[levels.levels.index(label)] for label in visits]
            full = _plain(np.array(own * len(table), dtype=object))
        elif added.any():
            lone = added & ~_constant(values, table)
            if lone.any() and name in needed:
                raise DataError(
                    f"{name!r} changes within subjects, and {int(added.sum())} rows of missing "
                    f"visits are not in the data; add these rows with values of {name!r} and a "
                    "missing response"
                )
            full = _blank(full, lone)
        out[name] = full
    return out


def _values(whole: Frame, name: str) -> Any:
    """A column as an array; None for dates and the like, which are left out."""
    if whole.is_numeric(name):
        values = whole.numeric(name)
        whole_numbers = whole.table.dtype_name(name).lower().startswith(("int", "uint"))
        return values.astype(np.int64) if whole_numbers and np.isfinite(values).all() else values
    if not whole.is_categorical(name):
        return None
    factor = whole.factor(name)
    levels = np.array([*factor.values, None], dtype=object)
    return levels[factor.codes]


def _constant(values: Any, table: IntArray) -> BoolArray:
    """For each cell of the table whether the subject's rows agree."""
    same = np.ones(len(table), dtype=np.bool_)
    for k, rows in enumerate(table):
        own = values[rows[rows >= 0]]
        same[k] = all(value == own[0] or (value != value and own[0] != own[0]) for value in own)
    return np.repeat(same, table.shape[1])


def _blank(values: Any, rows: BoolArray) -> Any:
    if not rows.any():
        return values
    if values.dtype == object:
        out = values.copy()
        out[rows] = None
        return out
    out = values.astype(np.float64)
    out[rows] = np.nan
    return out


def _plain(values: Any) -> Any:
    """Numbers as numbers, text as objects."""
    if all(isinstance(value, int | float | np.number) for value in values.tolist()):
        return np.array(values.tolist())
    return values


def _column(response: str) -> str:
    """The column that a response is, without backticks."""
    name = parse(response)
    assert isinstance(name, Name), "the caller looked"
    return name.name


def _responses(whole: Frame, response: str, table: IntArray) -> FloatArray:
    values = np.append(evaluate_numeric(response, whole, "the response"), np.nan)
    return np.asarray(values[table], dtype=np.float64)


def _arms(
    frame: Frame, arm: str | None, n_visits: int, of_residual: str | None
) -> tuple[tuple[str, ...], IntArray]:
    """Labels of the arms, and the arm of each subject."""
    name = arm or of_residual
    if name is None:
        return ("",), np.zeros(frame.n_rows // n_visits, dtype=np.intp)
    if not isinstance(name, str) or not frame.has(name):
        near = get_close_matches(str(name), frame.columns, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"arm={name!r} is no column of the data{hint}")
    factor = frame.factor(name)
    codes = factor.codes.reshape(-1, n_visits)
    if (codes < 0).any() or (codes != codes[:, :1]).any():
        raise DataError(f"arm={name!r} is missing or changes within some subject")
    return factor.levels, codes[:, 0].astype(np.intp)


def event_positions(subjects: Subjects, event: Any) -> IntArray:
    """First visit that an event affects, for each subject; the number of visits for none.

    By default it is the first visit after the last response of a subject who drops out.

    Parameters
    ----------
    event
        None; a column of the data that holds for each subject the visit, missing for none; or a
        mapping (dict, Series) of subject to visit.

    Raises
    ------
    DataError
        For a subject or a visit that there is not, or a column that changes within a subject.
    """
    n, size = subjects.y.shape
    if event is None:
        seen = ~subjects.missing
        last = np.where(seen.any(axis=1), size - 1 - seen[:, ::-1].argmax(axis=1), -1)
        return np.asarray(last + 1, dtype=np.intp)
    if isinstance(event, str):
        event = _event_column(subjects, event)
    if not hasattr(event, "items"):
        raise DataError(f"event is {event!r}; name a column, or give a dict of subject to visit")
    out = np.full(n, size, dtype=np.intp)
    for key, visit in event.items():
        label = level_label(key)
        if label not in subjects.labels:
            raise DataError(f"event: {key!r} is no subject of the data")
        if visit is None or visit != visit:
            continue
        out[subjects.labels.index(label)] = _visit_position(subjects, visit)
    return out


def _event_column(subjects: Subjects, name: str) -> dict[str, Any]:
    if not subjects.frame.has(name):
        raise DataError(f"event={name!r} is no column of the data")
    values = np.asarray(subjects.columns[name], dtype=object).reshape(len(subjects.labels), -1)
    out = {}
    for label, own in zip(subjects.labels, values.tolist(), strict=True):
        known = {str(value) for value in own if value is not None and value == value}
        if len(known) > 1:
            raise DataError(f"event={name!r} changes within subject {label!r}")
        out[label] = next((v for v in own if v is not None and v == v), None)
    return out


def _visit_position(subjects: Subjects, visit: Any) -> int:
    for label in (str(visit), level_label(visit)):
        if label in subjects.visits:
            return subjects.visits.index(label)
    raise DataError(f"event: {visit!r} is no visit ({', '.join(subjects.visits)})")
