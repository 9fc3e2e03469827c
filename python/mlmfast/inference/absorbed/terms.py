"""F tests of the terms beside an absorbed factor, and of the factor itself.

All terms are tested that no other contains: after all the others (type III, and type II, which is
the same for them), the hypothesis that a term's coefficients are 0. That of the factor has as many
rows as levels; its F is taken from what leaving it out adds to y'Py at the same V,

    F = (y'P_0 y - y'P y) / (sigma^2 l)

and degrees of freedom that go by the covariance of all its rows from matrices of that order, where
they are small enough.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.degrees_of_freedom import ddf_text, method_of
from mlmfast.distributions import chi2_tail, f_tail
from mlmfast.errors import ModelError
from mlmfast.fitting.undetermined.record import ERRORS_DEPEND
from mlmfast.inference.absorbed.coefficient_tests import coefficient_tests, levels_of
from mlmfast.inference.absorbed.contrasts import joint_of
from mlmfast.inference.absorbed.hypotheses import OtherColumns
from mlmfast.inference.anova.anova import AnovaTable, table_row, type_number, without_f
from mlmfast.inference.anova.row_bases import from_first_level
from mlmfast.inference.anova.terms import columns_of_one_term
from mlmfast.inference.contrasts.linear_tests import FTest
from mlmfast.reduction.engines.options import CrossedSettings
from mlmfast.reduction.reduce import reduce_design

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Rows of the factor's hypothesis whose covariance is formed.
LARGEST_HYPOTHESIS = 1_500


def anova(
    fit: Fitted,
    type: int | str,
    ddf: Any,
    *,
    definition: str | None = None,
    chisq: bool = False,
) -> AnovaTable:
    """F tests of every term; see `LMMResult.anova`.

    Raises
    ------
    ModelError
        For type I, another definition than lmerTest's, or terms that others contain.
    """
    kind = type_number(type)
    if kind in {1, 4} or (definition or "lmerTest").lower() != "lmertest":
        raise ModelError(
            "where a fixed factor is eliminated anova() tests each term after all others (types II "
            "and III by lmerTest's definition); leave type= and definition= out, or use "
            "absorb=False"
        )
    method = fit.ddf if ddf is None else ddf_text(ddf)
    rows: dict[str, dict[str, float]] = {}
    without: dict[str, str] = {}
    hypotheses, notes = {}, [f"Degrees of freedom: {method_of(method).label}"]
    left_out: list[str] = []
    terms = _terms(fit)
    source = fit._needs_source("anova()")
    others = OtherColumns(source.design, source.model.kept, _other_factors(fit))
    for label, columns in terms.items():
        if label == levels_of(fit).name:
            tested = others.n_of_factor > 0
            if tested:
                test, note = _factor_test(fit, others, method)
                notes += [note] if note else []
        else:
            L, used = _rows_of_term(fit, others, label, columns)
            tested = len(L) > 0
            if tested:
                hypotheses[label] = pd.DataFrame(L[:, used], columns=_names(fit, used))
                test = joint_of(fit, L, np.zeros(len(L)), method)
        if not tested:
            left_out.append(label)
            continue
        # Where F has no distribution the chi-squared test stands for it.
        instead = np.isnan(test.pvalue) and not np.isnan(test.chi2_pvalue)
        rows[label] = table_row(test, chisq or instead)
        if test.note:
            without[label] = test.note
    if left_out:
        notes.append(f"Not estimable, left out: {', '.join(left_out)}")
    return AnovaTable(
        pd.DataFrame.from_dict(rows, orient="index"),
        hypotheses,
        type=kind,
        definition="lmerTest",
        ddf=method,
        notes=(*notes, *without_f(without)),
    )


def _terms(fit: Fitted) -> dict[str, IntArray]:
    """For each term but the intercept, its columns among those beside the factor's."""
    record, factor = fit._record, fit._needs_source("anova()").design.absorbed
    assert factor is not None, "made for such fits"
    assert record.fixed_spec is not None, "absorbed by a formula"
    labels, term_of_column = record.terms_of_x
    members = record.fixed_spec.factors
    for label, own in members.items():
        bigger = [m for m, other in members.items() if set(own) < set(other)]
        if bigger:
            raise ModelError(
                f"the term {label!r} is contained in {bigger[0]!r}, and its test needs estimable "
                "functions over all cells, which are not formed where a fixed factor is "
                "eliminated; use contrast(), or absorb=False"
            )
    terms = np.array(term_of_column, dtype=np.intp)
    return {
        label: np.flatnonzero(terms == k)
        for k, label in enumerate(labels)
        if k >= int(factor.intercept)
    }


