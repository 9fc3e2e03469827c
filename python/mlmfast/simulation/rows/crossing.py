"""Rows of a design without data: the crossing of levels, with what is constant within clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.errors import DataError, ModelError
from mlmfast.simulation.distributions import CovariateDistribution
from mlmfast.simulation.rows.partial import Partial
from mlmfast.simulation.streams import COVARIATES, ByPart
from mlmfast.words import did_you_mean

#: Rows that a crossing may have.
_MOST_ROWS = 50_000_000


@dataclass(frozen=True)
class Levels:
    """The levels of one variable.

    Attributes
    ----------
    values
        Its values; None for a factor of ``n`` levels, labelled 1, 2, ...
    n
        Their number.
    parent
        Variable that it is nested in, ``"school/class": 4``; empty for none.
    """

    n: int
    values: tuple[Any, ...] | None = None
    parent: str = ""

    @classmethod
    def of(cls, name: str, given: Any, parent: str = "") -> Levels:
        """Read what a user gives for a variable."""
        if isinstance(given, bool | str) or given is None:
            raise DataError(_what_levels_are(name, given))
        if isinstance(given, int | np.integer):
            if given < 1:
                raise DataError(f"levels of {name!r}: {given}; at least 1 is needed")
            return cls(int(given), None, parent)
        try:
            values = tuple(np.asarray(given).tolist() if _is_array(given) else list(given))
        except TypeError:
            raise DataError(_what_levels_are(name, given)) from None
        if not values:
            raise DataError(f"levels of {name!r}: the list is empty")
        if any(not isinstance(v, str | int | float) or v != v for v in values):
            raise DataError(f"levels of {name!r}: {given!r} holds something else than text and "
                            "numbers")  # fmt: skip
        return cls(len(values), values, parent)

    def numbered(self, name: str, n: int) -> Levels:
        """The same with n levels: an even series of numbers goes on, a list is cut."""
        if self.values is None or n == self.n:
            return replace(self, n=n)
        if n < self.n:
            return replace(self, n=n, values=self.values[:n])
        numbers = [v for v in self.values if isinstance(v, int | float) and not isinstance(v, bool)]
        steps = np.diff(numbers) if len(numbers) == self.n else np.empty(0)
        if len(steps) == 0 or not np.allclose(steps, steps[0]) or steps[0] == 0:
            raise ModelError(
                f"{name!r} has {self.n} values, which do not go on evenly, and {n} are asked for; "
                "make a design with all of them, of which the first are taken"
            )
        more = [numbers[0] + k * (numbers[1] - numbers[0]) for k in range(n)]
        return replace(self, n=n, values=tuple(more))

    def column(self, codes: IntArray) -> Any:
        """Values of the rows with these codes."""
        if self.values is None:
            labels = [str(k + 1) for k in range(self.n)]
            return pd.Categorical.from_codes(codes, categories=pd.Index(labels))
        if any(isinstance(v, str) for v in self.values):
            texts = [str(v) for v in self.values]
            distinct = list(dict.fromkeys(texts))
            places = np.array([distinct.index(text) for text in texts], dtype=np.intp)
            return pd.Categorical.from_codes(places[codes], categories=pd.Index(distinct))
        return np.asarray(self.values)[codes]


@dataclass(frozen=True)
class Crossing:
    """How the rows of a design are made.

    Attributes
    ----------
    levels
        Variables that are crossed, the first changing slowest; one with a parent is nested in it.
    between
        Variables constant within clusters: the cluster's variable, and the levels given to the
        clusters in turn.
    sizes
        Rows of the clusters of a variable, in turn: each keeps the first ones.
    covariates
        Variables drawn at random, by name, with the variable whose clusters they are constant in.
    partial
        Grouping factors that some rows have.
    """

    levels: Mapping[str, Levels]
    between: Mapping[str, tuple[str, Levels]] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    covariates: Mapping[str, tuple[str, CovariateDistribution]] = field(default_factory=dict)
    partial: tuple[Partial, ...] = ()

    @classmethod
    def of(
        cls,
        levels: Any,
        between: Mapping[str, str] | None = None,
        sizes: Mapping[str, Any] | None = None,
        covariates: Mapping[str, str] | None = None,
        partial: Mapping[str, Any] | None = None,
    ) -> Crossing:
        """Read what a user gives; `mlmfast.design` documents it.

        Raises
        ------
        DataError
        """
        if not isinstance(levels, Mapping) or not levels:
            raise DataError(
                f"levels is {levels!r}; give a dict from variables to their levels, such as "
                "{'Subject': 30, 'Days': range(10)}"
            )
        clusters = dict(_mapping("between", between, "{'arm': 'Subject'}"))
        drawn = dict(_mapping("covariates", covariates, "{'age': 'normal(50, 10)'}"))
        crossed: dict[str, Levels] = {}
        constant: dict[str, tuple[str, Levels]] = {}
        for key, given in levels.items():
            parent, name = _nested(key)
            own = Levels.of(name, given, parent)
            if name in crossed or name in constant:
                raise DataError(f"levels has {name!r} twice")
            if name in clusters:
                constant[name] = (clusters[name], own)
            else:
                crossed[name] = own
        for name in clusters:
            if name not in constant and name not in drawn:
                raise DataError(_unknown("between", name, [*crossed, *drawn]))
        read = {
            name: (clusters.get(name, ""), CovariateDistribution.of(text, f"covariate {name!r}"))
            for name, text in drawn.items()
        }
        cut = {
            name: _sizes(name, given)
            for name, given in _mapping("sizes", sizes, "{'Subject': [4, 7, 10]}").items()
        }
        out = cls(crossed, constant, cut, read, Partial.of(partial, [*crossed, *constant]))
        out._check()
        return out

    def _check(self) -> None:
        if not self.levels:
            raise DataError("levels has no variable that is crossed; every one is in between")
        for name, own in self.levels.items():
            if own.parent and own.parent not in self.levels:
                raise DataError(_unknown(f"levels: {own.parent}/{name}", own.parent, self.levels))
        for name in self.covariates:
            if name in self.levels or name in self.between:
                raise DataError(f"{name!r} is in levels and in covariates; leave it out of one")
        clusters = [cluster for cluster, _ in self.between.values()]
        clusters += [cluster for cluster, _ in self.covariates.values() if cluster]
        for cluster in [*clusters, *self.sizes]:
            if cluster not in self.levels:
                raise DataError(_unknown("between and sizes", cluster, self.levels))
        if self.n_rows > _MOST_ROWS:
            raise DataError(f"the levels cross to {self.n_rows:,} rows; at most {_MOST_ROWS:,}")

    @property
    def n_rows(self) -> int:
        """Rows of the whole crossing."""
        return int(np.prod([own.n for own in self.levels.values()], dtype=object))

    @property
    def names(self) -> tuple[str, ...]:
        """All variables."""
        own = (part.indicator for part in self.partial)
        return (*self.levels, *self.between, *self.covariates, *own)

    def with_number(self, name: str, n: int) -> Crossing:
        """The same with n levels of a variable.

        Raises
        ------
        DataError, ModelError
        """
        if name in self.levels:
            return replace(self, levels={**self.levels, name: self.levels[name].numbered(name, n)})
        if name in self.between:
            raise ModelError(
                f"{name!r} is given to the levels of {self.between[name][0]!r} in turn; its own "
                "number is part of the model"
            )
        raise DataError(_unknown("along", name, self.levels))

    def with_sizes(self, sizes: Mapping[str, Any]) -> Crossing:
        """The same with rows of clusters, in turn."""
        cut = {name: _sizes(name, given) for name, given in sizes.items()}
        out = replace(self, sizes={**self.sizes, **cut})
        out._check()
        return out

    def with_partial(self, given: Any) -> Crossing:
        """The same with other grouping factors that some rows have; their columns stay."""
        found = Partial.of(given, [*self.levels, *self.between])
        lost = {part.indicator for part in self.partial} - {part.indicator for part in found}
        if lost:
            raise DataError(
                f"partial lacks {', '.join(sorted(lost))}, which the design has; name every level "
                "of the variable where all rows are grouped"
            )
        return replace(self, partial=found)

    def codes(self) -> dict[str, IntArray]:
        """Code of each row by crossed variable, those of nested ones over all parents."""
        shape = tuple(own.n for own in self.levels.values())
        index = np.indices(shape, dtype=np.int64).reshape(len(shape), -1)
        plain = dict(zip(self.levels, index, strict=True))
        out = {name: self._whole_code(name, plain) for name in self.levels}
        for name, sizes in self.sizes.items():
            kept = self._kept(name, out[name], sizes)
            out = {variable: codes[kept] for variable, codes in out.items()}
        return out

    def _whole_code(self, name: str, plain: Mapping[str, IntArray]) -> IntArray:
        own = self.levels[name]
        if not own.parent:
            return plain[name]
        return self._whole_code(own.parent, plain) * own.n + plain[name]

    @staticmethod
    def _kept(name: str, codes: IntArray, sizes: tuple[int, ...]) -> IntArray:
        """Rows that remain where clusters have sizes of their own."""
        order = np.argsort(codes, kind="stable")
        distinct, first, counts = np.unique(codes[order], return_index=True, return_counts=True)
        wanted = np.array(sizes, dtype=np.int64)[distinct % len(sizes)]
        if (wanted > counts).any():
            raise DataError(
                f"sizes of {name!r} go up to {wanted.max()}, and its levels cross to "
                f"{counts.max()} rows each; give the other variables more levels"
            )
        within = np.arange(len(codes)) - np.repeat(first, counts)
        return np.sort(order[within < np.repeat(wanted, counts)])

    def frame(self, replicate: ByPart) -> pd.DataFrame:
        """The rows, covariates drawn from the stream of one replicate."""
        codes = self.codes()
        columns: dict[str, Any] = {}
        for name, own in self.levels.items():
            columns[name] = self._column(name, own, codes[name])
        for name, (cluster, own) in self.between.items():
            columns[name] = own.column(self._in_turn(name, codes[cluster]))
        for part in self.partial:
            columns |= part.columns(columns)
        drawn = self.drawn(codes, replicate) if self.covariates else {}
        return pd.DataFrame({**columns, **{name: own[0] for name, own in drawn.items()}})

    def drawn(self, codes: Mapping[str, IntArray], replicates: ByPart) -> dict[str, FloatArray]:
        """Covariates by row, (n, n_rows), drawn one after the other from each replicate's stream.

        Parameters
        ----------
        codes
            Those of the rows.
        """
        n_rows = len(next(iter(codes.values())))
        lengths = [
            int(codes[cluster].max()) + 1 if cluster else n_rows
            for cluster, _ in self.covariates.values()
        ]
        every = self.covariates.items()
        kinds = [(own.kind, n) for (_, (_, own)), n in zip(every, lengths, strict=True)]
        numbers = np.split(replicates.numbers(COVARIATES, kinds), np.cumsum(lengths)[:-1], axis=1)
        out: dict[str, FloatArray] = {}
        for (name, (cluster, distribution)), own in zip(every, numbers, strict=True):
            values = distribution.values(own)
            out[name] = values[:, codes[cluster]] if cluster else values
        return out

    def _column(self, name: str, own: Levels, codes: IntArray) -> Any:
        if not own.parent:
            return own.column(codes)
        if own.values is not None:
            return own.column(codes % own.n)
        labels = self._labels(name)
        return pd.Categorical.from_codes(codes, categories=pd.Index(labels))

    def _labels(self, name: str) -> list[str]:
        """Labels of a nested factor: those of its parent with its own number."""
        own = self.levels[name]
        numbers = [str(k + 1) for k in range(own.n)]
        if not own.parent:
            return numbers if own.values is None else [str(v) for v in own.values]
        return [f"{parent}.{k}" for parent in self._labels(own.parent) for k in numbers]

    def _in_turn(self, name: str, cluster_codes: IntArray) -> IntArray:
        """Level of a variable between clusters: all combinations of one cluster's in turn."""
        cluster = self.between[name][0]
        together = [v for v, (c, _) in self.between.items() if c == cluster]
        sizes = [self.between[v][1].n for v in together]
        position = together.index(name)
        after = int(np.prod(sizes[:position], dtype=np.int64))
        return np.asarray((cluster_codes // after) % sizes[position])


def _nested(key: Any) -> tuple[str, str]:
    """Parent and name of ``"school/class"``."""
    if not isinstance(key, str) or not key.strip():
        raise DataError(f"levels: {key!r} is no name of a variable")
    parent, _, name = key.rpartition("/")
    return parent.strip(), name.strip()


def _sizes(name: str, given: Any) -> tuple[int, ...]:
    if isinstance(given, Sequence | np.ndarray | range) and not isinstance(given, str):
        found = list(given)
        if found and all(isinstance(k, int | np.integer) and k >= 1 for k in found):
            return tuple(int(k) for k in found)
    raise DataError(
        f"sizes of {name!r} are {given!r}; give whole numbers from 1 on, which its clusters have "
        "in turn"
    )


def _mapping(name: str, given: Any, example: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise DataError(f"{name} is {given!r}; give a dict such as {name}={example}")
    return given


def _is_array(given: Any) -> bool:
    return isinstance(given, np.ndarray | pd.Series | pd.Index)


def _what_levels_are(name: str, given: Any) -> str:
    return (
        f"levels of {name!r}: {given!r}; give their number, or the values in a list, a range or an "
        "array"
    )


def _unknown(where: str, name: Any, known: Any) -> str:
    hint = did_you_mean(name, list(known))
    return f"{where}: {name!r} is no variable of the design{hint} (there are {', '.join(known)})"
