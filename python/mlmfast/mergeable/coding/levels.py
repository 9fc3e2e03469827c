"""Levels of the factors of a model over parts of the data: united by label, in one order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.data.columns.joined_factors import common_order
from mlmfast.data.factor import Factor, factor_from_uniques, level_labels, with_logicals
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError

_NUMPY_KINDS = {"i": "integer", "u": "integer", "f": "number", "b": "logical", "M": "date"}


@dataclass(frozen=True)
class Levels:
    """Levels of a column.

    Attributes
    ----------
    labels
        Their text.
    values
        As the data hold them: text, numbers, logicals, or dates as text.
    kind
        "text", "integer", "number", "logical" or "date".
    declared
        All levels that the column declares, in order; None where it declares none.
    """

    labels: tuple[str, ...]
    values: tuple[Any, ...]
    kind: str
    declared: tuple[str, ...] | None = None

    @classmethod
    def of(cls, factor: Factor) -> Levels:
        """Those of a factor.

        Examples
        --------
        >>> found = Factor(np.array([0], dtype=np.int32), ("3",), np.array([3]))
        >>> Levels.of(found)
        Levels(labels=('3',), values=(3,), kind='integer', declared=None)
        """
        values = with_logicals(factor.values)
        kind = _NUMPY_KINDS.get(values.dtype.kind, "text")
        if kind == "text":
            return cls(factor.levels, factor.levels, kind, factor.declared)
        values = values.astype(str) if kind == "date" else values
        return cls(factor.levels, tuple(values.tolist()), kind, factor.declared)

    def column(self, n: int) -> Any:
        """A column of n values or more in which every level stands, as a frame would have it."""
        return self.taken(np.arange(max(n, len(self.values))) % max(len(self.values), 1))

    def taken(self, codes: Any) -> Any:
        """A column of the levels at some positions, as a frame would have it."""
        values = self.array()
        if self.declared is None:
            return values[codes]
        position = {label: k for k, label in enumerate(self.declared)}
        own = dict(zip(self.labels, values.tolist(), strict=True))
        categories = pd.Index([own.get(label, label) for label in self.declared])
        places = np.array([position[label] for label in self.labels])
        return pd.Series(pd.Categorical.from_codes(places[codes], categories))

    def array(self) -> Any:
        """The values as an array."""
        if self.kind == "date":
            return np.array(self.values, dtype="datetime64[ns]")
        return np.array(self.values, dtype=object if self.kind == "text" else None)


def united(name: str, parts: Sequence[Levels]) -> Levels:
    """Levels of all parts, in the order that the data together would give them.

    Numbers go by value, text by code point; categories keep their order where one part declares
    them all.

    Raises
    ------
    DataError
        Where the parts hold different types, or declare categories in contradicting orders.

    Examples
    --------
    >>> a, b = Levels(("b",), ("b",), "text"), Levels(("a",), ("a",), "text")
    >>> united("f", [a, b]).labels
    ('a', 'b')
    """
    parts = [part for part in parts if part.labels]
    kinds = {part.kind for part in parts}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    if len(kinds) > 1:
        raise DataError(
            f"the column {name!r} holds {' in one part and '.join(sorted(kinds))} in another; make "
            "them the same type"
        )
    if not parts:
        return Levels((), (), "text")
    values = dict(pair for part in parts for pair in zip(part.labels, part.values, strict=True))
    declared = _declared(name, parts)
    if declared is not None:
        labels = tuple(label for label in declared if label in values)
        own = tuple(values[label] for label in labels)
        return Levels(labels, own, parts[0].kind, declared)
    unsorted = Levels(tuple(values), tuple(values.values()), kinds.pop())
    nothing = np.empty(0, dtype=np.int32)
    return Levels.of(factor_from_uniques(nothing, unsorted.array()))


def _declared(name: str, parts: Sequence[Levels]) -> tuple[str, ...] | None:
    """The categories in an order that holds those of all parts; None where none declares them."""
    if any(part.declared is None for part in parts):
        return None
    order = common_order(part.declared or () for part in parts)
    if order is not None:
        return order
    raise DataError(
        f"the column {name!r} has categories in different orders in different parts; give the "
        f"order by levels={{{name!r}: [...]}}"
    )


def with_levels(frame: Frame, levels: Mapping[str, Levels]) -> Frame:
    """The frame with all levels of its factors, those too that none of its rows has.

    A formula may name them: ``I(f == "b")``.
    """
    known = {}
    for name, own in levels.items():
        found = frame.factor(name)
        codes, unknown = found.recode(own.labels)
        if unknown:
            raise DataError(
                f"{name!r} has the level {unknown[0]!r}, which is not among those fixed beforehand "
                f"(by levels=, or by the plan): {', '.join(own.labels[:20])}; list it there, or "
                "leave those rows out"
            )
        known[name] = Factor(codes, own.labels, own.array(), own.declared)
    return frame.with_factors(known)


class OtherLevels(Exception):  # noqa: N818  (no error: the levels are then looked for in all parts)
    """A part has levels that a plan made without looking at it does not know."""


def check_levels(known: Mapping[str, Levels], frame: Frame, names: Iterable[str]) -> None:
    """Refuse a part that would have changed the levels of some columns.

    Raises
    ------
    OtherLevels
    """
    for name in names:
        own = Levels.of(frame.factor(name))
        if own.labels and united(name, [known[name], own]) != known[name]:
            raise OtherLevels(name)


def given(name: str, labels: Sequence[Any], found: Levels | None) -> Levels:
    """Levels fixed beforehand, in the order given.

    Raises
    ------
    DataError
        Where some level of the data is not among them.
    """
    if isinstance(labels, str):
        raise DataError(f"levels of {name!r} is the text {labels!r}; give a list of levels")
    values = np.asarray(list(labels))
    texts = level_labels(values if values.dtype.kind != "U" else values.astype(object))
    if not texts or len(set(texts)) < len(texts):
        raise DataError(f"levels: give each level of {name!r} once, and at least one")
    unknown = [] if found is None else [label for label in found.labels if label not in texts]
    if unknown:
        raise DataError(
            f"{name!r} has the level {unknown[0]!r}, which levels={{{name!r}: ...}} does not list; "
            f"it lists {', '.join(texts[:20])}"
        )
    kind = "text" if values.dtype.kind in "UO" else _NUMPY_KINDS.get(values.dtype.kind, "text")
    own = texts if kind == "text" else tuple(values.tolist())
    if found is not None and found.kind == "date":
        kind, own = "date", texts
    return Levels(texts, own, kind, texts)


def to_json(levels: Mapping[str, Levels]) -> dict[str, Any]:
    """JSON-able data."""
    return {
        name: {
            "labels": list(own.labels),
            "values": list(own.values),
            "kind": own.kind,
            "declared": None if own.declared is None else list(own.declared),
        }
        for name, own in levels.items()
    }


def from_json(data: Mapping[str, Any]) -> dict[str, Levels]:
    """Read what `to_json` wrote."""
    out = {}
    for name, item in data.items():
        declared = None if item["declared"] is None else tuple(map(str, item["declared"]))
        labels = tuple(map(str, item["labels"]))
        if len(labels) != len(item["values"]) or item["kind"] not in {
            "text",
            *_NUMPY_KINDS.values(),
        }:
            raise ValueError(f"the levels of {name!r} do not fit each other")
        out[str(name)] = Levels(labels, tuple(item["values"]), item["kind"], declared)
    return out
