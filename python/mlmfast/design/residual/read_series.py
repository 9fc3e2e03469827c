"""The residual covariance of a model whose subjects are series, read against the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.data.factor import Factor
from mlmfast.data.frame import Frame
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.residual.checks import check_arms, met_twice
from mlmfast.design.residual.design import LARGEST_ORDER, ResidualDesign
from mlmfast.design.residual.instance import instance
from mlmfast.design.residual.series import series_of
from mlmfast.design.residual.visits.of_rows import Visits, check_spacing, visits_of_rows
from mlmfast.errors import ModelError
from mlmfast.formula.residual_formula import ResidualFormula


def series_residual_design(
    formula: ResidualFormula, kind: type[CovarianceStructure], frame: Frame, subjects: Factor
) -> ResidualDesign:
    """Series of any length; with few distinct times their covariance is reported by visit too."""
    visits = visits_of_rows(formula.calls[0], kind, frame)
    check_spacing(formula.calls[0], kind, visits)
    times, distinct = _times(visits)
    arm = None if formula.arm is None else frame.factor(formula.arm)
    arms = ("",) if arm is None else arm.levels
    codes = np.zeros(frame.n_rows, dtype=np.int32) if arm is None else arm.codes
    if arm is not None:
        check_arms(formula, subjects, arm)
    few = len(distinct) <= LARGEST_ORDER
    _check_repeated(formula, subjects, visits)
    series = series_of(times, subjects.codes, codes, len(arms))
    without = np.flatnonzero(series.n_steps.sum(axis=1) == 0)
    if without.size:
        where = f" with {formula.arm} = {arms[without[0]]!r}" if arm is not None else ""
        raise ModelError(
            f"residual={formula.text!r} finds no subject{where} with more than one row, so no "
            "correlation can be estimated; leave residual= out, or check the subject"
        )
    size = len(distinct) if few else min(30, len(distinct))
    at = distinct if few else distinct[np.linspace(0, len(distinct) - 1, size).astype(np.intp)]
    points = at[:, None] if kind.needs == "coordinates" else None
    places = visits.places(kind) if few else None
    structure = instance(formula.calls[0], kind, size, formula, points=points, places=places)
    subject = GroupingFactor(
        ":".join(formula.subject), subjects.codes, subjects.levels, formula.subject
    )
    positions = codes * np.int32(len(distinct)) + visits.codes if few else series.positions
    return ResidualDesign(
        structure,
        visits.labels if few else (),
        arms,
        subject,
        subjects.codes,
        subjects.n_levels,
        positions.astype(np.int32),
        formula,
        replace(series, visits=distinct if few else None),
        step=visits.step,
    )


def _times(visits: Visits) -> tuple[FloatArray, FloatArray]:
    """Time of each row, and the distinct times: coordinates, or steps from the first visit."""
    if visits.points is not None:
        distinct = visits.points[:, 0]
    else:
        places = None if visits.sequence is None else visits.sequence.places
        assert places is not None, "the spacing was checked"
        distinct = places.astype(np.float64)
    return distinct[visits.codes], distinct


def _check_repeated(formula: ResidualFormula, subjects: Factor, visits: Visits) -> None:
    """Refuse subjects that have several rows at one time."""
    n = visits.n_visits
    cell = np.sort(subjects.codes.astype(np.int64) * n + visits.codes)
    repeated = np.flatnonzero(cell[1:] == cell[:-1])
    if repeated.size:
        subject, visit = divmod(int(cell[repeated[0]]), n)
        raise met_twice(formula, subjects.levels[subject], visits.labels[visit])
