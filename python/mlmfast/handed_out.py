"""What a result hands out: computed once, and a copy for each reader."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Generic, TypeVar, overload

import numpy as np
import pandas as pd

_Value = TypeVar("_Value")


class handed_out(Generic[_Value]):  # noqa: N801  (a decorator, as cached_property is)
    """A property computed once, of which every reader gets a copy to do with as they like.

    Examples
    --------
    >>> class Result:
    ...     @handed_out
    ...     def params(self):
    ...         return pd.Series([1.0, 2.0])
    >>> result = Result()
    >>> params = result.params
    >>> params.iloc[0] = 999
    >>> result.params.tolist()
    [1.0, 2.0]
    """

    def __init__(self, compute: Callable[[Any], _Value]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_kept_{name}"

    @overload
    def __get__(self, instance: None, owner: type) -> handed_out[_Value]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> _Value: ...

    def __get__(self, instance: object | None, owner: type) -> handed_out[_Value] | _Value:
        if instance is None:
            return self
        if self._name not in instance.__dict__:
            instance.__dict__[self._name] = self._compute(instance)
        value: _Value = copy_of(instance.__dict__[self._name])
        return value

    def __set__(self, instance: object, value: object) -> None:
        raise AttributeError("a result is not changed; work on a copy of what it hands out")


class Copied:
    """An attribute of which every reader gets a copy; arrays are read-only instead.

    Examples
    --------
    >>> class Table:
    ...     frame = Copied()
    >>> table = Table()
    >>> table.frame = pd.DataFrame({"a": [1.0]})
    >>> frame = table.frame
    >>> frame.iloc[0, 0] = 999
    >>> float(table.frame.iloc[0, 0])
    1.0
    """

    def __init__(self, name: str = "") -> None:
        self._name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        if self._name not in instance.__dict__:
            raise AttributeError(self._name)
        return copy_of(instance.__dict__[self._name])

    def __set__(self, instance: object, value: object) -> None:
        instance.__dict__[self._name] = frozen(value)


def copied() -> Any:
    """A `Copied` attribute, of whatever type it is declared to have."""
    return Copied()


def hands_out_copies(cls: type[_Value]) -> type[_Value]:
    """Make all public fields of a frozen dataclass `Copied` ones.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @hands_out_copies
    ... @dataclass(frozen=True)
    ... class Estimates:
    ...     bse: np.ndarray
    >>> Estimates(np.ones(2)).bse.flags.writeable
    False
    """
    for field in fields(cls):  # type: ignore[arg-type]
        if not field.name.startswith("_"):
            setattr(cls, field.name, Copied(field.name))
    return cls


def copy_of(value: Any) -> Any:
    """A copy of a frame, a series, an array that can be written to, or a dict of these."""
    if isinstance(value, pd.Series | pd.DataFrame):
        return value.copy()
    if isinstance(value, np.ndarray):
        return value.copy() if value.flags.writeable else value
    if isinstance(value, dict):
        own = copy.copy(value)
        for key, item in value.items():
            own[key] = copy_of(item)
        return own
    return value


def frozen(value: Any) -> Any:
    """A read-only view of an array, or of the arrays in a dict or a tuple; else the value itself.

    Examples
    --------
    >>> frozen({"a": np.ones(2)})["a"].flags.writeable
    False
    """
    if isinstance(value, np.ndarray):
        view = value.view()
        view.flags.writeable = False
        return view
    if type(value) is dict:
        return {key: frozen(item) for key, item in value.items()}
    return tuple(map(frozen, value)) if type(value) is tuple else value


def freeze(item: object, *names: str) -> None:
    """Make arrays among the attributes of a frozen dataclass read-only, for its __post_init__."""
    for name in names:
        object.__setattr__(item, name, frozen(getattr(item, name)))
