"""A study as one HTML file: plan, failures, tables of performance, pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import numpy as np

from mlmfast.display.html import table_html, tables_html
from mlmfast.display.tables import Table
from mlmfast.errors import MlmError
from mlmfast.studies.performance.printed import measure_tables
from mlmfast.studies.pictures import StudyPlots

_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font-family: system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em;
  color: #1a1a1a; background: #fff; }}
img {{ max-width: 100%; }} .scroll {{ overflow-x: auto; }} h2 {{ margin-top: 2em; }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


def report_page(result: Any) -> str:
    """The page of a `StudyResult`."""
    done = result.n_finished
    planned = result.plan["n_replicates"]
    facts = [
        f"{len(done)} conditions, {min(done):,} to {max(done):,} of {planned:,} replicates "
        f"finished, seed {result.plan['seed']}, fingerprint {result.fingerprint}.",
        "Versions: " + ", ".join(f"{name} {text}" for name, text in result.versions.items()) + ".",
        "In the tables Monte Carlo standard errors stand in parentheses.",
    ]
    parts = [tables_html([_methods(result), _estimands(result)], facts)]
    parts += ["<h2>Failures</h2>", _failures(result)]
    performance = result.performance()
    for estimand in result.estimands:
        own = performance[performance["estimand"] == estimand]
        parts.append(f"<h2>Estimand {escape(estimand)}</h2>")
        parts += [table_html(table) for table in measure_tables(result, own)]
        parts += _pictures(result, estimand)
    return _PAGE.format(title="Simulation study", body="\n".join(parts))


def _methods(result: Any) -> Table:
    rows = []
    for name, own in result.plan["methods"].items():
        model = own.get("model")
        text = (
            own.get("name", "")
            if model is None
            else ", ".join(f"{key} {value}" for key, value in model.items())
        )
        rows.append((name, text if model else f"function {text}"))
    return Table("Methods", ("", ""), tuple(rows), n_labels=2)


def _estimands(result: Any) -> Table:
    truths = result.plan["truths"]
    rows = []
    for name in result.estimands:
        values = sorted({own[name] for own in truths if own[name] is not None})
        text = ", ".join(f"{value:g}" for value in values[:12]) or "unknown"
        rows.append((name, text + (", ..." if len(values) > 12 else "")))
    return Table("Estimands and their true values", ("", ""), tuple(rows), n_labels=2)


def _failures(result: Any) -> str:
    found = result.failures()
    if found.empty:
        return "<p>None.</p>"
    heads = tuple(str(name) for name in found.columns)
    rows = tuple(tuple(str(value) for value in row) for row in found.head(100).to_numpy())
    table = Table("", heads, rows, n_labels=len(heads))
    more = f"<p>And {len(found) - 100} more.</p>" if len(found) > 100 else ""
    return table_html(table) + more


def _pictures(result: Any, estimand: str) -> Iterator[str]:
    plots = StudyPlots(result)
    wanted: dict[str, Callable[[], Any]] = {
        "Bias": lambda: plots.lollipop("bias", estimand),
        "Coverage": lambda: plots.nested_loop("coverage", estimand),
        "Power": lambda: plots.power(None, estimand),
        "Intervals": lambda: plots.zip(estimand),
        "Estimates": lambda: plots.by_method(estimand),
    }
    for title, draw in wanted.items():
        try:
            axes = draw()
        except MlmError as error:
            yield f"<p>{escape(title)}: {escape(str(error))}</p>"
            continue
        yield f'<h3>{title}</h3>\n<img alt="{escape(title)}" src="{_image(axes)}">'


def _image(axes: Any) -> str:
    """The picture as text that a page can hold; it is closed."""
    from matplotlib import pyplot

    figure = np.atleast_1d(axes).ravel()[0].figure
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
