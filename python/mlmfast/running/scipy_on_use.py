"""SciPy's packages, each imported when something of it is first used.

Importing SciPy takes longer than most fits, and a fit of independent clusters needs its special
functions only. Names are bound here once: `from mlmfast.scipy_on_use import sparse` reads as
SciPy's own import does, and a type checker sees SciPy's modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scipy import interpolate, linalg, sparse, special
else:
    from mlmfast.running.first_use import OnUse

    interpolate = OnUse("scipy.interpolate")
    linalg = OnUse("scipy.linalg")
    sparse = OnUse("scipy.sparse")
    special = OnUse("scipy.special")

__all__ = ["interpolate", "linalg", "sparse", "special"]
