"""A `dask.distributed.Client`: the scheduler gives the chunks of a lost worker to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import islice
from typing import Any

from mlmfast.studies.plan.plan import Chunk, Plan
from mlmfast.studies.running.work import content_by_worker, packed, place

#: Chunks that are asked for before others have come back, for each thread of the cluster.
_AHEAD = 2


def run_dask(client: Any, plan: Plan, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, bytes]]:
    """Contents of chunks as workers finish them."""
    sent = packed(plan)
    most = _AHEAD * max(1, sum(client.nthreads().values()))
    left = iter(chunks)
    waiting: dict[Any, Chunk] = {}
    distributed: Any = import_module("distributed")
    finished = distributed.as_completed(loop=client.loop)

    def ask(chunk: Chunk) -> None:
        future = client.submit(content_by_worker, sent, place(chunk), pure=False)
        waiting[future] = chunk
        finished.add(future)

    try:
        for chunk in islice(left, most):
            ask(chunk)
        while waiting:
            future = next(finished)
            yield waiting.pop(future), future.result()
            for chunk in left:
                ask(chunk)
                break
    finally:
        for future in waiting:
            future.cancel()
