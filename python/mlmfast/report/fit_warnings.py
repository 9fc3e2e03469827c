"""What was said of a fit, by code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlmfast.catalogue.codes import CATALOGUE, UNLISTED, code_of_note
from mlmfast.catalogue.entry import Notice
from mlmfast.display.framed import Framed
from mlmfast.display.text import facts_text

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


@dataclass(frozen=True)
class FitWarnings(Framed):
    """What a fit warns of: false where there is nothing, else an item each.

    Attributes
    ----------
    notices
        Codes and messages.
    """

    notices: tuple[Notice, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes, each once."""
        return tuple(dict.fromkeys(notice.code for notice in self.notices))

    def to_frame(self) -> pd.DataFrame:
        """A row each: ``code``, ``message``, ``title``, ``meaning`` and ``advice``."""
        rows = []
        for notice in self.notices:
            entry = CATALOGUE.get(notice.code, CATALOGUE[UNLISTED])
            rows.append((notice.code, notice.message, entry.title, entry.meaning, entry.advice))
        return pd.DataFrame(rows, columns=["code", "message", "title", "meaning", "advice"])

    def __len__(self) -> int:
        return len(self.notices)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.notices)

    def __getitem__(self, position: int) -> Notice:
        return self.notices[position]

    def __contains__(self, code: object) -> bool:
        return code in self.codes

    def __repr__(self) -> str:
        if not self.notices:
            return "no warnings"
        parts = []
        for row in self.to_frame().itertuples():
            facts = [(str(row.code), str(row.message)), ("Meaning", str(row.meaning))]
            parts.append(facts_text([*facts, ("What to do", str(row.advice))]))
        return "\n\n".join(parts)


def warnings_of(fit: Fitted) -> FitWarnings:
    """What was said of the data, the iteration and the covariance parameters, by code.

    A code of `mlmfast.warning_codes` each, with its meaning and what to do; a saved fit keeps them.
    False where there is nothing.

    Returns
    -------
    FitWarnings
        ``codes``, ``frame``; items have ``code`` and ``message``.

    Examples
    --------
    >>> import warnings, mlmfast as mlm
    >>> data = {"y": [1.0, 3.0, 1.5, 2.5, 2.1, 1.9], "g": list("aabbcc")}
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     fit = mlm.lmm("y ~ 1 + (1 | g)", data)
    >>> fit.warnings.codes
    ('MLM401',)
    >>> "MLM401" in fit.warnings, bool(fit.warnings)
    (True, True)
    >>> fit.warnings[0].message
    'variance of (Intercept) by g is 0'
    """
    found = list(fit._record.notices)
    if fit.aliased:
        left = ", ".join(fit.aliased)
        found.append(Notice("MLM101", f"columns of X that depend on earlier ones: {left}"))
    if not fit.converged:
        decrement = fit.certificate.newton_decrement
        found.append(Notice("MLM301", f"no certified minimum (Newton decrement {decrement:.1e})"))
    found += [Notice(code_of_note(text), text) for text in fit.certificate.boundary]
    return FitWarnings(tuple(found))
