"""Names in which the fits of a batch differ: those of all, and where each fit's own stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def united(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """All names, one that an earlier list lacks after the name it follows in its own.

    Examples
    --------
    >>> united([("one", "b", "x"), ("one", "b", "c", "x")])
    ('one', 'b', 'c', 'x')
    """
    out: list[tuple[str, int]] = []
    for names in dict.fromkeys(lists):
        at = 0
        for item in _numbered(names):
            if item not in out:
                out.insert(at, item)
            at = out.index(item) + 1
    return tuple(name for name, _ in out)


def places(own: tuple[str, ...], names: tuple[str, ...]) -> list[int]:
    """Where the own names stand among all."""
    if own == names:
        return list(range(len(names)))
    position = {item: j for j, item in enumerate(_numbered(names))}
    return [position[item] for item in _numbered(own)]


def _numbered(names: Sequence[str]) -> list[tuple[str, int]]:
    """Names with how often each stood before: two columns may have one name."""
    return [(name, names[:k].count(name)) for k, name in enumerate(names)]
