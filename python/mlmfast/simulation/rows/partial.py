"""Partial nesting: clusters in some arms alone, such as therapists of the treated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.errors import DataError
from mlmfast.words import did_you_mean, is_one_of

#: What the rows outside are clusters of.
_OTHERS = ("singletons", "one", "pseudo")
_EXAMPLE = "{'therapist': {'arm': 'treated'}}"


@dataclass(frozen=True)
class Partial:
    """A grouping factor that some rows have.

    Attributes
    ----------
    group
        Its variable.
    variable, levels
        Rows that have it: those with these levels of a variable.
    others
        What other rows are by its column: "singletons", "one" cluster, or "pseudo" ones, as if
        they were grouped.
    """

    group: str
    variable: str
    levels: tuple[str, ...]
    others: str = "singletons"

    @property
    def indicator(self) -> str:
        """Name of the column that is 1 in rows that are grouped and 0 in others."""
        return f"in_{self.group}"

    @classmethod
    def of(cls, given: Any, known: Sequence[str]) -> tuple[Partial, ...]:
        """Read ``partial=``, which `mlmfast.design` documents; ``known`` are the variables.

        Raises
        ------
        DataError

        Examples
        --------
        >>> Partial.of({"g": {"arm": "t"}}, ["g", "arm"])[0].indicator
        'in_g'
        """
        if given is None:
            return ()
        if not isinstance(given, Mapping) or not all(
            isinstance(v, Mapping) for v in given.values()
        ):
            raise DataError(f"partial is {given!r}; give a dict such as {_EXAMPLE}")
        return tuple(cls._one(str(group), own, known) for group, own in given.items())

    @classmethod
    def _one(cls, group: str, given: Mapping[Any, Any], known: Sequence[str]) -> Partial:
        own = dict(given)
        others = own.pop("others", "singletons")
        if not is_one_of(others, _OTHERS):
            raise DataError(f"partial: 'others' is {others!r}; use {', '.join(_OTHERS)}")
        if len(own) != 1:
            raise DataError(
                f"partial of {group!r} is {dict(given)!r}; name one variable and its levels that "
                f"are grouped, such as {_EXAMPLE}"
            )
        [(variable, levels)] = own.items()
        for name in (group, variable):
            if name not in known:
                hint = did_you_mean(str(name), list(known))
                raise DataError(f"partial: {name!r} is no variable of the design{hint}")
        listed = levels if isinstance(levels, list | tuple) else [levels]
        return cls(group, str(variable), tuple(map(str, listed)), others)

    def columns(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """The indicator, and the groups with what other rows are.

        Raises
        ------
        DataError
            For a level that the variable has not, and where no row is grouped.
        """
        values = pd.Series(table[self.variable]).astype(str).to_numpy()
        for level in self.levels:
            if level not in values:
                hint = did_you_mean(level, sorted(set(values)))
                raise DataError(f"partial: {self.variable!r} has no level {level!r}{hint}")
        inside = np.isin(values, self.levels)
        indicator = {self.indicator: inside.astype(np.int64)}
        if self.others == "pseudo":
            return indicator
        texts = pd.Series(table[self.group]).astype(str).to_numpy(dtype=object).copy()
        outside = np.flatnonzero(~inside)
        texts[outside] = (
            "none" if self.others == "one" else [f"none {k + 1}" for k in range(len(outside))]
        )
        return {**indicator, self.group: pd.Categorical(texts, categories=pd.unique(texts))}
