"""Chunks written while the next are made: a disk is waited for by a thread of its own."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType

from mlmfast.studies.plan.plan import Chunk, Plan
from mlmfast.studies.running.folder import Folder
from mlmfast.studies.running.progress import Progress
from mlmfast.studies.running.work import Content


class Writer:
    """Writes one chunk at a time; what went wrong is raised with the next, or at the end.

    Attributes
    ----------
    done
        Chunks written.
    """

    def __init__(self, plan: Plan, folder: Folder, shown: Progress) -> None:
        self._plan, self._folder, self._shown = plan, folder, shown
        self._thread = ThreadPoolExecutor(1, "mlmfast-study-writer")
        self._pending: tuple[Chunk, Future[None]] | None = None
        self.done = 0

    def put(self, chunk: Chunk, content: Content) -> None:
        """Write a chunk, once the one before is written.

        Raises
        ------
        OSError
            Where that could not be written.
        """
        self.settle()
        future = self._thread.submit(self._write, chunk, content)
        self._pending = chunk, future

    def _write(self, chunk: Chunk, content: Content) -> None:
        made = content if isinstance(content, bytes) else content()
        self._folder.write(self._plan, chunk, made)

    def settle(self) -> None:
        """Wait for what is being written."""
        if self._pending is not None:
            (chunk, future), self._pending = self._pending, None
            future.result()
            self.done += 1
            self._shown.finished(chunk)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.settle()
            else:
                # What ended the run is what is told.
                with suppress(OSError):
                    self.settle()
        finally:
            self._thread.shutdown()
