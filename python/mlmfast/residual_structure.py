"""Residual covariance: ``residual="ar1(visit | subject)"`` read against the data."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.chain_steps import (
    FEW_VISITS,
    ChainSteps,
    chain_steps,
    check_identified,
    with_several_rows,
)
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.direct_product import DirectProduct
from mlmfast.covariance.homogeneous_diagonal import HomogeneousDiagonal
from mlmfast.covariance.markov import VisitChain
from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.covariance.spatial import Spatial
from mlmfast.covariance.unstructured import Unstructured
from mlmfast.design import GroupingFactor
from mlmfast.errors import DataError, FormulaError, ModelError, SpacingWarning
from mlmfast.factor import Factor, cross_factors, number_label
from mlmfast.frame import Frame, check_finite
from mlmfast.known_matrices import known_matrices
from mlmfast.record import ResidualRecord
from mlmfast.residual_formula import (
    ResidualFormula,
    StructureCall,
    parse_residual,
    structure_kind,
)
from mlmfast.residual_scale import MOST_DISTINCT, ScaleDesign
from mlmfast.series_design import Series, is_series, no_numbers
from mlmfast.unit_covariances import has_few_parameters

__all__ = [
    "ResidualDesign",
    "ResidualFormula",
    "independent_rows",
    "parse_residual",
    "residual_design",
    "seen_pairs",
    "with_scale",
]

#: Visits, or distinct coordinates, up to which covariances are reported by visit where it is not
#: needed, and whole numbers count as they stand.
LARGEST_ORDER = 64
#: Visits of one covariance with few parameters.
LARGEST_TEMPLATE = 1000
#: Parameters of all arms that Newton's steps are taken in: an unstructured covariance of 64 visits.
MOST_PARAMETERS = 2080
#: Bytes that second derivatives by each pair of distinct covariances may take, of all arms; copies
#: of them that an iteration holds at once.
MOST_BYTES, _COPIES = 2e9, 8
#: Rows of a subject with points of its own, for what goes through its matrix entry by entry.
LARGEST_UNIT = 500
#: Smoothness at which `sp_matern` is fitted.
MATERN_SMOOTHNESS = 1.5
#: Structures by lag, for which a whole-numbered coordinate counts as it stands.
_BY_LAG = ("ar1", "toep", "arma11")
#: Structures over steps of equal length.
_EVENLY_SPACED = (*_BY_LAG, "ar1h")
#: Structures whose members change with the order of the visits.
_ORDERED = (*_EVENLY_SPACED, "toeph", "ad", "adh", "un")
#: Structures without correlation: rows of one subject may share a level.
_INDEPENDENT = ("diag", "homdiag")
#: Structures whose parameters one long series can tell.
_ONE_SERIES = ("ar1", "arma11", "homdiag", "diag", "lin")


@dataclass(frozen=True)
class ResidualDesign:
    """The residual covariance of a design.

    Attributes
    ----------
    structure
        Covariance of the visits of one subject.
    visits
        Labels of the visits (of the points, for coordinates).
    arms
        Labels of the groups with parameters of their own; one empty label without them.
    subject
        The subjects.
    units : shape (n,), int32
        Block of the residual covariance that a row belongs to.
    n_units
        Number of blocks.
    positions : shape (n,), int32
        arm * len(visits) + visit of each row.
    formula
        The formula; None for rows that are independent, of one variance but for their scale.
    points : shape (n, d) or None
        Coordinates of each row where there are too many distinct ones to be visits; positions are
        then those within the unit.
    arm_codes : shape (n,), int32, or None
        Arm of each row, where positions do not tell it.
    series
        The rows of the subjects in time order, where the structure costs O(n) along a series.
    scale
        Standard deviations that differ from row to row; None where they do not.
    chain
        The steps from visit to visit, where the structure costs O(n) along these.
    """

    structure: CovarianceStructure
    visits: tuple[str, ...]
    arms: tuple[str, ...]
    subject: GroupingFactor
    units: CodeArray
    n_units: int
    positions: CodeArray
    formula: ResidualFormula | None
    points: FloatArray | None = None
    series: Series | None = None
    scale: ScaleDesign | None = None
    arm_codes: CodeArray | None = None
    chain: ChainSteps | None = None

    @cached_property
    def order(self) -> int:
        """Order of the covariance over all arms."""
        if self.points is not None:
            return int(self.positions.max()) + 1
        return len(self.visits) * len(self.arms)

    @property
    def text(self) -> str:
        """The argument as written, for messages."""
        if self.formula is not None:
            return f"residual={self.formula.text!r}"
        assert self.scale is not None
        return f"residual_scale={self.scale.formula.text!r}"

    def record(
        self, names: Sequence[str], values: list[FloatArray], covariances: list[FloatArray]
    ) -> ResidualRecord:
        """The estimates: natural parameters, arm after arm, and the covariance of each arm."""
        assert self.formula is not None, "a residual structure is asked for by a formula"
        return ResidualRecord(
            text=self.formula.text,
            structure=self.formula.structure,
            subject=self.subject.name,
            n_subjects=self.subject.n_levels,
            visits=self.visits,
            arms=self.arms,
            covariances=np.array(covariances),
            parameter_names=tuple(names),
            parameters=np.concatenate(values),
        )

    @cached_property
    def _scaled_positions(self) -> tuple[CodeArray, CodeArray] | None:
        """Distinct pairs (position, scale) as one number, and those of the rows; None if many."""
        if self.scale is None or self.points is not None:
            return None
        n_scales = len(self.scale.exponents)
        if n_scales > MOST_DISTINCT:
            return None
        combined = self.positions * np.int32(n_scales) + self.scale.codes
        distinct, codes = np.unique(combined, return_inverse=True)
        if len(distinct) > LARGEST_ORDER:
            return None
        return distinct, codes.astype(np.int32)

    @property
    def arm_of_units(self) -> CodeArray:
        """Arm of each unit, where there are points instead of visits."""
        out = np.zeros(self.n_units, dtype=np.int32)
        if self.arm_codes is not None:
            out[self.units] = self.arm_codes
        return out

    @property
    def by_unit(self) -> bool:
        """Whether units have matrices of their own rather than parts of one that all share."""
        if self.points is not None:
            return True
        return self.scale is not None and self._scaled_positions is None

    @property
    def core_positions(self) -> CodeArray:
        """Position of each row in the matrix that the core is given."""
        pairs = self._scaled_positions
        return self.positions if pairs is None else pairs[1]

    @property
    def core_order(self) -> int:
        """Order of that matrix."""
        pairs = self._scaled_positions
        return self.order if pairs is None else len(pairs[0])

    @cached_property
    def scaled_structure(self) -> ScaledCovariance:
        """The covariance with its scale, over the core's positions where there are few."""
        assert self.scale is not None
        pairs = self._scaled_positions
        if pairs is None:
            # Units bring their own; here only parameters and their names matter.
            size = self.structure.size * len(self.arms)
            places = np.arange(size)
            exponents = np.tile(self.scale.center, (size, 1))
            together = self.structure.entries if len(self.arms) == 1 else ((0, 0),)
        else:
            places, rows = np.divmod(pairs[0], len(self.scale.exponents))
            size, exponents = len(places), self.scale.exponents[rows]
            together = seen_pairs(self.units, pairs[1], self.n_units, size)
        return ScaledCovariance(
            size,
            (self.structure,) * len(self.arms),
            places.astype(np.intp),
            exponents,
            self.scale.center,
            self.scale.spread,
            self.scale.names,
            self.scale.is_ratio,
            together,
            self.arms,
        )

    def unit_exponents(self) -> FloatArray:
        """Centred and scaled scale columns by unit and position, (n_units, order, m)."""
        assert self.scale is not None
        columns = (self.scale.exponents - self.scale.center) / self.scale.spread
        out = np.zeros((self.n_units, self.order, columns.shape[1]))
        out[self.units, self.positions] = columns[self.scale.codes]
        return out


