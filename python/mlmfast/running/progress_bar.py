"""A bar for what may take long: on a terminal or in a notebook, nowhere else."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

from mlmfast.errors import ModelError

#: Seconds before a bar that nobody asked for appears, and between two drawings of it.
_PATIENCE, _INTERVAL = 2.0, 0.1
_WIDTH = 30


class ProgressBar:
    """Share done, counts and time left, on one line that is gone when the ``with`` block ends.

    Ctrl-C and errors pass through it: the line is cleared on any way out.

    Parameters
    ----------
    label
        What is being done.
    total
        Steps in all; None where nobody knows before, the line then counts.
    shown
        None: after two seconds; True: from the beginning; False: never. A stream that is neither a
        terminal nor a notebook's gets nothing in any case.
    stream
        Standard error by default.
    size
        Bytes of all steps, where they are told too.

    Raises
    ------
    ModelError
        Where ``shown`` is something else.

    Examples
    --------
    >>> with ProgressBar("bootstrap", 3) as bar:
    ...     for _ in range(3):
    ...         bar.advance()
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        shown: bool | None = None,
        stream: TextIO | None = None,
        *,
        size: int | None = None,
    ) -> None:
        if shown is not None and not isinstance(shown, bool):
            raise ModelError(f"progress is {shown!r}; use True, False or None")
        self._label, self._done, self._size = label, 0, size
        self._total = None if total is None else max(int(total), 1)
        self._stream = sys.stderr if stream is None else stream
        #: Whether the bar may ever be drawn; long steps are cut into shorter ones where it may.
        self.is_live = shown is not False and _is_watched(self._stream)
        self._started = time.monotonic()
        self._next = self._started + (0.0 if shown else _PATIENCE)
        self._is_drawn = False

    @property
    def done(self) -> int:
        """Steps done."""
        return self._done

    def advance(self, steps: int = 1) -> None:
        """So many steps more are done."""
        self._done += steps
        now = time.monotonic()
        if self.is_live and now >= self._next:
            self._next, self._is_drawn = now + _INTERVAL, True
            self._write(self._line(now))

    def _line(self, now: float) -> str:
        passed = now - self._started
        if self._total is None:
            return f"{self._label} {self._done:,} in {clock(passed)}"
        share = min(self._done / self._total, 1.0)
        full = int(share * _WIDTH)
        bar = "#" * full + "." * (_WIDTH - full)
        left = passed / share - passed if share > 0 else 0.0
        counts = f"{min(self._done, self._total):,} of {self._total:,}"
        if self._size is not None:
            counts += f", {share * self._size / 1e9:.2f} of {self._size / 1e9:.2f} GB"
        return f"{self._label} [{bar}] {counts}, {clock(left)} left"

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_drawn:
            self._write("")

    def _write(self, line: str) -> None:
        # Back to the start of the line, then clear to its end; notebooks know no escape for that.
        end = "\x1b[K" if self._stream.isatty() else " " * 20 + ("" if line else " " * 60 + "\r")
        self._stream.write(f"\r{line}{end}")
        self._stream.flush()


def _is_watched(stream: TextIO) -> bool:
    """Whether somebody sees a line that is written anew: on a terminal, or in a notebook."""
    try:
        if stream.isatty():
            return True
    except (AttributeError, ValueError):  # no stream at all, or a closed one
        return False
    # A notebook's kernel has imported IPython; only its own standard error is shown there.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell" and stream is sys.stderr


def clock(seconds: float) -> str:
    """Seconds in words.

    Examples
    --------
    >>> clock(4.2), clock(75), clock(7300)
    ('4 s', '1 min 15 s', '2 h 1 min')
    """
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
