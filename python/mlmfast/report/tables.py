"""What a report says of a fit, as cells of text; how it looks is for `text` and `html`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlmfast.covariance.correlations import lower_correlations
from mlmfast.degrees_of_freedom import KenwardRoger, method_of
from mlmfast.display import numbers
from mlmfast.display.tables import ALIASED, Table, triangle
from mlmfast.fitted.record import FitRecord, TermRecord

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Parameters of structured random effects that a report still shows.
MOST_PARAMETERS = 12
#: Coefficients whose correlations are shown.
MOST_CORRELATED = 6
#: Coefficients that are all shown beside an eliminated factor, and its levels shown otherwise.
MOST_COEFFICIENTS = 100
FIRST_LEVELS = 10


def coefficient_table(fit: Fitted) -> Table:
    """Estimates of the fixed effects with standard errors and tests."""
    names = _coefficient_names(fit)
    shown, left_out = _shown(fit, names)
    columns = fit._coefficient_columns()
    if len(shown) < len(names):
        columns = tuple(column[shown] for column in columns)
    estimates, errors, df, t, p = (column.tolist() for column in columns)
    exact = any(map(math.isfinite, df))
    cells = estimates_with_errors(estimates, errors)
    rows = []
    for j, k in enumerate(shown):
        name = names[k]
        if math.isnan(estimates[j]):
            rows.append((name, ALIASED))
            continue
        middle = (numbers.degrees_of_freedom(df[j]),) if exact else ()
        rows.append((name, *cells[j], *middle, numbers.statistic(t[j]), numbers.p_value(p[j])))
    header = ("", "Estimate", "Std. error", *(("df",) if exact else ()))
    test = ("t value", "p value") if exact else ("z value", "p value")
    note = (
        _note_on_tests(fit)
        if exact
        else ("z tests: normal distribution, no small-sample degrees of freedom")
    )
    note = f"{left_out}\n{note}" if left_out else note
    return Table("Fixed effects", (*header, *test), tuple(rows), note=note)


def _coefficient_names(fit: Fitted) -> tuple[str, ...]:
    """Names of all coefficients, an eliminated factor's among them."""
    absorbed = fit._record.absorbed
    return fit._record.x_names if absorbed is None else absorbed.x_names


def _shown(fit: Fitted, names: tuple[str, ...]) -> tuple[list[int], str]:
    """Coefficients that a report shows: all, or of an eliminated factor the first few."""
    absorbed, n = fit._record.absorbed, len(names)
    if absorbed is None or n <= MOST_COEFFICIENTS:
        return list(range(n)), ""
    own = {f"{absorbed.name}{label}" for label in absorbed.labels}
    levels = [j for j, name in enumerate(names) if name in own]
    hidden = set(levels[FIRST_LEVELS:])
    text = (
        f"{len(hidden):,} of {len(levels):,} levels of {absorbed.name} are not shown; all are in "
        "params, bse, df,\npvalues, conf_int() and tidy()"
    )
    return [j for j in range(n) if j not in hidden], text


def _note_on_tests(fit: Fitted) -> str:
    """The method of the degrees of freedom, and whether it adjusted the standard errors."""
    method = method_of(fit.ddf)
    text = f"df: {method.label}"
    if isinstance(method, KenwardRoger):
        text += "; standard errors from the adjusted covariance"
    note = fit._basis().note
    return f"{text}\n{note}" if note else text


def estimates_with_errors(
    estimates: Sequence[float], errors: Sequence[float]
) -> list[tuple[str, str]]:
    """Write pairs with the same decimals while that shows every error, else each with its own."""
    pairs = list(zip(estimates, errors, strict=True))
    known = [pair for pair in pairs if not math.isnan(pair[0])]
    common: int | None = 0
    if known:
        common = numbers.common_decimals([se for _, se in known], _largest(known))
    return [_one_estimate(pair, common) for pair in pairs]


