"""Names of files from paths, patterns and folders."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mlmfast.errors import DataError

PARQUET = (".parquet", ".pq")
ARROW = (".feather", ".arrow", ".arrows", ".ipc")
TEXT = (".csv", ".tsv", ".tab", ".txt", ".dat")
_DATABASES = (".duckdb", ".ddb")
_ENDINGS = f"{', '.join((*PARQUET, *ARROW, *TEXT))} (text also with .gz)"


@dataclass(frozen=True)
class File:
    """A file that is read.

    Attributes
    ----------
    path
        As it was given or found.
    format
        "parquet", "arrow" or "text".
    keys
        Columns that the names of its folders hold, ``site=3``, and their values.
    na_values
        Fields of a text that are missing values, beside empty ones and NA.
    """

    path: str
    format: str
    keys: tuple[tuple[str, str], ...] = ()
    na_values: tuple[str, ...] = ()


def files_of(given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[File]:
    """Files of a path, a pattern such as ``data/*.parquet``, a folder, or a list of those.

    Those of a pattern or folder are sorted by name; hidden ones and those that begin with ``_`` are
    left out. Folders below that are named ``column=value`` give a column.

    Raises
    ------
    DataError
        Where there are no such files, or files of a kind that is not read.
    """
    if isinstance(given, str | os.PathLike):
        return _files_of_one(os.path.expanduser(os.fspath(given)))
    if not given:
        raise DataError("the list of data is empty; give one path or frame, or more")
    return [file for one in given for file in _files_of_one(os.path.expanduser(os.fspath(one)))]


def _files_of_one(given: str) -> list[File]:
    if "://" in given:
        raise DataError(
            f"{given} is not on this machine; give a pyarrow dataset, pyarrow.dataset.dataset(...),"
            " or a DuckDB relation that reads it"
        )
    if os.path.isdir(given):
        found = sorted(_below(given))
        if not found:
            raise DataError(f"there is no file to read in the folder {given}; endings: {_ENDINGS}")
        return [File(path, _format(path), _keys(path, given)) for path in found]
    if os.path.exists(given) or not glob.has_magic(given):
        file = File(given, _format(given))
        if not os.path.exists(given):
            raise DataError(f"cannot read {given}: there is no such file")
        return [file]
    found = sorted(path for path in glob.glob(given, recursive=True) if os.path.isfile(path))
    if not found:
        raise DataError(f"no file matches {given}; check the folder and the ending")
    base = given[: min(given.find(sign) for sign in "*?[" if sign in given)]
    return [File(path, _format(path), _keys(path, os.path.dirname(base))) for path in found]


def _below(folder: str) -> Iterator[str]:
    """Files of a folder that can be read, at any depth."""
    for path in Path(folder).rglob("*"):
        inside = path.relative_to(folder).parts
        if any(part.startswith((".", "_")) for part in inside) or not path.is_file():
            continue
        if _kind_of(str(path)) is not None:
            yield str(path)


def _keys(path: str, base: str) -> tuple[tuple[str, str], ...]:
    """``(column, value)`` of the folders between a base and a file."""
    inside = Path(os.path.relpath(path, base or ".")).parts[:-1]
    pairs = (part.partition("=") for part in inside if "=" in part)
    return tuple((unquote(name), unquote(value)) for name, _, value in pairs if name)


def _format(path: str) -> str:
    kind = _kind_of(path)
    if kind is not None:
        return kind
    if Path(path).suffix.lower() in _DATABASES:
        raise DataError(
            f"{path} is a database of several tables; give (connection, table): "
            f"(duckdb.connect({path!r}, read_only=True), 'the_table')"
        )
    raise DataError(f"cannot tell what kind of file {path} is; its name must end in {_ENDINGS}")


def is_text(name: str) -> bool:
    """Whether a part is of a text file, by its name.

    Examples
    --------
    >>> is_text("rows.csv.gz"), is_text("rows.parquet"), is_text("")
    (True, False, False)
    """
    return _kind_of(name) == "text"


def _kind_of(path: str) -> str | None:
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes[-1:] == [".gz"]:
        return "text" if suffixes[-2:-1] and suffixes[-2] in TEXT else None
    last = suffixes[-1] if suffixes else ""
    kinds = (("parquet", PARQUET), ("arrow", ARROW), ("text", TEXT))
    return next((kind for kind, endings in kinds if last in endings), None)