def seen_pairs(
    units: CodeArray, positions: CodeArray, n_units: int, size: int
) -> tuple[tuple[int, int], ...]:
    """Pairs (p, q), p >= q, of positions that rows of one unit have together.

    Examples
    --------
    >>> seen_pairs(*np.int32([[0, 0, 1], [0, 2, 1]]), 2, 3)
    ((0, 0), (1, 1), (2, 0), (2, 2))
    """
    seen = np.zeros((n_units, size), dtype=np.bool_)
    seen[units, positions] = True
    patterns = np.unique(np.packbits(seen, axis=1), axis=0)
    patterns = np.unpackbits(patterns, axis=1, count=size).astype(np.float64)
    rows, columns = np.nonzero(np.tril(patterns.T @ patterns))
    return tuple(zip(rows.tolist(), columns.tolist(), strict=True))


def independent_rows(scale: ScaleDesign) -> ResidualDesign:
    """Independent residuals of one variance but for their scale: every row is a unit."""
    n = len(scale.codes)
    units = np.arange(n, dtype=np.int32)
    return ResidualDesign(
        HomogeneousDiagonal(1),
        ("",),
        ("",),
        GroupingFactor("row", units, ()),
        units,
        n,
        np.zeros(n, dtype=np.int32),
        None,
        scale=scale,
    )


