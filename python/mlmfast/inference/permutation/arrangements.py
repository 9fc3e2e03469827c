"""Arrangements of things that may be exchanged: their number, all of them, some at random."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from mlmfast.arrays import IntArray


@dataclass(frozen=True)
class Arrangements:
    """Things of which those of one set may change places.

    Two arrangements are the same where they differ among places of one class: these make no
    difference to what is computed.

    Attributes
    ----------
    sets
        Positions of the things of each set.
    classes : shape (n,)
        Class of each place.

    Examples
    --------
    >>> two = Arrangements((np.arange(4),), np.array([0, 0, 1, 1]))
    >>> two.count, [order.tolist() for order in two.every()][:3]
    (6, [[0, 1, 2, 3], [0, 3, 1, 2], [0, 2, 1, 3]])
    """

    sets: tuple[IntArray, ...]
    classes: IntArray

    @property
    def count(self) -> int:
        """Number of distinct arrangements."""
        out = 1
        for own in self.sets:
            _, sizes = np.unique(self.classes[own], return_counts=True)
            out *= math.factorial(len(own))
            for size in sizes.tolist():
                out //= math.factorial(size)
        return out

    def every(self) -> Iterator[IntArray]:
        """All distinct arrangements, the one that is there first.

        Yields
        ------
        shape (n,): the thing that comes to each place.
        """
        fixed = np.arange(len(self.classes))
        by_set = [list(_distinct(self.classes[own].tolist())) for own in self.sets]
        for choice in product(*by_set):
            out = fixed.copy()
            for own, order in zip(self.sets, choice, strict=True):
                out[own] = own[order]
            yield out

    def some(self, n: int, generator: np.random.Generator) -> Iterator[IntArray]:
        """Arrangements at random."""
        fixed = np.arange(len(self.classes))
        for _ in range(n):
            out = fixed.copy()
            for own in self.sets:
                out[own] = generator.permutation(own)
            yield out


def _distinct(classes: Sequence[int]) -> Iterator[IntArray]:
    """For every distinct way to give each thing a class, the things in the places' order."""
    kinds = list(dict.fromkeys(classes))
    own = np.array([kinds.index(kind) for kind in classes], dtype=np.intp)
    places = np.argsort(own, kind="stable")
    for given in _ways(own.tolist()):
        out = np.empty(len(classes), dtype=np.intp)
        out[places] = np.argsort(given, kind="stable")
        yield out


def _ways(own: list[int]) -> Iterator[list[int]]:
    """Every way to deal out the classes that things have, 0 and on; one list, changed in between.

    A walk over the tree of choices whose depth is the number of things, so that no call may stand
    for a step down.
    """
    n, n_kinds = len(own), max(own, default=-1) + 1
    left = [own.count(kind) for kind in range(n_kinds)]
    given: list[int] = []

    def choices() -> Iterator[int]:
        # The class that a thing has comes first, so that what is there is the first of all.
        first = own[len(given)]
        return iter((first, *(kind for kind in range(n_kinds) if kind != first)))

    if n == 0:
        yield given
        return
    open_ = [choices()]
    while open_:
        kind = next((k for k in open_[-1] if left[k]), None)
        if kind is not None:
            left[kind] -= 1
            given.append(kind)
            if len(given) < n:
                open_.append(choices())
                continue
            yield given
        else:
            open_.pop()
        if given:
            left[given.pop()] += 1
