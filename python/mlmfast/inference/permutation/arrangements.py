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
    places = [[k for k, own in enumerate(classes) if own == kind] for kind in kinds]
    left = [len(own) for own in places]
    given: list[int] = []

    def walk() -> Iterator[IntArray]:
        if len(given) == len(classes):
            out = np.empty(len(classes), dtype=np.intp)
            met = [0] * len(kinds)
            for thing, kind in enumerate(given):
                out[places[kind][met[kind]]] = thing
                met[kind] += 1
            yield out
            return
        # The class that a thing has comes first, so that what is there is the first of all.
        own = kinds.index(classes[len(given)])
        for kind in (own, *(k for k in range(len(kinds)) if k != own)):
            if left[kind]:
                left[kind] -= 1
                given.append(kind)
                yield from walk()
                given.pop()
                left[kind] += 1

    yield from walk()
