"""The folder of a study: its plan, and a Parquet file for each finished chunk.

A file is there whole or not at all: it is written under another name, forced to the disk, then
renamed. What is found there can be read while a study runs, and after whatever stopped it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlmfast.data.whole_files import write_whole
from mlmfast.errors import DataError, MixedVersionsWarning, warn
from mlmfast.studies.plan.conditions import Condition
from mlmfast.studies.plan.plan import Chunk, Plan, versions
from mlmfast.studies.running.arrow import arrow, parquet
from mlmfast.studies.running.differences import differences, hindrances

_PLAN, _CHUNKS, _UNFINISHED = "plan.json", "chunks", "unfinished"


class Folder:
    """Finished chunks of the plan that made the folder.

    Parameters
    ----------
    path
        Where it is, or shall be.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def record(self) -> dict[str, Any]:
        """What ``plan.json`` says.

        Raises
        ------
        DataError
            Where there is no study.
        """
        try:
            found = json.loads((self.path / _PLAN).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(
                f"{self.path} holds no study: there is no {_PLAN}; give the folder that a study "
                "was run in"
            ) from None
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("plan"), dict):
            raise DataError(f"{self.path / _PLAN} cannot be read as the plan of a study")
        return found

    def claim(self, plan: Plan, extend: bool) -> None:
        """Make the folder that of a plan.

        Raises
        ------
        DataError
            Where it is another plan's, saying what differs.

        Warns
        -----
        MixedVersionsWarning
            Where what is there was made by other versions of what numbers depend on.
        """
        if not (self.path / _PLAN).exists():
            self._check_empty()
            (self.path / _CHUNKS).mkdir(parents=True, exist_ok=True)
            self._write_plan(plan)
            return
        (self.path / _CHUNKS).mkdir(exist_ok=True)
        found = self.record()
        there, here = found["plan"], json.loads(json.dumps(plan.record()))
        if there != here:
            self._check_plan(there, here, extend)
            self._write_plan(plan)
        self._remove_outgrown(plan)
        self._check_versions(found.get("versions", {}))

    def _check_empty(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise DataError(f"{self.path} is a file; a study needs a folder of its own")
        if self.path.is_dir() and {own.name for own in self.path.iterdir()} - {
            _CHUNKS,
            _UNFINISHED,
        }:
            raise DataError(
                f"{self.path} holds other files and no study; give a new folder, or an empty one"
            )

    def _check_plan(self, there: Any, here: Any, extend: bool) -> None:
        found = hindrances(there, here) if extend else differences(there, here)
        if not found and extend:
            return
        hint = "; extend=True goes on with it" if not extend and not hindrances(there, here) else ""
        listed = "; ".join(found[:6]) + (f"; and {len(found) - 6} more" if len(found) > 6 else "")
        raise DataError(
            f"{self.path} holds the results of another plan: {listed or 'their records differ'}. "
            f"Give another folder{hint}"
        )

    def _check_versions(self, there: Mapping[str, str]) -> None:
        here = versions()
        changed = [
            f"{name} {there[name]} (now {version})"
            for name, version in here.items()
            if there.get(name, version) != version
        ]
        if changed and any((self.path / _CHUNKS).iterdir()):
            warn(
                f"{self.path} was begun with {', '.join(changed)}: last digits of what is added "
                "may differ from what one version would have given",
                MixedVersionsWarning,
                "MLM701",
            )

    def _write_plan(self, plan: Plan) -> None:
        record = {
            "fingerprint": plan.fingerprint,
            "plan": plan.record(),
            "versions": versions(),
            "sources": plan.sources(),
        }
        write_whole(self.path / _PLAN, json.dumps(record, indent=1) + "\n")

    def _remove_outgrown(self, plan: Plan) -> None:
        """Remove last chunks that a plan of more replicates makes longer, and what is no chunk."""
        wanted = {
            self.file(plan.conditions[position], chunk)
            for position in range(len(plan.conditions))
            for chunk in plan.chunks(position)
        }
        for file in (self.path / _CHUNKS).glob("*.parquet"):
            if file not in wanted:
                file.unlink()

    def file(self, condition: Condition, chunk: Chunk) -> Path:
        """Where the rows of a chunk are."""
        name = f"{condition.name}-{chunk.first:09d}-{chunk.last:09d}.parquet"
        return self.path / _CHUNKS / name

    def has(self, plan: Plan, chunk: Chunk) -> bool:
        """Whether a chunk is finished: its file is whole and has all of its rows."""
        file = self.file(plan.conditions[chunk.condition], chunk)
        if not file.exists():
            return False
        try:
            rows = parquet().read_metadata(file).num_rows
        except (OSError, arrow().ArrowException):
            return False
        return bool(rows == len(chunk) * len(plan.methods) * len(plan.estimands))

    def write(self, plan: Plan, chunk: Chunk, content: bytes) -> None:
        """Write a finished chunk.

        Raises
        ------
        OSError
            Where it cannot be written, a full disk for one; nothing of it stays.
        """
        file = self.file(plan.conditions[chunk.condition], chunk)
        try:
            self._write(file, content)
        except FileNotFoundError:
            # Another process has finished the study meanwhile and tidied up.
            self._write(file, content)

    def _write(self, file: Path, content: bytes) -> None:
        part = self.path / _UNFINISHED / f"{file.stem}.{os.getpid()}-{secrets.token_hex(4)}"
        try:
            part.parent.mkdir(exist_ok=True)
            with open(part, "xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(part, file)
            _sync(file.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise

    def tidy(self) -> None:
        """Remove what killed processes left unfinished, once there is nothing left to do."""
        shutil.rmtree(self.path / _UNFINISHED, ignore_errors=True)

    def read(self, files: Iterable[Path], columns: Sequence[str] | None = None) -> Any:
        """Rows of chunks as a `pyarrow.Table`, one after the other; None where there are none."""
        reader = parquet()
        wanted = None if columns is None else list(columns)
        tables = [reader.ParquetFile(file).read(columns=wanted) for file in files]
        return arrow().concat_tables(tables) if tables else None


def _sync(folder: Path) -> None:
    """Force a rename to the disk, where folders can be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
