"""What a result hands out: computed once, and a copy for each reader."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from mlmfast.running.first_use import documented_by

_Value = TypeVar("_Value")


@documented_by("_compute")
class handed_out(Generic[_Value]):  # noqa: N801  (a decorator, as cached_property is)
    """A property computed once, of which every reader gets a copy to do with as they like.

    Examples
    --------
    >>> import pandas as pd
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
    >>> import pandas as pd
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


def changed(item: _Value, **others: Any) -> _Value:
    """A frozen dataclass with some fields changed, sharing the others.

    What fields keep nobody can write to, so that nothing of it is copied, as `dataclasses.replace`
    would; what was computed from them is not taken over.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @hands_out_copies
    ... @dataclass(frozen=True)
    ... class Estimates:
    ...     bse: np.ndarray
    ...     ddf: str
    >>> changed(Estimates(np.ones(2), "residual"), ddf="asymptotic")
    Estimates(bse=array([1., 1.]), ddf='asymptotic')
    """
    out: _Value = object.__new__(type(item))
    for field in fields(item):  # type: ignore[arg-type]
        if field.name in others:
            object.__setattr__(out, field.name, others.pop(field.name))
        else:
            out.__dict__[field.name] = item.__dict__[field.name]
    assert not others, f"no fields: {', '.join(others)}"
    return out


def copy_of(value: Any) -> Any:
    """A copy of a frame, a series, an array that could be written to, or a dict of these."""
    # Who has a frame has imported pandas; who has arrays alone need not.
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.Series | pandas.DataFrame):
        return value.copy()
    if isinstance(value, np.ndarray):
        return value.copy() if _can_be_unlocked(value) else value
    if isinstance(value, dict):
        own = copy.copy(value)
        for key, item in value.items():
            own[key] = copy_of(item)
        return own
    return value


def frozen(value: Any) -> Any:
    """An array, or the arrays in a dict or a tuple, on memory that nothing can write to.

    Clearing the flag of a view would not do: it can be set again, and `base` is the array itself.

    Examples
    --------
    >>> kept = frozen({"a": np.ones(2)})["a"]
    >>> kept.flags.writeable = True
    Traceback (most recent call last):
    ValueError: cannot set WRITEABLE flag to True of this array
    """
    if isinstance(value, np.ndarray):
        return _on_buffer(value, _bytes_of) if _can_be_unlocked(value) else value
    if type(value) is dict:
        return {key: frozen(item) for key, item in value.items()}
    if type(value) is not tuple or set(map(type, value)) <= {str}:
        return value
    return tuple(map(frozen, value))


def freeze(item: object, *names: str) -> None:
    """Make arrays among the attributes of a frozen dataclass read-only, for its __post_init__.

    They may be the rows of large data, and are not copied.
    """
    for name in names:
        object.__setattr__(item, name, _locked(getattr(item, name)))


def read_only(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same memory as an array that cannot be written to; one that already is stays itself.

    Examples
    --------
    >>> once = read_only(np.ones(2))
    >>> read_only(once) is once
    True
    """
    locked: NDArray[np.float64] = _locked(array)
    return locked


def _locked(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _on_buffer(value, _view_of) if _can_be_unlocked(value) else value
    if type(value) is dict:
        return {key: _locked(item) for key, item in value.items()}
    return tuple(map(_locked, value)) if type(value) is tuple else value


def _can_be_unlocked(array: NDArray[Any]) -> bool:
    """Whether the memory behind an array is that of an array, which can be made writable."""
    root: object = array
    while isinstance(root, np.ndarray) and root.base is not None:
        root = root.base
    return array.flags.writeable or isinstance(root, np.ndarray)


def _on_buffer(
    array: NDArray[Any], buffered: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    """The array by a read-only buffer, of the same class, where its entries have one."""
    if type(array) is np.ndarray and array.dtype.kind in "biufc":
        return buffered(array)
    plain = array.view(np.ndarray)
    # Dates, texts and objects have no buffer; the flag has to do.
    out = (buffered(plain) if array.dtype.kind in "biufc" else plain).view(type(array))
    if hasattr(array, "__dict__"):
        out.__dict__.update(array.__dict__)
    out.flags.writeable = False
    return out


def _view_of(array: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(array.data.toreadonly())


def _bytes_of(array: NDArray[Any]) -> NDArray[Any]:
    """A copy whose entries lie in the order that they had, so that sums have the same bits."""
    order: Literal["C", "F"] = "F" if array.flags.fnc else "C"
    return np.ndarray(array.shape, array.dtype, array.tobytes(order), order=order)
