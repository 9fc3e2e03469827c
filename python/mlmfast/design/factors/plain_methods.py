"""Methods of a data frame for a class that is one, but has the length and items of a mapping."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import pandas as pd

_Class = TypeVar("_Class", bound=type[pd.DataFrame])

#: What changes a frame in place: of no use on a copy, and pandas needs neither length nor items.
_IN_PLACE = ("insert", "isetitem", "pop", "update")
#: What pandas derives from the length or the items, beside the public methods.
_BY_LENGTH = ("__array__", "__dataframe__", "__sizeof__")
_READ = ("T", "plot", "sparse", "style")


def with_plain_methods(cls: _Class) -> _Class:
    """Let the plain frame (``frame`` of an object) do all that the class does not do itself.

    pandas writes its methods by ``len(frame)``, ``for name in frame`` and ``name in frame``: in a
    class where these are those of a mapping they fail, or look at fewer rows than there are.
    """
    own = {name for kind in cls.__mro__ if kind not in pd.DataFrame.__mro__ for name in vars(kind)}
    public = [name for name in dir(pd.DataFrame) if not name.startswith("_")]
    for name in (*public, *_BY_LENGTH):
        method = inspect.getattr_static(pd.DataFrame, name, None)
        if inspect.isfunction(method) and name not in own and name not in _IN_PLACE:
            setattr(cls, name, _of_plain_frame(method))
    for name in _READ:
        setattr(cls, name, property(_reading(name)))
    return cls


def _reading(name: str) -> Callable[[Any], Any]:
    def read(self: Any) -> Any:
        return getattr(self.frame, name)

    return read


def _of_plain_frame(method: Callable[..., Any]) -> Callable[..., Any]:
    name = method.__name__

    @wraps(method)
    def of_plain_frame(self: Any, *arguments: Any, **options: Any) -> Any:
        if options.get("inplace"):
            raise TypeError(
                f"{name}(inplace=True) would change rows that were read off a fit; take "
                "to_frame() first, or what the method returns without inplace"
            )
        return method(self.frame, *arguments, **options)

    return of_plain_frame
