"""The printed summary of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlmfast.covariance.correlations import lower_correlations
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.display.numbers import width
from mlmfast.display.tables import Table, triangle
from mlmfast.display.text import WIDTH, facts_text, table_text, wrapped
from mlmfast.fitted.record import FitRecord
from mlmfast.report import facts
from mlmfast.report.plain_summary import plain_summary
from mlmfast.report.residual_tables import residual_tables, scale_table
from mlmfast.report.smooth_table import smooth_table
from mlmfast.report.tables import (
    coefficient_table,
    correlation_of_coefficients,
    structure_parameters_table,
    variance_components_table,
)

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


class Summary:
    """A fit as a statistician expects it printed: ``print`` it, or show it in a notebook.

    Parameters
    ----------
    fit
        The fit.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> text = str(Summary(fit))
    >>> print(text[text.index("Fixed effects") :])
    Fixed effects:
                 Estimate  Std. error  df  t value   p value
    (Intercept)   251.405       6.825  17   36.838    <1e-16
    Days           10.467       1.546  17    6.771  3.26e-06
    df: Satterthwaite
    <BLANKLINE>
    Correlation of fixed effects:
                        1
    1 (Intercept)
    2 Days         -0.138
    """

    def __init__(self, fit: Fitted) -> None:
        self._fit = fit

    def __str__(self) -> str:
        return plain_summary(self._fit) or _summary_text(self._fit)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from mlmfast.report.html import fit_html

        return fit_html(self._fit)


def summary(fit: Fitted) -> Summary:
    """The fit as a statistician expects it printed; see also `tidy` and `glance`."""
    return Summary(fit)


def variance_table(record: FitRecord) -> str:
    """Variances, SDs and correlations of the random effects and residuals as tables of text.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> print(fit.varcorr)
    Group     Name         Variance      SD   Corr
    Subject   (Intercept)    612.09  24.740
              Days            35.07   5.922  0.066
    Residual                 654.94  25.592
    """
    return _variance_text(record, titled=False)


def _summary_text(fit: Fitted) -> str:
    label, text = facts.convergence(fit)
    state = [wrapped(label, text, len(label) + 2)]
    state += [wrapped(word, rest, len(word) + 2) for word, rest in facts.warnings_of(fit)]
    parts = [
        facts.title(fit),
        facts_text(facts.model_facts(fit)),
        _likelihood_text(fit),
        "\n".join(state),
    ]
    residuals = facts.scaled_residuals(fit)
    if residuals is not None:
        parts.append(table_text(residuals))
    parts += [_variance_text(fit._record), table_text(coefficient_table(fit))]
    curves = smooth_table(fit)
    if curves is not None:
        parts.append(table_text(curves))
    correlation = correlation_of_coefficients(fit._record)
    if correlation is not None:
        parts.append(table_text(correlation))
    return "\n\n".join(parts)


def _likelihood_text(fit: Fitted) -> str:
    values = "   ".join(f"{label} {value}" for label, value in facts.likelihood_facts(fit))
    return f"{values}\n{facts.likelihood_note(fit)}"


def _variance_text(record: FitRecord, titled: bool = True) -> str:
    """Write the tables of the random effects and of the residual covariance."""
    parts = []
    table = variance_components_table(record)
    if table is not None:
        parts.append(_random_text(record, table, titled))
    parameters = structure_parameters_table(record)
    if parameters is not None:
        parts.append(table_text(parameters))
    if record.residual is not None:
        parts += _residual_texts(record.residual)
    if record.residual_scale is not None:
        parts.append(table_text(scale_table(record.residual_scale)))
    return "\n\n".join(parts)


def _random_text(record: FitRecord, table: Table, titled: bool) -> str:
    """Write the table in one piece, or correlations apart where they make it too wide."""
    title = table.title if titled else ""
    text = table_text(Table(title, table.header, table.rows, table.n_labels))
    if len(table.header) <= 6 or _fits(text):
        return text
    rows = tuple(row[:4] for row in table.rows)
    parts = [table_text(Table(title, table.header[:4], rows, table.n_labels))]
    for term in record.shown_terms:
        if len(term.names) > 1 and not term.kind.variances_alone:
            name = f"Correlations by {record.groups[term.group].name}"
            parts.append(
                table_text(triangle(name, term.names, lower_correlations(term.covariance)))
            )
    return "\n\n".join(parts)


def _residual_texts(residual: ResidualRecord) -> list[str]:
    """Write its tables, correlations apart where they make one too wide."""
    texts = [table_text(table) for table in residual_tables(residual)]
    if all(map(_fits, texts)):
        return texts
    return [table_text(table) for table in residual_tables(residual, apart=True)]


def _fits(text: str) -> bool:
    return max(width(line) for line in text.split("\n")) <= WIDTH
