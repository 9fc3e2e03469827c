"""What came of each split, in a folder: a reduction that was stopped goes on from there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from mlmfast.data.whole_files import write_whole
from mlmfast.errors import DataError, ModelError
from mlmfast.sources.executors.work import KeptSplit, Work
from mlmfast.sources.source import Split

_DIGEST = 32


class KeptPartials:
    """A file a split, named by the work and by what the split is.

    A file of rows that has changed since (its size or time) has another name, and so has other
    work: what is found is never of other rows or of another model. A file that is cut short is as
    good as none.

    Raises
    ------
    ModelError
        For a source whose splits cannot be told apart, such as a stream.
    DataError
        Where the folder cannot be made.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        work: Work,
        splits: Sequence[Split] | None,
        title: str,
    ) -> None:
        if splits is None:
            raise ModelError(
                f"{title} cannot be gone on with: nothing tells its parts apart. Give files, or a "
                "Dask DataFrame, or leave the folder out"
            )
        self._folder = Path(folder)
        self._known: set[int] = set()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"cannot make the folder {folder}: {error.strerror}") from None
        self._paths = [self._folder / f"{_name(work, split)}.part" for split in splits]

    def known(self, position: int, split: Split) -> Split:
        """The split, or, where something was kept of it, one that gives that without any work."""
        found = self.found(position)
        if found is None:
            return split
        self._known.add(position)
        return KeptSplit(split.key, found or None)

    def found(self, position: int) -> bytes | None:
        """What was kept of a split; None where nothing was."""
        try:
            content = self._paths[position].read_bytes()
        except FileNotFoundError:
            return None
        digest, partial = content[:_DIGEST], content[_DIGEST:]
        return partial if hashlib.sha256(partial).digest() == digest else None

    def keep(self, position: int, partial: bytes) -> None:
        """Keep what came of a split, if it is not there already."""
        if position in self._known:
            return
        content = hashlib.sha256(partial).digest() + partial
        try:
            write_whole(self._paths[position], content)
        except OSError as error:
            raise DataError(
                f"cannot keep a part in {self._folder}: {error.strerror}; what was kept before is "
                "whole, the same call goes on from there"
            ) from None


def _name(work: Work, split: Split) -> str:
    return hashlib.sha256(f"{work.fingerprint}\n{split.key}".encode()).hexdigest()[:40]
