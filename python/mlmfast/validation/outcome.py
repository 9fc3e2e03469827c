"""What a validation found: as text, as a frame and as JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mlmfast.data.whole_files import write_whole
from mlmfast.display.framed import Framed
from mlmfast.display.tables import Table
from mlmfast.display.text import facts_text, table_text
from mlmfast.validation.check import REQUIREMENTS, Check
from mlmfast.validation.references import ReferenceFit


@dataclass(frozen=True)
class Outcome(Framed):
    """What `mlmfast.validate` found; its report is a `ValidationReport`.

    Attributes
    ----------
    checks
        Every check, in the order in which they were made.
    references
        The reference fits.
    surroundings
        Platform, versions and build.
    time, seconds
        When it began (UTC), and how long it took.
    """

    checks: tuple[Check, ...]
    references: tuple[ReferenceFit, ...]
    surroundings: dict[str, dict[str, Any]]
    time: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every check passed, and every requirement was checked."""
        return not self.failures and not self.untested

    @property
    def failures(self) -> tuple[Check, ...]:
        """Checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def untested(self) -> tuple[str, ...]:
        """Requirements that no check belongs to, as where references of one's own hold less."""
        tested = {check.requirement for check in self.checks}
        return tuple(r.code for r in REQUIREMENTS if r.code not in tested)

    @property
    def verdict(self) -> str:
        """The outcome in a line."""
        if self.failures:
            return f"FAILED: {len(self.failures)} of {len(self.checks)} checks"
        if self.untested:
            return f"INCOMPLETE: nothing tests {', '.join(self.untested)}"
        return f"PASSED: {len(self.checks)} checks of {len(REQUIREMENTS)} requirements"

    def to_frame(self) -> pd.DataFrame:
        """A row a check."""
        rows = [
            {
                "requirement": check.requirement,
                "family": check.family,
                "subject": check.subject,
                "quantity": check.quantity,
                "difference": check.difference,
                "tolerance": check.tolerance,
                "passed": check.passed,
                "note": check.note,
            }
            for check in self.checks
        ]
        return pd.DataFrame(rows)

    def by_requirement(self) -> pd.DataFrame:
        """The requirements, how many checks belong to each, and the result."""
        rows = []
        for requirement in REQUIREMENTS:
            own = [check for check in self.checks if check.requirement == requirement.code]
            failed = sum(not check.passed for check in own)
            result = "failed" if failed else "passed" if own else "not tested"
            rows.append((requirement.code, requirement.text, len(own), failed, result))
        return pd.DataFrame(rows, columns=["code", "requirement", "checks", "failed", "result"])

    def by_family(self) -> pd.DataFrame:
        """Largest difference to the references by family and requirement, and its tolerance."""
        frame = self.to_frame()
        measured = frame[(frame["family"] != "") & frame["tolerance"].notna()]
        shares = (measured["difference"] / measured["tolerance"]).fillna(math.inf)
        order = measured.assign(share=shares).sort_values("share", ascending=False, kind="stable")
        largest = order.groupby(["family", "requirement"], sort=True).head(1)
        columns = ["family", "requirement", "quantity", "difference", "tolerance", "subject"]
        return largest.sort_values(["family", "requirement"])[columns].reset_index(drop=True)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Everything as JSON text, written to ``path`` if given."""
        data = {
            "format": {"name": "mlmfast validation", "version": 1},
            "passed": self.passed,
            "verdict": self.verdict,
            "time": self.time,
            "seconds": round(self.seconds, 2),
            "surroundings": self.surroundings,
            "requirements": self.by_requirement().to_dict("records"),
            "references": [
                {"name": r.name, "family": r.family, "about": r.about, "source": r.source}
                for r in self.references
            ],
            "checks": [_plain(row) for row in self.to_frame().to_dict("records")],
        }
        text = json.dumps(data, indent=1, allow_nan=False)
        if path is not None:
            write_whole(path, text + "\n")
        return text

    def __iter__(self) -> Iterator[Any]:
        return iter(self.checks)

    def __repr__(self) -> str:
        build = self.surroundings["build"]
        versions = self.surroundings["versions"]
        facts = [
            ("Validation", self.verdict),
            ("mlmfast", f"{versions['mlmfast']}, build {build['hash of the build'][:16]}"),
            ("Platform", str(self.surroundings["platform"]["system"])),
            ("Time", f"{self.time}, {self.seconds:.0f} s"),
        ]
        rows = [
            (str(row.code), f"{row.checks}", f"{row.failed}", str(row.result))
            for row in self.by_requirement().itertuples()
        ]
        table = Table("Requirements", ("", "Checks", "Failed", "Result"), tuple(rows))
        failed = [f"{c.requirement} {c.subject}: {c.quantity}{_why(c)}" for c in self.failures[:12]]
        more = len(self.failures) - len(failed)
        parts = [facts_text(facts), table_text(table)]
        if failed:
            parts.append("\n".join(["Failed:", *failed, *([f"and {more} more"] if more else [])]))
        return "\n\n".join(parts)


def _why(check: Check) -> str:
    if not math.isnan(check.tolerance):
        return f", difference {check.difference:.2g}, allowed {check.tolerance:.2g}"
    return f", {check.note}" if check.note else ""


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """JSON has no NaN: what was not measured is null, a difference that is no number a text."""
    out = dict(row)
    if math.isnan(out["tolerance"]):
        out["difference"] = out["tolerance"] = None
    elif not math.isfinite(out["difference"]):
        out["difference"] = str(out["difference"])
    return out
