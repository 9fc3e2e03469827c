"""No executor: chunks one after the other, each on all threads of the core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlmfast.studies.plan.plan import Chunk, Plan
from mlmfast.studies.running.work import content_of


def run_here(plan: Plan, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, bytes]]:
    """Contents of chunks, in their order."""
    for chunk in chunks:
        yield chunk, content_of(plan, chunk)
