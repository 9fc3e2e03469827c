"""Likelihood-ratio tables of fits to the same data."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.design.design import Design
from mlmfast.design.residual.scale import CONSTANT_AND_POWER
from mlmfast.display.frame_cells import table_of
from mlmfast.display.html import tables_html
from mlmfast.display.printed_frame import PrintedFrame
from mlmfast.display.tables import Table
from mlmfast.display.text import WIDE, notes_text, table_text, wrapped
from mlmfast.distributions import chi2_tail
from mlmfast.errors import AliasedWarning, ComparisonError, SingularFitWarning
from mlmfast.fitted.fitted import Fitted
from mlmfast.guessed_arguments import told
from mlmfast.inference.comparison.nested import are_nested
from mlmfast.prepared.fit_model import Wishes, fit_model
from mlmfast.prepared.model import model_of

#: Characters of a name that leave the table within a line.
_SHORT = 16
#: How far sums of squares of one response may lie apart by rounding, relative.
_SAME_SUM = 1e-9


class Comparison(PrintedFrame):
    """A likelihood-ratio table; ``notes`` say what should be known when reading it.

    One row a fit, fewest parameters first, indexed by the fits' names. Columns ``npar``, ``AIC``,
    ``BIC``, ``logLik``, ``deviance``, ``Chisq``, ``Df``, ``Pr(>Chisq)``; the last three compare a
    fit with the one above. Long names stand above the printed table, by number.
    """

    _metadata = ["title", "notes", "method"]  # noqa: RUF012 (what pandas asks of a subclass)

    method: str

    def _legend(self) -> list[str]:
        """Names that would make the table too wide, by number."""
        names = [str(name) for name in self.index]
        if max(map(len, names)) <= _SHORT:
            return []
        return [wrapped(str(k), name, 4) for k, name in enumerate(names, 1)]

    def _table(self) -> Table:
        frame = pd.DataFrame(self)
        if self._legend():
            frame = frame.set_axis([str(k) for k in range(1, len(frame) + 1)])
        return table_of(frame, "")

    def __repr__(self) -> str:
        lines = [f"{self.title}:", *self._legend(), table_text(self._table(), WIDE)]
        return "\n".join([*lines, *notes_text(self.notes)])

    def _repr_html_(self) -> str:
        table = table_of(pd.DataFrame(self), self.title)
        return tables_html([table], tuple(f"Note: {note}" for note in self.notes))


@told()
def compare(*fits: Fitted, refit: bool = False, names: Sequence[str] | None = None) -> Comparison:
    """Compare fits of nested models by likelihood-ratio tests (R's ``anova(fit1, fit2)``).

    Fits by ML may differ in fixed and random effects. REML likelihoods are of different data where
    the fixed effects differ, so fits by REML must have the same fixed effects, or be refitted.

    Parameters
    ----------
    *fits
        Two or more, in any order.
    refit
        Fit those that were fitted by REML again by ML.
    names
        Labels of the rows; the formulas by default.

    Returns
    -------
    Comparison
        A data frame with ``notes``: on refits, on tests that have no degrees of freedom, and on
        variances at the boundary, whose p-values are too large (`LMMResult.test_variance`).

    Raises
    ------
    ComparisonError
        Fewer than two fits, other rows or another response, REML fits with other fixed effects or
        beside ML fits without ``refit``, or names that do not match.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> one = mlm.lmm("Reaction ~ Days + (1 | Subject)", data)
    >>> two = mlm.lmm("Reaction ~ Days + (Days | Subject)", data)
    >>> table = mlm.compare(one, two)
    >>> table["Chisq"].round(2).tolist(), table["Df"].tolist()
    ([nan, 42.84], [nan, 2.0])
    """
    _check_fits(fits)
    labels = _labels(fits, names)
    notes: list[str] = []
    chosen = list(fits)
    if refit and any(fit._record.method == "REML" for fit in fits):
        chosen = [_refitted(fit) for fit in fits]
        again = [n for n, fit in zip(labels, fits, strict=True) if fit._record.method == "REML"]
        notes.append(f"fitted again by maximum likelihood: {', '.join(again)}")
    _check_methods(chosen)
    order = np.argsort([fit._record.n_parameters for fit in chosen], kind="stable")
    chosen, labels = [chosen[k] for k in order], [labels[k] for k in order]
    table = _table(chosen, labels)
    notes += _notes(chosen, labels, table)
    out = Comparison(table)
    out.notes, out.method = tuple(notes), chosen[0]._record.method
    out.title = f"Likelihood-ratio tests of fits by {out.method}"
    return out


def _table(fits: Sequence[Fitted], labels: Sequence[str]) -> pd.DataFrame:
    npar = np.array([fit._record.n_parameters for fit in fits])
    loglik = np.array([fit.llf for fit in fits])
    df = np.diff(npar, prepend=np.nan)
    statistic = 2.0 * np.diff(loglik, prepend=np.nan)
    with np.errstate(invalid="ignore"):
        # A larger model that fits worse by rounding alone is as good.
        statistic = np.where((statistic < 0) & (statistic > -1e-7), 0.0, statistic)
        nested = [True, *(_is_tested(a, b) for a, b in itertools.pairwise(fits))]
        df_tested = np.where(nested, df, 0.0)
        p = np.where(
            df_tested > 0, chi2_tail(np.maximum(statistic, 0.0), np.maximum(df, 1)), np.nan
        )
    return pd.DataFrame(
        {
            "npar": npar,
            "AIC": [fit.aic for fit in fits],
            "BIC": [fit.bic for fit in fits],
            "logLik": loglik,
            "deviance": -2.0 * loglik,
            "Chisq": np.where(df_tested > 0, statistic, np.nan),
            "Df": df,
            "Pr(>Chisq)": p,
        },
        index=list(labels),
    )


def _notes(fits: Sequence[Fitted], labels: Sequence[str], table: pd.DataFrame) -> list[str]:
    notes = [
        f"{label} did not reach a certified minimum, so its likelihood is no maximum, and tests "
        "with it are not valid"
        for fit, label in zip(fits, labels, strict=True)
        if not fit.converged
    ]
    for (small, large), (first, second) in zip(
        itertools.pairwise(fits), itertools.pairwise(labels), strict=True
    ):
        pair = f"{first} and {second}"
        if table.loc[second, "Df"] == 0:
            notes.append(
                f"{pair} have as many parameters{_differ_in_bounds(small, large)}: no test"
            )
        elif _leaves_bound(small, large):
            notes.append(
                f"{first} has a variance at 0 that may be negative in {second}, so their "
                "likelihoods differ by that bound too: no test; fit both with bounded=False, or "
                "both within bounds"
            )
            continue
        elif not are_nested(small, large):
            notes.append(
                f"{first} is not a special case of {second} (or not known to be one): no test; "
                "compare them by AIC or BIC"
            )
            continue
        elif large.llf < small.llf - 1e-7:
            notes.append(f"{second} fits worse than {first}, so they are not nested: no valid test")
        if _n_effects(large) > _n_effects(small) and not _is_unbounded(large):
            notes.append(
                f"{second} has random effects that {first} has not: their variances lie on the "
                "boundary under the null hypothesis, so the p-value is too large (at most twice "
                "what it should be for one variance); see test_variance"
            )
        if _has_nugget(large) and not _has_nugget(small):
            notes.append(
                f"{second} has a nugget that {first} has not: its variance lies on the boundary "
                "under the null hypothesis, so the p-value is too large (at most twice what it "
                "should be where that is all that differs)"
            )
        if _constants(large) > _constants(small):
            notes.append(
                f"{second} has a constant beside the power of its residual scale that {first} has "
                "not: it lies on the boundary under the null hypothesis, or is not determined "
                "where there is no power either, so the p-value is approximate"
            )
    return notes


def _constants(fit: Fitted) -> int:
    """Constants beside powers in the residual scale."""
    scale = fit._record.residual_scale
    return 0 if scale is None else scale.text.count(CONSTANT_AND_POWER)


def _has_nugget(fit: Fitted) -> bool:
    residual = fit._record.residual
    return residual is not None and any(
        name.endswith("Nugget") for name in residual.parameter_names
    )


def _n_effects(fit: Fitted) -> int:
    """Random effects whose variances have a bound at 0."""
    return sum(len(term.names) for term in fit._record.terms if term.bounded)


def _is_tested(small: Fitted, large: Fitted) -> bool:
    """Whether the chi-square is a reference for twice the difference of log-likelihoods."""
    return are_nested(small, large) and not _leaves_bound(small, large)


def _leaves_bound(small: Fitted, large: Fitted) -> bool:
    """Whether a bound at 0 that the one fit has, and is at, is none in the other."""
    return small.singular and _n_opened(small, large) > 0


def _n_opened(small: Fitted, large: Fitted) -> int:
    """Random effects whose variances have a bound at 0 in one fit and none in the other."""
    effects = [
        {
            (fit._record.groups[term.group].name, name): term.bounded
            for term in fit._record.terms
            for name in term.names
        }
        for fit in (small, large)
    ]
    return sum(bounded != effects[1].get(key, bounded) for key, bounded in effects[0].items())


def _differ_in_bounds(first: Fitted, second: Fitted) -> str:
    """What sets fits of as many parameters apart, if it is that variances may be negative."""
    return " and differ in bounds of variances" if _n_opened(first, second) else ""


def _check_fits(fits: Sequence[Fitted]) -> None:
    if len(fits) < 2:
        raise ComparisonError("compare needs at least two fits")
    for fit in fits:
        if not isinstance(fit, Fitted):
            raise ComparisonError(f"compare takes fits, found {type(fit).__name__}")
        fit._needs_likelihood("compare()")
    first = fits[0]
    for k, fit in enumerate(fits[1:], 2):
        if fit._record.response != first._record.response:
            raise ComparisonError(
                f"fit 1 has the response {first._record.response!r}, fit {k} "
                f"{fit._record.response!r}; likelihoods of different responses cannot be compared"
            )
        if fit.nobs != first.nobs:
            raise ComparisonError(
                f"fit 1 used {first.nobs} rows, fit {k} {fit.nobs}; fit both to the same rows "
                "(rows with a missing value in a variable of one model only were left out of it)"
            )
        _check_data(first, fit, k)


def _check_data(first: Fitted, fit: Fitted, k: int) -> None:
    """The rows themselves, where both fits still have them."""
    if first._source is None or fit._source is None:
        return
    mine, its = first._source.design, fit._source.design
    if mine.condensed is not None or its.condensed is not None:
        # Rows that stand for others are chosen by all columns; what they keep are the sums.
        if abs(_sum_of_squares(mine) / _sum_of_squares(its) - 1.0) > _SAME_SUM:
            raise ComparisonError(
                f"fits 1 and {k} have responses of the same name but other values, or other rows, "
                "weights or offsets; their likelihoods cannot be compared"
            )
        return
    if not np.array_equal(mine.y, its.y):
        raise ComparisonError(
            f"fits 1 and {k} have responses of the same name but other values, or other rows"
        )
    if not _same(mine.weights, its.weights):
        raise ComparisonError(
            f"fits 1 and {k} have different weights; their likelihoods cannot be compared"
        )
    if not _same(mine.offset, its.offset):
        raise ComparisonError(
            f"fits 1 and {k} have different offsets, so they are of different responses; their "
            "likelihoods cannot be compared"
        )


def _sum_of_squares(design: Design) -> float:
    """That of the response less its offset, by the weights."""
    y = design.working_response
    return float((y * y).sum() if design.weights is None else (design.weights * y * y).sum())


def _same(a: FloatArray | None, b: FloatArray | None) -> bool:
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b)


def _check_methods(fits: Sequence[Fitted]) -> None:
    methods = {fit._record.method for fit in fits}
    if len(methods) > 1:
        raise ComparisonError(
            "some fits are by REML and some by ML, and their likelihoods are of different data; "
            "say refit=True to fit all by ML"
        )
    if methods == {"ML"}:
        return
    for k, fit in enumerate(fits[1:], 2):
        if not _same_fixed_effects(fits[0], fit):
            raise ComparisonError(
                f"fits 1 and {k} are by REML and differ in their fixed effects "
                f"({_columns(fits[0])} against {_columns(fit)}), so their restricted likelihoods "
                "are of different data; say refit=True to fit both by ML"
            )


def _same_fixed_effects(first: Fitted, fit: Fitted) -> bool:
    a, b = first._record, fit._record
    if first._source is None or fit._source is None:
        return a.coefficient_names == b.coefficient_names
    if a.absorbed is not None or b.absorbed is not None:
        return set(a.coefficient_names) == set(b.coefficient_names)
    x, z = first._source.design, fit._source.design
    if x.condensed is not None or z.condensed is not None:
        return a.coefficient_names == b.coefficient_names
    if len(a.kept) != len(b.kept):
        return False
    # Another order of the same columns leaves the restricted likelihood as it is.
    left = list(a.kept)
    for j in b.kept:
        found = [i for i in left if a.x_names[i] == b.x_names[j] and _same(x.x[i], z.x[j])]
        if not found:
            return False
        left.remove(found[0])
    return True


def _columns(fit: Fitted) -> str:
    names = fit._record.coefficient_names
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _refitted(fit: Fitted) -> Fitted:
    """The fit by maximum likelihood, what it holds held, within the bounds that it has."""
    if fit._record.method == "ML":
        return fit
    source = fit._needs_source("a refit by ML", of_sums=True)
    asked = source.asked
    with warnings.catch_warnings():
        # The fit has said so already.
        warnings.simplefilter("ignore", SingularFitWarning)
        warnings.simplefilter("ignore", AliasedWarning)
        wishes = Wishes() if asked is None else Wishes(hold=asked.hold, bounds=asked.bounds)
        return fit_model(model_of(source), type(fit), "ML", ddf="asymptotic", wishes=wishes)


def _labels(fits: Sequence[Fitted], names: Sequence[str] | None) -> list[str]:
    if names is None:
        texts = [fit._record.formula or f"fit {k}" for k, fit in enumerate(fits, 1)]
        residuals = [fit._record.residual for fit in fits]
        texts = [
            text if residual is None else f"{text}, {residual.text}"
            for text, residual in zip(texts, residuals, strict=True)
        ]
        return [f"{k}: {t}" if texts.count(t) > 1 else t for k, t in enumerate(texts, 1)]
    if len(names) != len(fits) or len(set(names)) != len(names):
        raise ComparisonError(f"{len(fits)} different names are needed, found {list(names)}")
    return [str(name) for name in names]


def _is_unbounded(fit: Fitted) -> bool:
    """Whether no variance of a fit has 0 for its bound."""
    return not any(term.bounded for term in fit._record.terms)
