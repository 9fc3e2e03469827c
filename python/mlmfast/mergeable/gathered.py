"""What came of neighbouring parts, put together once that makes it smaller."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from mlmfast.mergeable.condensed.rows import CondensedRows, ascend
from mlmfast.mergeable.content import Content, merge_contents
from mlmfast.mergeable.storage import of_bytes, to_bytes

#: Contents of neighbours, in the order of the rows.
Gathered: TypeAlias = tuple[Content, ...]

#: Bytes that wait at most.
_MOST_BYTES = 256_000_000
#: Rows that a cell may have in all parts together, for each that would stand for them, from which
#: on it pays to look for its rows. Each merge goes through all rows.
_ENOUGH = 3.0
_LENGTH = 8


def gathered(some: Sequence[Gathered]) -> Gathered:
    """Merged, or side by side as long as merging would save little.

    Rows in random order are so, as a part has few rows of each cluster and keeps nearly all; and
    rows sorted by cluster, of which a cell is in two parts at most: when it is merged makes no
    difference, to the last bit.
    """
    pieces = tuple(content for own in some for content in own)
    return pieces if _may_wait(pieces) else (merge_contents(pieces),)


def whole(pieces: Gathered) -> Content:
    """All of it merged."""
    return pieces[0] if len(pieces) == 1 else merge_contents(pieces)


def _may_wait(pieces: Gathered) -> bool:
    rows = _rows(pieces)
    if len(rows) < len(pieces) or any(own.n_cells < 2 for own in rows):
        return False
    if ascend(rows):
        return True
    most = sum(len(own.weights) / own.n_cells for own in rows)
    width = rows[0].values.shape[1] + 1
    return most < _ENOUGH * width and held(pieces) <= _MOST_BYTES


def _rows(pieces: Gathered) -> list[CondensedRows]:
    return [content.rows for content in pieces if content.rows is not None]


def held(pieces: Iterable[Content]) -> int:
    """Bytes of the statistics."""
    return sum(content.nbytes for content in pieces)


def pack(pieces: Gathered) -> bytes:
    """Bytes, each content as it is saved, behind the number of its bytes."""
    rows = _rows(pieces)
    if len(rows) == len(pieces) and ascend(rows):
        pieces = (whole(pieces),)
    own = [to_bytes(content) for content in pieces]
    return b"".join(part for data in own for part in (len(data).to_bytes(_LENGTH, "big"), data))


def unpack(data: bytes) -> Gathered:
    """What `pack` was given."""
    out, first, view = [], 0, memoryview(data)
    while first < len(data):
        start = first + _LENGTH
        first = start + int.from_bytes(view[first:start], "big")
        out.append(of_bytes(view[start:first]))
    return tuple(out)


def merge_packed(some: Sequence[bytes]) -> bytes:
    """`gathered` of bytes."""
    return pack(gathered([unpack(data) for data in some]))
