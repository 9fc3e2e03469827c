"""The residual covariance of a model whose subjects are series, read against the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.design import GroupingFactor
from mlmfast.errors import ModelError
from mlmfast.factor import Factor
from mlmfast.frame import Frame
from mlmfast.residual_structure import (
    LARGEST_ORDER,
    ResidualDesign,
    ResidualFormula,
    check_arms,
    instance,
    met_twice,
    visits_of_rows,
)
from mlmfast.series_design import series_of, series_times


def series_residual_design(
    formula: ResidualFormula, kind: type[CovarianceStructure], frame: Frame, subjects: Factor
) -> ResidualDesign:
    """Series of any length; with few distinct times their covariance is reported by visit too."""
    name = formula.coordinates[0]
    times = series_times(kind, formula.structure, name, frame)
    arm = None if formula.arm is None else frame.factor(formula.arm)
    arms = ("",) if arm is None else arm.levels
    codes = np.zeros(frame.n_rows, dtype=np.int32) if arm is None else arm.codes
    if arm is not None:
        check_arms(formula, subjects, arm)
    distinct = np.unique(times)
    few = len(distinct) <= LARGEST_ORDER
    labels: tuple[str, ...] = ()
    at_visit, codes_of_visit = distinct, np.searchsorted(distinct, times).astype(np.int32)
    if few:
        codes_of_visit, labels, at_visit = _visits_of_series(formula, kind, frame, distinct)
    _check_repeated(formula, subjects, codes_of_visit, labels or distinct)
    series = series_of(times, subjects.codes, codes, len(arms))
    without = np.flatnonzero(series.n_steps.sum(axis=1) == 0)
    if without.size:
        where = f" with {formula.arm} = {arms[without[0]]!r}" if arm is not None else ""
        raise ModelError(
            f"residual={formula.text!r} finds no subject{where} with more than one row, so no "
            "correlation can be estimated; leave residual= out, or check the subject"
        )
    size = len(at_visit) if few else min(30, len(at_visit))
    at = at_visit if few else at_visit[np.linspace(0, len(at_visit) - 1, size).astype(np.intp)]
    points = at[:, None] if kind.needs == "coordinates" else None
    structure = instance(formula.calls[0], kind, size, points, formula)
    subject = GroupingFactor(
        ":".join(formula.subject), subjects.codes, subjects.levels, formula.subject
    )
    positions = codes * np.int32(len(at_visit)) + codes_of_visit if few else series.positions
    return ResidualDesign(
        structure,
        labels,
        arms,
        subject,
        subjects.codes,
        subjects.n_levels,
        positions.astype(np.int32),
        formula,
        None if few else times[:, None],
        replace(series, visits=at_visit if few else None),
        arm_codes=None if few or len(arms) == 1 else codes,
    )


def _visits_of_series(
    formula: ResidualFormula,
    kind: type[CovarianceStructure],
    frame: Frame,
    distinct: FloatArray,
) -> tuple[CodeArray, tuple[str, ...], FloatArray]:
    """Visit of each row, labels of the visits, and their times."""
    codes, labels, points = visits_of_rows(formula.calls[0], kind, frame)
    if points is not None:
        return codes, labels, points[:, 0]
    if len(labels) == len(distinct):
        return codes, labels, distinct
    return codes, labels, distinct[0] + np.arange(len(labels), dtype=np.float64)


def _check_repeated(
    formula: ResidualFormula,
    subjects: Factor,
    visits: CodeArray,
    labels: tuple[str, ...] | FloatArray,
) -> None:
    """Refuse subjects that have several rows at one time."""
    cell = np.sort(subjects.codes.astype(np.int64) * len(labels) + visits)
    repeated = np.flatnonzero(cell[1:] == cell[:-1])
    if repeated.size:
        subject, visit = divmod(int(cell[repeated[0]]), len(labels))
        label = labels[visit] if isinstance(labels, tuple) else f"{labels[visit]:g}"
        raise met_twice(formula, subjects.levels[subject], label)