def _other_factors(fit: Fitted) -> bool:
    """Whether a term of factors alone stands beside the absorbed one."""
    spec = fit._record.fixed_spec
    assert spec is not None, "absorbed by a formula"
    return any(
        own and set(own) <= set(spec.coded)
        for label, own in spec.factors.items()
        if label != levels_of(fit).name
    )


def _rows_of_term(
    fit: Fitted, others: OtherColumns, label: str, own: IntArray
) -> tuple[FloatArray, list[int]]:
    """The hypothesis of a term over all coefficients, and the coefficients that it is about."""
    source, spec = fit._needs_source("anova()"), fit._record.fixed_spec
    assert source.frame is not None, "absorbed by a formula"
    assert spec is not None, "absorbed by a formula"
    counts = np.ones(source.design.n_obs)
    columns, cells = columns_of_one_term(spec, source.frame.frame, label, counts)
    coding = cells.coded(from_first_level)
    units = np.repeat(cells.scales, coding.shape[1] // len(cells.scales))
    rows = others.of_term(own, np.column_stack(columns) @ coding, units)
    L = np.zeros((len(rows), len(levels_of(fit).x_names)))
    L[:, others.map.inner] = rows
    return L, np.flatnonzero(L.any(axis=0)).tolist()


def _names(fit: Fitted, columns: list[int]) -> list[str]:
    return [levels_of(fit).x_names[j] for j in columns]


def _factor_test(fit: Fitted, others: OtherColumns, ddf: str) -> tuple[FTest, str]:
    """The test of the absorbed factor, and what a reader should know of it."""
    size, columns = others.n_of_factor, others.map.columns
    method, untold = method_of(ddf), fit._record.undetermined
    if untold is not None and untold.errors_depend:
        return FTest(*(np.nan, size, np.nan, np.nan, np.nan, np.nan), ERRORS_DEPEND), ""
    if size <= LARGEST_HYPOTHESIS and method.information is not None:
        L = np.zeros((size, len(levels_of(fit).x_names)))
        L[:, columns] = others.of_factor()
        return joint_of(fit, L, np.zeros(size), ddf), ""
    chi2 = _gain(fit, others.constant)
    statistic, tail = chi2 / size, float(chi2_tail(chi2, size))
    if method.information is not None:
        note = (
            f"{levels_of(fit).name}: {method.label} degrees of freedom of {size:,} rows together "
            "would take matrices of that order; F without adjustment and the chi-squared test are "
            "given. ddf='residual' and numbers have an F test"
        )
        return FTest(statistic, size, np.nan, np.nan, chi2, tail), note
    by = coefficient_tests(fit).by_coefficient(ddf)
    at = np.searchsorted(list(levels_of(fit).kept), columns)
    df = float(by[at].min())
    pvalue = tail if np.isinf(df) else float(f_tail(statistic, size, df))
    return FTest(statistic, size, df, pvalue, chi2, tail), ""


def _gain(fit: Fitted, with_constant: bool) -> float:
    """(y'P_0 y - y'P y) / sigma^2, without the factor and with it, at the fit's V."""
    source = fit._needs_source("anova()")
    design, model = source.design, source.model
    assert design.absorbed is not None, "made for such fits"
    constant = (None,) if with_constant else ()
    names = ("(Intercept)",) if with_constant else ()
    plain = replace(
        design, absorbed=None, x=(*constant, *design.x), x_names=(*names, *design.x_names)
    )
    other = reduce_design(plain, engine=CrossedSettings() if design.random else None)
    g = source.criterion.covariances(source.theta)
    without = float(other.core.solve(g, [0])[2][0, 0]) * other.response_unit
    own = float(source.criterion.reduction.solve(g, [0])[2][0, 0]) * model.response_unit
    return (without - own) / fit._record.sigma2
