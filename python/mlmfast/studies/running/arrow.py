"""PyArrow, imported when a study is run or read."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mlmfast.errors import MlmError


def arrow() -> Any:
    """The module pyarrow.

    Raises
    ------
    MlmError
        Where it is not installed.
    """
    try:
        return import_module("pyarrow")
    except ModuleNotFoundError:
        raise _missing() from None


def parquet() -> Any:
    """The module pyarrow.parquet.

    Raises
    ------
    MlmError
        Where it is not installed.
    """
    try:
        return import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise _missing() from None


def _missing() -> MlmError:
    return MlmError(
        "a study keeps its results in Parquet files, which needs pyarrow; run: "
        "pip install 'mlmfast[study]'"
    )
