"""SciPy's packages, each imported when something of it is first used.

Importing SciPy takes longer than most fits, and a fit of independent clusters needs its special
functions only. Names are bound here once: `from mlmfast.scipy_on_use import sparse` reads as
SciPy's own import does, and a type checker sees SciPy's modules.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any


class _OnUse:
    """Stands for a module until an attribute of it is asked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self._module), name)
        setattr(self, name, value)
        return value


if TYPE_CHECKING:
    from scipy import interpolate, linalg, sparse, special
else:
    interpolate = _OnUse("scipy.interpolate")
    linalg = _OnUse("scipy.linalg")
    sparse = _OnUse("scipy.sparse")
    special = _OnUse("scipy.special")

__all__ = ["interpolate", "linalg", "sparse", "special"]
