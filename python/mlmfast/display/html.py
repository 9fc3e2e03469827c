"""Tables as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mlmfast.display.numbers import printable
from mlmfast.display.tables import ALIASED, Table

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
.mlmfast td.name { white-space: normal; overflow-wrap: break-word; max-width: 24em; }
.mlmfast .facts th.name { white-space: normal; vertical-align: top; }
.mlmfast .facts td.name { max-width: 60em; }
.mlmfast .scroll { overflow-x: auto; max-width: 100%; }
.mlmfast thead th { border-bottom: 1px solid currentColor; }
.mlmfast .note { opacity: 0.75; margin: 0.3em 0 0; }
""".strip()


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


def in_text(text: str) -> str:
    """What prints as text, for notebooks.

    Examples
    --------
    >>> in_text("a < b")
    '<pre>a &lt; b</pre>'
    """
    return f"<pre>{escape(text)}</pre>"


def _text(text: str) -> str:
    return escape(printable(text), quote=True)


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
