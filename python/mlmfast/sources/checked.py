"""Parts of one source compared with each other: columns and their kinds."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from mlmfast.data.columns import Columns, Kind
from mlmfast.data.frame import columns_of
from mlmfast.errors import DataError
from mlmfast.sources.part import Part

_WORDS: dict[Kind, str] = {
    "number": "numbers",
    "category": "text, categories or logicals",
    "date": "dates or times",
    "other": "values of a type that models do not read",
}


#: Kind of a column, and where it was found.
Found: TypeAlias = tuple[Kind, str]


def checked_parts(
    parts: Iterator[Part], names: Sequence[str], kinds: dict[str, Found] | None = None
) -> Generator[Part, None, None]:
    """Parts that have rows, each with the columns named, of the kinds that earlier parts have.

    A column without a single value is of any kind.

    Parameters
    ----------
    kinds
        What is known before, by column; what is found is added.
    """
    kinds = {} if kinds is None else kinds
    for part in parts:
        table = columns_of(part.frame)
        if table.n_rows == 0 and not table.names:
            continue
        _check_names(table, names, part)
        if table.n_rows == 0:
            continue
        for name in names:
            kind = table.kind(name)
            if name not in kinds:
                if not _has_no_value(table, name):
                    kinds[name] = kind, part.name
            elif kinds[name][0] != kind and not _has_no_value(table, name):
                raise _another_kind(name, kinds[name], table, part)
        yield part


def _check_names(table: Columns, names: Sequence[str], part: Part) -> None:
    missing = [name for name in names if name not in table.names]
    if missing:
        listing = ", ".join(map(repr, missing))
        raise DataError(
            f"{part.name} has no column {listing}, which the first part has; its columns are "
            f"{', '.join(table.names)}"
        )
    twice = [name for name in names if table.names.count(name) > 1]
    if twice:
        raise DataError(f"{part.name} has several columns named {twice[0]!r}; rename them")


def _has_no_value(table: Columns, name: str) -> bool:
    kind = table.kind(name)
    if kind == "other":
        return False
    if kind == "number":
        # Most parts show a value in their first rows; only the first part is asked this.
        return bool(np.isnan(table.numbers(name)).all())
    return bool((table.factor(name).codes < 0).all())


def _another_kind(name: str, first: Found, table: Columns, part: Part) -> DataError:
    found = table.kind(name)
    what = f"{_WORDS[found]} in {part.name}"
    if first[0] == "number" and found != "date":
        row, value = _first_that_is_no_number(part, name)
        if row is not None:
            what = f"{value!r} in {part.place(row)}"
    return DataError(
        f"column {name!r} holds {_WORDS[first[0]]} in {first[1]} and {what}; give it one type in "
        "all parts"
    )


def _first_that_is_no_number(part: Part, name: str) -> tuple[int | None, object]:
    for row, value in enumerate(np.asarray(part.frame[name], dtype=object).tolist()):
        if value is not None and not _is_number(value):
            return row, value
    return None, None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
