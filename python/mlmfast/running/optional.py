"""Packages that are not among the requirements."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mlmfast.errors import MlmError


def optional_package(package: str, extra: str, user: str) -> Any:
    """A package that is not among the requirements, imported.

    Parameters
    ----------
    package, extra
        Its name, and the extra that installs it.
    user
        What needs it.

    Raises
    ------
    MlmError
        Where it is not installed; the message names the extra.

    Examples
    --------
    >>> optional_package("no_such_package", "plot", "a picture")
    Traceback (most recent call last):
    mlmfast.errors.MlmError: a picture needs no_such_package, which is not installed; run:
    pip install "mlmfast[plot]"
    """
    try:
        return import_module(package)
    except ModuleNotFoundError:
        name = package.partition(".")[0]
        raise MlmError(
            f'{user} needs {name}, which is not installed; run: pip install "mlmfast[{extra}]"'
        ) from None
