"""Degrees of freedom that rows and ranks give, for all coefficients beside an absorbed factor."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import BoolArray, CodeArray, FloatArray
from mlmfast.degrees_of_freedom import (
    ByCounts,
    DegreesOfFreedom,
    FittedRows,
    GivenByTerm,
    method_of,
)
from mlmfast.degrees_of_freedom.between_within import (
    BetweenWithin,
    is_constant,
    refuse_none,
    subjects,
    varies,
)
from mlmfast.degrees_of_freedom.containment import Containment, check_positive
from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.fitted.record import FitRecord


def by_coefficient(fitted: FittedRows, record: FitRecord, ddf: str) -> FloatArray:
    """Degrees of freedom of the coefficients kept, (p,).

    Raises
    ------
    ModelError
        Where the method does not apply.
    """
    assert record.absorbed is not None, "made for such fits"
    method, n = method_of(ddf), len(record.absorbed.kept)
    refuse_by_term(method)
    if isinstance(method, BetweenWithin):
        return _between_within(fitted, record)
    if isinstance(method, Containment):
        return _containment(fitted, record)
    if isinstance(method, ByCounts):
        return np.full(n, method.of_counts(fitted.design.n_obs, n))
    raise ModelError(
        f"ddf={ddf!r} is not offered beside a factor that is eliminated; fit with absorb=False, or "
        "use one of the other methods"
    )


def refuse_by_term(method: DegreesOfFreedom) -> None:
    """Refuse degrees of freedom of single terms.

    Raises
    ------
    ModelError
    """
    if isinstance(method, GivenByTerm):
        raise ModelError(
            "ddf= by term is not offered beside a factor that is eliminated; fit with "
            "absorb=False, or give one method or number for all"
        )


def _between_within(fitted: FittedRows, record: FitRecord) -> FloatArray:
    """As `BetweenWithin` says, the levels' columns without forming them."""
    design, absorbed = fitted.design, record.absorbed
    factor = design.absorbed
    assert absorbed is not None, "made for such fits"
    assert factor is not None, "made for such fits"
    codes, n_subjects = subjects(design)
    within = np.zeros(len(absorbed.x_names), dtype=np.bool_)
    constant = within.copy()
    for position, column in zip(factor.others, design.x, strict=True):
        within[position] = varies(column, codes, n_subjects)
        constant[position] = is_constant(column)
    own = _levels_within(design, codes, n_subjects)[factor.by_contrasts :]
    within[factor.first : factor.first + factor.n_columns] = own
    if factor.intercept:
        constant[0] = True
    kept = list(absorbed.kept)
    n_within = int(within[kept].sum())
    inside = float(design.n_obs - n_subjects - n_within)
    outside = float(n_subjects - (len(kept) - n_within))
    degrees = np.where(within | constant, inside, outside)[kept]
    refuse_none(degrees, n_subjects)
    return np.asarray(degrees)


def _containment(fitted: FittedRows, record: FitRecord) -> FloatArray:
    """As `Containment` says, by the terms that the coefficients belong to."""
    absorbed, factor = record.absorbed, fitted.design.absorbed
    assert absorbed is not None, "made for such fits"
    assert factor is not None, "made for such fits"
    assert fitted.frame is not None, "absorbed by a formula"
    term = np.zeros(len(absorbed.x_names), dtype=np.intp)
    term[factor.others] = fitted.frame.term_of_column
    term[factor.first : factor.first + factor.n_columns] = factor.term
    degrees = Containment().by_term(fitted)[term[list(absorbed.kept)]]
    check_positive(degrees, [absorbed.x_names[j] for j in absorbed.kept])
    return np.asarray(degrees)


def _levels_within(design: Design, codes: CodeArray, n_subjects: int) -> BoolArray:
    """For each level whether some subject has rows in it and rows outside it, (n_levels,)."""
    factor = design.absorbed
    assert factor is not None, "made for such fits"
    first = np.empty(int(codes.max()) + 1, dtype=factor.codes.dtype)
    first[codes] = factor.codes
    several = np.zeros(len(first), dtype=np.bool_)
    np.logical_or.at(several, codes, factor.codes != first[codes])
    out = np.zeros(factor.n_levels, dtype=np.bool_)
    out[factor.codes[several[codes]]] = True
    return out
