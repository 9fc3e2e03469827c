"""What a batch of fits prints: how they ended, and the first of them."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from mlmfast.batch.fits import BatchFits
from mlmfast.display.printed_frame import printed

#: Rows that are printed.
ROWS = 5
#: Coefficients that are printed.
_COLUMNS = 6
#: What is said of a fit whose status says why there is none, or none of its standard errors.
_ABSENT = "no fit or errors"
_ENDS = ("converged", "singular", "not converged")


def text_of_batch(batch: BatchFits) -> str:
    """The outcomes of the fits, and estimates of the first few.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> model = mlm.LMM("Reaction ~ Days + (1 | Subject)", data)
    >>> print(text_of_batch(model.fit_many(pd.DataFrame({"time": data.Reaction, "flat": 250.0}))))
    2 fits by REML: 1 converged, 1 no fit or errors:
          (Intercept)     Days    sigma   logLik            status
    time     251.4051  10.4673  30.9912  -893.23         converged
    flat                                          no fit or errors
    Note: flat: the response 'flat' has no residual variance: it is constant or
      fitted exactly by the fixed effects, so no variance can be estimated
    Note: tidy() has every parameter, glance() a row a fit, batch[k] is a single fit
    """
    words = [text if text in _ENDS else _ABSENT for text in map(str, batch.status)]
    outcome = ", ".join(f"{n:,} {word}" for word, n in Counter(words).most_common())
    shown = slice(0, ROWS)
    columns: dict[str, object] = {
        name: batch.params[shown, k] for k, name in enumerate(batch.names[:_COLUMNS])
    }
    columns |= {"sigma": batch.sigma[shown], "logLik": batch.llf[shown], "status": words[shown]}
    table = pd.DataFrame(columns, index=list(batch.responses[shown]))
    title = f"{counted(len(batch), 'fit')} by {batch.method}: {outcome or 'none'}"
    return repr(printed(table, first_of(title, len(batch)), _notes(batch, words)))


def _notes(batch: BatchFits, words: list[str]) -> tuple[str, ...]:
    notes = [
        f"{batch.responses[k]}: {batch.status[k]}"
        for k, word in enumerate(words[:ROWS])
        if word == _ABSENT
    ]
    left_out = len(batch.names) - _COLUMNS
    if left_out > 0:
        notes.append(f"{counted(left_out, 'coefficient')} more in each fit")
    notes.append("tidy() has every parameter, glance() a row a fit, batch[k] is a single fit")
    return tuple(notes)


def first_of(title: str, n: int) -> str:
    """The title of a table that has no more than the first rows of n."""
    return f"{title}; the first {ROWS}" if n > ROWS else title


def counted(n: int, noun: str) -> str:
    """A number with its noun."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
