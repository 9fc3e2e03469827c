"""Versions that numbers may depend on, and where they were made."""

from __future__ import annotations

import platform
import sys
from functools import cache
from importlib import metadata

from mlmfast._core import __version__

#: Packages that a fit computes with.
PACKAGES = ("numpy", "scipy", "pandas", "narwhals")


@cache
def package_version(name: str) -> str:
    """Version of an installed package; empty where there is none.

    Examples
    --------
    >>> package_version("no-such-package")
    ''
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return str(getattr(sys.modules.get(name), "__version__", ""))


def versions() -> dict[str, str]:
    """Versions of mlmfast, of Python and of the packages that a fit computes with.

    Examples
    --------
    >>> list(versions())
    ['mlmfast', 'python', 'numpy', 'scipy', 'pandas', 'narwhals']
    """
    own = {"mlmfast": __version__, "python": platform.python_version()}
    return own | {name: package_version(name) for name in PACKAGES}


@cache
def place() -> dict[str, str]:
    """System, machine and C library.

    Examples
    --------
    >>> list(place())
    ['system', 'machine', 'implementation', 'libc']
    """
    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "implementation": platform.python_implementation(),
        "libc": " ".join(filter(None, platform.libc_ver())),
    }
