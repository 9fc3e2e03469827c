"""The catalogue: entries by code, notes by their wording, and the page that lists them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlmfast.catalogue import of_data, of_fits, of_results
from mlmfast.catalogue.entry import Entry
from mlmfast.running.first_use import OnUse

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = OnUse("pandas")

#: Entries by code, in the order of the codes.
CATALOGUE: dict[str, Entry] = {
    entry.code: entry for entry in (*of_data.ENTRIES, *of_fits.ENTRIES, *of_results.ENTRIES)
}
#: What the first digit stands for.
CHAPTERS = {
    "1": "Data",
    "2": "Order and spacing of visits",
    "3": "Convergence",
    "4": "Boundary and undetermined parameters",
    "5": "Predictions",
    "6": "Many fits",
    "7": "Simulation studies",
    "8": "In statsmodels' place",
}
#: Of a note that no entry knows.
UNLISTED = "MLM400"
_SUFFIX = re.compile(r" \[MLM\d{3}(?:, MLM\d{3})*\]")


def code_of_note(text: str) -> str:
    """Code of a note in a certificate, by its wording.

    Examples
    --------
    >>> code_of_note("variance of (1 | Batch) is 0")
    'MLM401'
    """
    for entry in CATALOGUE.values():
        if entry.wording is not None and re.match(entry.wording, text, re.DOTALL):
            return entry.code
    return UNLISTED


def codes_of_notes(texts: Iterable[str]) -> tuple[str, ...]:
    """Codes of several notes, each once.

    Examples
    --------
    >>> codes_of_notes(["variance of x by g is 0", "variance of z by g is 0"])
    ('MLM401',)
    """
    return tuple(dict.fromkeys(map(code_of_note, texts)))


def with_codes(message: str, codes: Iterable[str]) -> str:
    """A message with its codes at the end.

    Examples
    --------
    >>> with_codes("singular fit", ("MLM401",))
    'singular fit [MLM401]'
    """
    listed = ", ".join(codes)
    return f"{message} [{listed}]" if listed else message


def without_codes(message: str) -> str:
    """A message as it was before `with_codes`.

    Examples
    --------
    >>> without_codes("singular fit [MLM401]")
    'singular fit'
    """
    return _SUFFIX.sub("", message)


def warning_codes() -> pd.DataFrame:
    """Every code of a warning or of a note in a certificate, with its meaning and what to do.

    Returns
    -------
    DataFrame by code with columns ``title``, ``category`` (class of the warning), ``meaning`` and
    ``advice``

    Examples
    --------
    >>> import mlmfast as mlm
    >>> mlm.warning_codes().loc["MLM401", "title"]
    'a variance of 0'
    """
    rows = [(e.code, e.title, e.category, e.meaning, e.advice) for e in CATALOGUE.values()]
    frame = pd.DataFrame(rows, columns=["code", "title", "category", "meaning", "advice"])
    return frame.set_index("code")


def page() -> str:
    """The catalogue as the page ``docs/WARNINGS.md``.

    Examples
    --------
    >>> page().splitlines()[0]
    '# Warnings and notes'
    """
    parts = [_HEAD]
    for digit, title in CHAPTERS.items():
        own = [entry for entry in CATALOGUE.values() if entry.chapter == digit]
        parts += [f"## {digit}: {title}", *map(_section, own)]
    return "\n\n".join(parts) + "\n"


def _section(entry: Entry) -> str:
    return (
        f"### {entry.code}: {entry.title}\n\n`{entry.category}`. {entry.meaning}\n\n"
        f"**What to do.** {entry.advice}"
    )


_HEAD = """\
# Warnings and notes

Every warning of mlmfast ends with a code in brackets, `[MLM401]`, and so can every note of
`fit.certificate.boundary` be told by one. `fit.warnings` lists what was said of a fit, also of a
saved one; `mlm.warning_codes()` is this page as a table. `warnings.filterwarnings("error",
message=r".*MLM401")` makes an error of one code; the classes of warnings serve for whole kinds. In
code, `caught.message.codes` of a warning caught is the tuple of its codes.

A code is never given another meaning. This page is written by `python -m mlmfast.catalogue`."""
