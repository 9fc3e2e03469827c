"""The report of a validation as a web page of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from mlmfast.validation.check import REQUIREMENTS, Check

if TYPE_CHECKING:
    from mlmfast.validation.outcome import Outcome

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Validation of mlmfast {version}</title>
<style>
:root {{ color-scheme: light dark; --good: #1a6e2e; --bad: #b3261e; --line: #8886; }}
@media (prefers-color-scheme: dark) {{ :root {{ --good: #6fd08c; --bad: #ff8a80; }} }}
body {{ font-family: system-ui, sans-serif; line-height: 1.45; max-width: 72em; margin: 2em auto;
  padding: 0 1em; }}
h1 {{ font-size: 1.6em; margin-bottom: 0.2em; }}
h2 {{ font-size: 1.2em; margin: 2em 0 0.4em; }}
.verdict {{ font-size: 1.15em; font-weight: 600; padding: 0.6em 0.9em; border-left: 0.4em solid; }}
.good {{ color: var(--good); }} .bad {{ color: var(--bad); font-weight: 600; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 0.9em; }}
th, td {{ text-align: left; vertical-align: top; padding: 0.2em 1em 0.2em 0;
  border-bottom: 1px solid var(--line); }}
thead th {{ border-bottom: 2px solid var(--line); white-space: nowrap; }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }}
code {{ overflow-wrap: anywhere; }}
td.code {{ font-family: ui-monospace, monospace; font-size: 0.92em; overflow-wrap: anywhere; }}
details {{ margin: 0.6em 0; }} summary {{ cursor: pointer; }}
.sign td {{ border: 0; padding-top: 1.8em; }}
@media print {{ h2 {{ break-after: avoid; }}
  details::details-content {{ content-visibility: visible; height: auto; }} }}
</style>
</head>
<body>
<h1>Validation of mlmfast {version}</h1>
<p>Installation and operational qualification, {time} (UTC), {seconds:.0f} seconds.</p>
<p class="verdict {kind}">{verdict}</p>
{body}
</body>
</html>
"""
#: Kinds of models by the first letter of a family.
_KINDS = {
    "a": "random effects",
    "c": "on the boundary, or of deficient rank",
    "d": "residual covariance structures",
    "e": "inference",
    "f": "linear models",
    "x": "exact arithmetic",
}


def validation_page(report: Outcome) -> str:
    """The page; every text in it is escaped."""
    versions = report.surroundings["versions"]
    body = [
        *_failures(report),
        _section("Where it was run", _surroundings(report)),
        _section("Requirements", _requirements(report)),
        _section("Largest differences to the references, by family", _families(report)),
        _section("Published listings", _checks(_of(report, "OQ-10"), "Listing")),
        _section("Certificates", _certificates(report)),
        _section("Traceability: requirement, test, result", _traceability(report)),
        _section("References", _references(report)),
        _section("Review", _signatures()),
    ]
    return _PAGE.format(
        version=escape(str(versions["mlmfast"])),
        time=escape(report.time),
        seconds=report.seconds,
        kind="good" if report.passed else "bad",
        verdict=escape(report.verdict),
        body="\n".join(body),
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{content}"


def _failures(report: Outcome) -> Iterator[str]:
    if report.failures:
        yield _section("What failed", _checks(report.failures, "Subject"))


def _surroundings(report: Outcome) -> str:
    rows = [
        (group, name, ("code", value))
        for group, facts in report.surroundings.items()
        for name, value in facts.items()
    ]
    note = (
        "<p>The hash of the build is the SHA-256 of the lines <code>hash, two blanks, path</code> "
        "of every file of the package, sorted by path; two installations with one hash are the "
        "same files.</p>"
    )
    return _table(("", "", ""), rows) + note


def _requirements(report: Outcome) -> str:
    rows = [
        (
            row.code,
            row.requirement,
            ("number", row.checks),
            ("number", row.failed),
            _word(row.result),
        )
        for row in report.by_requirement().itertuples()
    ]
    return _table(("Code", "Requirement", "#Checks", "#Failed", "Result"), rows)


def _families(report: Outcome) -> str:
    rows = []
    for row in report.by_family().itertuples():
        kind = _KINDS.get(str(row.family)[:1], "")
        family = f"{kind}: {str(row.family)[2:].replace('_', ' ')}"
        numbers = (("number", _number(row.difference)), ("number", _number(row.tolerance)))
        rows.append((family, row.quantity, *numbers, row.subject, row.requirement))
    head = ("Family", "Quantity", "#Largest difference", "#Allowed", "In the fit", "Requirement")
    note = (
        "<p>Relative to the size of the quantity (its standard error where that is larger; "
        "absolute for log-likelihoods). What is allowed are the digits that each reference "
        "is trusted to.</p>"
    )
    return note + _table(head, rows)


def _certificates(report: Outcome) -> str:
    rows = [(c.subject, c.family, c.note, _result(c)) for c in _of(report, "OQ-11")]
    return _folded(f"{len(rows)} fits", _table(("Fit", "Family", "Certificate", "Result"), rows))


def _traceability(report: Outcome) -> str:
    parts = []
    for requirement in REQUIREMENTS:
        own = _of(report, requirement.code)
        failed = sum(not check.passed for check in own)
        state = f"{failed} failed" if failed else "passed" if own else "not tested"
        title = f"{requirement.code} ({len(own)} checks, {state}): {requirement.text}"
        parts.append(_folded(title, _checks(own, "Test")))
    return "\n".join(parts)


def _references(report: Outcome) -> str:
    rows = [(r.name, r.formula, r.source, r.about) for r in report.references]
    table = _table(("Reference", "Formula", "Program and call", "Data"), rows)
    return _folded(f"{len(rows)} reference fits", table)


def _signatures() -> str:
    rows = "".join(
        f"<tr><td>{who}</td><td>________________________</td><td>Date ______________</td></tr>"
        for who in ("Performed by", "Reviewed by")
    )
    return f'<div class="scroll"><table class="sign"><tbody>{rows}</tbody></table></div>'


def _of(report: Outcome, code: str) -> list[Check]:
    return [check for check in report.checks if check.requirement == code]


def _checks(checks: Sequence[Check], subject: str) -> str:
    rows = []
    for check in checks:
        difference, allowed = "", ""
        if not math.isnan(check.tolerance):
            difference, allowed = _number(check.difference), _number(check.tolerance)
        numbers = (("number", difference), ("number", allowed))
        rows.append((check.subject, check.quantity, *numbers, check.note, _result(check)))
    return _table((subject, "Quantity", "#Difference", "#Allowed", "Found", "Result"), rows)


def _result(check: Check) -> tuple[str, str]:
    return _word("passed" if check.passed else "failed")


def _word(result: Any) -> tuple[str, str]:
    return ("good" if result == "passed" else "bad", str(result))


def _number(value: Any) -> str:
    return f"{float(value):.1e}"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>\n{content}\n</details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; a cell is a text, or a class of the style and a text; # heads numbers."""
    heads = "".join(
        f'<th class="number">{escape(text[1:])}</th>'
        if text[:1] == "#"
        else f"<th>{escape(text)}</th>"
        for text in head
    )
    lines = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table>\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody>\n</table></div>"
    )


def _cell(cell: Any) -> str:
    kind, text = cell if isinstance(cell, tuple) else ("", cell)
    name = f' class="{kind}"' if kind else ""
    return f"<td{name}>{escape(str(text))}</td>"