def with_scale(residual: ResidualDesign, scale: ScaleDesign) -> ResidualDesign:
    """A residual covariance with standard deviations that differ from row to row."""
    return replace(residual, scale=scale)


def residual_design(
    formula: ResidualFormula, frame: Frame, lin: Any = None, scaled: bool = False
) -> ResidualDesign:
    """Read the residual covariance of a model from its rows; ``lin`` are known matrices.

    ``scaled`` says that standard deviations will differ from row to row on top.

    Raises
    ------
    FormulaError, DataError, ModelError
        For an unknown structure, a visit met twice, a subject in two arms, too many visits, ...
    """
    kinds = [structure_kind(call, formula.text) for call in formula.calls]
    subjects = cross_factors([frame.factor(name) for name in formula.subject])
    if not scaled and len(kinds) == 1 and is_series(kinds[0], formula.coordinates):
        from mlmfast.residual_series import series_residual_design

        return series_residual_design(formula, kinds[0], frame, subjects)
    axes = [
        visits_of_rows(call, kind, frame) for call, kind in zip(formula.calls, kinds, strict=True)
    ]
    _check_met_together(formula, subjects, [codes for codes, _, _ in axes], frame)
    visits, labels, points = axes[0]
    if len(labels) > LARGEST_ORDER and points is not None and len(axes) == 1:
        return _scattered(formula, kinds[0], frame, subjects, (visits, labels, points))
    for codes, more, _ in axes[1:]:
        visits = visits * np.int32(len(more)) + codes
        labels = tuple(f"{a}:{b}" for a in labels for b in more)
    if len(labels) > LARGEST_TEMPLATE and formula.structure not in _INDEPENDENT:
        raise _too_many(formula, len(labels), f"at most {LARGEST_TEMPLATE:,} are available")
    units, n_units = _units(formula, subjects, visits, labels)
    arms, arm_codes = _arms_of_rows(formula, frame, subjects)
    structure = _product(formula, kinds, axes, lin)
    is_chain = isinstance(structure, VisitChain) and not scaled and len(labels) > FEW_VISITS
    if not is_chain:
        _check_size(formula, structure, len(arms), scaled)
    _check_supported(formula, structure, subjects, arms, arm_codes)
    positions = arm_codes * np.int32(len(labels)) + visits
    subject = GroupingFactor(
        ":".join(formula.subject), subjects.codes, subjects.levels, formula.subject
    )
    chain = None
    if is_chain:
        chain = chain_steps(visits, units, arm_codes)
        with_several_rows(formula, subjects, chain)
        check_identified(formula, structure, chain, labels, arms)
    return ResidualDesign(
        structure,
        labels,
        arms,
        subject,
        units,
        n_units,
        positions.astype(np.int32),
        formula,
        chain=chain,
    )


def _check_met_together(
    formula: ResidualFormula, subjects: Factor, axes: Sequence[CodeArray], frame: Frame
) -> None:
    """Refuse correlations between levels of which no subject has two."""
    arm = None if formula.arm is None else frame.factor(formula.arm)
    for call, codes in zip(formula.calls, axes, strict=True):
        # Known matrices may be diagonal, and one band is the diagonal.
        # One level has its own refusal.
        one_band = call.number == 1 and call.keyword in {"toep", "toeph", "un"}
        if one_band or call.keyword in {*_INDEPENDENT, "lin"} or not np.ptp(codes):
            continue
        _, first, subject = np.unique(subjects.codes, return_index=True, return_inverse=True)
        told = codes != codes[first][subject]
        for code, label in enumerate(("",) if arm is None else arm.levels):
            if told[True if arm is None else arm.codes == code].any():
                continue
            of = f" with {formula.arm} = {label!r}" if arm is not None else ""
            what = ", ".join(call.coordinates)
            advice = (
                f"for parameters by {what} write {what} / before the subject"
                if len(axes) > 1
                else "check the subject, or write diag for variances alone"
            )
            raise ModelError(
                f"residual={formula.text!r} finds no subject{of} with several levels of {what}, "
                f"so no correlation between them can be estimated; {advice}"
            )


