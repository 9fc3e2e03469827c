"""Tables as cells of text; how they look is for `text` and `html`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlmfast.display import numbers

ALIASED = "(aliased)"


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes
    ----------
    title
        What stands above it.
    header
        Column heads.
    rows
        Cells; a row may be shorter than the header.
    n_labels
        Leading columns that hold names and are set flush left.
    note
        What stands below it; empty for nothing.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_labels: int = 1
    note: str = ""


def triangle(title: str, names: Sequence[str], lower: Sequence[Sequence[float]]) -> Table:
    """Show the lower triangle of a correlation matrix, columns by number.

    ``lower`` are its rows, of which only what stands before the diagonal is shown.
    """
    rows = [
        (f"{i + 1} {name}", *map(numbers.correlation, lower[i][:i])) for i, name in enumerate(names)
    ]
    return Table(title, ("", *[str(j + 1) for j in range(len(names) - 1)]), tuple(rows))
