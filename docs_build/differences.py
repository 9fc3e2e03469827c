"""The page of known differences between programs, from the heads of ``findings/*.sh``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PARTS = {
    "expected": "One expects",
    "one expects": "One expects",
    "what happens": "What happens",
    "why it matters": "Why it matters",
    "output seen": "Output seen",
}
_SECTION = re.compile(
    r"^(Expected|One expects|What happens|Why it matters|Output seen)[^:\n]{0,40}:", re.MULTILINE
)


@dataclass(frozen=True)
class Finding:
    """The head of a script: what it shows, of which versions, and its sections by name."""

    script: str
    title: str
    versions: str
    parts: dict[str, str]


def read(script: Path) -> Finding:
    """The head of a script.

    Raises
    ------
    ValueError
        Where the head is not as CONTRIBUTING.md says.
    """
    lines = []
    for line in script.read_text(encoding="utf-8").splitlines()[1:]:
        if not line.startswith("#"):
            break
        lines.append(line[2:])
    cut = _SECTION.split("\n".join(lines))
    found = [_PARTS[name.lower()] for name in cut[1::2]]
    parts = dict(zip(found, (text.strip("\n") for text in cut[2::2]), strict=True))
    missing = {"One expects", "What happens", "Why it matters"} - set(parts)
    title, versions = _title_and_versions(cut[0])
    if missing or not versions:
        raise ValueError(
            f"{script.name}: its head lacks {', '.join(sorted(missing)) or 'versions'}"
        )
    return Finding(script.name, title, versions, parts)


def _title_and_versions(head: str) -> tuple[str, str]:
    """The first sentence, and what follows a blank line or ``Library:``."""
    title, _, versions = re.sub(r"\n(?=Library:)", "\n\n", head.strip()).partition("\n\n")
    bare = _line(title).rstrip(".")
    if bare.startswith("Title: "):
        bare = bare[7:8].upper() + bare[8:]
    return bare, _line(versions).replace("Library: ", "").rstrip(".")


def _line(text: str) -> str:
    return " ".join(text.split())


def all_findings() -> list[Finding]:
    """Those of all scripts, in the order of their names."""
    return [read(script) for script in sorted((ROOT / "findings").glob("*.sh"))]


def entries() -> str:
    """The findings as Markdown."""
    return "\n\n".join(_entry(finding) for finding in all_findings())


def _entry(finding: Finding) -> str:
    out = [f"## {_literal(finding.title)}", f"{finding.versions}. Script: `{finding.script}`."]
    for name in ("One expects", "What happens", "Why it matters"):
        paragraphs = re.split(r"\n\s*\n", finding.parts[name])
        text = "\n\n".join(_literal(_line(paragraph)) for paragraph in paragraphs)
        out.append(f"**{name}:** {text}")
    seen = finding.parts.get("Output seen", "")
    if seen:
        shown = "\n".join(line.removeprefix("  ") for line in seen.splitlines())
        out.append(f"```text\n{shown}\n```")
    return "\n\n".join(out)


def _literal(text: str) -> str:
    """Prose whose signs mean nothing in Markdown but its code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*_<|\[\]])", r"\\\1", p) for p in parts)