def _check_size(
    formula: ResidualFormula, structure: CovarianceStructure, n_arms: int, scaled: bool
) -> None:
    """Refuse covariances whose derivatives by each pair of entries would not end or fit."""
    n = len(structure.entries) * n_arms
    n_parameters = structure.n_theta * n_arms
    if n_parameters > MOST_PARAMETERS:
        raise _too_many(
            formula,
            structure.size,
            f"{n_parameters:,} parameters, of which {MOST_PARAMETERS:,} are available",
        )
    size = 8.0 * _COPIES * n * n
    if size <= MOST_BYTES or (has_few_parameters(structure) and n_arms == 1 and not scaled):
        return
    raise _too_many(
        formula,
        structure.size,
        f"{n:,} distinct covariances, whose second derivatives would take {size / 1e9:.1f} GB (the "
        f"limit is {MOST_BYTES / 1e9:.1f}) with {n_parameters:,} parameters",
    )


def _too_many(formula: ResidualFormula, n: int, why: str) -> ModelError:
    return ModelError(
        f"residual={formula.text!r} spans {n:,} distinct visits or points: {why}. ar1, arma11 and "
        "car1 take series of any length; ad, adh, ar1h, cs, toep(visit | id, 2), diag and the "
        "spatial structures hundreds of visits; us takes 64 visits, toep, toeph and csh about 100"
    )


def _check_supported(
    formula: ResidualFormula,
    structure: CovarianceStructure,
    subjects: Factor,
    arms: tuple[str, ...],
    arm_codes: CodeArray,
) -> None:
    """Refuse structures with more parameters than any estimate could be made of.

    Raises
    ------
    ModelError
        For fewer rows than parameters, fewer subjects than an unstructured covariance has visits,
        or one subject where subjects must repeat what is estimated.
    """
    for code, label in enumerate(arms):
        rows = arm_codes == code
        n_subjects = len(np.unique(subjects.codes[rows]))
        where = f" of {formula.arm} = {label!r}" if formula.arm is not None else ""
        found = f"{n_subjects} subject(s) and {int(rows.sum())} rows{where}"
        needed = ""
        if structure.n_theta > rows.sum():
            needed = f"has {structure.n_theta} parameters"
        elif isinstance(structure, Unstructured) and n_subjects < structure.size:
            needed = f"over {structure.size} visits needs at least as many subjects"
        elif n_subjects == 1 and not _from_one_series(structure):
            needed = "needs several subjects to estimate its parameters from"
        if needed:
            raise ModelError(
                f"residual={formula.text!r} {needed}; found {found}. Use a structure with fewer "
                "parameters, such as ar1 or cs"
            )


def _from_one_series(structure: CovarianceStructure) -> bool:
    """Whether one subject's rows repeat everything that is estimated."""
    if isinstance(structure, DirectProduct):
        return _from_one_series(structure.outer) and _from_one_series(structure.inner)
    return isinstance(structure, Spatial) or structure.keyword in _ONE_SERIES


def _scattered(
    formula: ResidualFormula,
    kind: type[CovarianceStructure],
    frame: Frame,
    subjects: Factor,
    of_rows: tuple[CodeArray, tuple[str, ...], FloatArray],
) -> ResidualDesign:
    """Distances of its own for each subject: too many distinct points for one template.

    ``of_rows`` holds the point of each row, labels and coordinates of the points.
    """
    codes, labels, points = of_rows
    units, n_units = _units(formula, subjects, codes, labels)
    arms, arm_codes = _arms_of_rows(formula, frame, subjects)
    order = np.argsort(units, kind="stable")
    sizes = np.bincount(units, minlength=n_units)
    positions = np.empty(len(units), dtype=np.int32)
    positions[order] = np.arange(len(units)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    few = points[np.unique(np.linspace(0, len(points) - 1, 30).astype(np.intp))]
    structure = instance(formula.calls[0], kind, len(few), few, formula)
    _check_supported(formula, structure, subjects, arms, arm_codes)
    subject = GroupingFactor(
        ":".join(formula.subject), subjects.codes, subjects.levels, formula.subject
    )
    return ResidualDesign(
        structure,
        (),
        arms,
        subject,
        units,
        n_units,
        positions,
        formula,
        points[codes],
        arm_codes=arm_codes if len(arms) > 1 else None,
    )


def visits_of_rows(
    call: StructureCall, kind: type[CovarianceStructure], frame: Frame
) -> tuple[CodeArray, tuple[str, ...], FloatArray | None]:
    """Visit of each row, labels of the visits, and their coordinates where there are any."""
    if kind.needs == "coordinates":
        columns = []
        for name in call.coordinates:
            if not frame.is_numeric(name):
                raise no_numbers(call.keyword, name)
            check_finite(name, frame.numeric(name))
            columns.append(frame.numeric(name))
        points, codes = np.unique(np.column_stack(columns), axis=0, return_inverse=True)
        labels = tuple(", ".join(f"{value:g}" for value in point) for point in points)
        return codes.ravel().astype(np.int32), labels, points
    name = call.coordinates[0]
    if frame.is_numeric(name) and call.keyword in _BY_LAG:
        values = frame.numeric(name)
        first = float(values.min())
        if (values == np.round(values)).all() and values.max() - first < LARGEST_ORDER:
            last = int(values.max() - first)
            labels = tuple(number_label(first + step) for step in range(last + 1))
            return (values - first).astype(np.int32), labels, None
    if frame.is_numeric(name) and call.keyword in _EVENLY_SPACED:
        _warn_of_unequal_steps(call, frame.numeric(name))
    factor = frame.factor(name)
    if call.keyword in _ORDERED:
        _warn_of_alphabetical_order(call, factor.levels)
    return factor.codes, factor.levels, None


def _warn_of_alphabetical_order(call: StructureCall, levels: tuple[str, ...]) -> None:
    """Say that d10 stands before d2, where levels are in the order of the alphabet."""

    def by_numbers(label: str) -> list[tuple[int, int, str]]:
        parts = re.split(r"([0-9]+)", label)
        return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]

    meant = sorted(levels, key=by_numbers)
    if list(levels) == sorted(levels) and meant != list(levels):
        shown = ", ".join(levels[:4])
        warnings.warn(
            f"{call.keyword} goes by the order of the visits, and those of {call.coordinates[0]!r} "
            f"stand in the order of the alphabet ({shown}, ...), not of their numbers "
            f"({', '.join(meant[:4])}, ...); use numbers, or a categorical in order",
            SpacingWarning,
            stacklevel=2,
        )


def _warn_of_unequal_steps(call: StructureCall, values: FloatArray) -> None:
    """Say that numbers which are not equally spaced count by their ranks."""
    gaps = np.diff(np.unique(values))
    refused = len(gaps) >= LARGEST_TEMPLATE and call.keyword not in _BY_LAG
    if gaps.size and not refused and np.ptp(gaps) > 1e-8 * gaps.max():
        name = call.coordinates[0]
        warnings.warn(
            f"{call.keyword} takes steps of equal length, and the values of {name!r} (from "
            f"{values.min():g} to {values.max():g}) are not equally spaced: their ranks 1, 2, 3, "
            "... count instead; car1 (sp_exp) takes the distances themselves",
            SpacingWarning,
            stacklevel=2,
        )


def _units(
    formula: ResidualFormula, subjects: Factor, visits: CodeArray, labels: tuple[str, ...]
) -> tuple[CodeArray, int]:
    """Blocks of rows with one covariance: the subjects, each visit at most once."""
    cell = subjects.codes.astype(np.int64) * len(labels) + visits
    order = np.argsort(cell, kind="stable")
    repeated = np.flatnonzero(cell[order][1:] == cell[order][:-1])
    if repeated.size == 0:
        return subjects.codes, subjects.n_levels
    if formula.structure not in _INDEPENDENT:
        subject, visit = divmod(int(cell[order][repeated[0]]), len(labels))
        raise met_twice(formula, subjects.levels[subject], labels[visit])
    # Rows are independent: the r-th row of each level makes up the subject's r-th block.
    starts = np.concatenate([[True], cell[order][1:] != cell[order][:-1]])
    run = np.arange(len(cell)) - np.maximum.accumulate(np.where(starts, np.arange(len(cell)), 0))
    rank = np.empty(len(cell), dtype=np.int64)
    rank[order] = run
    blocks, codes = np.unique(
        subjects.codes.astype(np.int64) * (run.max() + 1) + rank, return_inverse=True
    )
    return codes.astype(np.int32), len(blocks)


