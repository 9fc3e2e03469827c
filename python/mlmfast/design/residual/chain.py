"""Subjects as steps from visit to visit, where residuals are chains with parameters by visit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.chains import VisitChain
from mlmfast.covariance.scaled_correlation import Heterogeneous
from mlmfast.data.factor import Factor
from mlmfast.errors import ModelError
from mlmfast.formula.residual_formula import ResidualFormula

#: Visits up to which one matrix over the visits costs no more than the steps between them: without
#: random effects both take some 0.03 s for 1,000 subjects there; with them, and beyond, steps win.
FEW_VISITS = 12
#: Names listed in an error before the rest is counted.
_NAMED = 3


@dataclass(frozen=True)
class ChainSteps:
    """Rows by the step that leads to each.

    Attributes
    ----------
    step : shape (n,), int32
        Class of the step from the subject's row before; -1 - class where a subject begins.
    starts : shape (n_starts, 2)
        Arm and visit of each class of starts.
    steps : shape (n_steps, 3)
        Arm, visit before and visit of each class of steps.
    n_starts, n_steps : shapes (n_starts,), (n_steps,)
        Rows of each class.
    visits : shape (n,), int32
        Visit of each row, which orders the rows of a subject.
    """

    step: CodeArray
    starts: IntArray
    steps: IntArray
    n_starts: FloatArray
    n_steps: FloatArray
    visits: CodeArray


def chain_steps(visits: CodeArray, units: CodeArray, arms: CodeArray) -> ChainSteps:
    """Sort rows into steps; ``units`` have each visit at most once.

    Examples
    --------
    >>> codes = np.zeros(3, dtype=np.int32)
    >>> found = chain_steps(np.int32([3, 0, 1]), codes, codes)
    >>> found.step.tolist(), found.starts.tolist(), found.steps.tolist()
    ([1, -1, 0], [[0, 0]], [[0, 0, 1], [0, 1, 3]])
    """
    order = np.lexsort((visits, units))
    visit, arm = visits[order], arms[order]
    follows = np.concatenate([[False], units[order][1:] == units[order][:-1]])
    starts, start_codes = np.unique(
        np.column_stack([arm[~follows], visit[~follows]]), axis=0, return_inverse=True
    )
    before = np.concatenate([[0], visit[:-1]])
    steps, codes = np.unique(
        np.column_stack([arm[follows], before[follows], visit[follows]]),
        axis=0,
        return_inverse=True,
    )
    own = np.empty(len(order), dtype=np.int32)
    own[~follows], own[follows] = -1 - start_codes.ravel(), codes.ravel()
    step = np.empty_like(own)
    step[order] = own
    return ChainSteps(
        step,
        starts.astype(np.intp),
        steps.astype(np.intp),
        np.bincount(start_codes.ravel(), minlength=len(starts)).astype(np.float64),
        np.bincount(codes.ravel(), minlength=len(steps)).astype(np.float64),
        visits,
    )


def check_identified(
    formula: ResidualFormula,
    structure: CovarianceStructure,
    steps: ChainSteps,
    visits: tuple[str, ...],
    arms: tuple[str, ...],
) -> None:
    """Refuse parameters that no data tell, by name.

    Raises
    ------
    ModelError
        For a visit with a variance (and a correlation) of its own that no subject (or one) has, and
        correlations of neighbours that occur only in products with each other.
    """
    differs_by_step = isinstance(structure, VisitChain) and structure.differs_by_step
    for arm, label in enumerate(arms):
        where = f" of {formula.arm} = {label!r}" if formula.arm is not None else ""
        own = steps.steps[steps.steps[:, 0] == arm]
        if isinstance(structure, Heterogeneous):
            # One subject's residual tells a variance, but not a correlation as well.
            needed = 2 if differs_by_step else 1
            met = _subjects(steps, arm, len(visits))
            few = [visits[v] for v in np.flatnonzero(met < needed)]
            if few:
                found = "fewer than two subjects" if needed > 1 else "no subjects"
                raise ModelError(
                    f"residual={formula.text!r} has a variance for each visit, and {found}{where} "
                    f"are met at {_listed(few)}; leave such visits out, join them with others, or "
                    "use a structure with one variance (ar1, ad)"
                )
        if differs_by_step:
            apart = _apart(own, len(visits))
            pairs = [f"{visits[k]} and {visits[k + 1]}" for k in apart]
            if pairs:
                raise ModelError(
                    f"residual={formula.text!r} has a correlation for each pair of neighbouring "
                    f"visits, and the subjects{where} do not tell that of {_listed(pairs)} from "
                    "others: no subject goes from one to the other, not even by way of other "
                    "visits. Leave visits out, join them, or use ar1h"
                )


def _subjects(steps: ChainSteps, arm: int, n_visits: int) -> FloatArray:
    """Subjects met at each visit."""
    own, led = steps.starts[:, 0] == arm, steps.steps[:, 0] == arm
    begun = np.bincount(steps.starts[own, 1], steps.n_starts[own], n_visits)
    return np.asarray(begun + np.bincount(steps.steps[led, 2], steps.n_steps[led], n_visits))


def _apart(steps: IntArray, n_visits: int) -> IntArray:
    """Visits k whose correlation with the next is not told by products over the steps.

    A step from j to l tells the product over j, ..., l - 1. These products tell all factors in
    between if, and only if, the steps connect the visits.

    Examples
    --------
    >>> _apart(np.array([[0, 0, 1], [0, 0, 2]]), 3), _apart(np.array([[0, 0, 2]]), 3)
    (array([], dtype=int64), array([0, 1]))
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    joins = coo_array((np.ones(len(steps)), (steps[:, 1], steps[:, 2])), shape=(n_visits, n_visits))
    _, part = connected_components(joins, directed=False)
    return np.flatnonzero(part[1:] != part[:-1])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def with_several_rows(formula: ResidualFormula, subjects: Factor, steps: ChainSteps) -> None:
    """Refuse data in which no subject has two rows.

    Raises
    ------
    ModelError
        Where there is no step at all.
    """
    if len(steps.steps) == 0:
        raise ModelError(
            f"residual={formula.text!r} finds no subject (of {subjects.n_levels}) with more than "
            "one row, so no correlation can be estimated; leave residual= out, or check the subject"
        )
