"""An entry of the catalogue, and one thing said of a fit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """What a code stands for.

    Attributes
    ----------
    code
        ``MLM`` and three digits, of which the first is that of a chapter. A code is never given
        another meaning.
    title
        In a few words.
    category
        Name of the class of warnings; of a note in a certificate, that of the fit's warning.
    meaning
        What was found.
    advice
        What to do.
    wording
        Regular expression of a certificate's note from its beginning; None for a warning, which is
        given its code where it is issued.

    Examples
    --------
    >>> Entry("MLM999", "an example", "UserWarning", "Nothing.", "Nothing.").chapter
    '9'
    """

    code: str
    title: str
    category: str
    meaning: str
    advice: str
    wording: str | None = None

    @property
    def chapter(self) -> str:
        """First digit of the code."""
        return self.code[3]


@dataclass(frozen=True)
class Notice:
    """One thing that was said.

    Examples
    --------
    >>> Notice("MLM101", "columns of X left out").code
    'MLM101'
    """

    code: str
    message: str
