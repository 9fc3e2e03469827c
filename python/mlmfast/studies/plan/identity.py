"""What a thing is, as text that is the same tomorrow and on another machine."""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

import numpy as np

from mlmfast.errors import DataError
from mlmfast.simulation.study_design import StudyDesign

#: A value of a factor of a study: lists and dicts hold such values.
Level = bool | int | float | str | list[Any] | dict[str, Any] | None


def level(value: Any, what: str) -> Level:
    """A value as plain Python, as JSON has it; equal numbers are one value.

    Raises
    ------
    DataError

    Examples
    --------
    >>> level(np.float64(10.0), "n"), level(0.5, "icc"), level((4, 7), "sizes")
    (10, 0.5, [4, 7])
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and np.isfinite(value):
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple | range | np.ndarray):
        return [level(item, what) for item in value]
    if isinstance(value, Mapping):
        return {str(key): level(item, what) for key, item in value.items()}
    raise DataError(
        f"{what} is {value!r}; a condition holds finite numbers, texts, True, False, None, and "
        "lists and dicts of them (name anything else by a text, and look it up in the generator)"
    )


def cell(value: Level) -> bool | int | float | str | None:
    """A value as a column of a table holds it: lists and dicts as text."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def digest(record: Any, size: int = 8) -> str:
    """Hexadecimal digits that stand for a record of JSON values.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def described(thing: Any) -> dict[str, Any]:
    """A function, or an object that can be pickled by its attributes, by name and content.

    A function is its code without comments and layout, its defaults, and the values that it closes
    over; not the other functions and globals that it uses.

    Examples
    --------
    >>> def draw(condition, rng):
    ...     return {"y": rng.normal(size=3)}
    >>> described(draw)["name"]
    'draw'
    """
    if isinstance(thing, StudyDesign):
        return {"name": "design", "code": "", "values": digest(_of_design(thing))}
    if isinstance(thing, functools.partial):
        inner = described(thing.func)
        return {**inner, "arguments": _values([*thing.args, *sorted(thing.keywords.items())])}
    if inspect.ismethod(thing):
        return {**described(thing.__func__), "of": type(thing.__self__).__qualname__}
    if not inspect.isfunction(thing):
        called = vars(type(thing)).get("__call__")
        code = _code(called) if inspect.isfunction(called) else ""
        name = getattr(thing, "__name__", type(thing).__qualname__)
        return {"name": name, "code": code, "values": _values(vars(thing)) if _has(thing) else ""}
    name = thing.__qualname__.rpartition("<locals>.")[2]
    cells = [_cell(cell) for cell in thing.__closure__ or ()]
    held = _values([thing.__defaults__, thing.__kwdefaults__, cells])
    return {"name": name, "code": _code(thing), "values": held}


def source_of(thing: Any) -> str:
    """The text of a function; empty where there is none."""
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        return ""


def _of_design(design: StudyDesign) -> list[Any]:
    """What a design draws from: its rows, its parameters, and how it draws."""
    table = design.data
    rows = [
        [str(name), str(table[name].dtype), _plain(np.asarray(table[name]), 0)] for name in table
    ]
    parts = [design.truth, design.crossing, design.missing, design.row_order, design.level_orders]
    texts = [design.formula, design.residual, design.residual_scale, design.errors, design.effects]
    return [rows, texts, repr(design.row_seed), [_plain(part, 0) for part in parts]]


def _has(thing: Any) -> bool:
    return hasattr(thing, "__dict__")


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return None


def _code(function: Callable[..., Any]) -> str:
    """Digest of a function's source as the parser reads it, or of its byte code."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)]
        if found and isinstance(found[0], ast.FunctionDef):
            found[0].name = "_"
            found[0].decorator_list = []
            return digest(ast.unparse(found[0]))
    except (OSError, TypeError, SyntaxError):
        pass
    return digest(_byte_code(function.__code__))


def _byte_code(code: CodeType) -> list[Any]:
    constants = [
        _byte_code(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts
    ]
    return [code.co_code.hex(), list(code.co_names), list(code.co_varnames), constants]


def _values(value: Any) -> str:
    """Digest of values that a function holds: plain ones and arrays by content, others by type."""
    return digest(_plain(value, 0))


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, np.generic | np.ndarray):
        array = np.asarray(value)
        if array.dtype.hasobject:
            return [str(array.dtype), [_plain(item, depth + 1) for item in array.ravel().tolist()]]
        content = hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest()
        return [str(array.dtype), list(array.shape), content]
    if depth < 6 and isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if depth < 6 and isinstance(value, Mapping):
        return sorted([repr(key), _plain(item, depth + 1)] for key, item in value.items())
    if depth < 6 and dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value)]
        own = [[name, _plain(getattr(value, name), depth + 1)] for name in fields]
        return [type(value).__qualname__, own]
    if depth < 6 and inspect.isfunction(value):
        return [value.__qualname__.rpartition("<locals>.")[2], _code(value)]
    return type(value).__qualname__
