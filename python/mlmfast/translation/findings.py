"""What a translation could not carry over, and what it left out because no number hangs on it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Findings:
    """What was found while a text was translated.

    Attributes
    ----------
    lost
        What the fit would lack or have otherwise: a translation with one of these does not run.
    left_out
        Results that are not made; the fit is what it was.
    notes
        What holds here and not there.
    ignored
        What prints, saves or searches, without effect on numbers.
    """

    lost: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def comments(self) -> list[str]:
        """As lines of comment."""
        heads = {
            "not mapped, and the fit would differ": self.lost,
            "not mapped, left out": self.left_out,
            "note": self.notes,
            "without effect on numbers here": self.ignored,
        }
        return [f"# {head}: {_line(text)}" for head, texts in heads.items() for text in texts]


def _line(text: str) -> str:
    """Text on one line, so that no part of it leaves its comment."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
