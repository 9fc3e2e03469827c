"""Covariance structures, one file each; importing a file here registers its structure."""

import pkgutil
from importlib import import_module

from mlmfast.covariance.base import STRUCTURES, CovarianceStructure, floor_eigenvalues

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)

# After the folder of that name, which the loop has made an attribute of this package.
from mlmfast.covariance.names import structures  # noqa: E402

__all__ = ["STRUCTURES", "CovarianceStructure", "floor_eigenvalues", "structures"]
