"""The report as HTML: a fragment for notebooks, a page of its own for files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlmfast.display.html import _STYLE, _text, table_html
from mlmfast.report import facts
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


_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
""".strip()


def fit_html(fit: Fitted) -> str:
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
        smooth_table(fit),
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


def html_page(fit: Fitted) -> str:
    """Show a fit as a page of its own that needs nothing from elsewhere and runs no script.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> html_page(fit).startswith("<!DOCTYPE html>")
    True
    """
    from mlmfast._core import __version__

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


def _facts_html(pairs: Sequence[tuple[str, str]]) -> str:
    rows = [
        f'<tr><th class="name">{_text(label)}</th><td class="name">{_text(text)}</td></tr>'
        for label, text in pairs
    ]
    return '<table class="facts"><tbody>\n' + "\n".join(rows) + "\n</tbody></table>"
