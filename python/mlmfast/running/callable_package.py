"""A package that is called as a function too, where both have one name."""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package that calls a function of another module, imported on the first call."""

    _called: tuple[str, str]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function."""
        return self._function(*arguments, **named)

    @property
    def _function(self) -> Any:
        module, name = self._called
        return getattr(importlib.import_module(module), name)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)


def make_callable(package: str, module: str, function: str) -> None:
    """Let a package that is imported be called as ``function`` of ``module``.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> callable(mlm.design), mlm.design.Design.__name__
    (True, 'Design')
    """
    found = sys.modules[package]
    found.__class__ = CallablePackage
    found.__dict__["_called"] = (module, function)
