"""Subject, visit, point and arm of new rows, in terms of a fit's residual covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.covariance.by_lag import ByLag
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.data.factor import cross_factors
from mlmfast.data.frame import Frame
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.visits.of_rows import numbers_of, visits_of_rows
from mlmfast.design.residual.visits.sequence import not_seen, visit_sequence
from mlmfast.errors import DataError
from mlmfast.formula.residual_formula import StructureCall, structure_kind
from mlmfast.prediction.given_observed.visits_between import covers_other_visits, visits_with_new


@dataclass(frozen=True)
class PlacedRows:
    """Where new rows stand.

    Attributes
    ----------
    units, positions, arms : shape (n_new,), int32
        Block of the residual covariance (those after the fit's for new subjects), position
        arm * n_visits + visit (0 where there are points or times instead), and arm.
    keys : shape (n_old + n_new, k)
        What tells the rows of one unit apart.
    old_arms : shape (n_old,), int32
    points, old_points : shapes (n_new, d), (n_old, d), or None
        Coordinates, of a spatial structure.
    times : shape (n_new,) or None
        Times, of a series.
    between
        Places of visits that the fit did not see; positions then count these too.
    """

    units: CodeArray
    positions: CodeArray
    arms: CodeArray
    keys: FloatArray
    old_arms: CodeArray
    points: FloatArray | None = None
    old_points: FloatArray | None = None
    times: FloatArray | None = None
    between: tuple[int, ...] = ()


def distinguishes_rows(residual: ResidualDesign) -> bool:
    """Whether subject and visit tell every row of the data from the others."""
    return residual.formula is not None and residual.n_units == residual.subject.n_levels


def place_rows(residual: ResidualDesign, old: Frame | None, new: Frame) -> PlacedRows:
    """Find the place of new rows.

    Raises
    ------
    DataError
        For a visit or an arm that the fit did not see.
    """
    formula = residual.formula
    n, n_old = new.n_rows, len(residual.units)
    nothing = np.zeros(n, dtype=np.int32)
    if formula is None:
        units = residual.n_units + np.arange(n, dtype=np.int32)
        return PlacedRows(
            units, nothing, nothing, np.zeros((n_old + n, 1)), np.zeros(n_old, dtype=np.int32)
        )
    assert old is not None, "a formula is read from a frame"
    units = _units(residual, new)
    arms, old_arms = nothing, np.zeros(n_old, dtype=np.int32)
    if formula.arm is not None:
        arms = known_codes(new, formula.arm, residual.arms, formula.text)
        old_arms = old.factor(formula.arm).recode(residual.arms)[0]
        _check_arms(residual, units, arms, old_arms)
    call, kind = formula.calls[0], structure_kind(formula.calls[0], formula.text)
    if residual.series is not None:
        times = _times(residual, old, new)
        keys = np.concatenate([residual.series.times, times])[:, None]
        return PlacedRows(units, nothing, arms, keys, old_arms, times=times)
    if issubclass(kind, Spatial) and len(formula.calls) == 1:
        points, old_points = numbers_of(call, new), numbers_of(call, old)
        keys = np.concatenate([old_points, points])
        return PlacedRows(units, nothing, arms, keys, old_arms, points, old_points)
    visits, between = _visits(residual, old, new)
    n_visits = np.int32(len(residual.visits) + len(between))
    positions = (arms * n_visits + visits).astype(np.int32)
    keys = np.concatenate([old_positions(residual, between), positions])[:, None]
    return PlacedRows(units, positions, arms, keys.astype(np.float64), old_arms, between=between)


def old_positions(residual: ResidualDesign, between: tuple[int, ...]) -> CodeArray:
    """Positions of the rows of the fit, among those of visits that it did not see too."""
    if not between:
        return residual.positions
    arm, visit = np.divmod(residual.positions, np.int32(len(residual.visits)))
    return np.asarray(arm * np.int32(len(residual.visits) + len(between)) + visit)


def known_codes(frame: Frame, name: str, labels: tuple[str, ...], text: str) -> CodeArray:
    """Codes of a column in terms of the fit's labels.

    Raises
    ------
    DataError
        Where a value is not among them.
    """
    codes, unknown = frame.factor(name).recode(labels)
    if unknown:
        raise not_seen(name, unknown[0], text)
    return codes


def _units(residual: ResidualDesign, new: Frame) -> CodeArray:
    """Block of each row: its subject's, or a new one."""
    assert residual.formula is not None
    if not distinguishes_rows(residual):
        # Rows are independent: each is a block.
        return residual.n_units + np.arange(new.n_rows, dtype=np.int32)
    subjects = cross_factors([new.factor(name) for name in residual.formula.subject])
    codes, _ = subjects.recode(residual.subject.labels)
    fresh = np.unique(subjects.codes[codes < 0], return_inverse=True)[1].astype(np.int32)
    codes[codes < 0] = residual.n_units + fresh
    return codes


def _check_arms(
    residual: ResidualDesign, units: CodeArray, arms: CodeArray, old_arms: CodeArray
) -> None:
    assert residual.formula is not None
    seen = np.full(max(residual.n_units, int(units.max(initial=-1)) + 1), -1, dtype=np.int64)
    seen[units] = arms
    if distinguishes_rows(residual):
        seen[residual.units] = old_arms
    wrong = np.flatnonzero(seen[units] != arms)
    if wrong.size:
        unit = units[wrong[0]]
        known = residual.subject.labels
        name = repr(known[unit]) if unit < len(known) else "a new subject"
        raise DataError(
            f"newdata: {name} is met with several levels of {residual.formula.arm!r}; in "
            f"residual={residual.formula.text!r} each subject belongs to one"
        )


def _times(residual: ResidualDesign, old: Frame, new: Frame) -> FloatArray:
    """Time of each row of a series: a coordinate, or the step at which it stands."""
    assert residual.formula is not None
    call, text = residual.formula.calls[0], residual.formula.text
    if structure_kind(call, text).needs == "coordinates":
        return numbers_of(call, new)[:, 0]
    return visit_sequence(old, call.coordinates[0], call.as_levels).times_of(new, text)


def _visits(residual: ResidualDesign, old: Frame, new: Frame) -> tuple[CodeArray, tuple[int, ...]]:
    """Visit of each row, over the factors of a direct product, and visits that come on top."""
    assert residual.formula is not None
    if isinstance(residual.structure, ByLag) and covers_other_visits(residual.structure):
        call = residual.formula.calls[0]
        sequence = visit_sequence(old, call.coordinates[0], call.as_levels)
        return visits_with_new(residual.structure, sequence, new, residual.formula.text)
    text, out = residual.formula.text, np.zeros(new.n_rows, dtype=np.int32)
    for call in residual.formula.calls:
        visits = visits_of_rows(call, structure_kind(call, text), old)
        if visits.points is not None:
            codes = _known_points(call, numbers_of(call, new), visits.points, text)
        else:
            codes = known_codes(new, call.coordinates[0], visits.labels, text)
        out = out * np.int32(len(visits.labels)) + codes
    return out, ()


def _known_points(
    call: StructureCall, points: FloatArray, known: FloatArray, text: str
) -> CodeArray:
    _, codes = np.unique(np.concatenate([known, points]), axis=0, return_inverse=True)
    codes = codes.ravel()[len(known) :]
    # The known points are distinct and sorted: theirs are 0, 1, ... unless new ones lie between.
    if len(np.unique(np.concatenate([known, points]), axis=0)) > len(known):
        raise DataError(
            f"newdata: {', '.join(call.coordinates)} holds a point that the fit did not see, and "
            f"the direct product residual={text!r} is over the points of the fit"
        )
    return codes.astype(np.int32)
