"""What a residual covariance asks of the data, refused by name where they do not have it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import CodeArray
from mlmfast.covariance import STRUCTURES, CovarianceStructure
from mlmfast.covariance.structures.direct_product import DirectProduct
from mlmfast.data.factor import Factor, count_codes
from mlmfast.data.frame import Frame
from mlmfast.design.residual.template_size import template_bytes
from mlmfast.design.residual.visits.of_rows import Visits
from mlmfast.errors import DataError, ModelError
from mlmfast.formula.residual_formula import ResidualFormula
from mlmfast.running.memory import RESERVE, memory_left


def check_met_together(
    formula: ResidualFormula,
    kinds: Sequence[type[CovarianceStructure]],
    subjects: Factor,
    axes: Sequence[Visits],
    frame: Frame,
) -> None:
    """Refuse correlations between levels of which no subject has two."""
    arm = None if formula.arm is None else frame.factor(formula.arm)
    for call, kind, axis in zip(formula.calls, kinds, axes, strict=True):
        codes = axis.codes
        # Known matrices may be diagonal. One level has its own refusal.
        if kind.is_diagonal(call.number) or kind.takes_matrices or not np.ptp(codes):
            continue
        # That of each subject's first row, which is written last.
        own = np.empty(subjects.n_levels, dtype=codes.dtype)
        own[subjects.codes[::-1]] = codes[::-1]
        told = codes != own[subjects.codes]
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


def check_size(
    formula: ResidualFormula, structure: CovarianceStructure, n_arms: int, scaled: bool
) -> None:
    """Refuse covariances whose derivatives by each pair of entries would not fit."""
    needed = template_bytes(structure, n_arms, scaled)
    left = memory_left() - RESERVE
    if needed > max(left, RESERVE):
        raise too_many(
            formula.text,
            structure.size,
            f"{len(structure.entries) * n_arms:,} distinct covariances and "
            f"{structure.n_theta * n_arms:,} parameters, whose second derivatives would take "
            f"{needed / 1e9:.1f} GB ({max(left, 0.0) / 1e9:.1f} are left)",
        )


def too_many(text: str, n: int, why: str) -> ModelError:
    """The error for more visits or points than a structure can have."""
    return ModelError(
        f"residual={text!r} spans {n:,} distinct visits or points: {why}. ar1, arma11 and "
        "car1 take series of any length; ad, adh, ar1h, cs, toep(visit | id, 2), diag and the "
        "spatial structures hundreds of visits; the memory grows with the fourth power of the "
        "visits for us, toep, toeph and csh"
    )


def check_supported(
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
        n_subjects = int(np.count_nonzero(count_codes(subjects.codes[rows], subjects.n_levels)))
        where = f" of {formula.arm} = {label!r}" if formula.arm is not None else ""
        found = f"{n_subjects} subject(s) and {int(rows.sum())} rows{where}"
        needed = ""
        if structure.n_theta > rows.sum():
            needed = f"has {structure.n_theta} parameters"
        elif structure.mixes and n_subjects < structure.size:
            needed = f"over {structure.size} visits needs at least as many subjects"
        elif n_subjects == 1 and not _from_one_series(structure):
            needed = "needs several subjects to estimate its parameters from"
        if needed:
            few = structure.mixes and n_subjects < structure.size
            order = f" ({_order_of(formula)})" if few else ""
            raise ModelError(
                f"residual={formula.text!r} {needed}; found {found}. Use a structure with fewer "
                f"parameters, such as ar1 or cs{order}"
            )


def _from_one_series(structure: CovarianceStructure) -> bool:
    """Whether one subject's rows repeat everything that is estimated."""
    if isinstance(structure, DirectProduct):
        return _from_one_series(structure.outer) and _from_one_series(structure.inner)
    return structure.from_one_series


def _order_of(formula: ResidualFormula) -> str:
    """What stands where in the formula, for who exchanged it."""
    if formula.arm is not None:
        keyword = formula.calls[0].keyword
        return f"after the slash stand the subjects, as in {keyword}(visit | arm / id)"
    return f"after the bar stands what tells subjects apart, here {':'.join(formula.subject)!r}"


def met_twice(formula: ResidualFormula, subject: str, visit: str) -> DataError:
    """The error for a subject with several rows at one visit."""
    subjects = ":".join(formula.subject)
    keyword, columns = formula.calls[0].keyword, ", ".join(formula.coordinates)
    with_own = STRUCTURES.get(f"{keyword}_nugget")
    advice = "remove or average the rows"
    if with_own is not None and with_own.takes_rows_at_one_place and len(formula.calls) == 1:
        bar = f"{formula.arm} / {subjects}" if formula.arm is not None else subjects
        advice = (
            f"errors of their own, a nugget, tell the rows apart: {keyword}({columns} | {bar}, "
            "nugget). Or remove or average the rows"
        )
    return DataError(
        f"subject {subject!r} has several rows at {columns} = {visit!r}; "
        f"residual={formula.text!r} needs at most one ({_order_of(formula)}); {advice}"
    )


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
