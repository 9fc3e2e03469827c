"""What is installed: versions, and whether the files are those that were built."""

from __future__ import annotations

import base64
import csv
import hashlib
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import mlmfast._core as _core
from mlmfast.running.versions import package_version
from mlmfast.validation.check import Check

#: What a build does not consist of.
_PASSING = ("__pycache__", ".pyc", ".pdb")


def package_folder() -> Path:
    """Where the package is."""
    return Path(__file__).resolve().parents[1]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a package, by its path in it.

    Examples
    --------
    >>> "model.py" in hashes(package_folder())
    True
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part in path.as_posix() for part in _PASSING)
    )
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def hash_of_build(files: dict[str, str]) -> str:
    """One hash of all files: of the lines ``hash, two blanks, path``, sorted by path.

    Examples
    --------
    >>> hash_of_build({"a.py": "00"})[:8]
    '27510c75'
    """
    lines = "".join(f"{value}  {name}\n" for name, value in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def core_library() -> Path:
    """The file of the core library that is loaded."""
    return Path(str(_core.__file__)).resolve()


def installed() -> metadata.Distribution | None:
    """The installed package; None where the files are used in place, or are another's."""
    try:
        found = metadata.distribution("mlmfast")
    except metadata.PackageNotFoundError:
        return None
    own = Path(str(found.locate_file("mlmfast"))).resolve() == package_folder()
    return found if own else None


def installation_checks(distribution: metadata.Distribution | None) -> Iterator[Check]:
    """Whether files are those of the wheel, and versions those that are asked for."""
    yield _own_core()
    yield _recorded_files(distribution)
    version = platform.python_version()
    holds = tuple(map(int, platform.python_version_tuple()[:2])) >= (3, 10)
    yield Check("IQ-2", "Python", "version", holds=holds, note=f"{version} (3.10 or later)")
    for name, least in sorted(required(distribution).items()):
        found = package_version(name)
        note = f"{found or 'not installed'} ({least} or later)"
        holds = bool(found) and numbers(found) >= numbers(least)
        yield Check("IQ-2", name, "version", holds=holds, note=note)


def _own_core() -> Check:
    """Whether the core library lies in the package and is of its version."""
    own = core_library().parent == package_folder()
    same = package_version("mlmfast") in ("", _core.__version__)
    note = f"{core_library().name}, version {_core.__version__}"
    return Check("IQ-1", "core library", "place and version", holds=own and same, note=note)


def _recorded_files(distribution: metadata.Distribution | None) -> Check:
    record = None if distribution is None else distribution.read_text("RECORD")
    listed = [] if record is None else _listed(record)
    if distribution is None or not listed:
        note = "used in place, not installed from a wheel: no list of files to compare with"
        return Check("IQ-1", "files", "as built", note=note)
    changed = [
        name
        for name, expected in listed
        if _record_hash(Path(str(distribution.locate_file(name)))) != expected
    ]
    note = f"{len(listed)} files as in the wheel's RECORD"
    if changed:
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        note = f"changed or missing: {', '.join(changed[:5])}{more}"
    return Check("IQ-1", "files", "as built", holds=not changed, note=note)


def _listed(record: str) -> list[tuple[str, str]]:
    """Files of the package, and their hashes, in a wheel's RECORD."""
    rows = csv.reader(record.splitlines())
    return [
        (row[0], row[1])
        for row in rows
        if len(row) > 1 and row[0].startswith("mlmfast/") and row[1].startswith("sha256=")
    ]


def _record_hash(path: Path) -> str:
    if not path.is_file():
        return ""
    found = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest())
    return f"sha256={found.rstrip(b'=').decode()}"


def required(distribution: metadata.Distribution | None) -> dict[str, str]:
    """Least version by package that mlmfast asks for.

    Examples
    --------
    >>> required(None)
    {'numpy': '2.0', 'scipy': '1.13', 'pandas': '2.2.2', 'narwhals': '1.20'}
    """
    lines = (distribution.requires or []) if distribution is not None else []
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)\s*\(?>=([0-9.]+)\)?", line) for line in lines]
    named = {one.group(1): one.group(2) for one in found if one is not None}
    return named or dict(_LEAST)


#: As pyproject.toml has it.
_LEAST = {"numpy": "2.0", "scipy": "1.13", "pandas": "2.2.2", "narwhals": "1.20"}


def numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version.

    Examples
    --------
    >>> numbers("2.2.3.post1"), numbers("2.0rc1")
    ((2, 2, 3), (2, 0))
    """
    out = []
    for part in version.split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        out.append(int(digits.group()))
        if digits.group() != part:
            break
    return tuple(out)
