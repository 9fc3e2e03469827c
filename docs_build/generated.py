"""Parts of pages that are made from other files: a line `::: name` gives way to them."""

from __future__ import annotations

import json
import re
from statistics import median
from typing import Any

from docs_build import differences
from docs_build.examples import DOCS, ROOT

#: `[PAGE.md](PAGE.md)`, as pages that are read in the repository have it.
_PAGE_LINK = re.compile(r"\[([A-Z_]+\.md)\]\(\1\)")
_CODE = re.compile(r"`[^`]*`")
_BARS = re.compile(r"(?<!\\)\|")


def fill(text: str) -> str:
    """The page with its generated parts."""
    for name, make in _PARTS.items():
        line = f"::: {name}\n"
        if line in text:
            text = text.replace(line, make() + "\n")
    return bars_of_code(_PAGE_LINK.sub(_titled, text))


def _titled(match: re.Match[str]) -> str:
    """A link that names a file, by the title of the page instead."""
    page = DOCS / match[1]
    if not page.exists():
        return match[0]
    title = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return f"[{title[1]}]({match[1]})" if title else match[0]


def bars_of_code(text: str) -> str:
    """Bars in code of tables, which GitHub wants escaped, as Python-Markdown wants them."""
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if line.startswith("|"):
            lines[i] = _CODE.sub(lambda code: code[0].replace("\\|", "|"), line)
    return "\n".join(lines)


def coming() -> str:
    """A table for each program beside mlmfast's calls, from the page of equivalents."""
    header, rows = equivalents()
    parts = []
    for column, program in enumerate(header[1:-1], 1):
        lines = [f"## {re.sub(r' *[(].*', '', program)}", ""]
        notes = re.search(r"[(](.*)[)]", program)
        if notes:
            lines += [f"Within {notes[1]}:", ""]
        lines += [f"| model | {re.sub(r' *[(].*', '', program)} | mlmfast |", "|---|---|---|"]
        lines += [f"| {row[0]} | {row[column]} | {row[-1]} |" for row in rows if row[column]]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def equivalents() -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of equivalents, cells as they stand."""
    page = (DOCS / "EQUIVALENTS.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in _BARS.split(line)[1:-1]] for line in lines]
    return table[0], table[2:]


def speed() -> str:
    """The tables of times, from the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return readme.split("<!-- speed -->")[1].strip()


#: Runs of `benches/compare.py --json`, which the site offers as they are.
RUNS = ROOT / "benches" / "results"


def runs() -> str:
    """A table for each run that is kept, with every package's times."""
    return "\n\n".join(_run(json.loads(file.read_text("utf-8")), file.name) for file in _files())


def _files() -> list[Any]:
    return sorted(RUNS.glob("*.json"), reverse=True)


def _run(kept: dict[str, Any], name: str) -> str:
    facts = kept["machine"]
    load = ", ".join(f"{value:g}" for value in facts["load_at_the_end"])
    lines = [
        f"## Run of {facts['date']}",
        "",
        f"{facts['cores']} cores ({facts['machine']}), Python {facts['python']}, pandas "
        f"{facts['pandas']}, rows {facts['rows']}, labels of type {facts['labels']}, load at the "
        f"end {load}. Every single time: [{name}](results/{name}).",
        "",
        "| workload | package | runs | median | least | most | log-likelihood |",
        "|---|---|---|---|---|---|---|",
    ]
    for workload, packages in kept["workloads"].items():
        lines += [_line(workload, package, result) for package, result in packages.items()
                  if package in facts["versions"]]  # fmt: skip
    return "\n".join(lines)


def _line(workload: str, package: str, result: dict[str, Any]) -> str:
    times = result.get("times")
    if not times:
        return f"| {workload} | {package} | | {result.get('error', '')} | | | |"
    shown = " | ".join(
        f"{1000 * value:.3g} ms" for value in (median(times), min(times), max(times))
    )
    llf = f"{result['llf']:.4f}" if "llf" in result else result.get("error", "")
    return f"| {workload} | {package} {result['version']} | {len(times)} | {shown} | {llf} |"


_PARTS = {"findings": differences.entries, "coming": coming, "speed": speed, "runs": runs}
