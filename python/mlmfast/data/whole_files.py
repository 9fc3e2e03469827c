"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file so that a reader finds the old text or the new one, never a part.

    The text, in UTF-8, or the bytes go to a new file beside it, which takes its place once it is
    on the disk. Ctrl-C, a kill, a full disk or a loss of power leave what was there. Links stay
    links, and what is no plain file (a pipe, a terminal) is written to directly.

    Raises
    ------
    OSError
        Where the file cannot be written; its old text stays.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder) / "fit.json", "{}")
    ...     (Path(folder) / "fit.json").read_text()
    '{}'
    """
    data = content.encode() if isinstance(content, str) else content
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        target.write_bytes(data)
        return
    part = target.with_name(f".{target.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        # Unlike tempfile's, created with the permissions that the user's files get.
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, part)
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise
