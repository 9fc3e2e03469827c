"""Residual covariance: ``residual="ar1(visit | subject)"`` read against the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmfast.arrays import CodeArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.chains import VisitChain
from mlmfast.covariance.structures.direct_product import DirectProduct
from mlmfast.data.factor import Factor, cross_factors
from mlmfast.data.frame import Frame
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.residual.chain import (
    FEW_VISITS,
    chain_steps,
    check_identified,
    with_several_rows,
)
from mlmfast.design.residual.checks import (
    check_arms,
    check_met_together,
    check_size,
    check_supported,
    met_twice,
    too_many,
)
from mlmfast.design.residual.design import LARGEST_ORDER, Points, ResidualDesign
from mlmfast.design.residual.instance import instance
from mlmfast.design.residual.known_matrices import known_matrices
from mlmfast.design.residual.read_series import series_residual_design
from mlmfast.design.residual.series import is_series
from mlmfast.design.residual.visits.of_rows import Visits, check_spacing, visits_of_rows
from mlmfast.formula.residual_formula import ResidualFormula, structure_kind

#: Visits of one covariance with few parameters.
LARGEST_TEMPLATE = 1000
#: Cells a row up to which counting them costs less than sorting the rows.
_FEW_CELLS = 8


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
        return series_residual_design(formula, kinds[0], frame, subjects)
    axes = [
        visits_of_rows(call, kind, frame) for call, kind in zip(formula.calls, kinds, strict=True)
    ]
    check_met_together(formula, kinds, subjects, axes, frame)
    if len(axes) == 1 and _is_scattered(kinds[0], subjects, axes[0]):
        return _scattered(formula, kinds[0], frame, subjects, axes[0])
    visits, labels = axes[0].codes, axes[0].labels
    for axis in axes[1:]:
        visits = visits * np.int32(len(axis.labels)) + axis.codes
        labels = tuple(f"{a}:{b}" for a in labels for b in axis.labels)
    independent = len(kinds) == 1 and kinds[0].independent
    if len(labels) > LARGEST_TEMPLATE and not independent:
        raise too_many(formula.text, len(labels), f"at most {LARGEST_TEMPLATE:,} are available")
    for call, kind, axis in zip(formula.calls, kinds, axes, strict=True):
        check_spacing(call, kind, axis)
    units, n_units = units_of_rows(formula, subjects, visits, labels, independent)
    arms, arm_codes = _arms_of_rows(formula, frame, subjects)
    structure = _product(formula, kinds, axes, lin)
    is_chain = isinstance(structure, VisitChain) and not scaled and len(labels) > FEW_VISITS
    check_supported(formula, structure, subjects, arms, arm_codes)
    if not is_chain:
        check_size(formula, structure, len(arms), scaled)
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
        chain,
    )


def _product(
    formula: ResidualFormula,
    kinds: list[type[CovarianceStructure]],
    axes: list[Visits],
    lin: Any,
) -> CovarianceStructure:
    """The structure, or the direct product of several."""
    structure: CovarianceStructure | None = None
    for call, kind, axis in zip(formula.calls, kinds, axes, strict=True):
        known = known_matrices(lin, axis.labels, formula.text) if kind.takes_matrices else None
        factor = instance(
            call, kind, len(axis.labels), formula, points=axis.points, matrices=known,
            places=axis.places(kind),
        )  # fmt: skip
        if structure is None:
            structure = factor
        else:
            structure = DirectProduct(structure.size * factor.size, structure, factor)
    assert structure is not None
    return structure


def _is_scattered(kind: type[CovarianceStructure], subjects: Factor, of_rows: Visits) -> bool:
    """Whether subjects have distances of their own: many points, or rows at one point."""
    if of_rows.points is None or len(of_rows.labels) < kind.minimum_size:
        return False
    cells = subjects.codes.astype(np.int64) * len(of_rows.labels) + of_rows.codes
    together = kind.takes_rows_at_one_place and len(np.unique(cells)) < len(cells)
    return together or len(of_rows.labels) > LARGEST_ORDER


def _scattered(
    formula: ResidualFormula,
    kind: type[CovarianceStructure],
    frame: Frame,
    subjects: Factor,
    of_rows: Visits,
) -> ResidualDesign:
    """Distances of its own for each subject: no template of all points."""
    codes, points = of_rows.codes, of_rows.points
    assert points is not None, "the caller looked"
    units, n_units = subjects.codes, subjects.n_levels
    if not kind.takes_rows_at_one_place:
        units, n_units = units_of_rows(formula, subjects, codes, of_rows.labels, kind.independent)
    arms, arm_codes = _arms_of_rows(formula, frame, subjects)
    order = np.argsort(units, kind="stable")
    sizes = np.bincount(units, minlength=n_units)
    positions = np.empty(len(units), dtype=np.int32)
    positions[order] = np.arange(len(units)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    few = points[np.unique(np.linspace(0, len(points) - 1, 30).astype(np.intp))]
    structure = instance(formula.calls[0], kind, len(few), formula, points=few)
    check_supported(formula, structure, subjects, arms, arm_codes)
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
        Points(points[codes], arm_codes),
    )


def units_of_rows(
    formula: ResidualFormula,
    subjects: Factor,
    visits: CodeArray,
    labels: tuple[str, ...],
    independent: bool,
) -> tuple[CodeArray, int]:
    """Blocks of rows with one covariance: the subjects, each visit at most once."""
    cell = subjects.codes.astype(np.int64) * len(labels) + visits
    n_cells = subjects.n_levels * len(labels)
    if n_cells <= _FEW_CELLS * len(cell) and np.bincount(cell).max(initial=0) <= 1:
        return subjects.codes, subjects.n_levels
    order = np.argsort(cell, kind="stable")
    repeated = np.flatnonzero(cell[order][1:] == cell[order][:-1])
    if repeated.size == 0:
        return subjects.codes, subjects.n_levels
    if not independent:
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


def _arms_of_rows(
    formula: ResidualFormula, frame: Frame, subjects: Factor
) -> tuple[tuple[str, ...], CodeArray]:
    """Groups with parameters of their own, and that of each row."""
    if formula.arm is None:
        return ("",), np.zeros(frame.n_rows, dtype=np.int32)
    arm = frame.factor(formula.arm)
    check_arms(formula, subjects, arm)
    return arm.levels, arm.codes
