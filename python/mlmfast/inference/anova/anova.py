"""Tables of F tests of the fixed effects: type I, II, III and IV."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import method_of
from mlmfast.display.table_result import TableResult
from mlmfast.distributions import two_sided
from mlmfast.errors import DataError, ModelError
from mlmfast.fitted.fitted import Fitted
from mlmfast.formula.smooth_terms import is_smooth_label
from mlmfast.guessed_arguments import unknown_argument
from mlmfast.handed_out import copied
from mlmfast.inference.anova import EstimableFunctions
from mlmfast.inference.anova.matrices import hypothesis_matrices
from mlmfast.inference.anova.of_fit import estimable_functions
from mlmfast.inference.contrasts.linear_tests import FTest, f_test, linear_tests

_TYPES = {"1": 1, "2": 2, "3": 3, "4": 4, "I": 1, "II": 2, "III": 3, "IV": 4}
_ROMAN = {1: "I", 2: "II", 3: "III", 4: "IV"}
_BY_ORDER = (
    "car's type III tests coefficients: where columns of X are aliased, as here, it depends on the "
    "order of levels, which the hypotheses of definition='SAS' do not"
)
_DEFINITIONS = ("SAS", "lmerTest", "mmrm", "car")


class AnovaTable(TableResult):
    """F tests of the terms of the fixed part.

    Attributes
    ----------
    frame : DataFrame
        A row a term, columns NumDF, DenDF, "F value", "Pr(>F)"; with chi-square tests also
        Chisq and "Pr(>Chisq)".
    hypotheses : dict of DataFrame
        For each term the matrix L of its hypothesis L beta = 0, a column a coefficient.
    components : DataFrame or None
        Each row of each hypothesis by itself, as LCOMPONENTS of PROC MIXED prints them: term, row,
        estimate, se, df, statistic, p_value; None beside an eliminated factor. Their rows are
        those of ``hypotheses``, so of ``definition``: "SAS" sets each level against the last,
        "lmerTest" against the first; those of "car" are orthonormal over the levels, which is the
        scale of their estimates, and covariates are in their own units.
    type, definition, ddf
        What was asked for.
    """

    _metadata = [  # noqa: RUF012
        "title", "notes", "hypotheses", "components", "type", "definition", "ddf",
    ]  # fmt: skip

    hypotheses: dict[str, pd.DataFrame] = copied()
    components: pd.DataFrame | None = copied()

    def __init__(
        self,
        frame: pd.DataFrame,
        hypotheses: dict[str, pd.DataFrame],
        *,
        type: int,
        definition: str,
        ddf: str,
        notes: tuple[str, ...],
        components: pd.DataFrame | None = None,
    ) -> None:
        super().__init__(frame, notes)
        self.hypotheses = hypotheses
        self.components = components
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
        return f"Type {_ROMAN[self.type]} tests of fixed effects ({self.definition})"


def anova(
    fit: Fitted,
    *fits: Any,
    type: int | str = 3,
    ddf: Any = None,
    definition: str | None = None,
    chisq: bool = False,
    **comparison: Any,
) -> Any:
    """F tests of the terms of the fixed part, or with other fits likelihood-ratio tests.

    Parameters
    ----------
    *fits
        Other fits to compare with; see `mlmfast.compare`, which ``**comparison`` goes to.
    type
        1 (each term after those before it), 2 (after all that do not contain it), 3 (estimable
        functions of all cells; independent of contrasts and of cell counts) or 4 (contrasts
        between cells that occur, weighted alike: PROC GLM's type IV, for empty cells, where it
        may depend on the order of levels; by the rows of type III where it is that hypothesis).
    ddf
        Method for the denominator degrees of freedom; that of the fit by default.
    definition
        "SAS", "lmerTest", "mmrm": the hypotheses of PROC MIXED, from the design alone (type I
        and II orthogonal in the metric X'X), with the same F. They differ in the rows that
        stand for a hypothesis, on which Satterthwaite's degrees of freedom depend where there
        are several: differences from the last level, from the first, from the mean. By
        default "mmrm" for models with a residual structure alone, else "lmerTest". "car": R's
        car and nlme, type I and II in the metric X'V^-1 X, type III the coefficients of the
        contrasts the model was fitted with (what they determine free of the other terms, where
        columns are aliased); by rows that set no level apart. A linear model without random
        effects has the metric X'WX of its weights in all of them. But for car's type III no
        hypothesis depends on contrasts or on the order of levels, and F tests by Satterthwaite
        only through the rows.
    chisq
        Also chi-square tests, as the CHISQ option of PROC MIXED.

    Returns
    -------
    AnovaTable
        NumDF, DenDF, "F value" and "Pr(>F)" by term; ``.hypotheses`` holds the matrices.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.anova(ddf="asymptotic")
    Type III tests of fixed effects (lmerTest):
          NumDF  DenDF  F value    Pr(>F)
    Days      1    Inf   45.853  1.27e-11
    Degrees of freedom: asymptotic
    """
    if fits and isinstance(fits[0], Fitted):
        if (type, ddf, definition, chisq) != (3, None, None, False):
            raise ModelError("type, ddf, definition and chisq are not for comparing fits")
        return fit._compared(*fits, **comparison)
    if comparison:
        own = ["type", "ddf", "definition", "chisq"]
        raise unknown_argument("anova", next(iter(comparison)), own)
    if len(fits) > 1:
        raise ModelError("anova takes one type of test, or fits to compare with")
    return _tests_of_terms(fit, fits[0] if fits else type, ddf, definition, chisq)


def _tests_of_terms(
    fit: Fitted, type: int | str, ddf: Any, definition: str | None, chisq: bool
) -> AnovaTable:
    if not isinstance(chisq, bool | np.bool_):
        raise ModelError(f"chisq is {chisq!r}; use True or False")
    kind = type_number(type)
    definition = _definition(fit, definition)
    functions = estimable_functions(fit)
    matrices = _matrices(fit, functions, kind, definition)
    own = {term.label: functions.kept_of_term(t) for t, term in enumerate(functions.terms)}
    scales = {
        # Rows that are coefficients under some coding are in units already.
        term.label: cells.scales if definition == "car" else np.ones(1)
        for term, cells in zip(functions.terms, functions.cells, strict=True)
    }
    empty = [label for label, L in matrices.items() if len(L) == 0]
    curves = [term.label for term in functions.terms if is_smooth_label(term.label)]
    if len(empty) == len(matrices):
        raise _nothing_to_test(empty, curves)
    rows, hypotheses, without = {}, {}, {}
    parts: list[pd.DataFrame] = []
    for label, L in matrices.items():
        if len(L) == 0:
            continue
        # The coefficients of aliased columns follow from the others'.
        shown = in_units(L @ functions.alias, scales[label])
        hypotheses[label] = pd.DataFrame(shown, columns=list(fit._record.x_names))
        test = f_test(fit, L @ functions.alias, ddf, term=own[label])
        rows[label] = table_row(test, chisq)
        parts.append(_components(fit, label, shown, ddf, test))
        if test.note:
            without[label] = test.note
    by_order = kind == 3 and definition == "car"
    notes = _notes(fit, ddf, empty, curves, by_order) + without_f(without)
    return AnovaTable(
        pd.DataFrame.from_dict(rows, orient="index"),
        hypotheses,
        type=kind,
        definition=definition,
        ddf=str(fit.ddf if ddf is None else ddf),
        notes=tuple(notes),
        components=pd.concat(parts, ignore_index=True),
    )


def _nothing_to_test(empty: list[str], curves: list[str]) -> ModelError:
    if curves and not empty:
        return ModelError(
            f"the fixed part has no terms besides {', '.join(curves)}, whose tests are in "
            "fit.smooths"
        )
    if empty:
        return ModelError(
            f"nothing to test: no part of {', '.join(empty)} is estimable free of the other terms, "
            "each being confounded with them; leave terms out, or see type=1"
        )
    return ModelError("the fixed part has no term besides the intercept, so nothing to test")


def _notes(fit: Fitted, ddf: Any, empty: list[str], curves: list[str], by_order: bool) -> list[str]:
    """What is said below the table, but for terms without an F."""
    notes = [ddf_label(fit, ddf), *convergence_notes(fit)]
    if empty:
        notes.append(f"Not estimable, left out: {', '.join(empty)}")
    if by_order and len(fit._record.kept) < len(fit._record.x_names):
        notes.append(_BY_ORDER)
    if curves:
        notes.append(f"Smooth terms, tested in fit.smooths: {', '.join(curves)}")
    return notes


def in_units(L: FloatArray, scales: FloatArray) -> FloatArray:
    """Rows of a hypothesis in the units of the covariates, which have mean square 1 in it.

    Examples
    --------
    >>> in_units(np.array([[4.0], [6.0]]), np.array([2.0, 3.0])).tolist()
    [[2.0], [2.0]]
    """
    if len(L) % len(scales):
        return L
    return np.asarray(L / np.repeat(scales, len(L) // len(scales))[:, None])


def _components(fit: Fitted, label: str, L: FloatArray, ddf: Any, test: FTest) -> pd.DataFrame:
    """t tests of the rows of a hypothesis; where a method has degrees by term, the term's."""
    basis = fit._basis(ddf)
    found = linear_tests(fit, L, ddf=ddf)
    df = found.df if basis.by_coefficient is None else np.full(len(L), test.df_den)
    return pd.DataFrame(
        {
            "term": label,
            "row": np.arange(1, len(L) + 1),
            "estimate": found.estimate,
            "se": found.se,
            "df": df,
            "statistic": found.statistic,
            "p_value": two_sided(found.statistic, df),
        }
    )


def _matrices(
    fit: Fitted, functions: EstimableFunctions, kind: int, definition: str
) -> dict[str, FloatArray]:
    """`hypothesis_matrices`; what a saved fit keeps for them may have been edited."""
    try:
        return hypothesis_matrices(functions, kind, definition, fit._record.vcov)
    except (np.linalg.LinAlgError, IndexError, ValueError) as error:
        if fit._source is not None or isinstance(error, ModelError):
            raise
        raise DataError(f"what the saved fit keeps of its terms is damaged ({error})") from error


def _definition(fit: Fitted, definition: str | None) -> str:
    if definition is None:
        # Of the packages for each kind of model, so that users find their numbers.
        record = fit._record
        return "mmrm" if record.residual is not None and not record.terms else "lmerTest"
    for known in _DEFINITIONS:
        if str(definition).lower() == known.lower():
            return known
    near = get_close_matches(str(definition), _DEFINITIONS, n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ModelError(
        f"definition is {definition!r}{hint} (known: {', '.join(map(repr, _DEFINITIONS))})"
    )


def without_f(reasons: Mapping[str, str]) -> list[str]:
    """Say which tests have no F, by reason.

    Examples
    --------
    >>> without_f({"a": "too few clusters", "b": "too few clusters"})
    ['No F for a, b: too few clusters']
    """
    return [
        f"No F for {', '.join(name for name, own in reasons.items() if own == reason)}: {reason}"
        for reason in dict.fromkeys(reasons.values())
    ]


def type_number(kind: int | str) -> int:
    """Type of test from what a user writes: 1, 2, 3, 4, "III", ..."""
    number = _TYPES.get(str(kind).upper().removeprefix("TYPE").strip())
    if number is None or isinstance(kind, bool):
        raise ModelError(f"type is {kind!r}; use 1, 2, 3 or 4 (or 'I', 'II', 'III', 'IV')")
    return number


def ddf_label(fit: Fitted, ddf: Any) -> str:
    """Name of a method of degrees of freedom in reports; the fit's own for None."""
    method = method_of(fit.ddf if ddf is None else ddf)
    return f"Degrees of freedom: {method.label}"


def convergence_notes(fit: Fitted) -> list[str]:
    """What a table says where its fit is no optimum."""
    if fit.converged:
        return []
    return ["NOT CONVERGED: these numbers are not to be reported; see fit.certificate"]


def table_row(test: FTest, chisq: bool) -> dict[str, float]:
    """Columns of a table of F tests."""
    row = {
        "NumDF": test.df_num,
        "DenDF": test.df_den,
        "F value": test.statistic,
        "Pr(>F)": test.pvalue,
    }
    return row | ({"Chisq": test.chi2, "Pr(>Chisq)": test.chi2_pvalue} if chisq else {})
