"""Covariance structures, one file each; importing a file here registers its structure."""

import pkgutil
from importlib import import_module

from mlmfast.covariance.base import STRUCTURES, CovarianceStructure, floor_eigenvalues
from mlmfast.covariance.listing import structures

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["STRUCTURES", "CovarianceStructure", "floor_eigenvalues", "structures"]
