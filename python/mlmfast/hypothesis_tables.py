"""Tables of F tests of the fixed effects: type I, II and III."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.contrast import FTest, f_test
from mlmfast.degrees_of_freedom import method_of
from mlmfast.errors import ModelError
from mlmfast.estimable import (
    EstimableFunctions,
    TermParts,
    functions_of_columns,
    functions_of_formula,
    type_one,
    type_three,
    type_two,
)
from mlmfast.model_matrix import INTERCEPT
from mlmfast.report.table_result import TableResult

if TYPE_CHECKING:
    from mlmfast.result import LMMResult

_TYPES = {"1": 1, "2": 2, "3": 3, "I": 1, "II": 2, "III": 3}
_ROMAN = {1: "I", 2: "II", 3: "III"}
_DEFINITIONS = ("SAS", "car")


class AnovaTable(TableResult):
    """F tests of the terms of the fixed part.

    Attributes
    ----------
    frame : DataFrame
        A row a term, columns NumDF, DenDF, "F value", "Pr(>F)"; with chi-square tests also
        Chisq and "Pr(>Chisq)".
    hypotheses : dict of DataFrame
        For each term the matrix L of its hypothesis L beta = 0, a column a coefficient.
    type, definition, ddf
        What was asked for.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        hypotheses: dict[str, pd.DataFrame],
        *,
        type: int,
        definition: str,
        ddf: str,
        notes: tuple[str, ...],
    ) -> None:
        super().__init__(frame, notes)
        self.hypotheses = hypotheses
        self.type = type
        self.definition = definition
        self.ddf = ddf

    def tidy(self) -> pd.DataFrame:
        """One row a term: term, num_df, den_df, statistic, p_value."""
        names = {
            "NumDF": "num_df",
            "DenDF": "den_df",
            "F value": "statistic",
            "Pr(>F)": "p_value",
            "Chisq": "chisq",
            "Pr(>Chisq)": "p_value_chisq",
        }
        return self.frame.rename(columns=names).rename_axis("term").reset_index()

    def _title(self) -> str:
        return f"Type {_ROMAN[self.type]} tests of fixed effects ({self.definition}), {self.ddf}"


def anova(
    fit: LMMResult,
    type: int | str = 3,
    ddf: Any = None,
    *,
    definition: str = "SAS",
    chisq: bool = False,
) -> AnovaTable:
    """F tests of every term of the fixed part; see `LMMResult.anova`."""
    kind = _type_number(type)
    if definition not in _DEFINITIONS:
        raise ModelError(f"definition is {definition!r}; use 'SAS' or 'car'")
    functions = estimable_functions(fit)
    matrices = hypothesis_matrices(functions, kind, definition, fit._record.vcov)
    rows, hypotheses, empty = {}, {}, []
    for label, L in matrices.items():
        if len(L) == 0:
            empty.append(label)
            continue
        # The coefficients of aliased columns follow from the others'.
        full = L @ functions.alias
        hypotheses[label] = pd.DataFrame(full, columns=list(fit._record.x_names))
        rows[label] = _row(f_test(fit, full, ddf), chisq)
    if not rows:
        raise ModelError("the fixed part has no term besides the intercept, so nothing to test")
    notes = [f"not estimable, left out: {', '.join(empty)}"] if empty else []
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return AnovaTable(
        frame,
        hypotheses,
        type=kind,
        definition=definition,
        ddf=ddf_label(fit, ddf),
        notes=tuple(notes),
    )


def hypothesis_matrices(
    functions: EstimableFunctions, kind: int, definition: str, vcov: FloatArray
) -> dict[str, FloatArray]:
    """For each term but the intercept its matrix over the coefficients kept, shape (n_rows, r)."""
    sas = definition == "SAS"
    if not sas and kind < 3:
        # Upper root of the information X'V^-1 X.
        functions = functions.in_metric(np.linalg.cholesky(np.linalg.inv(vcov)).T)
    matrices = {}
    for t, term in enumerate(functions.terms):
        if term.label == INTERCEPT:
            continue
        if kind == 1:
            L = type_one(functions, t)
        elif kind == 2:
            contains = TermParts.is_contained_in if sas else TermParts.is_within
            L = type_two(functions, t, contains)
        elif sas:
            L = type_three(functions, t)
        else:
            L = np.eye(len(functions.kept))[list(functions.kept_of_term[t])]
        matrices[term.label] = L
    return matrices


def estimable_functions(fit: LMMResult) -> EstimableFunctions:
    """Estimable functions of a fit's fixed part, worked out once."""
    source = fit._needs_source("a test of terms")
    record = fit._record
    known: EstimableFunctions | None = fit.__dict__.get("_estimable_functions")
    if known is None:
        if record.fixed_spec is None or source.frame is None:
            design = source.design
            known = functions_of_columns(design.x, design.x_names, record.kept)
        else:
            known = functions_of_formula(record.fixed_spec, source.frame.frame, record.kept)
        fit.__dict__["_estimable_functions"] = known
    return known


def _type_number(kind: int | str) -> int:
    number = _TYPES.get(str(kind).upper().removeprefix("TYPE").strip())
    if number is None or isinstance(kind, bool):
        raise ModelError(f"type is {kind!r}; use 1, 2 or 3 (or 'I', 'II', 'III')")
    return number


def ddf_label(fit: LMMResult, ddf: Any) -> str:
    """Name of a method of degrees of freedom in reports; the fit's own for None."""
    method = method_of(fit.ddf if ddf is None else ddf)
    return f"{method.label} degrees of freedom"


def _row(test: FTest, chisq: bool) -> dict[str, float]:
    row = {
        "NumDF": test.df_num,
        "DenDF": test.df_den,
        "F value": test.statistic,
        "Pr(>F)": test.pvalue,
    }
    return row | ({"Chisq": test.chi2, "Pr(>Chisq)": test.chi2_pvalue} if chisq else {})
