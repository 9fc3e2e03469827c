"""Layout of tables and facts in a fixed-width font."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import fill

from mlmfast.display.numbers import is_plain, printable, width
from mlmfast.display.tables import Table

WIDTH = 80
#: A table that stands alone may be this wide before a row takes two lines.
WIDE = 100
_GAP = "  "


def wrapped(label: str, text: str, indent: int) -> str:
    """Write a labelled text, broken at spaces, continued under its own beginning.

    Examples
    --------
    >>> print(wrapped("Formula", "y ~ " + " + ".join(["a_long_name"] * 7), 11))
    Formula:   y ~ a_long_name + a_long_name + a_long_name + a_long_name +
               a_long_name + a_long_name + a_long_name
    """
    lines, line = [], f"{label}:".ljust(indent)
    whole = line + text.replace("\N{NO-BREAK SPACE}", " ")
    plain = is_plain(whole)
    if plain and len(whole) <= WIDTH:
        return whole
    # A no-break space is one column wide too.
    columns: Callable[[str], int] = len if plain else width
    filled = False
    for word in (text if plain else printable(text)).split(" "):
        if filled and columns(line) + 1 + columns(word) > WIDTH:
            lines.append(line)
            line, filled = " " * indent, False
        line += (" " if filled else "") + word
        filled = True
    return "\n".join([*lines, line]).replace("\N{NO-BREAK SPACE}", " ")


def notes_text(notes: Sequence[str]) -> list[str]:
    """Lines of notes below a table, each marked as one.

    Examples
    --------
    >>> notes_text(["fitted again by maximum likelihood"])
    ['Note: fitted again by maximum likelihood']
    """
    return [fill(f"Note: {printable(note)}", WIDTH, subsequent_indent="  ") for note in notes]


def facts_text(facts: Sequence[tuple[str, str]]) -> str:
    """Labelled texts one under the other.

    Examples
    --------
    >>> print(facts_text([("Rows", "180"), ("Groups", "Subject 18")]))
    Rows:    180
    Groups:  Subject 18
    """
    indent = max(len(label) for label, _ in facts) + 3
    return "\n".join(wrapped(label, text, indent) for label, text in facts)


def table_text(table: Table, room: int = WIDTH) -> str:
    """Align a table; a name too long for the ``room`` of a line gets a line of its own.

    Examples
    --------
    >>> print(table_text(Table("", ("", "SD"), (("a", "1.50"), ("bcd", "12.25")))))
            SD
    a     1.50
    bcd  12.25
    """
    n = len(table.header)
    cells = [(*row, *[""] * (n - len(row))) for row in (table.header, *table.rows)]
    if is_plain("".join(map("".join, cells))):
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        if sum(widths) + len(_GAP) * (n - 1) <= room:
            return _plain_text(table, cells, widths)
    shown = [list(map(printable, row)) for row in cells]
    widths = [max(width(row[j]) for row in shown) for j in range(n)]
    numeric = sum(w + len(_GAP) for w in widths[table.n_labels :])
    broken = _shorten(widths, table.n_labels, room - numeric)
    lines: list[str] = [table.title + ":"] if table.title else []
    for row in shown:
        lines += _row_lines(row, widths, table.n_labels, broken)
    return "\n".join([*lines, *([table.note] if table.note else [])])


def aligned(
    cells: Sequence[tuple[str, ...]], n_labels: int, widths: Sequence[int] = ()
) -> list[str]:
    """Lines of a table of equally long rows, whose letters are all one column wide.

    Examples
    --------
    >>> aligned([("", "SD"), ("a", "1.50")], 1)
    ['     SD', 'a  1.50']
    """
    widths = widths or [max(map(len, column)) for column in zip(*cells, strict=True)]
    form = _GAP.join([f"%{-w if j < n_labels else w}s" for j, w in enumerate(widths)])
    return [(form % row).rstrip() for row in cells]


def _plain_text(table: Table, cells: list[tuple[str, ...]], widths: list[int]) -> str:
    """A table whose letters are all one column wide and that has the room it needs."""
    lines = [table.title + ":"] if table.title else []
    lines += aligned(cells, table.n_labels, widths)
    return "\n".join([*lines, *([table.note] if table.note else [])])


def _shorten(widths: list[int], n_labels: int, room: int) -> int:
    """Cut the last label column to the room there is; returns which one, or -1."""
    labels = sum(widths[:n_labels]) + len(_GAP) * max(n_labels - 1, 0)
    if n_labels == 0 or labels <= room:
        return -1
    widths[n_labels - 1] = max(widths[n_labels - 1] - (labels - room), 8)
    return n_labels - 1


def _row_lines(row: list[str], widths: list[int], n_labels: int, broken: int) -> list[str]:
    fields = [
        _pad(cell, w, left=j < n_labels)
        for j, (cell, w) in enumerate(zip(row, widths, strict=True))
    ]
    if broken < 0 or width(row[broken]) <= widths[broken]:
        return [_GAP.join(fields).rstrip()]
    first = _GAP.join([*fields[:broken], row[broken]])
    second = [" " * w for w in widths[: broken + 1]] + fields[broken + 1 :]
    return [first.rstrip(), _GAP.join(second).rstrip()]


def _pad(cell: str, size: int, left: bool) -> str:
    fill = " " * (size - width(cell))
    return cell + fill if left else fill + cell
