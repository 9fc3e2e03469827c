"""A share of a study: one of several jobs that work on one folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mlmfast.errors import DataError

_T = TypeVar("_T")


@dataclass(frozen=True)
class Shard:
    """The i-th of k shares, i from 1 to k; whichever jobs run, they share no chunk.

    Examples
    --------
    >>> Shard.read("2/3").part([0, 1, 2, 3, 4])
    [1, 4]
    """

    i: int = 1
    k: int = 1

    @classmethod
    def read(cls, given: Any) -> Shard:
        """From ``"i/k"`` or (i, k); all of it for None.

        Raises
        ------
        DataError
        """
        if given is None:
            return cls()
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", given) if isinstance(given, str) else None
        pair = found.groups() if found else given
        try:
            i, k = map(int, pair)
        except (TypeError, ValueError):
            i = k = 0
        if not 1 <= i <= k:
            raise DataError(f"shard is {given!r}; give 'i/k' with i from 1 to k, such as '2/8'")
        return cls(i, k)

    def part(self, every: Sequence[_T]) -> list[_T]:
        """Each k-th of a list, beginning with the i-th."""
        return list(every[self.i - 1 :: self.k])
