"""A residual covariance over visits, of subjects that stand for those read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray
from mlmfast.covariance.base import CovarianceStructure
from mlmfast.data.factor import level_labels
from mlmfast.data.frame import Frame
from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.read import residual_design
from mlmfast.design.residual.series import is_series
from mlmfast.errors import ModelError
from mlmfast.formula.mixed_formula import MixedFormula, parse_formula
from mlmfast.formula.residual_formula import ResidualFormula, parse_residual, structure_kind
from mlmfast.formula.row_wise import call_over_all_rows
from mlmfast.formula.smooth_terms import SMOOTH
from mlmfast.mergeable.coding.plan import Plan
from mlmfast.mergeable.condensed.units import CondensedUnits, close


def check_reducible(
    formula: MixedFormula,
    within: ResidualFormula | None,
    weights: str | None,
    held: bool = False,
) -> None:
    """Refuse what sums do not hold, before any row is read.

    Parameters
    ----------
    held
        Whether rows stay in parts, so that nothing is shared by all of them.

    Raises
    ------
    ModelError
        For smooth terms (beside a residual covariance), covariances by level, several levels a row
        and single levels of a factor; for random effects or weights beside a residual covariance.
    """
    call = call_over_all_rows(formula, () if within is not None or held else (SMOOTH,))
    by_level = [term.text for term in formula.random if term.by is not None]
    if call is not None or by_level:
        what = f"{call}()" if call is not None else by_level[0]
        instead = ", or write bs(x, df) for the smooth term" if call == SMOOTH else ""
        raise ModelError(
            f"{what} is made from all rows at once, and a reduction reads them in parts; fit the "
            f"rows, mlm.lmm(formula, data){instead}"
        )
    other = "random effects" if formula.random else "weights" if weights is not None else None
    if within is not None and other is not None:
        raise ModelError(
            f"residual={within.text!r} beside {other}: then no two subjects have one covariance, "
            "and there are no sums to keep; fit the rows, mlm.lmm(formula, data, residual=...)"
        )


def needs_rows(formula: str, residual: str | None, weights: object) -> bool:
    """Whether a model asks the rows anew at every step, since no two subjects have one covariance.

    Examples
    --------
    >>> needs_rows("y ~ t", "us(visit | id)", None), needs_rows("y ~ t", "ar1(visit | id)", None)
    (False, True)
    """
    if residual is None:
        return False
    within = parse_residual(residual)
    along = len(within.calls) == 1 and is_series(
        structure_kind(within.calls[0], within.text), within.coordinates
    )
    return along or weights is not None or bool(parse_formula(formula).random)


def time_of(within: ResidualFormula | None) -> str | None:
    """The column of times, where residuals run along series that go by numbers."""
    if within is None or len(within.calls) != 1:
        return None
    kind: type[CovarianceStructure] = structure_kind(within.calls[0], within.text)
    along = is_series(kind, within.coordinates) and kind.needs == "coordinates"
    return within.coordinates[0] if along else None


@dataclass(frozen=True, eq=False)
class UnitRows:
    """Rows of subjects that stand for those read.

    Attributes
    ----------
    values : shape (n, n_columns), less the origin
    weights : shape (n,)
    residual
        Their covariance.
    counts : shape (n_units,), subjects that each stands for
    """

    values: FloatArray
    weights: FloatArray
    residual: ResidualDesign
    counts: NDArray[np.int64]


def unit_rows(plan: Plan, found: CondensedUnits) -> UnitRows:
    """The rows of all patterns below each other.

    Raises
    ------
    ModelError
        For a structure along series or scattered points, which no two subjects share.
    """
    units = close(found)
    assert plan.within is not None, "the caller looked"
    patterns = list(units.patterns.items())
    m = len(units.origin)
    values = np.concatenate([own.values.reshape(-1, m) for _, own in patterns])
    weights = np.concatenate([np.repeat(own.weights, len(key.visits)) for key, own in patterns])
    n_units = [len(own.weights) for _, own in patterns]
    lengths = np.repeat([len(key.visits) for key, _ in patterns], n_units)
    subject = np.repeat(np.arange(sum(n_units)), lengths)
    frame = _frame(plan, patterns, n_units, subject)
    residual = residual_design(plan.within, frame)
    if residual.along is not None or residual.by_unit:
        raise ModelError(
            f"{residual.text} goes along the rows of each subject, over too many visits to be "
            "summed by pattern; fit the rows, mlm.lmm(formula, data, residual=...)"
        )
    counts = [_counts(own.n_subjects, len(own.weights)) for _, own in patterns]
    labels = _labels(plan.within, units)
    factor = residual.subject
    subjects = GroupingFactor(factor.name, factor.codes, labels, factor.columns)
    return UnitRows(values, weights, replace(residual, subject=subjects), np.concatenate(counts))


def _counts(count: int, k: int) -> NDArray[np.int64]:
    """Subjects for each of k that stand for them: whole numbers, whose sum is all that counts."""
    out = np.ones(k, dtype=np.int64)
    out[0] += count - k
    return out


def _frame(plan: Plan, patterns: list[Any], n_units: list[int], subject: NDArray[Any]) -> Frame:
    """Visits, arms and subjects of the rows, as a frame of the data would have them."""
    within = plan.within
    assert within is not None, "the caller looked"
    positions = np.concatenate(
        [np.tile(np.array(key.visits), n) for (key, _), n in zip(patterns, n_units, strict=True)]
    )
    columns: dict[str, Any] = {}
    for name in reversed(within.coordinates):
        levels = plan.levels[name]
        positions, codes = np.divmod(positions, len(levels.labels))
        columns[name] = levels.taken(codes)
    if within.arm is not None:
        pairs = zip(patterns, n_units, strict=True)
        arms = [np.full(len(key.visits) * n, key.arm) for (key, _), n in pairs]
        columns[within.arm] = plan.levels[within.arm].taken(np.concatenate(arms))
    # One column of subjects, whatever number of columns told them apart.
    for name in within.subject:
        columns[name] = subject
    return Frame.from_native(columns)


def _labels(within: ResidualFormula, units: CondensedUnits) -> tuple[str, ...]:
    """Labels of the subjects; their numbers where labels are withheld."""
    parts = [level_labels(units.subjects[name]) for name in within.subject]
    if len(parts[0]) != units.n_closed:
        return tuple(map(str, range(units.n_closed)))
    if len(parts) == 1:
        return parts[0]
    return tuple(":".join(own) for own in zip(*parts, strict=True))