def met_twice(formula: ResidualFormula, subject: str, visit: str) -> DataError:
    """The error for a subject with several rows at one visit."""
    subjects = ":".join(formula.subject)
    order = (
        f"after the slash stand the subjects, as in {formula.calls[0].keyword}(visit | arm / id)"
        if formula.arm is not None
        else f"after the bar stands what tells subjects apart, here {subjects!r}"
    )
    return DataError(
        f"subject {subject!r} has several rows at {', '.join(formula.coordinates)} = {visit!r}; "
        f"residual={formula.text!r} needs at most one ({order}); remove or average the rows"
    )


def _arms_of_rows(
    formula: ResidualFormula, frame: Frame, subjects: Factor
) -> tuple[tuple[str, ...], CodeArray]:
    """Groups with parameters of their own, and that of each row."""
    if formula.arm is None:
        return ("",), np.zeros(frame.n_rows, dtype=np.int32)
    arm = frame.factor(formula.arm)
    check_arms(formula, subjects, arm)
    return arm.levels, arm.codes


def check_arms(formula: ResidualFormula, subjects: Factor, arm: Factor) -> None:
    """Refuse subjects that are met in several arms."""
    seen = np.full(subjects.n_levels, -1, dtype=np.int64)
    seen[subjects.codes] = arm.codes
    wrong = np.flatnonzero(seen[subjects.codes] != arm.codes)
    if wrong.size:
        subjects_text = ":".join(formula.subject)
        subject = subjects.levels[subjects.codes[wrong[0]]]
        raise DataError(
            f"subject {subject!r} is met with several levels of {formula.arm!r}; in "
            f"residual={formula.text!r} each subject belongs to one. Where residual variances "
            f"differ by {formula.arm!r} within subjects (GROUP= of REPEATED), add "
            f"residual_scale={formula.arm!r} to the structure over all rows, or for independent "
            f"residuals write residual={f'diag({formula.arm} | {subjects_text})'!r}"
        )


def _product(
    formula: ResidualFormula,
    kinds: list[type[CovarianceStructure]],
    axes: list[tuple[CodeArray, tuple[str, ...], FloatArray | None]],
    lin: Any,
) -> CovarianceStructure:
    """The structure, or the direct product of several."""
    structure: CovarianceStructure | None = None
    for call, kind, (_, labels, points) in zip(formula.calls, kinds, axes, strict=True):
        known = known_matrices(lin, labels, formula.text) if call.keyword == "lin" else None
        factor = instance(call, kind, len(labels), points, formula, known)
        if structure is None:
            structure = factor
        else:
            structure = DirectProduct(structure.size * factor.size, structure, factor)
    assert structure is not None
    return structure


def instance(
    call: StructureCall,
    kind: type[CovarianceStructure],
    size: int,
    points: FloatArray | None,
    formula: ResidualFormula,
    matrices: FloatArray | None = None,
) -> CovarianceStructure:
    """The structure over ``size`` visits or points."""
    if size < max(2, kind.minimum_size) and call.keyword not in _INDEPENDENT:
        raise ModelError(
            f"residual={formula.text!r} finds {size} distinct visit(s) in "
            f"{', '.join(call.coordinates)}; the structure needs at least "
            f"{max(2, kind.minimum_size)}"
        )
    arguments: dict[str, object] = {} if points is None else {"coordinates": points}
    if matrices is not None:
        arguments["matrices"] = matrices
    if call.number is not None and kind.option is not None:
        arguments[kind.option] = _whole(call, formula) if kind.option == "order" else call.number
    elif kind.option == "nu" and not call.free:
        # Data seldom tell the smoothness; left free it drives the iteration to its limits.
        arguments["nu"] = MATERN_SMOOTHNESS
    return kind(size, **arguments)


def _whole(call: StructureCall, formula: ResidualFormula) -> int:
    assert call.number is not None
    if call.number != round(call.number):
        raise FormulaError(
            f"residual={formula.text!r}: {call.keyword} takes a whole number, found {call.number:g}"
        )
    return int(call.number)