def _decimals(pairs: Sequence[tuple[float, float]]) -> int:
    # Digits follow the errors; the largest estimate only bounds them, for a coefficient near 0
    # needs none of its own.
    errors = [error for _, error in pairs if error > 0]
    return numbers.decimals_of([*errors, _largest(pairs)])


def _largest(pairs: Sequence[tuple[float, float]]) -> float:
    return max([max(abs(e), se) for e, se in pairs])


def _one_estimate(pair: tuple[float, float], decimals: int | None) -> tuple[str, str]:
    if math.isnan(pair[0]):
        return "", ""
    scientific = abs(pair[0]) >= 1e9
    if decimals is None:
        decimals = _decimals([pair])
        scientific = scientific or numbers.needs_exponent(pair[1], decimals)
    return (
        numbers.number(pair[0], decimals, scientific),
        numbers.number(pair[1], decimals, scientific),
    )


def variance_components_table(record: FitRecord) -> Table | None:
    """Variance and SD of every random effect and of the residual, correlations beside them.

    A residual covariance over visits is left to tables of its own; None where nothing else is left.
    """
    terms = record.shown_terms
    variances = [v for term in terms for v in term.covariance.diagonal().tolist()]
    independent = record.residual is None
    if independent:
        variances.append(record.sigma2)
    elif not record.terms:
        return None
    variance = numbers.column(variances)
    sd = numbers.column([math.sqrt(v) if v >= 0 else math.nan for v in variances])
    rows: list[tuple[str, ...]] = []
    for term in terms:
        beside = _correlation_rows(term)
        for i, name in enumerate(term.names):
            group = record.groups[term.group].name if i == 0 else ""
            rows.append((group, name, variance[len(rows)], sd[len(rows)], *beside[i]))
    if not record.terms:
        cells = (("Residual", variance[0], sd[0]),)
        return Table("Residual variance", ("", "Variance", "SD"), cells)
    if independent:
        rows.append(("Residual", "", variance[-1], sd[-1]))
    n_correlations = max(len(row) for row in rows) - 4
    heads = ("Corr", *[""] * (n_correlations - 1)) if n_correlations else ()
    return Table("Random effects", ("Group", "Name", "Variance", "SD", *heads), tuple(rows), 2)


def structure_parameters_table(record: FitRecord) -> Table | None:
    """Natural parameters of the structured random effects; None where there are none, or many.

    Variances by level stand in the table of the random effects already.
    """
    cells = [
        (term.text, name, value)
        for term in record.terms
        if not (term.kind.natural_entries or term.kind.independent)
        for name, value in zip(term.parameter_names, term.parameters.tolist(), strict=True)
        if not (term.kind.variances_by_level and name.startswith("Var("))
    ]
    if not cells or len(cells) > MOST_PARAMETERS:
        return None
    values = numbers.column([value for _, _, value in cells])
    terms = [
        text if cells[i - 1][0] != text or i == 0 else "" for i, (text, _, _) in enumerate(cells)
    ]
    rows = tuple(
        (text, cell[1], value) for text, cell, value in zip(terms, cells, values, strict=True)
    )
    return Table("Parameters of random effects", ("Term", "Parameter", "Estimate"), rows, 2)


def _correlation_rows(term: TermRecord) -> list[tuple[str, ...]]:
    if term.kind.variances_alone or len(term.names) == 1:
        return [()] * len(term.names)
    return [tuple(map(numbers.correlation, row)) for row in lower_correlations(term.told)]


def correlation_of_coefficients(record: FitRecord, most: int = MOST_CORRELATED) -> Table | None:
    """Correlations of the fixed effects' estimates; None for one or for more than `most`."""
    if record.absorbed is not None or not 2 <= record.rank <= most:
        return None
    names = [record.x_names[j] for j in record.kept]
    return triangle("Correlation of fixed effects", names, lower_correlations(record.vcov))
