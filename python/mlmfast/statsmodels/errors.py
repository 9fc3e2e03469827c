"""Errors and warnings that are mlmfast's and, where statsmodels and patsy are there, theirs too.

A script that catches what statsmodels raises catches the same here.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from mlmfast.errors import ConvergenceWarning as _Unproven
from mlmfast.errors import DataError, FormulaError, ModelError
from mlmfast.errors import SingularFitWarning as _OnBoundary


def _module(name: str) -> ModuleType | None:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        return None


_exceptions = _module("statsmodels.tools.sm_exceptions")
_patsy = _module("patsy")


def _bases(own: type, *theirs: tuple[ModuleType | None, str]) -> tuple[type, ...]:
    """A class, and those of another package where that is installed."""
    found = (getattr(module, name, None) for module, name in theirs)
    return (own, *(kind for kind in found if kind is not None))


def _with_message(self: Any, message: str, origin: Any = None) -> None:
    """What patsy's errors hold, whichever class comes first."""
    Exception.__init__(self, message)
    self.message, self.origin = message, origin


_PATSYS = {"__init__": _with_message, "__str__": Exception.__str__, "__module__": __name__}

PatsyFormulaError: type[FormulaError] = type(
    "PatsyFormulaError",
    _bases(FormulaError, (_patsy, "PatsyError")),
    {"__doc__": "A formula that cannot be read.", **_PATSYS},
)
MissingDataError: type[DataError] = type(
    "MissingDataError",
    _bases(DataError, (_exceptions, "MissingDataError"), (_patsy, "PatsyError")),
    {"__doc__": "Missing values where none are allowed.", **_PATSYS},
)
ConvergenceWarning: type[_Unproven] = type(
    "ConvergenceWarning",
    _bases(_Unproven, (_exceptions, "ConvergenceWarning")),
    {"__doc__": "A fit without a certificate of convergence.", "__module__": __name__},
)
SingularMatrixWarning: type[_OnBoundary] = type(
    "SingularMatrixWarning",
    _bases(_OnBoundary, (_exceptions, "SingularMatrixWarning")),
    {"__doc__": "A covariance of random effects that is singular.", "__module__": __name__},
)


class OldFormatWarning(FutureWarning, UserWarning):
    """Variance components as dictionaries; statsmodels 0.14 warns as the one, 0.15 as the other."""


class SingularDesignError(ModelError, np.linalg.LinAlgError):
    """Columns of the fixed part that depend on each other."""


class IgnoredArgumentWarning(UserWarning):
    """An argument of statsmodels' optimisers, which means nothing here."""
