"""The report as HTML: a fragment for notebooks, a page of its own for files."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from mlmfast.display.numbers import printable
from mlmfast.report import facts
from mlmfast.report.residual_tables import residual_tables, scale_table
from mlmfast.report.tables import (
    ALIASED,
    Table,
    coefficient_table,
    correlation_of_coefficients,
    structure_parameters_table,
    variance_components_table,
)

if TYPE_CHECKING:
    from mlmfast.result import LMMResult

# Colours are inherited, so that the fragment reads in light and dark notebooks alike.
_STYLE = """
.mlmfast { font-size: 0.95em; line-height: 1.4; }
.mlmfast h2 { font-size: 1.25em; margin: 0 0 0.6em; }
.mlmfast h3 { font-size: 1em; margin: 1.2em 0 0.3em; }
.mlmfast table { border-collapse: collapse; border: 0; margin: 0; }
.mlmfast th, .mlmfast td { border: 0; padding: 0.15em 0.9em 0.15em 0; background: none;
  text-align: right; vertical-align: top; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
.mlmfast th { font-weight: 600; }
.mlmfast th.name, .mlmfast td.name { text-align: left; }
.mlmfast td.name { white-space: normal; overflow-wrap: anywhere; }
.mlmfast thead th { border-bottom: 1px solid currentColor; }
.mlmfast .note { opacity: 0.75; margin: 0.3em 0 0; }
""".strip()

_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
.scroll { overflow-x: auto; }
""".strip()


def fit_html(fit: LMMResult) -> str:
    """Show a fit as an HTML fragment, for notebooks; every name in it is escaped.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> "<td>10.467</td>" in fit_html(fit)
    True
    """
    label, text = facts.convergence(fit)
    state = [(label, text), *facts.warnings_of(fit)]
    within = fit._record.residual
    residual = [] if within is None else residual_tables(within)
    scale = fit._record.residual_scale
    residual += [] if scale is None else [scale_table(scale)]
    tables = [
        facts.scaled_residuals(fit),
        variance_components_table(fit._record),
        structure_parameters_table(fit._record),
        *residual,
        coefficient_table(fit),
        correlation_of_coefficients(fit._record),
    ]
    parts = [
        f"<style>{_STYLE}</style>",
        f"<h2>{_text(facts.title(fit))}</h2>",
        _facts_html([*facts.model_facts(fit), *facts.likelihood_facts(fit), *state]),
        f'<p class="note">{_text(facts.likelihood_note(fit))}</p>',
        *[table_html(table) for table in tables if table is not None],
    ]
    return '<div class="mlmfast">\n' + "\n".join(parts) + "\n</div>"


def tables_html(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """Show tables with notes below them as an HTML fragment, for notebooks.

    Examples
    --------
    >>> "<td>1.5</td>" in tables_html([Table("", ("", "x"), (("a", "1.5"),))], ())
    True
    """
    below = [f'<p class="note">{_text(note)}</p>' for note in notes]
    parts = [f"<style>{_STYLE}</style>", *[table_html(table) for table in tables], *below]
    return '<div class="mlmfast">\n' + "\n".join(parts) + "\n</div>"


def html_page(fit: LMMResult) -> str:
    """Show a fit as a page of its own that needs nothing from elsewhere and runs no script.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> html_page(fit).startswith("<!DOCTYPE html>")
    True
    """
    from mlmfast import __version__

    title = _text(fit.formula or facts.title(fit))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{_PAGE_STYLE}</style>
</head>
<body>
{fit_html(fit)}
<p class="mlmfast"><small>mlmfast {_text(__version__)}</small></p>
</body>
</html>
"""


def _text(text: str) -> str:
    return escape(printable(text), quote=True)


def _facts_html(pairs: Sequence[tuple[str, str]]) -> str:
    rows = [
        f'<tr><th class="name">{_text(label)}</th><td class="name">{_text(text)}</td></tr>'
        for label, text in pairs
    ]
    return "<table><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"


def table_html(table: Table) -> str:
    """A table as HTML."""
    head = "".join(_cell(text, "th", j < table.n_labels) for j, text in enumerate(table.header))
    rows = "\n".join(_row(row, table) for row in table.rows)
    note = f'\n<p class="note">{_text(table.note)}</p>' if table.note else ""
    return (
        f'<h3>{_text(table.title)}</h3>\n<div class="scroll"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>{note}"
    )


def _row(row: tuple[str, ...], table: Table) -> str:
    if row[-1] == ALIASED:
        rest = len(table.header) - len(row) + 1
        cells = "".join(_cell(text, "td", True) for text in row[:-1])
        return f'<tr>{cells}<td class="name" colspan="{rest}">{ALIASED}</td></tr>'
    padded = [*row, *[""] * (len(table.header) - len(row))]
    cells = "".join(_cell(text, "td", j < table.n_labels) for j, text in enumerate(padded))
    return f"<tr>{cells}</tr>"


def _cell(text: str, tag: str, is_name: bool) -> str:
    kind = ' class="name"' if is_name else ""
    return f"<{tag}{kind}>{_text(text)}</{tag}>"
