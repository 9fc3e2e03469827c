"""Modules that are imported when something of them is first used.

A fit needs few of the functions that can be called of it, and importing all of them, or SciPy,
takes longer than most fits. What stands for a module here is bound to a name once; a type checker
is shown the module itself, under ``TYPE_CHECKING``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, Generic, TypeVar, overload

_Class = TypeVar("_Class", bound=type)
_Value = TypeVar("_Value")


class OnUse:
    """Stands for a module until an attribute of it is asked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self._module), name)
        setattr(self, name, value)
        return value


class FunctionsOnUse:
    """Stands for a module of which a class takes functions as its methods.

    Parameters
    ----------
    as_method
        What is made of a function where it is called as a method: itself by default.

    Examples
    --------
    >>> text = FunctionsOnUse("textwrap")
    >>> class Paragraph(str):
    ...     indented = text.indent
    >>> Paragraph("a line").indented("  ")
    '  a line'
    >>> Paragraph.indented.__module__
    'textwrap'
    """

    def __init__(self, module: str, as_method: Callable[[Any], Any] | None = None) -> None:
        self._module, self._as_method = module, as_method

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return FunctionOnUse(self._module, name, self._as_method)


class _DocstringOf:
    """The docstring of a descriptor's function on the descriptor, of its class on the class."""

    def __init__(self, own: str | None, attribute: str) -> None:
        self._own, self._attribute = own, attribute

    def __get__(self, instance: object | None, owner: type) -> str | None:
        if instance is None:
            return self._own
        docstring: str | None = getattr(instance, self._attribute).__doc__
        return docstring


def documented_by(attribute: str) -> Callable[[_Class], _Class]:
    """Give descriptors of a class the docstring of the function that they keep in an attribute.

    It is looked up when it is read, as it may take an import.
    """

    def decorated(cls: _Class) -> _Class:
        cls.__doc__ = _DocstringOf(cls.__doc__, attribute)  # type: ignore[assignment]
        return cls

    return decorated


@documented_by("function")
class FunctionOnUse:
    """A function of a module: a method where a class has it as an attribute."""

    def __init__(
        self, module: str, name: str, as_method: Callable[[Any], Any] | None = None
    ) -> None:
        self._module, self._name, self._as_method = module, name, as_method
        self._imported: ModuleType | None = None
        self._made_of: Any = None
        self._method: Any = None

    @property
    def function(self) -> Any:
        """The function itself."""
        if self._imported is None:
            self._imported = importlib.import_module(self._module)
        return getattr(self._imported, self._name)

    def __reduce__(self) -> tuple[type[FunctionOnUse], tuple[Any, ...]]:
        # A module that was imported is not pickled.
        return FunctionOnUse, (self._module, self._name, self._as_method)

    def __get__(self, instance: object | None, owner: type) -> Any:
        function = self.function
        if self._as_method is None:
            return function.__get__(instance, owner)
        if self._made_of is not function:
            self._made_of, self._method = function, self._as_method(function)
        return self._method.__get__(instance, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gives."""
        return self.function(*args, **kwargs)


@documented_by("_function")
class property_of(Generic[_Value]):  # noqa: N801  (takes the place of `property`)
    """``property(function)`` that leaves the function's module until it is asked for its value.

    Examples
    --------
    >>> class Rectangle:
    ...     area = property_of(lambda self: 6.0)
    >>> Rectangle().area
    6.0
    """

    def __init__(self, function: Callable[[Any], _Value]) -> None:
        self._function = function

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> property_of[_Value]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> _Value: ...

    def __get__(self, instance: object | None, owner: type) -> property_of[_Value] | _Value:
        return self if instance is None else self._function(instance)

    def __set__(self, instance: object, value: object) -> None:
        kind = type(instance).__name__
        raise AttributeError(f"property {self._name!r} of {kind!r} object has no setter")
