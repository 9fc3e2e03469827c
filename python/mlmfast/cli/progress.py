"""A line on the terminal that says what a long command is doing."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TextIO

#: Seconds before the line appears: short commands stay silent.
_PATIENCE = 1.0
_INTERVAL = 0.2


class Progress:
    """Show the current phase and its seconds on a terminal while a ``with`` block runs.

    Nothing is written where the stream is not a terminal, or before a second has passed; the line
    is gone when the block ends.

    Parameters
    ----------
    stream
        Standard error by default.
    patience
        Seconds before the line appears.

    Examples
    --------
    >>> with Progress() as progress:
    ...     progress.phase("reading")
    """

    def __init__(self, stream: TextIO | None = None, patience: float = _PATIENCE) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._patience = patience
        self._phase = ""
        self._started = self._phase_started = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def phase(self, name: str) -> None:
        """Name what is being done from now on."""
        self._phase_started = time.monotonic()
        self._phase = name

    def __enter__(self) -> Progress:
        if self._stream.isatty():
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        if self._ended.wait(self._patience):
            return
        while True:
            self._write(self._line())
            if self._ended.wait(_INTERVAL):
                break
        self._write("")

    def _line(self) -> str:
        now = time.monotonic()
        in_phase, in_all = now - self._phase_started, now - self._started
        return f"mlmfast: {self._phase} {in_phase:.1f} s (in all {in_all:.1f} s)"

    def _write(self, line: str) -> None:
        # Back to the start of the line, then clear to its end.
        self._stream.write(f"\r{line}\x1b[K")
        self._stream.flush()
