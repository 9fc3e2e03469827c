"""No executor: chunks one after the other, each on all threads of the core.

While the core fits a chunk, a thread draws the data of the next where a design does that alone;
functions of the user's are called in the thread that runs the study.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from mlmfast.studies.plan.plan import Chunk, Plan
from mlmfast.studies.replicates.chunk import (
    Drawn,
    chunk_table,
    draw_chunk,
    is_drawn_at_once,
    quiet,
)
from mlmfast.studies.replicates.draw import Source
from mlmfast.studies.running.work import Content, file_of


def run_here(plan: Plan, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, Content]]:
    """Contents of chunks, in their order."""
    sources = _Sources(plan)
    ahead: Future[list[Drawn]] | None = None
    with quiet(), ThreadPoolExecutor(1, "mlmfast-study-draws") as thread:
        for position, chunk in enumerate(chunks):
            drawn: Any = draw_chunk(sources.of(chunk), chunk) if ahead is None else ahead.result()
            following = chunks[position + 1 : position + 2]
            ahead = _draw(thread, sources.of(following[0]), following[0]) if following else None
            yield chunk, partial(file_of, chunk_table(plan, chunk, drawn))


def _draw(thread: ThreadPoolExecutor, source: Source, chunk: Chunk) -> Future[list[Drawn]] | None:
    if not is_drawn_at_once(source, chunk):
        return None
    return thread.submit(lambda: list(draw_chunk(source, chunk)))


class _Sources:
    """What draws the data of a chunk, made once where chunks of one condition come in turn."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._last: tuple[int, Source] | None = None

    def of(self, chunk: Chunk) -> Source:
        if self._last is None or self._last[0] != chunk.condition:
            condition = self._plan.conditions[chunk.condition]
            self._last = chunk.condition, Source(self._plan, condition)
        return self._last[1]
