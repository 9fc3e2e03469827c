"""Any `concurrent.futures.Executor`: processes, threads, loky, MPI, Dask's `get_executor()`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

from mlmfast.studies.plan.plan import Chunk, Plan
from mlmfast.studies.running.work import content_by_worker, packed, place

#: Chunks that are asked for before others have come back, for each worker.
_AHEAD = 2
#: Workers of an executor that does not say how many it has.
_MANY = 64


def run_futures(
    executor: Executor, plan: Plan, chunks: Sequence[Chunk]
) -> Iterator[tuple[Chunk, bytes]]:
    """Contents of chunks as workers finish them; no more are in hand than workers need."""
    workers = getattr(executor, "_max_workers", None)
    most = _AHEAD * (workers if isinstance(workers, int) else max(_MANY, os.cpu_count() or 1))
    sent = packed(plan)
    waiting: dict[Future[bytes], Chunk] = {}
    left = iter(chunks)
    try:
        while True:
            for chunk in left:
                waiting[executor.submit(content_by_worker, sent, place(chunk))] = chunk
                if len(waiting) >= most:
                    break
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()
    finally:
        for future in waiting:
            future.cancel()
