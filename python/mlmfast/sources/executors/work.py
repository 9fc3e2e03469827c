"""What is done to parts, and the order in which what comes of them is merged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from mlmfast.sources.checked import Found, checked_parts
from mlmfast.sources.part import Part
from mlmfast.sources.source import Source, Split

_Partial = TypeVar("_Partial")
#: Neighbours that are merged together.
_TOGETHER = 8


@dataclass(frozen=True)
class Work:
    """A function of a part and one that merges what it gives; all of it pickles.

    Attributes
    ----------
    plan
        First argument of ``reduce_part``.
    reduce_part
        ``reduce_part(plan, part)``.
    merge
        ``merge(partials)``, of neighbours in the order of the rows.
    pack, merge_packed
        What comes of a split as bytes, and ``merge`` of such, where workers are in other processes;
        None where ``reduce_part`` gives what is merged.
    fingerprint
        What tells this work from other work, for results that are kept.
    columns, kinds
        Columns that are read, and their kinds in the first part, which others must have too; None
        where parts are checked before.
    """

    plan: Any
    reduce_part: Callable[[Any, Part], Any]
    merge: Callable[[Sequence[Any]], Any]
    fingerprint: str = ""
    pack: Callable[[Any], bytes] | None = None
    merge_packed: Callable[[Sequence[bytes]], bytes] | None = None
    columns: tuple[str, ...] | None = None
    kinds: Mapping[str, Found] = field(default_factory=dict)

    @property
    def merge_splits(self) -> Callable[[Sequence[Any]], Any]:
        """``merge`` of what comes of splits."""
        return self.merge if self.merge_packed is None else self.merge_packed


class InOrder(Generic[_Partial]):
    """Merges neighbours as they are complete, in an order that their arrival does not change.

    None stands for what had no rows.

    Parameters
    ----------
    merge
        Of some neighbours.

    Examples
    --------
    >>> tree = InOrder("".join)
    >>> for position in (1, 0, 2):
    ...     tree.add(position, "abc"[position])
    >>> tree.total()
    'abc'
    """

    def __init__(self, merge: Callable[[Sequence[_Partial]], _Partial]) -> None:
        self._merge_some = merge
        self._levels: list[dict[int, _Partial | None]] = [{}]

    def _merge(self, partials: Sequence[_Partial | None]) -> _Partial | None:
        return merged(self._merge_some, partials)

    def add(self, position: int, partial: _Partial | None) -> None:
        """What came of the split at a position."""
        self._put(0, position, partial)

    def _put(self, level: int, position: int, partial: _Partial | None) -> None:
        if level == len(self._levels):
            self._levels.append({})
        own = self._levels[level]
        own[position] = partial
        group = position // _TOGETHER
        members = range(group * _TOGETHER, (group + 1) * _TOGETHER)
        if all(member in own for member in members):
            self._put(level + 1, group, self._merge([own.pop(member) for member in members]))

    def total(self) -> _Partial | None:
        """All merged; None where there is nothing."""
        for level in range(len(self._levels)):
            own = self._levels[level]
            is_last = level == len(self._levels) - 1
            if is_last and len(own) <= 1:
                return next(iter(own.values()), None)
            if own:
                group = min(own) // _TOGETHER
                rest = [own.pop(position) for position in sorted(own)]
                merged = self._merge(rest)
                if is_last:
                    return merged
                self._levels[level + 1][group] = merged
        return None


def merged(
    merge: Callable[[Sequence[_Partial]], _Partial], partials: Sequence[_Partial | None]
) -> _Partial | None:
    """Those that are there, merged; None where none is."""
    present = [partial for partial in partials if partial is not None]
    if len(present) > 1:
        return merge(present)
    return present[0] if present else None


def reduce_split(work: Work, split: Split) -> bytes | None:
    """What comes of a split: its parts reduced and merged; None where it has no rows."""
    if isinstance(split, KeptSplit):
        return split.partial
    tree: InOrder[Any] = InOrder(work.merge)
    parts = split.parts()
    if work.columns is not None:
        parts = checked_parts(parts, work.columns, dict(work.kinds))
    for position, part in enumerate(parts):
        tree.add(position, work.reduce_part(work.plan, part))
    total = tree.total()
    # Rows of a split become bytes once, when they are fewest.
    return total if total is None or work.pack is None else work.pack(total)


@dataclass(frozen=True)
class SentPart(Split):
    """A part whose rows are sent to the worker."""

    key: str
    part: Part

    def parts(self) -> Iterator[Part]:
        """The part."""
        yield self.part


@dataclass(frozen=True)
class KeptSplit(Split):
    """What came of a split before; there is nothing left to do."""

    key: str
    partial: bytes | None

    def parts(self) -> Iterator[Part]:
        """None: the rows are not read again."""
        return iter(())


def splits_of(source: Source, columns: Sequence[str]) -> Iterator[Split]:
    """What workers read by themselves, else parts that are read here and sent."""
    own = source.splits(columns)
    if own is not None:
        yield from own
        return
    for part in source.parts(columns):
        yield SentPart("", part)
