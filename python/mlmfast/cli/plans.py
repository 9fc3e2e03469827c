"""Plans as files: TOML, or JSON of the same structure, with every key checked."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from mlmfast.errors import DataError
from mlmfast.words import did_you_mean


def read_plan(path: str) -> dict[str, Any]:
    """The tables of a plan.

    Raises
    ------
    DataError
        Where the file cannot be read, or is not TOML or JSON.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the plan {path} cannot be read: {error}") from None
    try:
        found = json.loads(text) if file.suffix == ".json" else _toml().loads(text)
    except ValueError as error:
        raise DataError(f"the plan {path} is not valid {_kind(file)}: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"the plan {path} has no tables")
    return found


def _kind(file: Path) -> str:
    return "JSON" if file.suffix == ".json" else "TOML"


def _toml() -> Any:
    """The standard library's reader, or before Python 3.11 the one it was made from."""
    try:
        import tomllib
    except ModuleNotFoundError:
        try:
            import tomli as tomllib  # type: ignore[import-not-found,no-redef,unused-ignore]
        except ModuleNotFoundError:
            raise DataError(
                'plans in TOML need tomli before Python 3.11; run: pip install "mlmfast[toml]", or '
                "write the plan as JSON"
            ) from None
    return tomllib


def check_keys(where: str, given: Any, known: Collection[str]) -> Mapping[str, Any]:
    """A table whose keys are all known.

    Raises
    ------
    DataError
        For one that is none; the nearest is suggested.

    Examples
    --------
    >>> check_keys("[power]", {"tset": "x"}, ["test", "n"])
    Traceback (most recent call last):
    ...
    mlmfast.errors.DataError: [power] of the plan has the key 'tset', which it does not take; did
    you mean 'test'? (it takes test, n)
    """
    if not isinstance(given, Mapping):
        raise DataError(f"{where} of the plan is {given!r}; it is a table")
    for key in given:
        if key not in known:
            hint = did_you_mean(key, list(known))
            raise DataError(
                f"{where} of the plan has the key {key!r}, which it does not take{hint} (it takes "
                f"{', '.join(known)})"
            )
    return given


def arguments_of(function: Callable[..., Any], without: Collection[str] = ()) -> list[str]:
    """Names of a function's arguments, as a plan may have them."""
    return [name for name in inspect.signature(function).parameters if name not in without]


def values_of(given: Any) -> Any:
    """Levels in a plan: a number, a list, or ``{from = 0, to = 9, by = 1}``.

    Examples
    --------
    >>> values_of({"from": 0, "to": 4, "by": 2}), values_of([1, 2]), values_of(3)
    ([0, 2, 4], [1, 2], 3)
    """
    if not isinstance(given, Mapping):
        return given
    table = check_keys("a range", given, ("from", "to", "by"))
    try:
        first, last, by = table["from"], table["to"], table.get("by", 1)
        count = int((last - first) / by) + 1
        return [first + k * by for k in range(count)]
    except (KeyError, TypeError, ZeroDivisionError):
        raise DataError(
            f"{dict(given)!r} of the plan is no range; write {{from = 0, to = 9, by = 1}}"
        ) from None
