"""What a running study says: replicates done, the rate, and the time left by condition."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TextIO

from mlmfast.running.progress_bar import clock
from mlmfast.studies.plan.plan import Chunk, Plan

_INTERVAL = 0.2


class Progress:
    """A line on a terminal that is written anew; elsewhere a line a finished condition.

    Parameters
    ----------
    plan
        Of the study.
    shown
        Whether anything is said at all.
    stream
        Standard error by default.

    Examples
    --------
    >>> clock(75), clock(7300)
    ('1 min 15 s', '2 h 1 min')
    """

    def __init__(self, plan: Plan, shown: bool = True, stream: TextIO | None = None) -> None:
        self._plan, self._shown = plan, shown
        self._stream = sys.stderr if stream is None else stream
        self._live = shown and self._stream.isatty()
        self._left: dict[int, int] = {}
        self._total: dict[int, int] = {}
        self._run = 0
        self._started = self._written = time.monotonic()

    def expect(self, chunks: Iterable[Chunk]) -> None:
        """Chunks that are this run's business."""
        for chunk in chunks:
            self._left[chunk.condition] = self._left.get(chunk.condition, 0) + len(chunk)
        self._total = dict(self._left)

    def found(self, chunks: Iterable[Chunk]) -> None:
        """Chunks that were finished before."""
        for chunk in chunks:
            self._left[chunk.condition] -= len(chunk)

    def finished(self, chunk: Chunk) -> None:
        """A chunk that is finished now."""
        k = chunk.condition
        self._left[k] = self._left.get(k, len(chunk)) - len(chunk)
        self._run += len(chunk)
        if not self._shown:
            return
        if self._live:
            now = time.monotonic()
            if now - self._written > _INTERVAL:
                self._written = now
                self._write(f"\r{self._line(k)}\x1b[K")
        elif self._left[k] == 0:
            self._write(self._line(k) + "\n")

    def ended(self, k: int) -> None:
        """A condition whose errors are small enough: what was planned beyond is not run."""
        left = self._left.get(k, 0)
        if left == 0:
            return
        self._total[k] -= left
        self._left[k] = 0
        if self._shown and not self._live:
            self._write(self._line(k) + "\n")

    def _line(self, k: int) -> str:
        rate = self._run / max(time.monotonic() - self._started, 1e-9)
        left, total = sum(self._left.values()), sum(self._total.values())
        own, own_total = self._left[k], self._total.get(k, 0)
        text = f"({self._plan.conditions[k]}) {own_total - own:,} of {own_total:,} replicates"
        if own:
            text += f", {clock(own / rate)} left"
        rest = f", {clock(left / rate)} left" if left else ""
        return f"{text}; in all {total - left:,} of {total:,}, {rate:,.0f} a second{rest}"

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
