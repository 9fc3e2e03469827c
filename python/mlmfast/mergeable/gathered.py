"""What came of neighbouring parts: put together, or side by side where nothing is won by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from mlmfast.mergeable.condensed.rows import CondensedRows, ascend
from mlmfast.mergeable.content import Content, merge_contents
from mlmfast.mergeable.storage import of_bytes, to_bytes

#: Contents of neighbours, in the order of the rows.
Gathered: TypeAlias = tuple[Content, ...]


def gathered(some: Sequence[Gathered]) -> Gathered:
    """Merged, or side by side where merging would only copy them.

    Rows sorted by cluster are so: a cell is in two parts at most, so that it makes no difference to
    the last bit when these are merged.
    """
    pieces = tuple(content for own in some for content in own)
    rows = _rows(pieces)
    may_wait = all(own.n_cells > 1 for own in rows) and _ascends(pieces, rows)
    return pieces if may_wait else (merge_contents(pieces),)


def whole(pieces: Gathered) -> Content:
    """All of it merged."""
    return pieces[0] if len(pieces) == 1 else merge_contents(pieces)


def held(pieces: Iterable[Content]) -> int:
    """Bytes of the statistics."""
    return sum(content.nbytes for content in pieces)


def _rows(pieces: Gathered) -> list[CondensedRows]:
    return [content.rows for content in pieces if content.rows is not None]


def _ascends(pieces: Gathered, rows: Sequence[CondensedRows]) -> bool:
    return len(rows) == len(pieces) and ascend(rows)


def to_packed(pieces: Gathered) -> bytes:
    """The bytes of all of it."""
    return to_bytes(whole(pieces))


def merge_packed(some: Sequence[bytes]) -> bytes:
    """All of several, merged."""
    return to_bytes(merge_contents([of_bytes(data) for data in some]))
