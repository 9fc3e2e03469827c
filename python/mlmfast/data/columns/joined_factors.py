"""Factors of several tables below each other: a level of one text is one level."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from mlmfast.arrays import CodeArray
from mlmfast.data.factor import Factor, LevelValues, factor_from_uniques, translate_codes


def joined_factor(parts: Sequence[Factor]) -> Factor:
    """The rows of all parts, in order.

    Levels stand in the order that the parts declare, as far as those agree with each other: of
    ``low, high`` and ``low, mid, high`` the second. Where a part declares none, or where two parts
    contradict each other, nobody chose the order: numbers stand by value, text by code point.

    Examples
    --------
    >>> import pandas as pd
    >>> from mlmfast.data.frame import Frame
    >>> low_high = Frame.from_native({"f": pd.Categorical(["low"], ["low", "high"])}).factor("f")
    >>> mid = Frame.from_native({"f": pd.Categorical(["high", "mid"], ["mid", "high"])}).factor("f")
    >>> joined = joined_factor([low_high, mid])
    >>> joined.levels, joined.codes.tolist()
    (('low', 'mid', 'high'), [0, 2, 1])
    """
    first = parts[0]
    if all(part.levels == first.levels and part.declared == first.declared for part in parts):
        codes = np.concatenate([part.codes for part in parts])
        return Factor(codes, first.levels, first.values, first.declared)
    codes, values = _united(parts)
    having = [part for part in parts if part.levels or part.declared]
    if not having or any(part.declared is None for part in having):
        return factor_from_uniques(codes, values)
    order = common_order([part.declared or () for part in having])
    if order is None:
        return factor_from_uniques(codes, values)
    return _in_order(codes, values, _texts(parts), order)


def _texts(parts: Sequence[Factor]) -> list[str]:
    """Levels of all parts, where they first stand."""
    return list(dict.fromkeys(level for part in parts for level in part.levels))


def _united(parts: Sequence[Factor]) -> tuple[CodeArray, LevelValues]:
    """Codes by the position of each level in `_texts`, and the values of those."""
    position: dict[str, int] = {}
    codes, values = [], []
    for part in parts:
        for level, value in zip(part.levels, part.values.tolist(), strict=True):
            if level not in position:
                position[level] = len(position)
                values.append(value)
        own = np.array([position[level] for level in part.levels], dtype=np.int32)
        codes.append(translate_codes(part.codes, own))
    return np.concatenate(codes), _as_one_type(values, [part.values for part in parts])


def _as_one_type(values: list[object], given: Sequence[LevelValues]) -> LevelValues:
    """Values as an array that sorts: of one type where the parts have one, else of objects."""
    types = {part.dtype for part in given if part.size}
    if types and all(dtype.kind in "iufbmM" for dtype in types):
        common = np.result_type(*types)
        exact = common.kind != "f" or all(dtype.kind == "f" for dtype in types)
        if exact and common.kind not in "mM":
            return np.array(values, dtype=common)
        if common.kind in "mM":
            present = [part.astype(common) for part in given if part.size]
            return np.array(list(dict.fromkeys(np.concatenate(present).tolist())), dtype=common)
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def _in_order(
    codes: CodeArray, values: LevelValues, texts: Sequence[str], order: tuple[str, ...]
) -> Factor:
    rank = {level: k for k, level in enumerate(order)}
    chosen = sorted(range(len(texts)), key=lambda k: rank[texts[k]])
    new = np.empty(len(texts), dtype=np.int32)
    new[chosen] = np.arange(len(texts), dtype=np.int32)
    levels = tuple(texts[k] for k in chosen)
    return Factor(translate_codes(codes, new), levels, values[chosen], order)


def common_order(orders: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """An order that holds each of several; levels that none compares stand by their text.

    Returns
    -------
    tuple or None
        None where two orders contradict each other.

    Examples
    --------
    >>> common_order([("low", "high"), ("low", "mid", "high"), ("none", "low")])
    ('none', 'low', 'mid', 'high')
    >>> common_order([("a", "b"), ("b", "a")]) is None
    True
    """
    distinct = list(dict.fromkeys(orders))
    if len(distinct) == 1:
        return distinct[0]
    behind: dict[str, set[str]] = {level: set() for own in distinct for level in own}
    for own in distinct:
        for level, following in pairwise(own):
            behind[level].add(following)
    waiting = Counter(level for levels in behind.values() for level in levels)
    free = sorted(level for level in behind if not waiting[level])
    out: list[str] = []
    while free:
        out.append(heapq.heappop(free))
        for level in behind[out[-1]]:
            waiting[level] -= 1
            if not waiting[level]:
                heapq.heappush(free, level)
    return tuple(out) if len(out) == len(behind) else None
