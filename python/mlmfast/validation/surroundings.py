"""Where a validation was run: platform, versions, hashes of what is installed."""

from __future__ import annotations

import hashlib
import os
import sys
from importlib import metadata
from typing import Any

import numpy as np

from mlmfast._core import __version__
from mlmfast.running.versions import PACKAGES, package_version, place
from mlmfast.validation.installation import (
    core_library,
    hash_of_build,
    hashes,
    installed,
    package_folder,
)

#: Packages that extras ask for; they are named where they are installed.
_OPTIONAL = ("matplotlib", "pyarrow", "polars", "statsmodels", "scikit-learn", "duckdb", "dask")


def surroundings(distribution: metadata.Distribution | None = None) -> dict[str, dict[str, Any]]:
    """Platform, versions and build, as facts by group.

    Examples
    --------
    >>> list(surroundings())
    ['platform', 'versions', 'build']
    """
    files = hashes(package_folder())
    library = core_library()
    optional = {name: package_version(name) for name in _OPTIONAL}
    if distribution is None:
        distribution = installed()
    wheel = None if distribution is None else distribution.read_text("WHEEL")
    tags = [line[5:] for line in (wheel or "").splitlines() if line.startswith("Tag: ")]
    return {
        "platform": {
            **place(),
            "processors": os.cpu_count(),
            "Python": sys.version.split("\n")[0],
            "interpreter": sys.executable,
            "linear algebra of NumPy": _blas(),
        },
        "versions": {
            "mlmfast": __version__,
            **{name: package_version(name) for name in PACKAGES},
            **{name: version for name, version in optional.items() if version},
        },
        "build": {
            "wheel": ", ".join(tags) or "used in place",
            "package": str(package_folder()),
            "files": len(files),
            "hash of the build": hash_of_build(files),
            "core library": library.name,
            "hash of the core library": hashlib.sha256(library.read_bytes()).hexdigest(),
        },
    }


def _blas() -> str:
    found = np.show_config(mode="dicts") or {}
    blas = found.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', '')} {blas.get('version', '')}".strip()
